"""From scores of steps to a score of the solution.

Solutions lie one behind the other, so that one call reduces all of them: `probs` holds the steps of all
solutions, `lengths` how many steps each has.

Shape suffixes: K steps of all solutions, S solutions, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from surpass.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Neutral = Literal["positive", "negative"]
NEUTRALS: tuple[Neutral, ...] = ("positive", "negative")

WRONG, NEUTRAL, CORRECT = 0, 1, 2
"""The three classes of a step: rated -1, 0 and 1."""


def product(probs_K: Floats, starts_S: Ints, lengths_S: Ints) -> Floats:
    """The probability that each step is correct, were they independent: the paper's choice."""
    products: Floats = np.multiply.reduceat(probs_K, starts_S)
    return products


def minimum(probs_K: Floats, starts_S: Ints, lengths_S: Ints) -> Floats:
    """The worst step."""
    worst: Floats = np.minimum.reduceat(probs_K, starts_S)
    return worst


def last(probs_K: Floats, starts_S: Ints, lengths_S: Ints) -> Floats:
    """The last step."""
    of_last: Floats = probs_K[starts_S + lengths_S - 1]
    return of_last


def mean(probs_K: Floats, starts_S: Ints, lengths_S: Ints) -> Floats:
    """The mean over steps."""
    means: Floats = np.add.reduceat(probs_K, starts_S) / lengths_S
    return means


Reduction = Callable[[Floats, Ints, Ints], Floats]

REDUCTIONS: dict[str, Reduction] = {
    "product": product,
    "minimum": minimum,
    "last": last,
    "mean": mean,
}


def correctness(probs_KC: npt.ArrayLike, *, neutral: Neutral = "positive") -> Floats:
    """P(correct) of each step, from the probabilities of two or three classes.

    Args:
        probs_KC: (K, 2), wrong and correct; or (K, 3), wrong, neutral and correct. Rows sum to 1.
        neutral: Whether a neutral step counts as correct ("positive", the paper's choice) or as wrong.

    Returns:
        float64 (K,).

    Raises:
        DataError: Another shape, or rows that are no probabilities.
        ConfigError: `neutral` is neither.
    """
    probs = np.asarray(probs_KC, dtype=np.float64)
    if neutral not in NEUTRALS:
        raise ConfigError(f"neutral={neutral!r}; allowed are {' and '.join(NEUTRALS)}")
    if probs.ndim != 2 or probs.shape[1] not in (2, 3):
        raise DataError(f"probabilities of steps have the shape {probs.shape}; expected (steps, 2 or 3)")
    wrong = np.flatnonzero(~((probs >= 0).all(1) & (np.abs(probs.sum(1) - 1) <= 1e-3)))
    if len(wrong):
        raise DataError(f"step {wrong[0]} has the probabilities {probs[wrong[0]].tolist()}; they sum to 1")
    if probs.shape[1] == 2:
        return probs[:, 1]
    correct: Floats = probs[:, CORRECT] + (probs[:, NEUTRAL] if neutral == "positive" else 0.0)
    # Two numbers may add up to a little more than 1.
    return np.minimum(correct, 1.0)


def solution_scores(
    probs_K: npt.ArrayLike, lengths_S: npt.ArrayLike, *, reduction: str = "product"
) -> Floats:
    """The score of each solution, from P(correct) of its steps.

    Args:
        probs_K: P(correct) of the steps of all solutions, in order, each in [0, 1]; (K,).
        lengths_S: How many of them each solution has, (S,), summing to K.
        reduction: A key of `REDUCTIONS`.

    Returns:
        float64 (S,).

    Raises:
        DataError: A solution has no steps, lengths do not sum to K, or a score is outside [0, 1].
        ConfigError: There is no such reduction.

    Source:
        Lightman et al. 2023, section 2.6 and appendix F.2: product and minimum.
    """
    if reduction not in REDUCTIONS:
        raise ConfigError(f"there is no reduction {reduction!r}; allowed are {', '.join(REDUCTIONS)}")
    probs, lengths, starts = checked_steps(probs_K, lengths_S)
    return REDUCTIONS[reduction](probs, starts, lengths)


def checked_steps(probs_K: npt.ArrayLike, lengths_S: npt.ArrayLike) -> tuple[Floats, Ints, Ints]:
    """Scores of steps, lengths of solutions and where each begins, all of them checked.

    Raises:
        DataError: A solution has no steps, lengths do not sum to K, or a score is outside [0, 1].
    """
    probs, lengths = np.asarray(probs_K, dtype=np.float64), np.asarray(lengths_S, dtype=np.int64)
    if lengths.ndim != 1 or not len(lengths):
        raise DataError(f"lengths have the shape {lengths.shape}; give one for each solution")
    empty = np.flatnonzero(lengths < 1)
    if len(empty):
        raise DataError(
            f"solution {empty[0]} has {lengths[empty[0]]} steps; a solution without steps has no score: "
            "leave it out"
        )
    if probs.shape != (int(lengths.sum()),):
        raise DataError(f"there are {probs.shape} scores, and solutions of {lengths.sum()} steps together")
    outside = np.flatnonzero(~((probs >= 0) & (probs <= 1)))
    if len(outside):
        raise DataError(f"step {outside[0]} has the score {probs[outside[0]]}; expected 0 to 1")
    return probs, lengths, np.cumsum(lengths) - lengths
