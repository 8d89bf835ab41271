"""Models, examples and labels brought together, with the smallest rung and a few dozen puzzles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from reference.studies import CHESS
from surpass.artifact import Artifact
from surpass.errors import DataError
from surpass.labels import label_table, rows, truth_labels
from surpass.models.moves import MoveChoice
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Context, Examples, Fit, Label, Stage
from surpass.train import loop
from surpass.train.recipe import Recipe

MODEL = "ladder:chess-1"
EXAMPLES = Examples(task=CHESS, part="validation", size=24, seed=0)
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=1e-3)
ON_TRUTH = Fit(model=MODEL, examples=EXAMPLES, labels=TRUTH, recipe=RECIPE, seed=1)
LABELS = Label(source=MODEL, examples=EXAMPLES)


@dataclass
class Bench:
    """Runs stages in folders, without store or engine."""

    root: Path

    def folder(self, stage: Stage) -> Path:
        return self.root / stage.id

    def find(self, stage: Stage) -> Artifact:
        folder = self.folder(stage)
        return Artifact(stage.kind, stage.id, folder, {"files": {path.name: {} for path in folder.iterdir()}})

    def run(self, stage: Stage, **settings: object) -> Artifact:
        self.folder(stage).mkdir()
        (self.root / "work" / stage.id).mkdir(parents=True)
        self.said = stage.run(
            Context(find=self.find, out=self.folder(stage), work=self.root / "work" / stage.id, **settings)  # type: ignore[arg-type]
        )
        return self.find(stage)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.run(EXAMPLES)
    return bench


def weights(artifact: Artifact) -> dict[str, object]:
    return {name: value.tolist() for name, value in load_file(artifact.file("model.safetensors")).items()}


def test_a_fit_on_truth_is_the_loop_on_truth(bench):
    fitted = bench.run(ON_TRUTH)
    assert bench.said["num_examples"] == 24
    assert bench.said["num_steps"] == 6
    inputs, truth = (
        pq.read_table(bench.folder(EXAMPLES) / f"{name}.parquet") for name in ("inputs", "truth")
    )
    model = MoveChoice.load(resolve(MODEL).path)
    encoded = model.encode(inputs)
    labels = rows(truth_labels(truth, encoded.num_candidates_N.tolist()))
    losses = loop.fit(model, encoded, labels, loss="xent", recipe=RECIPE, seed=1)
    assert pq.read_table(fitted.file("curve.parquet"))["loss"].to_pylist() == losses.tolist()
    assert bench.said["last_loss"] == losses[-1]
    assert weights(fitted) == {name: value.tolist() for name, value in model.state_dict().items()}


def test_zero_shot_labels_are_the_pretrained_models(bench):
    table = pq.read_table(bench.run(LABELS).file("labels.parquet"))
    inputs = pq.read_table(bench.folder(EXAMPLES) / "inputs.parquet")
    assert table["id"].to_pylist() == inputs["id"].to_pylist()
    model = MoveChoice.load(resolve(MODEL).path)
    encoded = model.encode(inputs)
    for row, probs in zip(rows(table), loop.label(model, encoded, encoded.num_candidates_N), strict=True):
        np.testing.assert_array_equal(row, probs)


def test_labels_of_a_fit_are_the_fitted_models(bench):
    label = Label(source=ON_TRUTH, examples=EXAMPLES)
    bench.run(ON_TRUTH)
    fitted = rows(pq.read_table(bench.run(label).file("labels.parquet")))
    before = rows(pq.read_table(bench.run(LABELS).file("labels.parquet")))
    truth_N = pq.read_table(bench.folder(EXAMPLES) / "truth.parquet")["truth"].to_pylist()
    gained = [new[right] - old[right] for new, old, right in zip(fitted, before, truth_N, strict=True)]
    assert np.mean(gained) > 0.02


def test_labels_are_joined_by_id_and_truth_is_never_opened(bench):
    student = replace(ON_TRUTH, labels=LABELS)
    table = pq.read_table(bench.run(LABELS).file("labels.parquet"))
    first = weights(bench.run(student))
    other = replace(LABELS, examples=replace(EXAMPLES, seed=99))  # anything with another id
    bench.folder(other).mkdir()
    pq.write_table(table.take(np.arange(24)[::-1]), bench.folder(other) / "labels.parquet")
    (bench.folder(EXAMPLES) / "truth.parquet").unlink()
    assert weights(bench.run(replace(student, labels=other))) == first


def test_labels_of_other_examples_are_refused(bench):
    bench.folder(LABELS).mkdir()
    pq.write_table(label_table(["x"], [np.ones(1, np.float32)]), bench.folder(LABELS) / "labels.parquet")
    with pytest.raises(DataError, match="labels for examples that are not here: 'x'"):
        bench.run(replace(ON_TRUTH, labels=LABELS))


def test_a_training_that_diverges_says_so(bench):
    wild = replace(ON_TRUTH, recipe=replace(RECIPE, learning_rate=1e20, schedule="constant"))
    with pytest.raises(DataError, match=r"diverged at step \d of 6; lower learning_rate=1e\+20"):
        bench.run(wild)
    assert list(bench.folder(wild).iterdir()) == []


def test_micro_batches_change_rounding_only(bench):
    whole = bench.run(ON_TRUTH)
    other = Bench(bench.root / "other")
    other.root.mkdir()
    other.run(EXAMPLES)
    curves = [
        pq.read_table(artifact.file("curve.parquet"))["loss"].to_numpy()
        for artifact in (whole, other.run(ON_TRUTH, micro_batch=3))
    ]
    np.testing.assert_allclose(curves[0], curves[1], atol=2e-4)
