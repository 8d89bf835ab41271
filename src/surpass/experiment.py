"""Run a study and gather its results from the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from surpass import metrics
from surpass.engine.inline import Settings
from surpass.engine.inline import run as run_inline
from surpass.engine.progress import Display, Silent
from surpass.errors import StoreError
from surpass.models.sources import resolve
from surpass.results import Results, Row
from surpass.scoring import read_scored
from surpass.stages import Score, Stage
from surpass.store import Store
from surpass.study import RowStages, Study, targets


def run(
    study: Study,
    store: Store | str = "surpass-store",
    *,
    settings: Settings = Settings(),  # noqa: B008
    display: Callable[[Sequence[Stage]], Display] = lambda _: Silent(),
) -> Results:
    """Compute what is missing of a study, and gather its results.

    Args:
        study: What to compare.
        store: Where artifacts are, or its folder.
        settings: How stages are carried out.
        display: What shows the progress; nothing by default.

    Returns:
        A row per pair, method and seed, and PGR with its interval per pair and method.

    Raises:
        SurpassError: A stage failed, or the store cannot be used; what was published stays.
    """
    store = store if isinstance(store, Store) else Store(store)
    rows = study.rows()
    run_inline([stage for row in rows for stage in targets(row)], store, settings=settings, display=display)
    return gather(study, store)


def gather(study: Study, store: Store) -> Results:
    """The results of a study that is computed.

    Raises:
        StoreError: Some of it is not.
    """
    rows = study.rows()
    scores = {score.id: score for row in rows for score in targets(row)}
    read = {id: _read(score, store) for id, score in scores.items()}
    correct = {id: correct for id, (correct, _) in read.items()}
    return Results.build([_row(study, row, store, read) for row in rows], correct)


Scored = tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]


def _read(score: Score, store: Store) -> Scored:
    artifact = store.find(score.kind, score.id)
    if artifact is None:
        raise StoreError(f"score {score.label} is not in {store.root}: run the study first")
    return read_scored(artifact)


def _row(study: Study, row: RowStages, store: Store, read: dict[str, Scored]) -> Row:
    weak_correct, weak_prediction = read[row.weak_score.id]
    _, student_prediction = read[row.student_score.id]
    split = metrics.agreement_split(student_prediction, weak_prediction, weak_correct)
    fit = store.find(row.student.kind, row.student.id)
    return Row(
        task=study.task.name,
        weak_model=resolve(row.pair[0]).short_name,
        strong_model=resolve(row.pair[1]).short_name,
        method=row.method,
        labels=study.labels,
        seed=row.seed,
        oracle=row.oracle,
        weak_score_id=row.weak_score.id,
        student_score_id=row.student_score.id,
        ceiling_score_id=row.ceiling_score.id,
        agreement=split.overall,
        agreement_right=split.when_right,
        agreement_wrong=split.when_wrong,
        seconds=float(fit.manifest["seconds"]) if fit is not None else float("nan"),
        test_id=study.test_examples.id,
    )
