"""A document's studies as results again, so that tables of it are those of the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from surpass.ranking import Rank
from surpass.report.figures.reading import Shown
from surpass.report.figures.sizes import number
from surpass.results import MAY_BE_NAN, Results
from surpass.rows import SCHEMA, Key, Summary
from surpass.stats import PgrAggregate, PgrEstimate
from surpass.stats.comparison import MethodComparison

_ROW_NUMBERS = ("weak_acc", "student_acc", "ceiling_acc", "pgr", "agreement")


class Part(NamedTuple):
    """One study of a document.

    Attributes:
        name: Of the study.
        setting: Task, seeds and test examples, for a caption.
        results: Its summaries and ranks, without rows.
        footnotes: What a reader must know.
        rows: Students by seed: models, name of the method, seed and numbers.
    """

    name: str
    setting: str
    results: Results
    footnotes: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]

    @property
    def undefined_rows(self) -> bool:
        """Whether a seed has no PGR."""
        return any(row["pgr"] != row["pgr"] for row in self.rows)


def parts_of(shown: Shown) -> list[Part]:
    """The studies of a document."""
    return [_part(shown, place) for place in range(len(shown.studies))]


def _part(shown: Shown, place: int) -> Part:
    study = shown.studies[place]
    summaries = [_summary(student.entry) for student in shown.students if student.study == place]
    ranks = [_rank(rank) for rank in shown.document["ranks"] if rank["study"] == place]
    return Part(
        name=str(study["name"]),
        setting=shown.of_study(place).setting,
        results=Results(SCHEMA.empty_table(), summaries, ranks),
        footnotes=tuple(str(note) for note in study["footnotes"]),
        rows=tuple(_rows(shown, place)),
    )


def _rows(shown: Shown, place: int) -> list[Mapping[str, Any]]:
    columns = shown.document["rows"]
    found: list[Mapping[str, Any]] = []
    for at, summary in enumerate(columns["summary"]):
        student = shown.students[summary]
        if student.study == place:
            numbers = {name: number(columns[name][at]) for name in _ROW_NUMBERS}
            name = shown.variant_name(student.variant._replace(study=""))
            known = {"weak": student.weak, "strong": student.strong, "name": name}
            found.append(known | {"seed": columns["seed"][at]} | numbers)
    return found


def _summary(entry: Mapping[str, Any]) -> Summary:
    return Summary(
        key=Key(
            task=entry["task"],
            weak_model=entry["weak"],
            strong_model=entry["strong"],
            method=entry["method"],
            labels=entry["labels"],
            oracle=entry["oracle"],
        ),
        estimate=PgrEstimate(**_numbers(entry["estimate"], PgrEstimate)),
        seconds=entry["seconds"],
        metrics={name: number(value) for name, value in entry["metrics"].items()},
    )


def _rank(entry: Mapping[str, Any]) -> Rank:
    comparison = entry["comparison"]
    pgr: dict[str, Any] = {name: entry["pgr"][name] for name in PgrAggregate._fields}
    pgr |= {name: number(pgr[name]) for name in ("median", "low", "high")}
    pgr["reasons"] = tuple(pgr["reasons"])
    return Rank(
        method=entry["method"],
        labels=entry["labels"],
        oracle=entry["oracle"],
        num_pairs=entry["num_pairs"],
        pgr=PgrAggregate(**pgr),
        comparison=None if comparison is None else MethodComparison(**_numbers(comparison, MethodComparison)),
    )


def _numbers(record: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    """The fields of some kind, whose missing numbers are NaN again."""
    known = {field.name: record[field.name] for field in fields(kind)}
    return {n: math.nan if v is None and n in MAY_BE_NAN else v for n, v in known.items()}
