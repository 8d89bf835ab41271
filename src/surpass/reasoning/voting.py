"""What voting among n samples is worth: the answer with most votes, or with most weight, for all n at once.

The same quantity as in `best_of_n`: the mean over all subsets of n of a problem's M samples. There is no
short closed form for it. `majority_exactly` sums over all outcomes of a vote, which is quick for dozens of
samples; `voting` draws random orders of the samples and follows the vote through each order, so that every
order gives an unbiased value for each n.

Shape suffixes: P problems, M samples of a problem, N sizes of subsets, T trials, A answers.
"""

from __future__ import annotations

from math import comb
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.errors import DataError
from surpass.reasoning.best_of_n import NO_ANSWER, Bools, Floats, Ints, checked_sizes

_ROWS_AT_ONCE = 2000  # orders that are followed at once: their totals stay in the processor's cache


class Votes(NamedTuple):
    """Values of a vote, and how exact they are.

    Attributes:
        values_PN: The share of trials that chose a correct answer, float64 (P, N).
        std_error_N: Standard error of the mean over problems that comes from the number of trials, (N,).
    """

    values_PN: Floats
    std_error_N: Floats


def voting(
    answers_PM: npt.ArrayLike,
    correct_PM: npt.ArrayLike,
    sizes_N: npt.ArrayLike | None = None,
    *,
    weights_PM: npt.ArrayLike | None = None,
    num_trials: int = 10,
    seed: int = 0,
) -> Votes:
    """The probability that the answer with most weight among n random samples is correct.

    Answers with equal weight share the win. Sums of weights are compared as they are, so two answers whose
    weights are equal on paper only may not tie.

    Args:
        answers_PM: The class of each sample's answer within its problem, int (P, M), from 0; `NO_ANSWER` (-1)
            for samples without a vote. A subset of nothing else is wrong.
        correct_PM: Whether the answer is correct, bool (P, M); the same for each sample of a class.
        sizes_N: How many samples are drawn, each in 1 .. M; None for 1, ..., M.
        weights_PM: What each vote weighs, at least 0, such as the score of a reward model; None for one each.
            A sample with the weight 0 or NaN has no vote.
        num_trials: Random orders of each problem's samples.
        seed: Of the random orders.

    Returns:
        The values and their Monte-Carlo error.

    Raises:
        DataError: Shapes differ, a weight is below 0 or infinite, a class is both correct and wrong, or a
            size is out of range.
    """
    answers, correct, sizes = _checked(answers_PM, correct_PM, sizes_N)
    weights = np.ones(answers.shape) if weights_PM is None else np.asarray(weights_PM, dtype=np.float64)
    if weights.shape != answers.shape:
        raise DataError(f"weights have the shape {weights.shape}, and answers {answers.shape}; give one each")
    if np.any(weights < 0) or np.any(np.isinf(weights)):
        raise DataError("a weight is below 0 or infinite; give scores such as probabilities")
    weights = np.nan_to_num(weights)
    if num_trials < 2:
        raise DataError(f"{num_trials} trials have no error that could be known; ask for 2 or more")
    rng = np.random.default_rng([seed, *answers.shape])
    values, variances = [], []
    at_once = max(1, _ROWS_AT_ONCE // num_trials)
    for start in range(0, len(answers), at_once):
        part = slice(start, start + at_once)
        won_PTN = _followed(answers[part], correct[part], weights[part], sizes, num_trials, rng)
        values.append(won_PTN.mean(1, dtype=np.float64))
        variances.append(won_PTN.var(1, ddof=1, dtype=np.float64) / num_trials)
    error_N = np.sqrt(np.concatenate(variances).sum(0)) / len(answers)
    return Votes(np.concatenate(values), error_N)


def _followed(
    answers_PM: Ints,
    correct_PM: Bools,
    weights_PM: Floats,
    sizes_N: Ints,
    num_trials: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """What each trial wins after so many samples, float32 (P, T, N).

    One vote changes one total, and totals only grow: so the highest total, how many answers have it, and how
    many of these are correct are known after each vote without a look at the other answers.
    """
    num_problems, num_samples = answers_PM.shape
    num_answers = int(answers_PM.max(initial=0)) + 1
    num_rows = num_problems * num_trials
    order_PTM = np.broadcast_to(
        np.arange(num_samples, dtype=np.int32), (num_problems, num_trials, num_samples)
    )
    order_PTM = rng.permuted(order_PTM, axis=2)[:, :, : int(sizes_N.max())]
    # What is no vote goes to a last answer, whose total is always below the best.
    votes_PM = (answers_PM >= 0) & (weights_PM > 0)
    answers_PM = np.where(votes_PM, answers_PM, num_answers)
    cells_MR = _in_order(answers_PM.astype(np.int32), order_PTM)
    cells_MR += np.arange(num_rows, dtype=np.int32) * (num_answers + 1)
    weights_MR = _in_order(np.where(votes_PM, weights_PM, 0.0), order_PTM)
    is_right_MR = _in_order((correct_PM & votes_PM).astype(np.float32), order_PTM)
    totals = np.zeros((num_rows, num_answers + 1))
    totals[:, -1] = -1.0
    totals = totals.ravel()
    best_R, tied_R, right_R = (
        np.zeros(num_rows),
        np.ones(num_rows, np.float32),
        np.zeros(num_rows, np.float32),
    )
    place_of = {size: place for place, size in enumerate(sizes_N.tolist())}
    won_NR = np.zeros((len(sizes_N), num_rows), np.float32)
    for step, (cell_R, weight_R, is_right_R) in enumerate(
        zip(cells_MR, weights_MR, is_right_MR, strict=True)
    ):
        after_R = totals.take(cell_R) + weight_R
        totals[cell_R] = after_R
        level_R = after_R == best_R
        ahead_R = after_R > best_R
        tied_R += level_R
        right_R += level_R * is_right_R
        np.copyto(tied_R, 1.0, where=ahead_R)
        np.copyto(right_R, is_right_R, where=ahead_R)
        np.maximum(best_R, after_R, out=best_R)
        if step + 1 in place_of:
            np.divide(right_R, tied_R, out=won_NR[place_of[step + 1]])
    return np.moveaxis(won_NR.reshape(len(sizes_N), num_problems, num_trials), 0, 2)


def _in_order(values_PM: npt.NDArray[Any], order_PTM: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    """The values of each trial's samples in its order, (M, R) for R rows of problems and trials."""
    taken_PTM = np.take_along_axis(values_PM[:, None, :], order_PTM, axis=2)
    return np.ascontiguousarray(taken_PTM.reshape(-1, order_PTM.shape[2]).T)


def majority_exactly(
    answers_PM: npt.ArrayLike, correct_PM: npt.ArrayLike, sizes_N: npt.ArrayLike | None = None
) -> Floats:
    """The probability that the answer with most votes among n random samples is correct, without trials.

    Sums, over how many votes v win and how many answers tie, the number of subsets in which that happens:
    products of polynomials in which x counts samples and y counts ties. About M^2 small operations for each
    problem, so 64 samples take some hundredths of a second, and 1,860 are for `voting`.

    Args:
        answers_PM: As for `voting`.
        correct_PM: As for `voting`.
        sizes_N: As for `voting`.

    Returns:
        Probabilities, float64 (P, N).

    Raises:
        DataError: As `voting`; or M is above 1,000, where numbers of subsets overflow.
    """
    answers, correct, sizes = _checked(answers_PM, correct_PM, sizes_N)
    num_samples = answers.shape[1]
    if num_samples > 1000:
        raise DataError(f"{num_samples} samples are too many to sum over all votes; use voting")
    subsets_N = np.array([float(comb(num_samples, size)) for size in sizes.tolist()])
    values = np.zeros((len(answers), len(sizes)))
    for place, (said_M, right_M) in enumerate(zip(answers, correct, strict=True)):
        counts_A = np.bincount(said_M[said_M >= 0], minlength=1)
        is_right_A = np.zeros(len(counts_A), dtype=bool)
        is_right_A[said_M[(said_M >= 0) & right_M]] = True
        ways = _ways_to_win(counts_A, is_right_A, num_samples)
        values[place] = ways[sizes] / subsets_N
    return values


def _ways_to_win(counts_A: Ints, is_right_A: Bools, num_samples: int) -> Floats:
    """Of each size of a subset, how many are won by a correct answer; ties count by their share; (M + 1,)."""
    ways = np.zeros(num_samples + 1)
    for votes in range(1, int(counts_A.max(initial=0)) + 1):
        # The rest never reaches so many votes: any number of its samples may be in a subset.
        strong = [answer for answer in np.flatnonzero(counts_A >= votes) if counts_A[answer]]
        rest = num_samples - int(sum(counts_A[answer] for answer in strong))
        for winner in strong:
            if is_right_A[winner]:
                others = [int(counts_A[answer]) for answer in strong if answer != winner]
                ways += _ways_with(int(counts_A[winner]), votes, others, rest, num_samples)
    return ways


def _ways_with(count: int, votes: int, others: list[int], rest: int, num_samples: int) -> Floats:
    # Rows: answers that tie with the winner; columns: samples in the subset.
    table = np.zeros((len(others) + 1, num_samples + 1))
    table[0, votes : votes + rest + 1] = [
        float(comb(count, votes) * comb(rest, taken)) for taken in range(rest + 1)
    ]
    for other in others:
        grown = np.zeros_like(table)
        for fewer in range(votes):
            grown[:, fewer:] += comb(other, fewer) * table[:, : num_samples + 1 - fewer]
        grown[1:, votes:] += comb(other, votes) * table[:-1, : num_samples + 1 - votes]
        table = grown
    shares = 1.0 / np.arange(1, len(others) + 2)
    won: Floats = shares @ table
    return won


def _checked(
    answers_PM: npt.ArrayLike, correct_PM: npt.ArrayLike, sizes_N: npt.ArrayLike | None
) -> tuple[Ints, Bools, Ints]:
    answers, correct = np.asarray(answers_PM), np.asarray(correct_PM, dtype=bool)
    if answers.shape != correct.shape or answers.ndim != 2 or 0 in answers.shape:
        raise DataError(
            f"answers have the shape {answers.shape} and correctness {correct.shape}; both have to be "
            "(problems, samples)"
        )
    if not np.issubdtype(answers.dtype, np.integer) or answers.min() < NO_ANSWER:
        raise DataError(
            f"answers are {answers.dtype} from {answers.min()}; give whole numbers from 0, {NO_ANSWER} for "
            "none (answer_classes makes them of texts)"
        )
    if answers.max() >= answers.shape[1]:
        raise DataError(
            f"there is an answer of class {answers.max()} among {answers.shape[1]} samples; number the "
            "answers of each problem from 0 (answer_classes does)"
        )
    cells = (np.arange(len(answers)) * answers.shape[1])[:, None] + np.maximum(answers, 0)
    said = answers >= 0
    votes = np.bincount(cells[said], minlength=answers.size)
    right = np.bincount(cells[said & correct], minlength=answers.size)
    both = np.flatnonzero((right > 0) & (right < votes))
    if len(both):
        problem, answer = divmod(int(both[0]), answers.shape[1])
        raise DataError(
            f"answer {answer} of problem {problem} is correct in one sample and wrong in another; grade each "
            "answer once"
        )
    return answers.astype(np.int64), correct, checked_sizes(sizes_N, answers.shape[1])
