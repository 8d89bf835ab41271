from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reference.studies import ToyTask, write_model
from surpass.engine.progress import Silent
from surpass.errors import StoreError
from surpass.experiment import gather, run
from surpass.stages import Score, Stage
from surpass.store import Store
from surpass.study import Study, targets

NUM_TEST = 40
RIGHT = {"weak": 10, "student": 18, "ceiling": 30}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    models = [write_model(tmp_path, name) for name in ("small", "large", "huge")]
    pairs = ((models[0], models[1]), (models[0], models[2]))
    return Study(name="toy", task=ToyTask(), pairs=pairs, seeds=(0, 3), num_train=20, num_test=NUM_TEST)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def publish_score(store: Store, score: Score, num_right: int) -> None:
    """The first `num_right` answers are 1, which is right; then come 0s."""
    correct_N = np.arange(NUM_TEST) < num_right
    with store.draft(score.kind, score.id, score.label) as draft:
        columns = {"correct": correct_N, "prediction": correct_N.astype(np.int16)}
        pq.write_table(pa.table(columns), draft.path / "examples.parquet")
        draft.publish({})


def publish_all(store: Store, study: Study) -> None:
    for row in study.rows():
        for score, num_right in zip(targets(row), RIGHT.values(), strict=True):
            publish_score(store, score, num_right + row.seed)
        with store.draft("fit", row.student.id, row.student.label) as draft:
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
        ids = [score.id for score in targets(stages)]
        assert [row[f"{role}_score_id"] for role in RIGHT] == ids


def test_agreement_by_hand(study, store):
    """Student and supervisor differ in eight answers, all where the supervisor is wrong."""
    publish_all(store, study)
    row = gather(study, store).rows()[0]
    assert row["agreement"] == pytest.approx(32 / 40)
    assert row["agreement_right"] == 1.0
    assert row["agreement_wrong"] == pytest.approx(22 / 30)


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


def test_a_students_fit_may_be_gone(study, store):
    publish_all(store, study)
    artifact = store.find("fit", study.rows()[0].student.id)
    assert artifact is not None
    (artifact.path / "manifest.json").unlink()
    rows = gather(study, store).rows()
    assert np.isnan(rows[0]["seconds"])
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
