from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reference import metrics as reference
from reference.studies import ToyTask, some_examples
from surpass.errors import DataError
from surpass.labels import label_table
from surpass.rows import GROUPED, METRICS
from surpass.running.scoring import Group, read_correct, read_groups
from surpass.stages import Compare, Context, Label, Score, Stage, Truth
from surpass.store.artifact import Artifact

IDS = ["a", "b", "c", "d"]
SIZES = [2, 3, 1, 2]
TRUTH = [1, 0, 0, 0]
PROBS = [[0.25, 0.75], [0.2, 0.5, 0.3], [1.0], [0.5, 0.5]]
"""Right, wrong, right (nothing to choose), right (the first of equals)."""

WEAK = [[0.75, 0.25], [0.25, 0.5, 0.25], [1.0], [0.25, 0.75]]
"""Of a supervisor: wrong, wrong in the same way, right, wrong."""

EXAMPLES = some_examples(task=ToyTask(num_classes=None), part="test")
STAGE = Score(labels=Label(source="ladder:chess-1", examples=EXAMPLES), examples=EXAMPLES)
COMPARE = Compare(student=STAGE.labels, weak=Truth(examples=EXAMPLES), examples=EXAMPLES)
"""Of two kinds of labels, whatever they hold."""


def artifact(folder: Path) -> Artifact:
    files = {path.name: {} for path in folder.iterdir()}
    return Artifact("made-up", "0" * 64, folder, {"files": files})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Examples and labels, the labels in another order."""
    for name in ("examples", "labels", "weak", "out"):
        (tmp_path / name).mkdir()
    write_examples(tmp_path, IDS, SIZES, TRUTH)
    write_labels(tmp_path, IDS[::-1], PROBS[::-1])
    write_labels(tmp_path, [*IDS[2:], *IDS[:2]], [*WEAK[2:], *WEAK[:2]], name="weak")
    return tmp_path


def write_examples(folder: Path, ids: list[str], sizes: list[int], truth: list[int]) -> None:
    candidates = [list(range(size)) for size in sizes]
    pq.write_table(pa.table({"id": ids, "candidates": candidates}), folder / "examples" / "inputs.parquet")
    table = pa.table({"id": ids, "truth": pa.array(truth, pa.int16())})
    pq.write_table(table, folder / "examples" / "truth.parquet")


def write_labels(folder: Path, ids: list[str], probs: list[list[float]], *, name: str = "labels") -> None:
    table = label_table(ids, [np.array(row, np.float32) for row in probs])
    pq.write_table(table, folder / name / "labels.parquet")


def context(folder: Path) -> Context:
    def find(stage: Stage) -> Artifact:
        return artifact(folder / {"examples": "examples", "truth": "weak"}.get(stage.kind, "labels"))

    return Context(find=find, out=folder / "out", work=folder)


def score(folder: Path, stage: Score = STAGE) -> dict[str, float]:
    said = stage.run(context(folder))
    assert said == {"score": json.loads((folder / "out" / "score.json").read_text())}
    return dict(said["score"])


def compare(folder: Path) -> dict[str, float | None]:
    said = COMPARE.run(context(folder))
    assert said == {"comparison": json.loads((folder / "out" / "comparison.json").read_text())}
    return dict(said["comparison"])


def test_metrics_by_hand(folder):
    found = score(folder)
    assert found["num_examples"] == 4
    assert found["accuracy"] == 0.75
    assert found["log_loss"] == pytest.approx(-sum(map(math.log, (0.75, 0.2, 1.0, 0.5))) / 4, abs=1e-6)
    squares = [2 * 0.25**2, 0.8**2 + 0.5**2 + 0.3**2, 0.0, 2 * 0.5**2]
    assert found["brier"] == pytest.approx(sum(squares) / 4, abs=1e-6)
    # Confidence 0.5 twice (one of the two right), 0.75 right, 1.0 right: bins off by 0, 0.25 and 0.
    assert found["calibration_error"] == pytest.approx(0.25 / 4, abs=1e-6)
    assert found["auroc"] is None, "of candidates that differ from example to example"
    assert len(found) == 6


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
    correct_N = read_correct(artifact(folder / "out"))
    assert correct_N.tolist() == [True, False, True, True]
    assert correct_N.dtype == np.bool_


def test_bins_of_calibration_by_hand(folder):
    """Of fifteen bins three hold examples: the two at 0.5 share the eighth; bins hold their upper edge."""
    score(folder)
    table = pq.read_table(folder / "out" / "calibration.parquet")
    assert table.column_names == ["low", "high", "confidence", "accuracy", "count"]
    assert table["low"].to_pylist() == pytest.approx([7 / 15, 11 / 15, 14 / 15])
    assert table["high"].to_pylist() == pytest.approx([8 / 15, 12 / 15, 1.0])
    assert table["confidence"].to_pylist() == pytest.approx([0.5, 0.75, 1.0])
    assert table["accuracy"].to_pylist() == [0.5, 1.0, 1.0]
    assert table["count"].to_pylist() == [2, 1, 1]
    assert [str(kind) for kind in table.schema.types] == ["double"] * 4 + ["int64"]


class TestClasses:
    """A task whose examples share their classes has an area under the curve."""

    def score(self, folder: Path, probs: list[list[float]], truth: list[int]) -> dict[str, float]:
        examples = some_examples(part="test", task=ToyTask(num_classes=len(probs[0])))
        ids = [f"e{number}" for number in range(len(truth))]
        write_examples(folder, ids, [len(probs[0])] * len(ids), truth)
        write_labels(folder, ids, probs)
        return score(folder, Score(labels=Label(source="linear:1", examples=examples), examples=examples))

    def test_by_hand(self, folder):
        """Of four pairs of a one and a zero, two are in order and one is a tie."""
        probs = [[0.25, 0.75], [0.5, 0.5], [0.5, 0.5], [0.375, 0.625]]
        assert self.score(folder, probs, [1, 1, 0, 0])["auroc"] == (1 + 1 + 0.5 + 0) / 4

    @pytest.mark.parametrize("num_classes", [2, 3, 4])
    def test_equals_the_slow_twin(self, folder, num_classes):
        rng = np.random.default_rng(num_classes)
        probs = (rng.dirichlet(np.ones(num_classes), 40).round(1) + 0.1).astype(np.float32)
        probs = (probs / probs.sum(1, keepdims=True)).tolist()
        truth = [*range(num_classes), *rng.integers(num_classes, size=40 - num_classes).tolist()]
        found = self.score(folder, probs, truth)
        assert found["auroc"] == pytest.approx(reference.auroc_one_vs_rest(probs, truth), abs=1e-6)
        assert found["log_loss"] == pytest.approx(reference.log_loss(probs, truth), abs=1e-6)
        assert found["brier"] == pytest.approx(reference.brier(probs, truth), abs=1e-6)

    def test_a_class_that_never_occurs(self, folder):
        assert self.score(folder, [[0.5, 0.5], [0.25, 0.75]], [1, 1])["auroc"] is None

    def test_of_candidates_that_happen_to_be_equally_many(self, folder):
        write_examples(folder, IDS[:2], [2, 2], [0, 1])
        write_labels(folder, IDS[:2], [[0.75, 0.25], [0.25, 0.75]])
        assert score(folder)["auroc"] is None


class TestCompare:
    def test_by_hand(self, folder):
        found = compare(folder)
        assert found["agreement"] == 0.5
        assert found["agreement_right"] == 1.0
        assert found["agreement_wrong"] == found["inherited"] == pytest.approx(1 / 3)
        assert (found["changed"], found["corrected"]) == (0.0, pytest.approx(2 / 3))
        assert found["new_errors"] == 0.0
        # Both right once, both wrong once, the student alone right twice.
        assert found["error_phi"] == pytest.approx(1 / 3)
        assert found["error_kappa"] == pytest.approx(0.2)
        assert found["misfit"] == pytest.approx((0.5 + 0.005 + 0 + 0.125) / 4)
        assert found["gain"] == pytest.approx((3.125 - 1.605) / 4)
        logs = [math.log(right / left) for left, right in ((0.25, 0.75), (0.25, 0.2), (1, 1), (0.25, 0.5))]
        assert found["kl_gain"] == pytest.approx(sum(logs) / 4)
        # Of the three with a choice, the chance to say the same, and that of errors that are independent.
        observed, a, b = (0.375 + 0.375 + 0.5) / 3, (0.75 + 0.2 + 0.5) / 3, 0.25
        expected = a * b + (1 - a) * (1 - b) * (1 + 0.5 + 1) / 3
        assert found["capa"] == pytest.approx((observed - expected) / (1 - expected))

    def test_is_what_rows_say_beside_the_score(self, folder):
        assert set(compare(folder)) | set(score(folder)) == {*METRICS, "num_examples", "accuracy"} - set(
            GROUPED
        )

    def test_equals_the_slow_twins(self, folder):
        rng = np.random.default_rng(0)
        sizes = [*rng.integers(1, 6, size=58).tolist(), 1, 2]
        truth = [int(rng.integers(size)) for size in sizes]
        ids = [f"e{number}" for number in range(len(sizes))]
        student, weak = (
            [rng.dirichlet(np.ones(size)).astype(np.float32).tolist() for size in sizes] for _ in range(2)
        )
        write_examples(folder, ids, sizes, truth)
        write_labels(folder, ids, student)
        write_labels(folder, ids, weak, name="weak")
        guesses = [[row.index(max(row)) for row in probs] for probs in (student, weak)]
        right = [[int(g == t) for g, t in zip(guess, truth, strict=True)] for guess in guesses]
        inherited, changed, corrected, new, _, _ = reference.error_transfer(*guesses, truth)
        expected = dict(
            zip(
                ("agreement", "agreement_right", "agreement_wrong"),
                reference.agreement_split(*guesses, truth),
                strict=True,
            )
        )
        expected |= {"inherited": inherited, "changed": changed, "corrected": corrected, "new_errors": new}
        expected |= {"error_phi": reference.phi(*right), "error_kappa": reference.kappa(*right)}
        expected["capa"] = reference.capa(student, weak, truth)[0]
        expected["misfit"], expected["gain"] = reference.squared_misfit(student, weak, truth)
        expected["kl_misfit"], expected["kl_gain"] = reference.kl_misfit(student, weak, truth)
        assert compare(folder) == pytest.approx(expected, abs=1e-5)

    def test_a_supervisor_that_is_never_wrong(self, folder):
        write_labels(folder, IDS, [[0.25, 0.75], [0.5, 0.25, 0.25], [1.0], [0.75, 0.25]], name="weak")
        found = compare(folder)
        undefined = {"agreement_wrong", "inherited", "changed", "corrected", "error_phi"}
        assert {name for name, value in found.items() if value is None} == undefined
        assert (found["agreement_right"], found["new_errors"]) == (0.75, 0.25)

    def test_hard_labels_have_no_finite_distance(self, folder):
        """The supervisor excludes what the student does not, and once the truth."""
        write_labels(folder, IDS, [[0.0, 1.0], [0.0, 1.0, 0.0], [1.0], [1.0, 0.0]], name="weak")
        found = compare(folder)
        assert (found["kl_misfit"], found["kl_gain"]) == (None, None)
        assert all(math.isfinite(found[name]) for name in ("misfit", "gain", "capa"))

    def test_a_student_that_is_its_supervisor(self, folder):
        write_labels(folder, IDS, PROBS, name="weak")
        found = compare(folder)
        same = {"agreement": 1.0, "agreement_right": 1.0, "agreement_wrong": 1.0, "inherited": 1.0}
        same |= {"corrected": 0.0, "new_errors": 0.0, "error_phi": 1.0, "error_kappa": 1.0}
        same |= {"misfit": 0.0, "gain": 0.0, "kl_misfit": 0.0, "kl_gain": 0.0}
        assert found.items() >= same.items()

    def test_one_example_without_a_choice(self, folder):
        write_examples(folder, ["a"], [1], [0])
        for name in ("labels", "weak"):
            write_labels(folder, ["a"], [[1.0]], name=name)
        found = compare(folder)
        assert (found["agreement"], found["capa"], found["error_phi"]) == (1.0, None, None)

    @pytest.mark.parametrize("name", ["labels", "weak"])
    def test_labels_that_do_not_fit(self, folder, name):
        write_labels(folder, IDS[:3], PROBS[:3], name=name)
        with pytest.raises(DataError, match="no labels for 'd'"):
            compare(folder)
        assert list((folder / "out").iterdir()) == []


class TestGroups:
    """Examples with a spurious attribute are scored by group, too."""

    EXAMPLES = some_examples(part="test", task=ToyTask(num_classes=2))
    STAGE = Score(labels=Label(source="linear:1", examples=EXAMPLES), examples=EXAMPLES)
    IDS = tuple("abcdef")
    TRUTH = (0, 0, 0, 1, 1, 1)
    RIGHT = (True, True, False, True, False, False)

    def write(self, folder: Path, attribute: pa.Array) -> None:
        ids = list(self.IDS)
        write_examples(folder, ids, [2] * 6, list(self.TRUTH))
        inputs = pq.read_table(folder / "examples" / "inputs.parquet").append_column("attribute", attribute)
        pq.write_table(inputs, folder / "examples" / "inputs.parquet")
        sure = ([0.75, 0.25], [0.25, 0.75])
        said = [
            sure[truth if right else 1 - truth] for truth, right in zip(self.TRUTH, self.RIGHT, strict=True)
        ]
        write_labels(folder, ids, said)

    def test_by_hand(self, folder):
        self.write(folder, pa.array(["sea", "sea", "land", "land", "land", "sea"]))
        found = score(folder, self.STAGE)
        # Of truth 0: one on land, wrong; two at sea, right. Of truth 1: half on land; one at sea, wrong.
        assert (found["worst_group"], found["mean_group"]) == (0.0, (0 + 1 + 0.5 + 0) / 4)
        assert read_groups(artifact(folder / "out")) == [
            Group(0, "land", 1, 0.0),
            Group(0, "sea", 2, 1.0),
            Group(1, "land", 2, 0.5),
            Group(1, "sea", 1, 0.0),
        ]
        table = pq.read_table(folder / "out" / "groups.parquet")
        kinds = dict(zip(table.schema.names, map(str, table.schema.types), strict=True))
        assert kinds == {"truth": "int16", "attribute": "string", "count": "int64", "accuracy": "double"}

    def test_numbers_and_a_group_without_examples(self, folder):
        self.write(folder, pa.array([5, 5, 5, -1, -1, 5], pa.int16()))
        said = self.STAGE.run(context(folder))
        assert said["groups_without_examples"] == ["truth 0, attribute -1"]
        assert said["score"]["worst_group"] == 0.0
        table = pq.read_table(folder / "out" / "groups.parquet")
        assert table.schema.field("attribute").type == pa.int16()
        assert table["accuracy"].to_pylist() == pytest.approx([2 / 3, 0.5, 0])
        assert said["score"]["mean_group"] == pytest.approx((2 / 3 + 0.5) / 3)

    def test_without_the_column_nothing_is_said(self, folder):
        score(folder)
        assert "groups.parquet" not in {path.name for path in (folder / "out").iterdir()}
        assert read_groups(artifact(folder / "out")) == []

    def test_a_missing_attribute(self, folder):
        self.write(folder, pa.array(["sea", "sea", None, "land", "land", "sea"]))
        with pytest.raises(DataError, match="'c' has no attribute; every example of toy-test-10-s0 needs"):
            score(folder, self.STAGE)
        assert list((folder / "out").iterdir()) == []

    def test_candidates_that_differ_make_no_groups(self, folder):
        self.write(folder, pa.array([0] * 6, pa.int16()))
        with pytest.raises(DataError, match="no classes that all share"):
            score(folder)


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
