"""Models, examples and labels brought together, with the smallest rung and a few dozen puzzles."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from reference.bench import Bench, same_state, state_of, table_of
from reference.studies import CHESS
from surpass import labels as lb
from surpass.errors import DataError, Stopped
from surpass.labels import label_table, rows, truth_labels
from surpass.models.families import load_model
from surpass.models.moves import MoveChoice
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Context, Examples, Fit, Label, Truth
from surpass.tasks.planted import PlantedTask
from surpass.train import loop
from surpass.train.recipe import Recipe
from surpass.train.run import Inputs

MODEL = "ladder:chess-1"
EXAMPLES = Examples(task=CHESS, part="validation", size=24, seed=0)
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=1e-3)
ON_TRUTH = Fit(model=MODEL, examples=EXAMPLES, labels=TRUTH, recipe=RECIPE, seed=1)
LABELS = Label(source=MODEL, examples=EXAMPLES)


PLANTED = Examples(task=PlantedTask(num_classes=3, num_features=8), part="student", size=40, seed=0)
TAUGHT = Truth(examples=PLANTED)
SMALL = Fit(model="mlp:8x4", examples=PLANTED, labels=TAUGHT, recipe=RECIPE, seed=1)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.run(EXAMPLES)
    return bench


@pytest.fixture
def small(tmp_path: Path) -> Bench:
    """With planted examples, and their truth as labels."""
    bench = Bench(tmp_path)
    bench.run_all(TAUGHT)
    return bench


def test_a_fit_on_truth_is_the_loop_on_truth(bench):
    fitted = bench.run(ON_TRUTH)
    assert bench.said["num_examples"] == 24
    assert bench.said["num_steps"] == 6
    inputs, truth = (
        pq.read_table(bench.folder(EXAMPLES) / f"{name}.parquet") for name in ("inputs", "truth")
    )
    model = MoveChoice.load(resolve(MODEL))
    encoded = model.encode(inputs)
    probs = rows(truth_labels(truth, encoded.num_candidates_N.tolist()))
    labels = loop.Labels(probs, np.ones(24, np.float32))
    losses = loop.fit(model, encoded, labels, loss="xent", recipe=RECIPE, seed=1)
    assert pq.read_table(fitted.file("curve.parquet"))["loss"].to_pylist() == losses.tolist()
    assert bench.said["last_loss"] == losses[-1]
    assert same_state(state_of(fitted), model.state_dict())


def test_zero_shot_labels_are_the_pretrained_models(bench):
    table = pq.read_table(bench.run(LABELS).file("labels.parquet"))
    inputs = pq.read_table(bench.folder(EXAMPLES) / "inputs.parquet")
    assert table["id"].to_pylist() == inputs["id"].to_pylist()
    model = MoveChoice.load(resolve(MODEL))
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
    first = state_of(bench.run(student))
    other = replace(LABELS, examples=replace(EXAMPLES, seed=99))  # anything with another id
    bench.put(other, table.take(np.arange(24)[::-1]))
    (bench.folder(EXAMPLES) / "truth.parquet").unlink()
    assert same_state(state_of(bench.run(replace(student, labels=other))), first)


def test_labels_of_other_examples_are_refused(bench):
    bench.put(LABELS, label_table(["x"], [np.ones(1, np.float32)]))
    with pytest.raises(DataError, match="labels for examples that are not here: 'x'"):
        bench.run(replace(ON_TRUTH, labels=LABELS))


def test_a_training_that_diverges_says_so(bench):
    wild = replace(ON_TRUTH, recipe=replace(RECIPE, learning_rate=1e20, schedule="constant"))
    with pytest.raises(DataError, match=r"diverged at step \d of 6; lower learning_rate=1e\+20"):
        bench.run(wild)
    assert list(bench.folder(wild).iterdir()) == []


@pytest.mark.parametrize("loss", ["xent", "elr"])
def test_micro_batches_change_rounding_only(bench, loss):
    fit = replace(ON_TRUTH, loss=loss)
    whole = bench.run(fit)
    other = Bench(bench.root / "other")
    other.root.mkdir()
    other.run(EXAMPLES)
    curves = [
        table_of(artifact, "curve")["loss"].to_numpy() for artifact in (whole, other.run(fit, micro_batch=3))
    ]
    np.testing.assert_allclose(curves[0], curves[1], atol=2e-4)


class TestSomeLabels:
    """Of examples that a rule has left without a label, a fit knows nothing."""

    @pytest.mark.parametrize(
        "kept", [[7], [0, 39], [38, 3, 20, 4, 5, 6, 11], list(range(39)), list(range(40))]
    )
    def test_a_fit_on_exactly_those(self, small, kept):
        fewer = replace(TAUGHT, examples=replace(PLANTED, seed=99))  # anything with another id
        small.put(fewer, table_of(small.find(TAUGHT)).take(kept))
        fitted = small.run(replace(SMALL, labels=fewer))
        assert small.said["num_examples"] == len(kept)
        assert small.said["num_steps"] == RECIPE.num_steps(len(kept))
        alone = replace(PLANTED, seed=98)
        small.folder(alone).mkdir()
        for name in ("inputs", "truth"):
            table = table_of(small.find(PLANTED), name).take(sorted(kept))
            pq.write_table(table, small.folder(alone) / f"{name}.parquet")
        expected = small.run(replace(SMALL, examples=alone, labels=TRUTH))
        assert same_state(state_of(fitted), state_of(expected))
        assert table_of(fitted, "curve").equals(table_of(expected, "curve"))

    def test_no_label_at_all(self, small):
        small.put(LABELS, lb.SCHEMA.empty_table())
        with pytest.raises(DataError, match="no example has a label left; let the rule keep more of them"):
            small.run(replace(SMALL, labels=LABELS))

    def test_weights_are_read_with_the_labels(self, small):
        table = table_of(small.find(TAUGHT))
        weight_N = np.linspace(0, 2, 40, dtype=np.float32)
        small.put(
            LABELS, label_table(table["id"].to_pylist(), rows(table), weight_N).take(np.arange(40)[::-1])
        )
        fitted = small.run(replace(SMALL, labels=LABELS))
        inputs = Inputs.read(small.find(PLANTED))
        torch.manual_seed(1 + 2**32)
        model = load_model(resolve("mlp:8x4"), inputs.table)
        labels = loop.Labels(rows(table), weight_N)
        loop.fit(model, model.encode(inputs.table), labels, loss="xent", recipe=RECIPE, seed=1)
        assert same_state(state_of(fitted), model.state_dict())
        assert not same_state(state_of(fitted), state_of(small.run(SMALL)))

    @pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, None])
    def test_a_bad_weight_is_refused(self, small, weight):
        table = table_of(small.find(TAUGHT))
        column = pa.array([weight] + [1.0] * 39, pa.float32())
        small.put(LABELS, table.append_column("weight", column))
        with pytest.raises(DataError, match=r"weight of 'student-0-0' is .*; it must be at least 0"):
            small.run(replace(SMALL, labels=LABELS))


class TestSettings:
    def test_start_goes_on_from_another_fit(self, small):
        first = replace(SMALL, seed=5)
        begun = state_of(small.run(first))
        fitted = state_of(small.run(replace(SMALL, start=first)))
        assert not same_state(fitted, begun)
        still = Recipe(epochs=1, batch_size=8, learning_rate=1e-12)
        there = state_of(small.run(replace(SMALL, start=first, recipe=still)))
        for name, value in begun.items():
            torch.testing.assert_close(there[name], value, atol=1e-9, rtol=1e-6)
        assert not same_state(fitted, state_of(small.run(SMALL)))

    def test_start_decides_all_that_the_seed_would_have_drawn(self, small):
        """A whole-batch step has no order: two seeds that begin alike end alike."""
        first = replace(SMALL, seed=5)
        small.run(first)
        recipe = Recipe(epochs=3, batch_size=40, learning_rate=1e-3)
        one, two = (
            state_of(small.run(replace(SMALL, start=first, recipe=recipe, seed=seed))) for seed in (1, 2)
        )
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, atol=1e-5, rtol=0)

    def test_the_seed_draws_new_weights(self, small):
        one, two = (state_of(small.run(replace(SMALL, seed=seed))) for seed in (1, 2))
        assert (one["body.weight"] - two["body.weight"]).abs().max() > 0.01

    @pytest.mark.parametrize("adapter", ["full", "frozen", "lora(rank=2)"])
    def test_adapters_leave_a_model_of_its_own_shape(self, bench, adapter):
        fit = replace(ON_TRUTH, adapter=adapter)
        whole = (bench.run(fit).path / "model.safetensors").stat().st_size
        loaded = MoveChoice.load(resolve(MODEL))
        fit.load_into(loaded, Context(find=bench.find, out=bench.root, work=bench.root))
        fitted = loaded.state_dict()
        assert all(value.requires_grad for value in loaded.parameters())
        assert (whole < 0.8 * sum(4 * value.numel() for value in fitted.values())) == (adapter != "full")
        pretrained = MoveChoice.load(resolve(MODEL)).state_dict()
        assert {name: value.shape for name, value in fitted.items()} == {
            name: value.shape for name, value in pretrained.items()
        }
        moved = {
            name.split(".")[1] for name, value in fitted.items() if not torch.equal(value, pretrained[name])
        }
        heads = {"origin", "target"}
        assert (
            moved - {"underpromotion"}
            == {
                "full": heads | {"stem", "blocks", "square_bias"},
                "frozen": heads,
                "lora(rank=2)": heads | {"stem", "blocks"},
            }[adapter]
        )

    def test_ema_is_what_stays(self, small):
        plain, average = small.run(SMALL), small.run(replace(SMALL, ema=0.5))
        assert table_of(plain, "curve").equals(table_of(average, "curve"))
        assert not same_state(state_of(plain), state_of(average))


class TestResuming:
    @pytest.mark.parametrize("adapter", ["full", "lora"])
    @pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"loss": "elr"}])
    def test_stopped_and_resumed_gives_the_same_bytes(self, small, adapter, settings):
        fit = replace(SMALL, adapter=adapter, **settings)
        undisturbed = Bench(small.root / "other")
        undisturbed.root.mkdir()
        undisturbed.run_all(fit)
        for _ in range(4):
            asked = count(1)
            with pytest.raises(Stopped):
                small.run(fit, stop=lambda asked=asked: next(asked) == 2)
            assert list(small.folder(fit).iterdir()) == []
        small.run(fit)
        for path in undisturbed.folder(fit).iterdir():
            assert path.read_bytes() == (small.folder(fit) / path.name).read_bytes(), path.name


class TestWhatIsKept:
    """A fit's file holds what its adapter trained, where the rest is in the pretrained model's own."""

    @pytest.mark.parametrize("adapter", ["frozen", "lora(rank=2)"])
    def test_random_bodies_are_written_whole(self, small, adapter):
        """What no file holds would be drawn anew."""
        fit = replace(SMALL, adapter=adapter)
        fitted = state_of(small.run(fit))
        assert fit.origin is None
        assert (
            fitted.keys()
            == load_model(resolve(SMALL.model), table_of(small.find(PLANTED), "inputs")).state_dict().keys()
        )

    def test_a_fit_that_begins_with_anothers_is_written_whole(self, bench):
        first = replace(ON_TRUTH, seed=3)
        bench.run(first)
        second = replace(ON_TRUTH, adapter="frozen", start=first)
        assert state_of(bench.run(second)).keys() == state_of(bench.find(first)).keys()
        assert second.origin is None
        assert replace(second, start=None).origin == resolve(MODEL).digest
