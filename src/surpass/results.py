"""The table of a study's results: a row per task, pair, method and seed, and a PGR per group of seeds.

`Results` knows nothing of how the numbers were computed. Accuracies are always derived here, from
the correctness of each test example, so that a row cannot contradict its interval.

Shape suffixes: S seeds, N test examples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from surpass.disk import atomic_write
from surpass.errors import DataError
from surpass.stats import PgrEstimate, estimate_pgr, pgr

JSON_FORMAT = "surpass-results"
JSON_VERSION = 1
LABELS = ("soft", "hard")
MAY_BE_NAN = frozenset({"pgr", "agreement", "agreement_right", "agreement_wrong", "value", "low", "high"})

_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()
SCHEMA = pa.schema(
    [
        *((name, _TEXT) for name in ("task", "weak_model", "strong_model", "method", "labels")),
        ("seed", _WHOLE),
        ("oracle", pa.bool_()),
        *((name, _REAL) for name in ("weak_acc", "student_acc", "ceiling_acc", "pgr")),
        *((name, _REAL) for name in ("agreement", "agreement_right", "agreement_wrong")),
        ("num_test", _WHOLE),
        *((name, _TEXT) for name in ("weak_score_id", "student_score_id", "ceiling_score_id", "test_id")),
        ("seconds", _REAL),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One student: what it is, where its scores are, and whom it agrees with.

    Args:
        task: Name of the task.
        weak_model: The supervisor.
        strong_model: Student and ceiling.
        method: How the student was trained.
        labels: "soft" or "hard".
        seed: Seed of the whole experiment.
        oracle: Whether the method used ground truth.
        weak_score_id: Key of the supervisor's correctness; likewise `student_` and `ceiling_score_id`.
        agreement: Fraction of test examples on which student and supervisor predict the same.
        agreement_right: The same where the supervisor is right; NaN if it never is.
        agreement_wrong: The same where the supervisor is wrong; NaN if it never is.
        seconds: Compute time of this student's own fit.
        test_id: Name of the test examples. Seeds with the same name answered the same examples in
            the same order; seeds that each have their own test set need names of their own.
    """

    task: str
    weak_model: str
    strong_model: str
    method: str
    labels: str
    seed: int
    oracle: bool
    weak_score_id: str
    student_score_id: str
    ceiling_score_id: str
    agreement: float
    agreement_right: float
    agreement_wrong: float
    seconds: float
    test_id: str = ""

    def __post_init__(self) -> None:
        if self.labels not in LABELS:
            raise DataError(f"labels is {self.labels!r} in a row of {self.method!r}; use one of {LABELS}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """What the rows of one summary have in common; they differ in seed only."""

    task: str
    weak_model: str
    strong_model: str
    method: str
    labels: str
    oracle: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """PGR of one method on one pair over all seeds; `seconds` is the sum over seeds."""

    key: Key
    estimate: PgrEstimate
    seconds: float


class Results:
    """Rows as an Arrow table (columns in `SCHEMA`) and summaries, both in the order of the study."""

    def __init__(self, table: pa.Table, summaries: Sequence[Summary]) -> None:
        self.table = table
        self._summaries = tuple(summaries)

    @classmethod
    def build(cls, rows: Sequence[Row], correct: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Derive accuracies, PGR and intervals from the correctness of each test example.

        Args:
            rows: One row per task, pair, method and seed, in any order of seeds.
            correct: From score id to correctness, 0 or 1, (N,), in the order of the test examples.

        Raises:
            DataError: Two rows are the same, a score is missing, or scores do not fit together.
        """
        groups: dict[Key, list[Row]] = {}
        for row in rows:
            groups.setdefault(_key(row), []).append(row)
        summaries = [_summary(key, group, correct) for key, group in groups.items()]
        table = pa.Table.from_pylist([_record(row, correct) for row in rows], SCHEMA)
        return cls(table, summaries)

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
            return cls(_table_from_json(document["rows"]), summaries)
        except (KeyError, TypeError, AttributeError, pa.ArrowException) as error:
            raise DataError(
                f"{str(path)!r} is damaged ({type(error).__name__}: {error}); write the results again"
            ) from None

    def _document(self) -> dict[str, Any]:
        return {
            "format": JSON_FORMAT,
            "version": JSON_VERSION,
            "rows": [_nan_to_null(row) for row in self.rows()],
            "summaries": [
                {**asdict(s.key), "seconds": s.seconds, "estimate": _nan_to_null(asdict(s.estimate))}
                for s in self._summaries
            ],
        }


def _key(row: Row) -> Key:
    return Key(**{field.name: getattr(row, field.name) for field in fields(Key)})


def _score_ids(row: Row) -> tuple[str, str, str]:
    return row.weak_score_id, row.student_score_id, row.ceiling_score_id


def _correct_of(score_id: str, correct: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    if score_id not in correct:
        raise DataError(f"no correctness for score {score_id!r}; pass the scores that the rows name")
    correct_N = np.asarray(correct[score_id])
    if correct_N.ndim != 1 or len(correct_N) == 0:
        raise DataError(f"correctness of {score_id!r} must be (examples,), not empty, got {correct_N.shape}")
    return correct_N


def _record(row: Row, correct: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """One row of the table."""
    arrays = [_correct_of(score_id, correct) for score_id in _score_ids(row)]
    weak, student, ceiling = (float(correct_N.mean()) for correct_N in arrays)
    own_pgr = pgr(weak, student, ceiling) if ceiling > weak else math.nan
    return {
        **asdict(row),
        "weak_acc": weak,
        "student_acc": student,
        "ceiling_acc": ceiling,
        "pgr": own_pgr,
        "num_test": len(arrays[0]),
    }


def _summary(key: Key, rows: Sequence[Row], correct: Mapping[str, npt.NDArray[Any]]) -> Summary:
    # Sorted, so that the order in which a parallel study finished cannot change a digit.
    rows = sorted(rows, key=lambda row: row.seed)
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
        [_correct_of(score_id, correct) for score_id in ids]
        for ids in zip(*map(_score_ids, rows), strict=True)
    ]
    if len(tests) == 1:
        lengths = {len(correct_N) for role in roles for correct_N in role}
        if len(lengths) > 1:
            raise DataError(
                f"{name}: scores of {sorted(lengths)} examples on one test set; "
                "score all on the same examples, or give each seed its own test_id"
            )
        roles = [np.stack(role) for role in roles]
    return Summary(key=key, estimate=estimate_pgr(*roles), seconds=math.fsum(row.seconds for row in rows))


def _nan_to_null(record: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in record.items()}


def _null_to_nan(record: dict[str, Any]) -> dict[str, Any]:
    return {k: math.nan if v is None and k in MAY_BE_NAN else v for k, v in record.items()}


def _table_from_json(records: list[dict[str, Any]]) -> pa.Table:
    rows = [_null_to_nan({name: record[name] for name in SCHEMA.names}) for record in records]
    table = pa.Table.from_pylist(rows, SCHEMA)
    empty = [name for name in SCHEMA.names if table[name].null_count]
    if empty:
        raise KeyError(f"no value for {', '.join(empty)}")
    return table


def _summary_from_json(record: dict[str, Any]) -> Summary:
    return Summary(
        key=Key(**{field.name: record[field.name] for field in fields(Key)}),
        estimate=PgrEstimate(**_null_to_nan(record["estimate"])),
        seconds=record["seconds"],
    )
