"""What a row of results holds: one student, where its scores are, and what it took from its supervisor.

Shape suffixes: N test examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.errors import DataError
from surpass.stats import PgrEstimate, pgr

LABELS = ("soft", "hard")
GROUPED = ("worst_group", "mean_group")
"""Accuracy by groups of truth and spurious attribute; undefined where examples have no attribute."""

METRICS = (
    "agreement",
    "agreement_right",
    "agreement_wrong",
    "inherited",
    "changed",
    "corrected",
    "new_errors",
    "error_phi",
    "error_kappa",
    "capa",
    "misfit",
    "gain",
    "kl_misfit",
    "kl_gain",
    "auroc",
    "log_loss",
    "brier",
    "calibration_error",
    *GROUPED,
)
"""What a row says beside accuracy (`docs/metrics.md`); NaN where it is undefined."""

_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()
SCHEMA = pa.schema(
    [
        *((name, _TEXT) for name in ("task", "weak_model", "strong_model", "method", "labels")),
        ("seed", _WHOLE),
        ("oracle", pa.bool_()),
        *((name, _REAL) for name in ("weak_acc", "student_acc", "ceiling_acc", "pgr")),
        *((name, _REAL) for name in METRICS),
        ("num_test", _WHOLE),
        *((name, _TEXT) for name in ("weak_score_id", "student_score_id", "ceiling_score_id", "test_id")),
        ("seconds", _REAL),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One student: what it is, where its scores are, and how it compares with its supervisor.

    Args:
        task: Name of the task.
        weak_model: The supervisor.
        strong_model: Student and ceiling.
        method: How the student was trained.
        labels: "soft" or "hard".
        seed: Seed of the whole experiment.
        oracle: Whether the method used ground truth.
        weak_score_id: Key of the supervisor's correctness; likewise `student_` and `ceiling_score_id`.
        metrics: A number for each of `METRICS`, NaN where it is undefined.
        seconds: Compute time of this student's own last fit.
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
    metrics: Mapping[str, float]
    seconds: float
    test_id: str = ""

    def __post_init__(self) -> None:
        if self.labels not in LABELS:
            raise DataError(f"labels is {self.labels!r} in a row of {self.method!r}; use one of {LABELS}")
        if set(self.metrics) != set(METRICS):
            odd = sorted(set(self.metrics) ^ set(METRICS))
            raise DataError(f"metrics of a row of {self.method!r} must be {', '.join(METRICS)}; see {odd}")


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
    """PGR of one method on one pair over all seeds; `seconds` is the sum over seeds, `metrics` the mean."""

    key: Key
    estimate: PgrEstimate
    seconds: float
    metrics: Mapping[str, float]


class LeftOut(NamedTuple):
    """A method that makes no sense for a pair of models, and why."""

    weak_model: str
    strong_model: str
    method: str
    reason: str


class JudgeScores(NamedTuple):
    """One metric of one method on one pair: means over seeds of supervisor, student and ceiling, and PGR.

    `estimate` counts problems where it says examples.
    """

    weak_model: str
    strong_model: str
    method: str
    oracle: bool
    metric: str
    estimate: PgrEstimate


def key_of(row: Row) -> Key:
    """The summary that a row belongs to."""
    return Key(**{field.name: getattr(row, field.name) for field in fields(Key)})


def score_ids(row: Row) -> tuple[str, str, str]:
    """The scores of supervisor, student and ceiling."""
    return row.weak_score_id, row.student_score_id, row.ceiling_score_id


def correct_of(score_id: str, correct: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The correctness of a score, (N,).

    Raises:
        DataError: There is none, or it has another shape.
    """
    if score_id not in correct:
        raise DataError(f"no correctness for score {score_id!r}; pass the scores that the rows name")
    correct_N = np.asarray(correct[score_id])
    if correct_N.ndim != 1 or len(correct_N) == 0:
        raise DataError(f"correctness of {score_id!r} must be (examples,), not empty, got {correct_N.shape}")
    return correct_N


def record(row: Row, correct: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """One row of the table, by the columns of `SCHEMA`."""
    arrays = [correct_of(score_id, correct) for score_id in score_ids(row)]
    weak, student, ceiling = (float(correct_N.mean()) for correct_N in arrays)
    own_pgr = pgr(weak, student, ceiling) if ceiling > weak else math.nan
    flat = asdict(row)
    return {
        **flat.pop("metrics"),
        **flat,
        "weak_acc": weak,
        "student_acc": student,
        "ceiling_acc": ceiling,
        "pgr": own_pgr,
        "num_test": len(arrays[0]),
    }
