"""How good predictions are: accuracy, AUROC, log loss, Brier score.

Shape suffixes: N examples, C candidates or classes.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from surpass.errors import ConfigError, DataError
from surpass.metrics.checks import Floats, Ints, Probs, column, rows_of, truth_of, unit_interval

MultiClass = Literal["one-vs-rest", "pairwise"]


def predictions(probs: Probs) -> Ints:
    """Return the most probable candidate of each example, int64 (N,); the first of several equal ones.

    Raises:
        DataError: `probs` is empty, holds a NaN, or a row is no probability distribution.
    """
    best_N: Ints = rows_of(probs).probs_NC.argmax(axis=1)
    return best_N


def confidences(probs: Probs) -> Floats:
    """Return the probability of the most probable candidate, float64 (N,).

    Raises:
        DataError: As for `predictions`.
    """
    highest_N: Floats = rows_of(probs).probs_NC.max(axis=1)
    return highest_N


def truth_probs(probs: Probs, truth_N: npt.ArrayLike) -> Floats:
    """Return the probability given to the true candidate, float64 (N,).

    Raises:
        DataError: As for `predictions`, or `truth_N` does not name a candidate of each example.
    """
    rows = rows_of(probs)
    truth_prob_N: Floats = rows.probs_NC[
        np.arange(len(rows.probs_NC)), truth_of(truth_N, rows.num_candidates_N)
    ]
    return truth_prob_N


def accuracy(predictions_N: npt.ArrayLike, truth_N: npt.ArrayLike) -> float:
    """Return the fraction of predictions that equal the truth.

    Raises:
        DataError: Nothing to compare, unequal lengths, or a NaN.
    """
    predictions_N = column(predictions_N, "predictions")
    return float(np.mean(predictions_N == column(truth_N, "truth", len(predictions_N))))


def log_loss(truth_prob_N: npt.ArrayLike) -> float:
    """Return the mean negative log probability of the truth, nats: minus the log-likelihood per example.

    Infinite where a truth was given probability 0: no clipping hides it.

    Args:
        truth_prob_N: Probability of the true candidate, (N,), from `truth_probs`.

    Raises:
        DataError: Empty, NaN, or outside [0, 1].
    """
    prob_N = unit_interval(column(truth_prob_N, "truth probabilities"), "truth probabilities")
    with np.errstate(divide="ignore"):
        return float(np.mean(-np.log(prob_N))) + 0.0


def brier(probs: Probs, truth_N: npt.ArrayLike) -> float:
    """Return the mean squared distance between the probabilities and the one-hot truth, in [0, 2].

    Raises:
        DataError: As for `truth_probs`.

    Source:
        Brier 1950, the original definition summed over all candidates (twice the binary one).
    """
    probs_NC = rows_of(probs).probs_NC
    return float(np.mean((probs_NC**2).sum(axis=1) - 2 * truth_probs(probs, truth_N) + 1))


def auroc(probs: Probs, truth_N: npt.ArrayLike, *, multi_class: MultiClass = "one-vs-rest") -> float:
    """Return the area under the ROC curve for classes that all examples share; NaN unless every class occurs.

    Two classes: the chance that an example of class 1 is given more of class 1 than one of class 0,
    equal values counting half. More classes: the mean of that over classes, each against the rest,
    or over ordered pairs of classes (i, j), by the probability of i among examples of i and j. Both
    count every class alike, however rare.

    Candidates that differ from example to example, such as legal moves, are no classes: candidate 1 of
    one example has nothing in common with candidate 1 of another, and there is no AUROC. Rows of
    unequal length are refused; rows that happen to be equally long cannot be told, so do not ask.

    Args:
        probs: Probabilities, (N, C), of the same C classes for every example.
        truth_N: True class of each example, (N,).
        multi_class: What to average over where C > 2.

    Raises:
        DataError: As for `truth_probs`, rows of unequal length, or fewer than two classes.
        ConfigError: `multi_class` is none of the two.

    Source:
        Hanley and McNeil 1982 (rank formula); Hand and Till 2001 (pairwise).
    """
    if multi_class not in ("one-vs-rest", "pairwise"):
        raise ConfigError(f'multi_class is {multi_class!r}; use "one-vs-rest" or "pairwise"')
    probs_NC, num_candidates_N = rows_of(probs)
    num_classes = probs_NC.shape[1]
    if num_candidates_N.min() < num_classes or num_classes < 2:
        raise DataError(
            "AUROC needs the same classes for every example, at least two; got rows of "
            f"{num_candidates_N.min()} to {num_classes}: leave it out for candidates that differ"
        )
    truth_N = truth_of(truth_N, num_candidates_N)
    if num_classes == 2:
        return _area(probs_NC[:, 1], truth_N == 1)
    if multi_class == "one-vs-rest":
        return float(np.mean([_area(probs_NC[:, c], truth_N == c) for c in range(num_classes)]))
    areas = []
    for this, other in permutations(range(num_classes), 2):
        among_N = (truth_N == this) | (truth_N == other)
        areas.append(_area(probs_NC[among_N, this], truth_N[among_N] == this))
    return float(np.mean(areas))


def _area(score_N: Floats, positive_N: npt.NDArray[Any]) -> float:
    """Mann-Whitney U over its largest value; ranks and their sums are multiples of 1/2, hence exact."""
    num_positive = int(positive_N.sum())
    num_negative = len(positive_N) - num_positive
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    _, place_N, count = np.unique(score_N, return_inverse=True, return_counts=True)
    mid_rank = np.cumsum(count) - (count - 1) / 2
    rank_sum = mid_rank[place_N][positive_N].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))
