"""Labels that are completions: joined, scored and compared by the same stages as probabilities."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reference import metrics as reference
from reference.studies import ToyTask, some_examples
from surpass import labels as lb
from surpass.errors import DataError
from surpass.rows import GROUPED, METRICS
from surpass.stages import Compare, Context, Label, Score, Stage, Truth
from surpass.store.artifact import Artifact
from surpass.tasks.checkers import exact

IDS = ["a", "b", "c", "d"]
TRUTH = [" 1", " #### 2", " 3.0", " 4"]
SAID = [" 1", "it is 2", " 3", " 5"]
"""All right as numbers but the last."""

WEAK = ["1", "7", " 6", "so it is 5."]
"""Right, wrong, wrong, and wrong in the same way."""


@dataclass(frozen=True)
class Numbers(ToyTask):
    """Prompts whose completions are compared as numbers."""

    num_classes: None = None
    checked_by: str = "number"


EXAMPLES = some_examples(task=Numbers(), part="test")
SCORE = Score(labels=Label(source="ladder:chess-1", examples=EXAMPLES), examples=EXAMPLES)
COMPARE = Compare(student=SCORE.labels, weak=Truth(examples=EXAMPLES), examples=EXAMPLES)
"""Of two kinds of labels, whatever they hold."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("examples", "labels", "weak", "out"):
        (tmp_path / name).mkdir()
    prompts = pa.table({"id": IDS, "prompt": [f"What is {name}?" for name in IDS]})
    pq.write_table(prompts, tmp_path / "examples" / "inputs.parquet")
    pq.write_table(pa.table({"id": IDS, "truth": TRUTH}), tmp_path / "examples" / "truth.parquet")
    write(tmp_path, "labels", IDS[::-1], SAID[::-1])
    write(tmp_path, "weak", [*IDS[2:], *IDS[:2]], [*WEAK[2:], *WEAK[:2]])
    return tmp_path


def write(folder: Path, name: str, ids: list[str], said: list[str]) -> None:
    pq.write_table(lb.completion_table(ids, said), folder / name / "labels.parquet")


def run(folder: Path, stage: Stage) -> dict:
    def find(wanted: Stage) -> Artifact:
        place = folder / {"examples": "examples", "truth": "weak"}.get(wanted.kind, "labels")
        return Artifact("made-up", "0" * 64, place, {"files": {path.name: {} for path in place.iterdir()}})

    return stage.run(Context(find=find, out=folder / "out", work=folder))


class TestScore:
    def test_by_hand(self, folder):
        score = run(folder, SCORE)["score"]
        assert score == json.loads((folder / "out" / "score.json").read_text())
        undefined = dict.fromkeys(("auroc", "log_loss", "brier", "calibration_error"))
        assert score == {"num_examples": 4, "accuracy": 0.75} | undefined

    def test_per_example_in_the_order_of_the_examples(self, folder):
        run(folder, SCORE)
        table = pq.read_table(folder / "out" / "examples.parquet")
        assert table.column_names == ["id", "prediction", "correct"]
        assert table.to_pydict() == {"id": IDS, "prediction": SAID, "correct": [True, True, True, False]}

    def test_calibration_has_its_columns_and_no_rows(self, folder):
        run(folder, SCORE)
        table = pq.read_table(folder / "out" / "calibration.parquet")
        assert table.column_names == ["low", "high", "confidence", "accuracy", "count"]
        assert [str(kind) for kind in table.schema.types] == ["double"] * 4 + ["int64"]
        assert not table.num_rows

    def test_probabilities_do_not_fit(self, folder):
        table = lb.label_table(IDS, [np.ones(1, np.float32)] * 4)
        pq.write_table(table, folder / "labels" / "labels.parquet")
        with pytest.raises(DataError, match="labels have no column 'completion', they have id, probs: take"):
            run(folder, SCORE)


