from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reference.studies import ToyTask, write_model
from surpass.engine.progress import Silent
from surpass.errors import NotApplicable, StoreError
from surpass.experiment import gather, run
from surpass.methods import METHODS, WeakToStrong
from surpass.rows import GROUPED, METRICS, LeftOut
from surpass.stages import Compare, Score, Stage
from surpass.store import Store
from surpass.study import RowStages, Study

NUM_TEST = 40
RIGHT = {"weak": 10, "student": 18, "ceiling": 30}
COMPARED = {name: (place + 1) / 32 for place, name in enumerate(METRICS[:14])}
SCORED = {"auroc": 0.875, "log_loss": 0.5, "brier": 0.25, "calibration_error": 0.125}
SCORED |= {"worst_group": 0.625, "mean_group": 0.75}
"""What is said of every student, with a number of its own for each metric."""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    models = [write_model(tmp_path, name) for name in ("small", "large", "huge")]
    pairs = ((models[0], models[1]), (models[0], models[2]))
    return Study(name="toy", task=ToyTask(), pairs=pairs, seeds=(0, 3), num_train=20, num_test=NUM_TEST)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def scores_of(row: RowStages) -> tuple[Score, Score, Score]:
    return row.weak_score, row.student_score, row.ceiling_score


def publish_score(store: Store, score: Score, num_right: int, said: dict[str, float | None]) -> None:
    """The first `num_right` answers are right."""
    with store.draft(score.kind, score.id, score.label) as draft:
        pq.write_table(
            pa.table({"correct": np.arange(NUM_TEST) < num_right}), draft.path / "examples.parquet"
        )
        draft.publish(
            {"said": {"score": {"num_examples": NUM_TEST, "accuracy": num_right / NUM_TEST} | said}}
        )


def publish_comparison(store: Store, comparison: Compare, said: dict[str, float | None]) -> None:
    with store.draft(comparison.kind, comparison.id, comparison.label) as draft:
        draft.publish({"said": {"comparison": said}})


def publish_all(
    store: Store,
    study: Study,
    *,
    compared: dict[str, float | None] = COMPARED,
    scored: dict[str, float | None] = SCORED,
) -> None:
    """All that a study has, whatever its fits; in seed s, every model has s more answers right."""
    for row in study.rows():
        for role, score in zip(RIGHT, scores_of(row), strict=True):
            # What is said of supervisor and ceiling must not end up in the student's row.
            said = scored if role == "student" else dict.fromkeys(scored, 99.0)
            publish_score(store, score, RIGHT[role] + row.seed, said)
        publish_comparison(store, row.comparison, compared)
        if isinstance(row.student, Stage):
            with store.draft(row.student.kind, row.student.id, row.student.label) as draft:
                draft.publish({"seconds": 12.5})


def test_rows_are_gathered_in_the_studys_order(study, store):
    publish_all(store, study)
    rows = gather(study, store).rows()
    assert [(row["strong_model"], row["seed"]) for row in rows] == [
        ("large", 0),
        ("large", 3),
        ("huge", 0),
        ("huge", 3),
    ]
    for row, stages in zip(rows, study.rows(), strict=True):
        seed = row["seed"]
        assert (row["task"], row["weak_model"], row["method"], row["labels"]) == (
            "toy",
            "small",
            "naive",
            "soft",
        )
        assert row["oracle"] is False
        accuracies = [row[f"{role}_acc"] for role in RIGHT]
        assert accuracies == pytest.approx([(right + seed) / NUM_TEST for right in RIGHT.values()])
        assert row["pgr"] == pytest.approx(8 / 20)
        assert row["seconds"] == 12.5
        assert row["num_test"] == NUM_TEST
        assert row["test_id"] == study.test_examples.id
        ids = [score.id for score in scores_of(stages)]
        assert [row[f"{role}_score_id"] for role in RIGHT] == ids


def test_metrics_are_those_of_the_student_and_its_comparison(study, store):
    publish_all(store, study)
    for row in gather(study, store).rows():
        assert {name: row[name] for name in METRICS} == COMPARED | SCORED


