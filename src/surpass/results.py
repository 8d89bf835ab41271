"""The table of a study's results: a row per task, pair, method and seed, and a PGR per group of seeds.

`Results` knows nothing of how the numbers were computed. Accuracies are always derived here, from
the correctness of each test example, so that a row cannot contradict its interval.

Shape suffixes: S seeds, N test examples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from surpass.disk import atomic_write
from surpass.errors import DataError
from surpass.ranking import Rank, ranking
from surpass.rows import (
    GROUPED,
    METRICS,
    SCHEMA,
    JudgeScores,
    Key,
    LeftOut,
    Row,
    Summary,
    correct_of,
    key_of,
    record,
    score_ids,
)
from surpass.stats import PgrAggregate, PgrEstimate, estimate_pgr
from surpass.stats.comparison import MethodComparison

JSON_FORMAT = "surpass-results"
JSON_VERSION = 2
MAY_BE_NAN = frozenset({"pgr", "value", "low", "high", "median", *METRICS})


class Results:
    """Rows as an Arrow table (columns in `SCHEMA`) and summaries, both in the order of the study."""

    def __init__(
        self,
        table: pa.Table,
        summaries: Sequence[Summary],
        ranks: Sequence[Rank] = (),
        left_out: Sequence[LeftOut] = (),
        notes: Sequence[str] = (),
        judged: Sequence[JudgeScores] = (),
    ) -> None:
        self.table = table
        self._summaries = tuple(summaries)
        self.ranks = tuple(ranks)
        self.left_out = tuple(left_out)
        self.notes = tuple(notes)
        self.judged = tuple(judged)

    @classmethod
    def build(
        cls,
        rows: Sequence[Row],
        correct: Mapping[str, npt.NDArray[Any]],
        left_out: Sequence[LeftOut] = (),
        notes: Sequence[str] = (),
    ) -> Self:
        """Derive accuracies, PGR and intervals from the correctness of each test example.

        Args:
            rows: One row per task, pair, method and seed, in any order of seeds.
            correct: From score id to correctness, 0 or 1, (N,), in the order of the test examples.
            left_out: Methods that do not apply.
            notes: What else a reader must know, such as examples that were left out or cut.

        Raises:
            DataError: Two rows are the same, a score is missing, or scores do not fit together.
        """
        groups: dict[Key, list[Row]] = {}
        for row in rows:
            groups.setdefault(key_of(row), []).append(row)
        # Sorted, so that the order in which a parallel study finished cannot change a digit.
        groups = {key: sorted(group, key=lambda row: row.seed) for key, group in groups.items()}
        summaries = [_summary(key, group, correct) for key, group in groups.items()]
        table = pa.Table.from_pylist([record(row, correct) for row in rows], SCHEMA)
        return cls(table, summaries, ranking(summaries, groups, correct), left_out, notes)

    def with_notes(self, notes: Sequence[str]) -> Results:
        """The same results with further notes."""
        return Results(
            self.table, self._summaries, self.ranks, self.left_out, (*self.notes, *notes), self.judged
        )

    def with_judged(self, judged: Sequence[JudgeScores]) -> Results:
        """The same results with what judges of steps are worth."""
        return Results(self.table, self._summaries, self.ranks, self.left_out, self.notes, judged)

    def summary(self) -> list[Summary]:
        """List the summaries, one per task, pair and method."""
        return list(self._summaries)

    def rows(self) -> list[dict[str, Any]]:
        """List the rows as dicts keyed by the columns of `SCHEMA`."""
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __eq__(self, other: object) -> bool:
        """Equal to the last digit; a missing number (NaN) equals another one."""
        return self._document() == other._document() if isinstance(other, Results) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Results({len(self)} rows, {len(self._summaries)} summaries)"

    def to_parquet(self, path: str | Path) -> None:
        """Write the rows, without the summaries, as a Parquet file; replaces it as a whole.

        Raises:
            StoreError: The file cannot be written.
        """
        buffer = pa.BufferOutputStream()
        pq.write_table(self.table, buffer)
        atomic_write(path, buffer.getvalue().to_pybytes())

    def to_json(self, path: str | Path) -> None:
        """Write rows and summaries as JSON, NaN as null; replaces the file as a whole.

        Raises:
            StoreError: The file cannot be written.
        """
        atomic_write(path, (json.dumps(self._document(), indent=1, allow_nan=False) + "\n").encode())

    def write(self, folder: str | Path) -> None:
        """Write `results.parquet` and `results.json` into a folder, which is made if it is not there.

        Raises:
            StoreError: A file cannot be written.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.to_parquet(Path(folder) / "results.parquet")
        self.to_json(Path(folder) / "results.json")

    @classmethod
    def from_json(cls, path: str | Path) -> Self:
        """Read what `to_json` wrote.

        Raises:
            DataError: The file is missing, not of this format, or of a version unknown here.
        """
        try:
            document = json.loads(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot read results from {str(path)!r} ({error}); write them with to_json"
            ) from None
        if not isinstance(document, dict) or document.get("format") != JSON_FORMAT:
            raise DataError(f"{str(path)!r} holds no results of Surpass; expected format {JSON_FORMAT!r}")
        if document.get("version") != JSON_VERSION:
            raise DataError(
                f"{str(path)!r} is version {document.get('version')!r} of the results format, this Surpass "
                f"reads {JSON_VERSION}; update Surpass or write the results again"
            )
        try:
            summaries = [_summary_from_json(summary) for summary in document["summaries"]]
            ranks = [_rank_from_json(rank) for rank in document["methods"]]
            left_out = [LeftOut(**left) for left in document["left_out"]]
            notes = [str(note) for note in document.get("notes", [])]
            judged = [
                JudgeScores(**entry | {"estimate": PgrEstimate(**_null_to_nan(entry["estimate"]))})
                for entry in document.get("judged", [])
            ]
            return cls(_table_from_json(document["rows"]), summaries, ranks, left_out, notes, judged)
        except (KeyError, TypeError, AttributeError, pa.ArrowException) as error:
            raise DataError(
                f"{str(path)!r} is damaged ({type(error).__name__}: {error}); write the results again"
            ) from None

    def _document(self) -> dict[str, Any]:
        judged = [one._asdict() | {"estimate": _nan_to_null(asdict(one.estimate))} for one in self.judged]
        return {
            "format": JSON_FORMAT,
            "version": JSON_VERSION,
            "rows": [_nan_to_null(row) for row in self.rows()],
            "summaries": [
                {
                    **asdict(s.key),
                    "seconds": s.seconds,
                    "estimate": _nan_to_null(asdict(s.estimate)),
                    "metrics": _nan_to_null(dict(s.metrics)),
                }
                for s in self._summaries
            ],
            "methods": [
                asdict(rank)
                | {
                    "pgr": _nan_to_null(rank.pgr._asdict()),
                    "comparison": None if rank.comparison is None else _nan_to_null(asdict(rank.comparison)),
                }
                for rank in self.ranks
            ],
            "left_out": [left._asdict() for left in self.left_out],
            "notes": list(self.notes),
        } | ({"judged": judged} if judged else {})


