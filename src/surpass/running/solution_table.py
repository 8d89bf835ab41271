"""The table of solutions that stages give each other, and how its rows are read.

Stages that take part: `stages.solutions` and `stages.outcome`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from surpass.reasoning.solutions import Solution

if TYPE_CHECKING:
    from surpass.store.artifact import Artifact

SCHEMA = pa.schema(
    {
        "problem_id": pa.string(),
        "sample": pa.int32(),
        "id": pa.string(),
        "problem": pa.string(),
        "steps": pa.list_(pa.string()),
        "ratings": pa.list_(pa.int8()),
        "answer": pa.string(),
        "correct": pa.bool_(),
        "ended": pa.bool_(),
        "reference": pa.string(),
        "family": pa.string(),
        "level": pa.int32(),
    }
)
"""Of `solutions.parquet`; family and level are null where problems have none."""

NO_STEP = "samples without a step"
CUT_OFF = "samples that were cut off before they ended"
NO_ANSWER = "samples that ended without an answer"
REPEATED = "samples that are there already"


def read_solutions(artifact: Artifact) -> list[dict[str, Any]]:
    """The rows of a stage of solutions."""
    rows: list[dict[str, Any]] = pq.read_table(artifact.file("solutions.parquet")).to_pylist()
    return rows


def solution_of_row(row: Mapping[str, Any]) -> Solution:
    """A row with an id as a solution."""
    return Solution(
        problem_id=row["problem_id"],
        problem=row["problem"],
        steps=tuple(row["steps"]),
        ratings=None if row["ratings"] is None else tuple(row["ratings"]),
        answer=row["answer"],
        correct=row["correct"],
        reference=row["reference"],
    )


def distinct(rows: Iterable[dict[str, Any]], notes: Counter[str] | None = None) -> list[dict[str, Any]]:
    """The first of equal solutions, without those that were cut off or have no step."""
    found: dict[str, dict[str, Any]] = {}
    notes = Counter() if notes is None else notes
    for row in rows:
        if not row["ended"] or row["id"] is None:
            notes[NO_STEP if row["id"] is None else CUT_OFF] += 1
        elif row["id"] in found:
            notes[REPEATED] += 1
        else:
            found[row["id"]] = row
    return list(found.values())
