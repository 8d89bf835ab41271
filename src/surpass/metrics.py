"""Metrics of choice tasks: how good predictions are, how well calibrated, and whose mistakes they repeat.

A model spreads probability over the candidates of each example. Candidates may differ in number
(legal moves), so `probs` is either a padded array with zeros behind each row or a list of rows.

Shape suffixes: N examples, C candidates, B bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Probs = npt.NDArray[Any] | Sequence[npt.ArrayLike]

ROW_SUM_TOLERANCE = 1e-2  # admits probabilities that were stored as bfloat16


class AgreementSplit(NamedTuple):
    """Student-supervisor agreement as fractions; NaN where there is no such example."""

    overall: float
    when_right: float
    when_wrong: float


class CalibrationBins(NamedTuple):
    """Mean confidence, accuracy and number of examples of each bin that is not empty."""

    confidence_B: Floats
    accuracy_B: Floats
    count_B: Ints


def predictions(probs: Probs) -> Ints:
    """Return the most probable candidate of each example, int64 (N,); the first of several equal ones.

    Raises:
        DataError: `probs` is empty, holds a NaN, or a row is no probability distribution.
    """
    best_N: Ints = _padded(probs).argmax(axis=1)
    return best_N


def confidences(probs: Probs) -> Floats:
    """Return the probability of the most probable candidate, float64 (N,).

    Raises:
        DataError: As for `predictions`.
    """
    highest_N: Floats = _padded(probs).max(axis=1)
    return highest_N


def truth_probs(probs: Probs, truth_N: npt.ArrayLike) -> Floats:
    """Return the probability given to the true candidate, float64 (N,).

    Raises:
        DataError: As for `predictions`, or `truth_N` does not name a candidate of each example.
    """
    probs_NC = _padded(probs)
    truth_N = _column(truth_N, "truth", len(probs_NC)).astype(np.int64)
    num_candidates = probs_NC.shape[1]
    if truth_N.min() < 0 or truth_N.max() >= num_candidates:
        raise DataError(
            f"truth is {truth_N.min()}..{truth_N.max()}, but candidates are 0..{num_candidates - 1}; "
            "check that labels and candidates are of the same task"
        )
    truth_prob_N: Floats = probs_NC[np.arange(len(probs_NC)), truth_N]
    return truth_prob_N


def accuracy(predictions_N: npt.ArrayLike, truth_N: npt.ArrayLike) -> float:
    """Return the fraction of predictions that equal the truth.

    Raises:
        DataError: Nothing to compare, unequal lengths, or a NaN.
    """
    return _equal_frac(predictions_N, truth_N, ("predictions", "truth"))


def log_loss(truth_prob_N: npt.ArrayLike) -> float:
    """Return the mean negative log probability of the truth, nats.

    Infinite where a truth was given probability 0: no clipping hides it.

    Args:
        truth_prob_N: Probability of the true candidate, (N,), from `truth_probs`.

    Raises:
        DataError: Empty, NaN, or outside [0, 1].
    """
    prob_N = _unit_interval(_column(truth_prob_N, "truth probabilities"), "truth probabilities")
    with np.errstate(divide="ignore"):
        return float(np.mean(-np.log(prob_N))) + 0.0


def brier(probs: Probs, truth_N: npt.ArrayLike) -> float:
    """Return the mean squared distance between the probabilities and the one-hot truth, in [0, 2].

    Raises:
        DataError: As for `truth_probs`.

    Source:
        Brier 1950, the original definition summed over all candidates (twice the binary one).
    """
    probs_NC = _padded(probs)
    return float(np.mean((probs_NC**2).sum(axis=1) - 2 * truth_probs(probs, truth_N) + 1))


def calibration_bins(
    confidence_N: npt.ArrayLike, correct_N: npt.ArrayLike, *, num_bins: int = 15
) -> CalibrationBins:
    """Compare confidence with accuracy in B bins of equal width.

    The bins are [0, 1/B], (1/B, 2/B], and so on. Equal width rather than equal mass, so that
    examples of equal confidence always share a bin and the order of the examples cannot matter.

    Args:
        confidence_N: Probability of the prediction, (N,), in [0, 1].
        correct_N: Whether the prediction is right, 0 or 1, (N,).
        num_bins: Number of bins before the empty ones are left out.

    Raises:
        DataError: Empty, NaN, unequal lengths, or confidence outside [0, 1].
        ConfigError: `num_bins` is below 1.
    """
    if num_bins < 1:
        raise ConfigError(f"num_bins is {num_bins}; use at least 1 (15 is customary)")
    confidence_N = _unit_interval(_column(confidence_N, "confidences"), "confidences")
    correct_N = _zero_one(correct_N, "correct", len(confidence_N))
    edges = np.linspace(0, 1, num_bins + 1)[1:-1]
    bin_N = np.searchsorted(edges, confidence_N, side="left")
    count_B = np.bincount(bin_N, minlength=num_bins)
    used = count_B > 0
    confidence_B = np.bincount(bin_N, confidence_N, num_bins)[used] / count_B[used]
    accuracy_B = np.bincount(bin_N, correct_N, num_bins)[used] / count_B[used]
    return CalibrationBins(confidence_B, accuracy_B, count_B[used])


def expected_calibration_error(
    confidence_N: npt.ArrayLike, correct_N: npt.ArrayLike, *, num_bins: int = 15
) -> float:
    """Return the mean distance between confidence and accuracy over equal-width bins, weighted by examples.

    Args and errors are those of `calibration_bins`.

    Source:
        Guo et al. 2017, "On calibration of modern neural networks", eq. 3 (15 bins there too).
    """
    bins = calibration_bins(confidence_N, correct_N, num_bins=num_bins)
    distance_B = np.abs(bins.confidence_B - bins.accuracy_B)
    return float(np.average(distance_B, weights=bins.count_B))


def agreement(student_predictions_N: npt.ArrayLike, weak_predictions_N: npt.ArrayLike) -> float:
    """Return the fraction of examples on which student and weak supervisor predict the same.

    Raises:
        DataError: Nothing to compare, unequal lengths, or a NaN.

    Source:
        Burns et al. 2023, section 5.1.2.
    """
    return _equal_frac(student_predictions_N, weak_predictions_N, ("student predictions", "weak predictions"))


def agreement_split(
    student_predictions_N: npt.ArrayLike, weak_predictions_N: npt.ArrayLike, weak_correct_N: npt.ArrayLike
) -> AgreementSplit:
    """Split agreement: overall, where the weak supervisor is right, and where it is wrong.

    Agreement with a wrong supervisor is imitation of its errors, which a good method avoids.

    Raises:
        DataError: Nothing to compare, unequal lengths, a NaN, or `weak_correct_N` not 0 or 1.

    Source:
        Burns et al. 2023, section 5.1.2.
    """
    overall = agreement(student_predictions_N, weak_predictions_N)
    same_N = np.equal(student_predictions_N, weak_predictions_N)
    right_N = _zero_one(weak_correct_N, "weak correct", len(same_N)).astype(bool)
    return AgreementSplit(overall, _mean_or_nan(same_N[right_N]), _mean_or_nan(same_N[~right_N]))


def _equal_frac(left_N: npt.ArrayLike, right_N: npt.ArrayLike, names: tuple[str, str]) -> float:
    left_N = _column(left_N, names[0])
    return float(np.mean(left_N == _column(right_N, names[1], len(left_N))))


def _mean_or_nan(values_N: npt.NDArray[Any]) -> float:
    return float(values_N.mean()) if len(values_N) else float("nan")


def _padded(probs: Probs) -> Floats:
    """Probabilities as one array (N, C), zeros behind shorter rows."""
    if isinstance(probs, np.ndarray):
        probs_NC = np.asarray(probs, np.float64)
    else:
        rows = [np.asarray(row, np.float64) for row in probs]
        if any(row.ndim != 1 for row in rows):
            raise DataError("each row of probabilities must be one-dimensional, one number a candidate")
        probs_NC = np.zeros((len(rows), max(map(len, rows), default=0)))
        for padded, row in zip(probs_NC, rows, strict=True):
            padded[: len(row)] = row
    if probs_NC.ndim != 2 or probs_NC.size == 0:
        raise DataError(f"probabilities must be (examples, candidates) and not empty, got {probs_NC.shape}")
    if np.isnan(probs_NC).any():
        raise DataError("probabilities hold a NaN; look for a diverged fit")
    sums_N = probs_NC.sum(axis=1)
    worst = int(np.abs(sums_N - 1).argmax())
    if abs(sums_N[worst] - 1) > ROW_SUM_TOLERANCE or probs_NC.min() < 0:
        raise DataError(
            f"probabilities must be at least 0 and sum to 1 in each row; the lowest is {probs_NC.min():.4g} "
            f"and row {worst} sums to {sums_N[worst]:.4g}; apply a softmax to logits first"
        )
    return probs_NC


def _column(values: npt.ArrayLike, name: str, length: int | None = None) -> npt.NDArray[Any]:
    values_N = np.asarray(values)
    if values_N.ndim != 1 or len(values_N) == 0:
        raise DataError(f"{name} must be one-dimensional and not empty, got shape {values_N.shape}")
    if length is not None and len(values_N) != length:
        raise DataError(f"{name} has {len(values_N)} examples, not {length}; join both by example id first")
    if values_N.dtype.kind == "f" and np.isnan(values_N).any():
        raise DataError(f"{name} holds a NaN; look for a diverged fit or a missing label")
    return values_N


def _unit_interval(values_N: npt.NDArray[Any], name: str) -> Floats:
    if values_N.min() < 0 or values_N.max() > 1:
        raise DataError(f"{name} must lie in [0, 1], got {values_N.min():.4g} to {values_N.max():.4g}")
    return values_N.astype(np.float64)


def _zero_one(values: npt.ArrayLike, name: str, length: int) -> npt.NDArray[Any]:
    values_N = _column(values, name, length)
    if not np.isin(values_N, (0, 1)).all():
        raise DataError(f"{name} must be 0 or 1 (or false, true) for each example")
    return values_N
