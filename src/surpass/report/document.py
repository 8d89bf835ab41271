"""The document of a report: everything that its page, figures and tables show, as plain JSON.

`docs/reading-a-report.md` says what is in it. Places in lists stand for what is named often: a row names its
summary and its stages, a summary its study. NaN is null; fractions are fractions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from surpass.analyses.analysis import curves
from surpass.errors import ConfigError, SurpassError
from surpass.experiment import gather
from surpass.grouping import grouped
from surpass.models.sources import resolve
from surpass.ranking import BASELINE
from surpass.report.document_file import (
    FORMAT,
    VERSION,
    checked,
    made_of,
    read_document,
    write_document,
)
from surpass.report.further_tables import further_tables, lacking
from surpass.report.joining import joined
from surpass.report.numbers import (
    ROLES,
    Correctness,
    accuracy_intervals,
    calibration,
    members,
    overlap,
    plain,
)
from surpass.report.provenance import Provenance
from surpass.report.shown_examples import MOST_OF_A_KIND, MOST_OF_A_STUDY, shown_examples
from surpass.report.study_entry import models_of, study_entry, with_published
from surpass.results import Results
from surpass.rows import METRICS, Key
from surpass.store import Store
from surpass.study import RowStages, Study
from surpass.upkeep.imported import report_of

__all__ = ["FORMAT", "VERSION", "checked", "document_of", "made_of", "read_document", "write_document"]

_NUMBERS = ("seed", "weak_acc", "student_acc", "ceiling_acc", "pgr", "seconds", "num_test", *METRICS)

Named = tuple[Study, Sequence[str]]


def document_of(
    studies: Sequence[Named],
    store: Store,
    *,
    place: str | None = None,
    results: Sequence[Results] = (),
    on: str | None = None,
) -> dict[str, Any]:
    """Describe finished studies; equal stages of several are one.

    Args:
        studies: Each with the words that name it on the command line, such as `chess` and `seeds=10`.
        store: Where their artifacts are, or the records of an import.
        place: How the store is named in commands; None where nobody has to name it.
        results: Theirs with all notes, as far as they are known already.
        on: When it was made; now by default.

    Raises:
        ConfigError: No study is given, or one twice.
        StoreError: A study is not finished.
    """
    ids = [study.id for study, _ in studies]
    if not ids or len(set(ids)) < len(ids):
        raise ConfigError("name at least one study to report" if not ids else "a study is named twice")
    made = {"surpass": version("surpass"), "on": on or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    known = [*results, *([None] * (len(studies) - len(results)))]
    documents = [
        {"format": FORMAT, "version": VERSION, "made": made}
        | _study(study, called, found or with_published(study, gather(study, store)), store, place)
        for (study, called), found in zip(studies, known, strict=True)
    ]
    return documents[0] if len(documents) == 1 else joined(documents, made)


def _study(
    study: Study, called: Sequence[str], results: Results, store: Store, place: str | None
) -> dict[str, Any]:
    """Everything of one study."""
    provenance = Provenance(study, store, [*called, *(["--store", place] if place else [])])
    rows, correct = study.rows(), Correctness(store)
    groups = grouped(rows, lambda row: _key(row, study))
    places = {key: place for place, key in enumerate(groups)}
    entry = study_entry(study, called, results, provenance)
    intervals = accuracy_intervals(list(groups.values()), correct)
    further = further_tables(study, results, store)
    learned, without = _curves(study, store)
    entry["footnotes"] += [*further.lacking, *without]
    return {
        "answer": entry["answer"],
        "studies": [entry],
        "models": models_of(study),
        "summaries": [_summary(summary, groups[summary.key], intervals) for summary in results.summary()],
        "rows": _rows(study, rows, results, places, provenance),
        "ranks": [_rank(rank) for rank in results.ranks],
        "curves": learned,
        "calibration": calibration([(places[key], own) for key, own in groups.items()], store),
        "overlap": [{"study": 0} | entry for entry in overlap(rows, correct)],
        "tables": [{"study": 0} | table for table in further.tables],
        "examples": _examples(study, store, groups, places),
        "stages": provenance.stages,
        "versions": provenance.versions,
    }


def _key(row: RowStages, study: Study) -> Key:
    weak, strong = (resolve(model).short_name for model in row.pair)
    return Key(
        task=study.task.name,
        weak_model=weak,
        strong_model=strong,
        method=row.method,
        labels=study.labels,
        oracle=row.oracle,
    )


def _summary(summary: Any, rows: Sequence[RowStages], intervals: Mapping[Any, Any]) -> dict[str, Any]:
    key = summary.key
    return {
        "study": 0,
        "task": key.task,
        "weak": key.weak_model,
        "strong": key.strong_model,
        "method": key.method,
        "labels": key.labels,
        "oracle": key.oracle,
        "seconds": summary.seconds,
        "estimate": plain(asdict(summary.estimate)),
        "accuracy": {role: list(intervals[members(rows, role)]) for role in ROLES},
        "metrics": plain(summary.metrics),
    }


def _rows(
    study: Study,
    rows: Sequence[RowStages],
    results: Results,
    places: Mapping[Key, int],
    provenance: Provenance,
) -> dict[str, list[Any]]:
    """The rows by column, in the order of the results."""
    columns: dict[str, list[Any]] = {"summary": [places[_key(row, study)] for row in rows]}
    columns |= {name: plain(results.table[name].to_pylist()) for name in _NUMBERS}
    sources = {
        "weak_stage": [row.weak_score.labels for row in rows],
        "ceiling_stage": [row.ceiling_score.labels for row in rows],
    }
    models = {name: [getattr(one, "source", one) for one in labels] for name, labels in sources.items()}
    models["student_stage"] = [row.student for row in rows]
    for name in (f"{role}_stage" for role in ROLES):
        columns[name] = [provenance.place(model) for model in models[name]]
    for role in ROLES:
        columns[f"{role}_score"] = [provenance.place(getattr(row, f"{role}_score")) for row in rows]
    return columns | {"comparison": [provenance.place(row.comparison) for row in rows]}


def _rank(rank: Any) -> dict[str, Any]:
    comparison = rank.comparison
    return {
        "study": 0,
        "method": rank.method,
        "labels": rank.labels,
        "oracle": rank.oracle,
        "num_pairs": rank.num_pairs,
        "pgr": plain(rank.pgr._asdict()),
        "comparison": None
        if comparison is None
        else plain(asdict(comparison) | {"p": comparison.adjusted_p}),
    }


def _curves(study: Study, store: Store) -> tuple[list[dict[str, Any]], list[str]]:
    """Overfitting curves, or why there are none."""
    try:
        return [_curve(curve) for curve in curves(study, store)], []
    except SurpassError as error:
        return [], [lacking("overfitting to weak labels", error, store)]


def _curve(curve: Any) -> dict[str, Any]:
    told: dict[str, Any] = curve._asdict()
    weak, strong = told.pop("weak_model"), told.pop("strong_model")
    points = {
        name: value._asdict() if hasattr(value, "_asdict") else value
        for name, value in curve.points._asdict().items()
    }
    return {"study": 0, "weak": weak, "strong": strong, **plain(told | {"points": points})}


def _examples(
    study: Study, store: Store, groups: Mapping[Key, Sequence[RowStages]], places: Mapping[Key, int]
) -> list[dict[str, Any]]:
    """Of naive fine-tuning of each pair, or else of its first method without truth."""
    pairs = grouped((key for key in groups if not key.oracle), lambda key: (key.weak_model, key.strong_model))
    most = max(1, min(MOST_OF_A_KIND, MOST_OF_A_STUDY // (2 * max(len(pairs), 1))))
    shown: list[dict[str, Any]] = []
    for keys in pairs.values():
        key = next((key for key in keys if key.method == BASELINE), keys[0])
        found = shown_examples(study, store, groups[key], most=most)
        shown += [{"summary": places[key]} | plain(example) for example in found]
    return shown or _came_along(study, store, places)


def _came_along(study: Study, store: Store, places: Mapping[Key, int]) -> list[dict[str, Any]]:
    """Of an imported study, whose test examples are elsewhere, those of the report that came with it."""
    path = report_of(store, study.id)
    if path is None:
        return []
    document = read_document(path)
    here = {(key.weak_model, key.strong_model, key.method): place for key, place in places.items()}
    there = [(entry["weak"], entry["strong"], entry["method"]) for entry in document["summaries"]]
    return [
        example | {"summary": here[there[example["summary"]]]}
        for example in document["examples"]
        if there[example["summary"]] in here
    ]
