"""What choosing the best of n samples is worth, for all n at once.

Each problem has M samples. The best of n is the mean over all subsets of n of them (without replacement) of
whether the sample that is chosen is correct: an unbiased estimate of the accuracy of best-of-n, without the
noise of drawing subsets. A sample that cannot be chosen (it is missing, cut off or without an answer) has the
score NaN; a subset of nothing else is wrong. Samples with equal scores share what they win.

Source:
    Lightman et al. 2023, section 4 and the released evaluation, which draws 400 random subsets for each n;
    Chen et al. 2021 for pass@k. Differs: closed forms of what those estimate.

Shape suffixes: P problems, M samples of a problem, N sizes of subsets, T trials, A answers, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from surpass.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NO_ANSWER = -1
"""The class of a sample without an answer, where votes are counted."""


def all_sizes(num_samples: int) -> Ints:
    """1, 2, ..., M, int64 (M,)."""
    return np.arange(1, num_samples + 1)


def best_of_n(
    scores_PM: npt.ArrayLike, correct_PM: npt.ArrayLike, sizes_N: npt.ArrayLike | None = None
) -> Floats:
    """The probability that the sample with the highest score among n random ones is correct.

    Args:
        scores_PM: Scores, (P, M); NaN for samples that are never chosen, infinities are scores.
        correct_PM: Whether each is correct, bool (P, M).
        sizes_N: How many samples are drawn, each in 1 .. M; None for 1, ..., M.

    Returns:
        Probabilities, float64 (P, N).

    Raises:
        DataError: Shapes differ, there is no problem or sample, or a size is out of range.
    """
    scores_PM, correct_PM, sizes_N = _checked(scores_PM, correct_PM, sizes_N)
    eligible_PM = ~np.isnan(scores_PM)
    order_PM = np.argsort(np.where(eligible_PM, -scores_PM, np.inf), axis=1, kind="stable")
    # +inf is where NaN went, and -inf is a score: eligible ones come first among those equal to it.
    order_PM = np.take_along_axis(
        order_PM, np.argsort(~np.take_along_axis(eligible_PM, order_PM, 1), axis=1, kind="stable"), 1
    )
    ranked_PM = np.take_along_axis(scores_PM, order_PM, 1)
    right_PM = np.take_along_axis(correct_PM & eligible_PM, order_PM, 1).astype(np.float64)
    return _shared(ranked_PM, right_PM) @ top_ranks(scores_PM.shape[1], tuple(sizes_N.tolist()))


def oracle(correct_PM: npt.ArrayLike, sizes_N: npt.ArrayLike | None = None) -> Floats:
    """The probability that at least one of n random samples is correct (pass@n), float64 (P, N).

    Raises:
        DataError: As `best_of_n`.
    """
    correct = np.asarray(correct_PM, dtype=bool)
    return best_of_n(correct.astype(np.float64), correct, sizes_N)


def mean_of_n(correct_PM: npt.ArrayLike, sizes_N: npt.ArrayLike | None = None) -> Floats:
    """The probability that a sample drawn at random is correct: the same for each n, float64 (P, N).

    Raises:
        DataError: As `best_of_n`.
    """
    correct = np.asarray(correct_PM, dtype=bool)
    return best_of_n(np.zeros(correct.shape), correct, sizes_N)


@lru_cache(maxsize=8)
def top_ranks(num_samples: int, sizes: tuple[int, ...]) -> Floats:
    """The probability that of n random samples the best is the k-th best of all, float64 (M, N), k from 0.

    That is n / (M - k) times the probability that none of the k better ones is drawn, a product of k factors
    (M - j - n) / (M - j): no difference of large numbers, and no binomial coefficient that overflows.
    """
    sizes_N = np.asarray(sizes, dtype=np.float64)
    left_M1 = np.arange(num_samples, 0, -1, dtype=np.float64)[:, None]
    factors_MN = np.maximum(left_M1 - sizes_N, 0.0) / left_M1
    none_better_MN = np.ones((num_samples, len(sizes)))
    np.cumprod(factors_MN[:-1], axis=0, out=none_better_MN[1:])
    # Past the last rank that can be the best, the product is 0 but n / (M - k) is above 1.
    probs_MN = none_better_MN * np.minimum(sizes_N / left_M1, 1.0)
    probs_MN.flags.writeable = False
    return probs_MN


def _shared(ranked_PM: Floats, right_PM: Floats) -> Floats:
    """What each rank wins: the mean over the samples that share its score."""
    num_problems, num_samples = ranked_PM.shape
    starts_PM = np.ones((num_problems, num_samples), dtype=bool)
    starts_PM[:, 1:] = ranked_PM[:, 1:] != ranked_PM[:, :-1]
    starts = np.flatnonzero(starts_PM)  # rows begin with a start, so no group goes over the end of a row
    lengths = np.diff(starts, append=num_problems * num_samples)
    means = np.add.reduceat(right_PM.ravel(), starts) / lengths
    return np.repeat(means, lengths).reshape(num_problems, num_samples)


def _checked(
    scores_PM: npt.ArrayLike, correct_PM: npt.ArrayLike, sizes_N: npt.ArrayLike | None
) -> tuple[Floats, Bools, Ints]:
    scores = np.asarray(scores_PM, dtype=np.float64)
    correct = np.asarray(correct_PM, dtype=bool)
    if scores.shape != correct.shape or scores.ndim != 2 or 0 in scores.shape:
        raise DataError(
            f"scores have the shape {scores.shape} and correctness {correct.shape}; both have to be "
            "(problems, samples); pad missing samples with NaN and False (padded does)"
        )
    return scores, correct, checked_sizes(sizes_N, scores.shape[1])


def checked_sizes(sizes_N: npt.ArrayLike | None, num_samples: int) -> Ints:
    """Sizes of subsets as int64 (N,), all from 1 to M where there are None.

    Raises:
        DataError: A size is out of range or no whole number, or there is none.
    """
    if sizes_N is None:
        return all_sizes(num_samples)
    sizes = np.atleast_1d(np.asarray(sizes_N))
    wrong = [size for size in sizes.ravel().tolist() if size != int(size) or not 1 <= size <= num_samples]
    if wrong or sizes.ndim != 1 or not sizes.size:
        raise DataError(
            f"best of {wrong[0] if wrong else sizes.tolist()} cannot be known from {num_samples} samples of "
            f"a problem; name sizes from 1 to {num_samples}"
        )
    return sizes.astype(np.int64)


def padded(rows: Sequence[Sequence[Any]], *, fill: Any, width: int | None = None) -> npt.NDArray[Any]:
    """Rows of unequal length as one array, (P, M); what is missing is `fill`.

    Args:
        rows: Of each problem, a value for each sample; None is missing too.
        fill: NaN for scores, False for correctness, `NO_ANSWER` for classes of answers.
        width: M; None for the longest row.

    Raises:
        DataError: A row is longer than `width`.
    """
    longest = max((len(row) for row in rows), default=0)
    width = longest if width is None else width
    if longest > width:
        raise DataError(f"a problem has {longest} samples, more than {width}; raise the width")
    array = np.full((len(rows), width), fill)
    for place, row in enumerate(rows):
        array[place, : len(row)] = [fill if value is None else value for value in row]
    return array


def answer_classes(answers: Sequence[Sequence[str | None]]) -> Ints:
    """Of each sample the number of its answer among those of its problem, int64 (P, M); `NO_ANSWER` for None.

    Answers that are the same text are the same; write them in one form first where 0.5 and 1/2 are to vote
    together.
    """
    rows = []
    for row in answers:
        numbers: dict[str, int] = {}
        rows.append([None if said is None else numbers.setdefault(said, len(numbers)) for said in row])
    classes: Ints = padded(rows, fill=NO_ANSWER).astype(np.int64)
    return classes