def test_what_is_undefined_or_unsaid_is_nan(study, store):
    compared = COMPARED | {"kl_misfit": None}
    publish_all(store, study, compared=compared, scored={"auroc": None, "brier": 0.25})
    row = gather(study, store).rows()[0]
    assert {name for name in METRICS if np.isnan(row[name])} == {
        "kl_misfit",
        "auroc",
        "log_loss",
        "calibration_error",
        *GROUPED,
    }
    assert row["brier"] == 0.25


def test_several_methods_are_ranked(study, store):
    study = study.replace(methods=("naive", "confidence"))
    publish_all(store, study)
    results = gather(study, store)
    assert [row["method"] for row in results.rows()] == 2 * ["naive", "naive", "confidence", "confidence"]
    assert [(rank.method, rank.num_pairs) for rank in results.ranks] == [("naive", 2), ("confidence", 2)]
    comparison = results.ranks[1].comparison
    assert comparison is not None
    assert (comparison.difference, comparison.num_tasks, comparison.num_examples) == (0.0, 2, 2 * NUM_TEST)


def test_oracles_are_marked(study, store, monkeypatch):
    monkeypatch.setitem(METHODS, "cheat", lambda w2s: w2s.ceiling)
    study = study.replace(methods=("naive", "cheat"), seeds=(0,))
    publish_all(store, study)
    # The cheat is the ceiling, whose answers were published after the student's.
    assert [row["oracle"] for row in gather(study, store).rows()] == [False, True, False, True]


def test_a_pretrained_model_took_no_time(study, store, monkeypatch):
    monkeypatch.setitem(METHODS, "as_it_is", lambda w2s: w2s.strong_model)
    study = study.replace(methods=("as_it_is", "naive"), seeds=(0,))
    publish_all(store, study)
    assert [row["seconds"] for row in gather(study, store).rows()] == [0.0, 12.5, 0.0, 12.5]


def test_what_was_left_out_is_named_as_in_the_table(study, store, monkeypatch):
    def picky(w2s: WeakToStrong) -> Stage:
        if "large" in w2s.strong_model:
            raise NotApplicable("it is too large")
        return METHODS["naive"](w2s)

    monkeypatch.setitem(METHODS, "picky", picky)
    study = study.replace(methods=("naive", "picky"))
    publish_all(store, study)
    results = gather(study, store)
    assert results.left_out == (LeftOut("small", "large", "picky", "it is too large"),)
    assert [rank.num_pairs for rank in results.ranks] == [2, 1]


def test_a_summary_per_pair(study, store):
    publish_all(store, study)
    summaries = gather(study, store).summary()
    assert [summary.key.strong_model for summary in summaries] == ["large", "huge"]
    assert [summary.estimate.value for summary in summaries] == pytest.approx([0.4, 0.4])


def test_a_score_that_is_missing(study, store):
    with pytest.raises(StoreError, match=r"score small-truth-xent-s0.* is not in .*: run the") as caught:
        gather(study, store)
    assert "\n" not in str(caught.value)
    publish_all(store, study)
    artifact = store.find("score", study.rows()[2].student_score.id)
    assert artifact is not None
    (artifact.path / "examples.parquet").unlink()
    with pytest.raises(StoreError, match="score huge-from-small-xent-s0"):
        gather(study, store)


def test_a_comparison_that_is_missing(study, store):
    publish_all(store, study)
    artifact = store.find("compare", study.rows()[1].comparison.id)
    assert artifact is not None
    (artifact.path / "manifest.json").unlink()
    with pytest.raises(
        StoreError, match=r"compare large-from-small-xent-s3-on-.*-with-small is not in .*: run"
    ):
        gather(study, store)


def test_a_students_fit_may_be_gone(study, store):
    publish_all(store, study)
    artifact = store.find("fit", study.rows()[0].student.id)
    assert artifact is not None
    (artifact.path / "manifest.json").unlink()
    rows = gather(study, store).rows()
    assert rows[0]["seconds"] == 0.0
    assert rows[1]["seconds"] == 12.5


def test_a_finished_study_computes_nothing(study, store):
    """None of the models, nor the task, could be computed with."""
    publish_all(store, study)
    shown: list[Stage] = []

    def display(stages: Sequence[Stage]) -> Silent:
        shown.extend(stages)
        return Silent(stages)

    assert run(study, store, display=display) == gather(study, store)
    assert run(study, str(store.root)) == gather(study, store)
    assert shown == []
