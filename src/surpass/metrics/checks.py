"""What every metric asks of its input, and the forms that input is brought into.

Shape suffixes: N examples, C candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.errors import DataError
from surpass.ragged import rectangle

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ROW_SUM_TOLERANCE = 1e-2  # admits probabilities that were stored as bfloat16


class Rows(NamedTuple):
    """Probabilities with zeros behind shorter rows, and the number of candidates of each example.

    An array says nothing of its padding: every example then counts as having all C candidates.
    """

    probs_NC: Floats
    num_candidates_N: Ints


Probs = npt.NDArray[Any] | Rows | Sequence[npt.ArrayLike]


class Pair(NamedTuple):
    """Probabilities of student and weak supervisor for the same candidates of the same examples."""

    student_NC: Floats
    weak_NC: Floats
    num_candidates_N: Ints


def rows_of(probs: Probs) -> Rows:
    """Bring probabilities into one form; what is in it already is taken as it is.

    Raises:
        DataError: `probs` is empty, holds a NaN, or a row is no probability distribution.
    """
    if isinstance(probs, Rows):
        return probs
    rows = _as_array(probs) if isinstance(probs, np.ndarray) else _as_rows(probs)
    probs_NC = rows.probs_NC
    if np.isnan(probs_NC).any():
        raise DataError("probabilities hold a NaN; look for a diverged fit")
    sums_N = probs_NC.sum(axis=1)
    worst = int(np.abs(sums_N - 1).argmax())
    if abs(sums_N[worst] - 1) > ROW_SUM_TOLERANCE or probs_NC.min() < 0:
        raise DataError(
            f"probabilities must be at least 0 and sum to 1 in each row; the lowest is {probs_NC.min():.4g} "
            f"and row {worst} sums to {sums_N[worst]:.4g}; apply a softmax to logits first"
        )
    return rows


def _as_array(probs: npt.NDArray[Any]) -> Rows:
    if probs.ndim != 2 or probs.size == 0:
        raise DataError(f"probabilities must be (examples, candidates) and not empty, got {probs.shape}")
    return Rows(np.asarray(probs, np.float64), np.full(len(probs), probs.shape[1], np.int64))


def _as_rows(probs: Sequence[npt.ArrayLike]) -> Rows:
    first = probs[0] if len(probs) else None
    if isinstance(first, np.ndarray) and all(
        isinstance(row, np.ndarray) and row.shape == first.shape for row in probs
    ):
        probs_NC = np.array(probs, np.float64)  # at once, where all are as long
        if probs_NC.ndim == 2 and probs_NC.size:
            return Rows(probs_NC, np.full(len(probs_NC), probs_NC.shape[1], np.int64))
    rows = [np.asarray(row, np.float64) for row in probs]
    if any(row.ndim != 1 for row in rows):
        raise DataError("each row of probabilities must be one-dimensional, one number a candidate")
    length_N = np.array([len(row) for row in rows], np.int64)
    if not length_N.any():
        raise DataError(
            f"probabilities must be rows of candidates and not empty, got {len(rows)} rows of none"
        )
    return Rows(rectangle(np.concatenate(rows), length_N), length_N)


def pair_of(student_probs: Probs, weak_probs: Probs) -> Pair:
    """Bring the probabilities of two models into one form.

    Raises:
        DataError: As for `rows_of`, or examples or candidates of the two differ in number.
    """
    student, weak = rows_of(student_probs), rows_of(weak_probs)
    if len(student.probs_NC) != len(weak.probs_NC):
        raise DataError(
            f"student has {len(student.probs_NC)} examples, weak {len(weak.probs_NC)}; "
            "join both by example id first"
        )
    differ = np.flatnonzero(student.num_candidates_N != weak.num_candidates_N)
    if len(differ):
        first = differ[0]
        raise DataError(
            f"example {first} has {student.num_candidates_N[first]} candidates for the student and "
            f"{weak.num_candidates_N[first]} for weak; give both as lists of rows, or both padded alike"
        )
    return Pair(student.probs_NC, weak.probs_NC, student.num_candidates_N)


def truth_of(truth_N: npt.ArrayLike, num_candidates_N: Ints) -> Ints:
    """The true candidate of each example, int64 (N,).

    Raises:
        DataError: Unequal lengths, no whole number, or no candidate of its example.
    """
    truth_N = whole_numbers(truth_N, "truth", len(num_candidates_N))
    outside = np.flatnonzero((truth_N < 0) | (truth_N >= num_candidates_N))
    if len(outside):
        first = outside[0]
        raise DataError(
            f"truth of example {first} is {truth_N[first]}, but its candidates are "
            f"0..{num_candidates_N[first] - 1}; check that labels and candidates are of the same task"
        )
    return truth_N


def column(values: npt.ArrayLike, name: str, length: int | None = None) -> npt.NDArray[Any]:
    """One value an example, (N,), of any type.

    Raises:
        DataError: Not one-dimensional, empty, a NaN, or not of that length.
    """
    values_N = np.asarray(values)
    if values_N.ndim != 1 or len(values_N) == 0:
        raise DataError(f"{name} must be one-dimensional and not empty, got shape {values_N.shape}")
    if length is not None and len(values_N) != length:
        raise DataError(f"{name} has {len(values_N)} examples, not {length}; join both by example id first")
    if values_N.dtype.kind == "f" and np.isnan(values_N).any():
        raise DataError(f"{name} holds a NaN; look for a diverged fit or a missing label")
    return values_N


def finite_column(values: npt.ArrayLike, name: str, length: int | None = None) -> Floats:
    """One finite number an entry, float64 (N,).

    Raises:
        DataError: As for `column`, or a value is no finite number.
    """
    values_N = column(values, name, length)
    if values_N.dtype.kind not in "biuf" or not np.isfinite(values_N).all():
        raise DataError(f"{name} must be finite numbers, got {values_N.tolist()[:10]}")
    return values_N.astype(np.float64)


def whole_numbers(values: npt.ArrayLike, name: str, length: int | None = None) -> Ints:
    """One whole number an example, int64 (N,).

    Raises:
        DataError: As for `column`, or a value is no whole number.
    """
    values_N = finite_column(values, name, length)
    if (values_N != np.floor(values_N)).any():
        raise DataError(f"{name} must be whole numbers, got {values_N.tolist()[:10]}")
    return values_N.astype(np.int64)


def unit_interval(values_N: npt.NDArray[Any], name: str) -> Floats:
    """The values as float64.

    Raises:
        DataError: One is outside [0, 1].
    """
    if values_N.min() < 0 or values_N.max() > 1:
        raise DataError(f"{name} must lie in [0, 1], got {values_N.min():.4g} to {values_N.max():.4g}")
    return values_N.astype(np.float64)


def zero_one(values: npt.ArrayLike, name: str, length: int | None = None) -> npt.NDArray[np.bool_]:
    """One truth value an example, bool (N,).

    Raises:
        DataError: As for `column`, or a value is neither 0 nor 1.
    """
    values_N = column(values, name, length)
    if not np.isin(values_N, (0, 1)).all():
        raise DataError(f"{name} must be 0 or 1 (or false, true) for each example")
    return values_N.astype(bool)


def mean_or_nan(values_N: npt.NDArray[Any]) -> float:
    """The mean, NaN of nothing."""
    return float(values_N.mean()) if len(values_N) else float("nan")
