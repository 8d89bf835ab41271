from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reference.studies import some_examples
from surpass.artifact import Artifact
from surpass.errors import DataError
from surpass.labels import label_table
from surpass.scoring import read_scored, run_score
from surpass.stages import Context, Label, Score, Stage

IDS = ["a", "b", "c", "d"]
SIZES = [2, 3, 1, 2]
TRUTH = [1, 0, 0, 0]
PROBS = [[0.25, 0.75], [0.2, 0.5, 0.3], [1.0], [0.5, 0.5]]
"""Right, wrong, right (nothing to choose), right (the first of equals)."""

EXAMPLES = some_examples(part="test")
STAGE = Score(labels=Label(source="ladder:chess-1", examples=EXAMPLES), examples=EXAMPLES)


def artifact(folder: Path) -> Artifact:
    files = {path.name: {} for path in folder.iterdir()}
    return Artifact("made-up", "0" * 64, folder, {"files": files})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Examples and labels, the labels in another order."""
    for name in ("examples", "labels", "out"):
        (tmp_path / name).mkdir()
    candidates = [list(range(size)) for size in SIZES]
    pq.write_table(pa.table({"id": IDS, "candidates": candidates}), tmp_path / "examples" / "inputs.parquet")
    truth = pa.table({"id": IDS, "truth": pa.array(TRUTH, pa.int16())})
    pq.write_table(truth, tmp_path / "examples" / "truth.parquet")
    write_labels(tmp_path, IDS[::-1], PROBS[::-1])
    return tmp_path


def write_labels(folder: Path, ids: list[str], probs: list[list[float]]) -> None:
    table = label_table(ids, [np.array(row, np.float32) for row in probs])
    pq.write_table(table, folder / "labels" / "labels.parquet")


def score(folder: Path) -> dict[str, float]:
    def find(stage: Stage) -> Artifact:
        return artifact(folder / ("examples" if stage is EXAMPLES else "labels"))

    said = run_score(STAGE, Context(find=find, out=folder / "out", work=folder))
    assert said == {"score": json.loads((folder / "out" / "score.json").read_text())}
    return dict(said["score"])


def test_metrics_by_hand(folder):
    found = score(folder)
    assert found["num_examples"] == 4
    assert found["accuracy"] == 0.75
    assert found["log_loss"] == pytest.approx(-sum(map(math.log, (0.75, 0.2, 1.0, 0.5))) / 4, abs=1e-6)
    squares = [2 * 0.25**2, 0.8**2 + 0.5**2 + 0.3**2, 0.0, 2 * 0.5**2]
    assert found["brier"] == pytest.approx(sum(squares) / 4, abs=1e-6)
    # Confidence 0.5 twice (one of the two right), 0.75 right, 1.0 right: bins off by 0, 0.25 and 0.
    assert found["calibration_error"] == pytest.approx(0.25 / 4, abs=1e-6)


def test_per_example_in_the_order_of_the_examples(folder):
    score(folder)
    table = pq.read_table(folder / "out" / "examples.parquet")
    assert table["id"].to_pylist() == IDS
    assert table["prediction"].to_pylist() == [1, 1, 0, 0]
    assert table["correct"].to_pylist() == [True, False, True, True]
    assert table["truth_prob"].to_pylist() == pytest.approx([0.75, 0.2, 1.0, 0.5])
    assert table["confidence"].to_pylist() == pytest.approx([0.75, 0.5, 1.0, 0.5])
    types = dict(zip(table.schema.names, table.schema.types, strict=True))
    assert types == {
        "id": pa.string(),
        "prediction": pa.int16(),
        "correct": pa.bool_(),
        "truth_prob": pa.float32(),
        "confidence": pa.float32(),
    }


def test_reading_it_back(folder):
    score(folder)
    correct_N, prediction_N = read_scored(artifact(folder / "out"))
    assert correct_N.tolist() == [True, False, True, True]
    assert prediction_N.tolist() == [1, 1, 0, 0]
    assert (correct_N.dtype, prediction_N.dtype) == (np.bool_, np.int64)


def test_hard_labels_that_are_wrong_have_no_log_loss(folder):
    write_labels(folder, IDS, [[1.0, 0.0], [1.0, 0.0, 0.0], [1.0], [1.0, 0.0]])
    found = score(folder)
    assert found["accuracy"] == 0.75
    assert found["log_loss"] is None


@pytest.mark.parametrize(
    ("ids", "probs", "message"),
    [
        (IDS[:3], PROBS[:3], "no labels for 'd'"),
        ([*IDS, "e"], [*PROBS, [1.0]], "not here: 'e'"),
        (IDS, [[1.0], *PROBS[1:]], "'a' has 1 candidates; the example has 2"),
        (IDS, [[0.9, 0.9], *PROBS[1:]], "label of 'a' is no distribution"),
    ],
)
def test_labels_that_do_not_fit(folder, ids, probs, message):
    write_labels(folder, ids, probs)
    with pytest.raises(DataError, match=message):
        score(folder)
    assert list((folder / "out").iterdir()) == []
