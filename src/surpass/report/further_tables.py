"""Tables of a report beside that of results: what labels are worth, groups, layers, steps, saliency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from surpass.analyses.analysis import visible, worths
from surpass.analyses.saliency import saliency
from surpass.analyses.step_metrics import by_step
from surpass.analyses.worst_groups import by_group
from surpass.errors import SurpassError
from surpass.layers import by_layer
from surpass.report.numbers import plain
from surpass.report.probes import END
from surpass.results import Results
from surpass.store import Store
from surpass.study import Study

TEXT, PERCENT, NUMBER, COUNT = "text", "percent", "number", "count"
_PAIR = (("weak", TEXT), ("strong", TEXT))
_METHOD = (*_PAIR, ("method", TEXT), ("oracle", TEXT))
_ACCURACIES = (("weak acc.", PERCENT), ("student acc.", PERCENT), ("ceiling acc.", PERCENT))
_PGR = (("PGR", PERCENT), ("PGR low", PERCENT), ("PGR high", PERCENT), ("undefined because", TEXT))
_ORACLE = {True: "oracle", False: ""}
WORST = "worst group"

Columns = Sequence[tuple[str, str]]


class Further(NamedTuple):
    """Tables, and for each that could not be made why."""

    tables: list[dict[str, Any]]
    lacking: list[str]


def further_tables(study: Study, results: Results, store: Store) -> Further:
    """Those that a study has something for, each with its columns and rows."""
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "accuracy by group": lambda: _groups(study, store),
        "judging steps": lambda: _steps(study, store),
        "concept saliency": lambda: _saliency(study, store),
        "layers": lambda: _layers(study, results),
        "what the labels are worth": lambda: _worths(study, store),
        "what differences the study can show": lambda: _visible(study, store),
    }
    found = Further([], [])
    for what, make in makers.items():
        try:
            table = make()
        except SurpassError as error:
            found.lacking.append(lacking(what, error, store))
        else:
            found.tables.extend([table] if table["rows"] else [])
    return found


def lacking(what: str, error: SurpassError, store: Store) -> str:
    """A note on what is not known, without the place of the store."""
    return f"not known, {what}: {str(error).replace(store.where, 'the store')}"


def _table(title: str, about: str, columns: Columns, rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    return {
        "title": title,
        "about": about,
        "columns": [{"name": name, "kind": kind} for name, kind in columns],
        "rows": [plain(list(row)) for row in rows],
    }


def _worths(study: Study, store: Store) -> dict[str, Any]:
    columns = (*_PAIR, ("method", TEXT), ("weak labels", COUNT), ("worth truth labels", TEXT))
    rows = (
        (one.weak_model, one.strong_model, one.method, one.num_labels, one.effective.text)
        for one in worths(study, store)
    )
    about = (
        "How many labels of truth would have given the student's accuracy, by the learning curve of the "
        "strong model on parts of the truth; mean over seeds."
    )
    return _table("What the labels are worth, in truth labels", about, columns, rows)


def _visible(study: Study, store: Store) -> dict[str, Any]:
    columns = (
        *_PAIR,
        ("seeds", COUNT),
        ("methods", COUNT),
        ("smallest difference", PERCENT),
        ("seeds for 1 point", COUNT),
    )
    rows = (
        (one.weak_model, one.strong_model, one.num_seeds, one.num_methods, one.smallest, one.seeds)
        for one in visible(study, store)
    )
    about = (
        "The difference of accuracy to naive fine-tuning that is seen with 80 % power by the seeds of the "
        "study, and the seeds that a difference of one point takes; medians over methods. Without a number "
        "even 1,000 seeds are not enough."
    )
    return _table("What differences to naive fine-tuning the study can show", about, columns, rows)


def _layers(study: Study, results: Results) -> dict[str, Any]:
    columns = (*_METHOD, ("layer", TEXT), *_ACCURACIES, *_PGR)
    rows = (
        (
            *(one.weak_model, one.strong_model, one.method, _ORACLE[one.oracle]),
            END if one.layer is None else str(one.layer),
            *(one.weak, one.student, one.ceiling, one.pgr, one.low, one.high, one.reason or ""),
        )
        for one in by_layer(study, results)
    )
    about = "Student and ceiling read the states of the strong model behind one of its blocks."
    return _table("Layers", about, columns, rows)


def _groups(study: Study, store: Store) -> dict[str, Any]:
    columns = (*_METHOD, ("truth", TEXT), ("attribute", TEXT), ("test examples", COUNT), *_ACCURACIES)
    rows: list[tuple[Any, ...]] = []
    for one in by_group(study, store):
        named = (one.weak_model, one.strong_model, one.method, _ORACLE[one.oracle])
        worst = (one.weak_worst, one.student_worst, one.ceiling_worst)
        rows.append((*named, WORST, "", None, *worst))
        rows += [
            (
                *(*named, str(group.truth), str(group.attribute), group.num_examples),
                *(group.weak, group.student, group.ceiling),
            )
            for group in one.groups
        ]
    about = "By truth and spurious attribute, means over seeds; the worst group is chosen in each seed."
    return _table("Accuracy by group", about, columns, rows)


def _steps(study: Study, store: Store) -> dict[str, Any]:
    columns = (*_METHOD, ("metric", TEXT), *_ACCURACIES, *_PGR)
    rows = (
        (
            *(one.weak_model, one.strong_model, one.method, _ORACLE[one.oracle], one.metric),
            *(one.estimate.weak, one.estimate.student, one.estimate.ceiling),
            *(one.estimate.value, one.estimate.low, one.estimate.high, one.estimate.reason or ""),
        )
        for one in by_step(study, store)
    )
    about = "Steps of a solution are judged rightly or wrongly together: intervals are over problems."
    return _table("Judging steps", about, columns, rows)


def _saliency(study: Study, store: Store) -> dict[str, Any]:
    columns = (
        *_PAIR,
        ("strategy", TEXT),
        ("accuracy", PERCENT),
        ("low", PERCENT),
        ("high", PERCENT),
        ("undefined because", TEXT),
    )
    rows: list[tuple[Any, ...]] = []
    for one in saliency(study, store):
        pair = (one.weak_model, one.strong_model)
        for row in one.strategies:
            rows.append((*pair, row.name, row.accuracy.value, row.accuracy.low, row.accuracy.high, ""))
        closed = one.closed
        rows.append((*pair, "gap closed", closed.value, closed.low, closed.high, closed.reason or ""))
    about = (
        "Probes (lp) and fine-tuning (ft) on weak labels and on truth; the gap closed is that between "
        "lp(truth) and ft(truth), by ft(weak) + lp(truth)."
    )
    return _table("Concept saliency", about, columns, rows)