def _summary(key: Key, rows: Sequence[Row], correct: Mapping[str, npt.NDArray[Any]]) -> Summary:
    name = f"{key.task}, {key.weak_model} -> {key.strong_model}, {key.method}"
    seeds = [row.seed for row in rows]
    tests = {row.test_id for row in rows}
    if len(set(seeds)) < len(rows):
        raise DataError(f"{name}: seeds are {seeds}; each may occur once, drop the repeated rows")
    if 1 < len(tests) < len(rows):
        raise DataError(
            f"{name}: {len(rows)} seeds have {len(tests)} test sets; give all one test_id, or each its own"
        )
    roles: list[Any] = [
        [correct_of(score_id, correct) for score_id in ids] for ids in zip(*map(score_ids, rows), strict=True)
    ]
    if len(tests) == 1:
        lengths = {len(correct_N) for role in roles for correct_N in role}
        if len(lengths) > 1:
            raise DataError(
                f"{name}: scores of {sorted(lengths)} examples on one test set; "
                "score all on the same examples, or give each seed its own test_id"
            )
        roles = [np.stack(role) for role in roles]
    return Summary(
        key=key,
        estimate=estimate_pgr(*roles),
        seconds=math.fsum(row.seconds for row in rows),
        metrics={name: math.fsum(row.metrics[name] for row in rows) / len(rows) for name in METRICS},
    )


def _nan_to_null(record: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in record.items()}


def _null_to_nan(record: dict[str, Any]) -> dict[str, Any]:
    return {k: math.nan if v is None and k in MAY_BE_NAN else v for k, v in record.items()}


def _table_from_json(records: list[dict[str, Any]]) -> pa.Table:
    rows = [
        _null_to_nan({name: record[name] for name in SCHEMA.names}) for record in map(_with_groups, records)
    ]
    table = pa.Table.from_pylist(rows, SCHEMA)
    empty = [name for name in SCHEMA.names if table[name].null_count]
    if empty:
        raise KeyError(f"no value for {', '.join(empty)}")
    return table


def _with_groups(record: dict[str, Any]) -> dict[str, Any]:
    """Numbers that results written before there were groups do not have are missing."""
    return record | {name: None for name in GROUPED if name not in record}


def _summary_from_json(record: dict[str, Any]) -> Summary:
    return Summary(
        key=Key(**{field.name: record[field.name] for field in fields(Key)}),
        estimate=PgrEstimate(**_null_to_nan(record["estimate"])),
        seconds=record["seconds"],
        metrics=_null_to_nan(_with_groups(record["metrics"])),
    )


def _rank_from_json(record: dict[str, Any]) -> Rank:
    pgr, comparison = record["pgr"], record["comparison"]
    changes = {
        "pgr": PgrAggregate(**_null_to_nan(pgr) | {"reasons": tuple(pgr["reasons"])}),
        "comparison": None if comparison is None else MethodComparison(**_null_to_nan(comparison)),
    }
    return Rank(**record | changes)