class TestCompare:
    def test_by_hand(self, folder):
        found = run(folder, COMPARE)["comparison"]
        assert (found["agreement"], found["agreement_right"], found["agreement_wrong"]) == (
            0.5,
            1.0,
            pytest.approx(1 / 3),
        )
        assert (found["inherited"], found["corrected"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
        assert (found["changed"], found["new_errors"]) == (0.0, 0.0)
        # Both right once, both wrong once, the student alone right twice.
        assert found["error_phi"] == pytest.approx(1 / 3)
        assert found["error_kappa"] == pytest.approx(0.2)
        assert {name for name in found if found[name] is None} == {
            *("capa", "misfit", "gain", "kl_misfit", "kl_gain")
        }

    def test_is_what_rows_say_beside_the_score(self, folder):
        said = run(folder, COMPARE)["comparison"].keys() | run(folder, SCORE)["score"].keys()
        assert said == {*METRICS, "num_examples", "accuracy"} - set(GROUPED)

    def test_equals_the_slow_twins(self, folder):
        rng = np.random.default_rng(0)
        ids = [f"e{number}" for number in range(60)]
        truth, student, weak = rng.integers(0, 3, (3, 60)).tolist()
        pq.write_table(pa.table({"id": ids, "prompt": ids}), folder / "examples" / "inputs.parquet")
        table = pa.table({"id": ids, "truth": list(map(str, truth))})
        pq.write_table(table, folder / "examples" / "truth.parquet")
        write(folder, "labels", ids, [f"#### {value}.0" for value in student])
        write(folder, "weak", ids, [f"{value}" for value in weak])
        found = run(folder, COMPARE)["comparison"]
        inherited, changed, corrected, new, _, _ = reference.error_transfer(student, weak, truth)
        split = reference.agreement_split(student, weak, truth)
        right = [[int(g == t) for g, t in zip(guess, truth, strict=True)] for guess in (student, weak)]
        assert [found[name] for name in ("agreement", "agreement_right", "agreement_wrong")] == pytest.approx(
            list(split)
        )
        assert [found[name] for name in ("inherited", "changed", "corrected", "new_errors")] == pytest.approx(
            [inherited, changed, corrected, new]
        )
        assert found["error_phi"] == pytest.approx(reference.phi(*right))
        assert found["error_kappa"] == pytest.approx(reference.kappa(*right))

    def test_a_student_that_is_its_supervisor(self, folder):
        write(folder, "weak", IDS, SAID)
        found = run(folder, COMPARE)["comparison"]
        same = {"agreement": 1.0, "agreement_right": 1.0, "agreement_wrong": 1.0, "inherited": 1.0}
        assert found.items() >= (same | {"corrected": 0.0, "new_errors": 0.0, "error_phi": 1.0}).items()


class TestTables:
    def test_table_and_completions_are_each_others_inverse(self):
        table = lb.completion_table(IDS, SAID)
        assert table.schema.equals(lb.COMPLETIONS)
        assert lb.completions(table) == SAID
        assert lb.weights(table).tolist() == [1.0] * 4
        weighted = lb.completion_table(IDS, SAID, np.array([0, 1, 2, 0.5], np.float32))
        assert lb.weights(weighted).tolist() == [0, 1, 2, 0.5]
        assert lb.completions(lb.completion_table([], [])) == []

    def test_the_form_follows_from_the_inputs(self):
        assert lb.num_candidates_of(pa.table({"id": ["a"], "prompt": ["b"]})) is None
        assert lb.num_candidates_of(pa.table({"id": ["a", "b"], "candidates": [[3, 5], [7]]})) == [2, 1]

    def test_truth(self):
        table = lb.truth_labels(pa.table({"id": IDS, "truth": TRUTH}), None)
        assert table.equals(lb.completion_table(IDS, TRUTH))
        with pytest.raises(DataError, match="truth of 'b' is None; it must be a text"):
            lb.truth_labels(pa.table({"id": ["a", "b"], "truth": ["x", None]}), None)
        with pytest.raises(DataError, match="truth of 'a' is 1; it must be a text"):
            lb.truth_labels(pa.table({"id": ["a"], "truth": [1]}), None)

    def test_joined_by_id(self):
        table = lb.completion_table(IDS, SAID, np.array([0, 1, 2, 3], np.float32))
        joined = lb.join(["c", "x", "a", "b", "d"], None, table, subset=True)
        assert joined["id"].to_pylist() == ["c", "a", "b", "d"]
        assert lb.completions(joined) == [SAID[2], SAID[0], SAID[1], SAID[3]]
        assert lb.weights(joined).tolist() == [2, 0, 1, 3]

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            (lb.completion_table(["a"], ["x"]), "no labels for 'b'; label all 2 examples"),
            (lb.completion_table(["a", "a", "b"], ["x", "y", "z"]), "labels have doubled ids: 'a'"),
            (
                lb.completion_table(["a", "b", "c"], ["x", "y", "z"]),
                "labels for examples that are not here: 'c'",
            ),
            (lb.completion_table(["a", "b"], ["x", None]), "completion of 'b' is None; it must be a text"),
            (
                lb.completion_table(["a", "b"], ["x", "y"], np.array([1, -1], np.float32)),
                "weight of 'b' is -1; it must be at least 0",
            ),
        ],
    )
    def test_what_does_not_fit(self, table, said):
        with pytest.raises(DataError, match=said):
            lb.join(["a", "b"], None, table)

    def test_completions_are_no_probabilities(self):
        table = lb.completion_table(["a"], ["x"])
        for refused in (lambda: lb.rows(table), lambda: lb.join(["a"], [2], table)):
            with pytest.raises(
                DataError, match="no column 'probs', they have id, completion: take labels of ex"
            ):
                refused()

    def test_agreement(self):
        left, right = lb.completion_table(IDS, SAID), lb.completion_table(IDS, ["1 ", "2", " 3", ""])
        assert lb.agreement(left, right, exact).tolist() == [True, False, True, False]
        probs = [np.array(row, np.float32) for row in ([0.5, 0.5], [0.2, 0.8], [1.0])]
        other = [np.array(row, np.float32) for row in ([1.0, 0.0], [0.7, 0.3], [1.0])]
        tables = (lb.label_table(IDS[:3], rows) for rows in (probs, other))
        assert lb.agreement(*tables, exact).tolist() == [True, False, True]
        assert lb.agreement(lb.label_table([], []), lb.label_table([], []), exact).shape == (0,)
