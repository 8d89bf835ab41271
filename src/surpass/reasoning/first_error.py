"""Finding the first wrong step: what ProcessBench asks.

A solution's label is the place of its first wrong step, or -1 where none is wrong. A prediction is right
where it is exactly that. Accuracy is taken over solutions with an error and over those without, and F1 is the
harmonic mean of both: a judge that always, or never, finds an error has 0.

Shape suffixes: K steps of all solutions, S solutions, B resamples, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surpass.errors import ConfigError, DataError
from surpass.reasoning.reductions import Floats, Ints, checked_steps
from surpass.reasoning.solutions import NO_ERROR

THRESHOLD = 0.5
_AT_ONCE = 20_000_000  # cells of a table of draws


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstError:
    """How well first errors are found, as fractions.

    Attributes:
        f1: Harmonic mean of the two accuracies.
        low: Lower end of the interval of F1.
        high: Upper end.
        on_wrong: Accuracy over solutions with an error.
        on_right: Accuracy over solutions without one.
        num_wrong: How many solutions have an error.
        num_right: How many have none.
        level: Of the interval.
    """

    f1: float
    low: float
    high: float
    on_wrong: float
    on_right: float
    num_wrong: int
    num_right: int
    level: float


def predicted_first_errors(
    probs_K: npt.ArrayLike, lengths_S: npt.ArrayLike, *, threshold: float = THRESHOLD
) -> Ints:
    """The first step of each solution whose P(correct) is below a threshold; -1 where none is; int64 (S,).

    Args:
        probs_K: P(correct) of the steps of all solutions, in order, (K,).
        lengths_S: How many of them each solution has, (S,).
        threshold: 0.5, or what `best_threshold` found on other problems.

    Raises:
        DataError: A solution has no steps, lengths do not sum to K, or a score is outside [0, 1].
    """
    probs, lengths, starts = checked_steps(probs_K, lengths_S)
    places = np.arange(len(probs)) - np.repeat(starts, lengths)
    none = len(probs)
    first: Ints = np.minimum.reduceat(np.where(probs < threshold, places, none), starts)
    return np.where(first == none, NO_ERROR, first)


def first_error_scores(
    predicted_S: npt.ArrayLike,
    labels_S: npt.ArrayLike,
    *,
    problems_S: npt.ArrayLike | None = None,
    level: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> FirstError:
    """Accuracies and F1, with a percentile bootstrap interval of F1.

    Args:
        predicted_S: The first wrong step that is said of each solution, -1 for none.
        labels_S: The true one, -1 for none.
        problems_S: What problem each solution is of, any values: resamples are of problems then, since
            solutions of one problem are right or wrong together. None resamples solutions.
        level: Of the interval, in (0, 1).
        num_resamples: How many resamples.
        seed: Of the resamples.

    Raises:
        DataError: Shapes differ; or no solution has an error, or each has one: there is no F1.
        ConfigError: `level` or `num_resamples` is out of range.

    Source:
        Zheng et al. 2024 (ProcessBench), section 2 and its released evaluation. Differs: the interval is
        ours.
    """
    predicted, labels = np.asarray(predicted_S), np.asarray(labels_S)
    if predicted.shape != labels.shape or labels.ndim != 1:
        raise DataError(f"{predicted.shape} predictions and {labels.shape} labels; give one each a solution")
    if labels.size and labels.min() < NO_ERROR:
        raise DataError(f"a label is {labels.min()}; steps count from 0, and {NO_ERROR} is no error")
    if not 0 < level < 1 or num_resamples < 100:
        raise ConfigError(f"level={level}, num_resamples={num_resamples}; allowed: (0, 1), and 100 or more")
    has_error, hit = labels != NO_ERROR, predicted == labels
    if has_error.all() or not has_error.any():
        raise DataError(
            f"{int(has_error.sum())} of {len(labels)} solutions have an error; F1 needs some with and some "
            "without"
        )
    cells_S4 = np.stack([hit & has_error, has_error, hit & ~has_error, ~has_error], 1).astype(np.float64)
    on_wrong, on_right = _accuracies(cells_S4.sum(0))
    low, high = _interval(_grouped(cells_S4, problems_S), level, num_resamples, seed)
    return FirstError(
        f1=float(_harmonic(on_wrong, on_right)),
        low=low,
        high=high,
        on_wrong=float(on_wrong),
        on_right=float(on_right),
        num_wrong=int(has_error.sum()),
        num_right=int((~has_error).sum()),
        level=level,
    )


def best_threshold(probs_K: npt.ArrayLike, lengths_S: npt.ArrayLike, labels_S: npt.ArrayLike) -> float:
    """The threshold with the highest F1 on some solutions, to be used on others.

    Exact: each solution is judged rightly for the thresholds between two of its scores, so F1 changes at
    scores only. Of equally good ones the middle of the widest range is taken.

    Raises:
        DataError: As `predicted_first_errors`; a label is no step of its solution; or there is no F1.
    """
    probs, lengths, starts = checked_steps(probs_K, lengths_S)
    labels = np.asarray(labels_S, dtype=np.int64)
    if labels.shape != lengths.shape or (labels >= lengths).any() or (labels < NO_ERROR).any():
        raise DataError("there is not one label for each solution, or one is no step of its solution")
    # Right for thresholds in (above, up to]: above the score of the first error, up to the least before it.
    above_S, up_to_S = np.full(len(labels), -np.inf), np.empty(len(labels))
    for place, (start, length, label) in enumerate(zip(starts, lengths, labels, strict=True)):
        scores = probs[start : start + length]
        before = scores if label == NO_ERROR else scores[:label]
        up_to_S[place] = before.min(initial=np.inf)
        above_S[place] = -np.inf if label == NO_ERROR else scores[label]
    ends = np.unique(np.concatenate([probs, [0.0, 1.0]]))
    edges = np.concatenate([ends, [np.nextafter(1.0, 2.0)]])
    middles = (edges[1:] + edges[:-1]) / 2
    shares = []
    for of_class in (labels != NO_ERROR, labels == NO_ERROR):
        if not of_class.any():
            raise DataError("all solutions have an error, or none has; F1 needs some with and some without")
        low, high = above_S[of_class], up_to_S[of_class]
        real = low < high
        hits = np.searchsorted(np.sort(low[real]), middles, "left") - np.searchsorted(
            np.sort(high[real]), middles, "left"
        )
        shares.append(hits / of_class.sum())
    f1 = _harmonic(shares[0], shares[1])
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    widest = best[np.argmax(np.diff(edges)[best])]
    return float(middles[widest])


def _accuracies(cells: Floats) -> tuple[Floats, Floats]:
    """From right and all with an error, right and all without, on the last axis."""
    with np.errstate(invalid="ignore"):
        return cells[..., 0] / cells[..., 1], cells[..., 2] / cells[..., 3]


def _harmonic(first: Floats, second: Floats) -> Floats:
    total = first + second
    return np.where(total > 0, 2 * first * second / np.where(total > 0, total, 1.0), 0.0)


def _grouped(cells_S4: Floats, problems_S: npt.ArrayLike | None) -> Floats:
    """The sums over the solutions of each problem, (G, 4)."""
    if problems_S is None:
        return cells_S4
    problems = np.asarray(problems_S)
    if problems.shape != cells_S4.shape[:1]:
        raise DataError(f"there are {len(cells_S4)} solutions and {problems.shape} problems; give one each")
    _, group_S = np.unique(problems, return_inverse=True)
    sums = np.zeros((int(group_S.max()) + 1, 4))
    np.add.at(sums, group_S, cells_S4)
    return sums


def _interval(cells_G4: Floats, level: float, num_resamples: int, seed: int) -> tuple[float, float]:
    num = len(cells_G4)
    rng = np.random.default_rng([seed, num])
    found = []
    at_once = max(1, _AT_ONCE // num)
    for start in range(0, num_resamples, at_once):
        size = min(at_once, num_resamples - start)
        counts = rng.multinomial(num, np.full(num, 1 / num), size=size)
        found.append(_harmonic(*_accuracies(counts @ cells_G4)))
    f1_B = np.concatenate(found)
    # A resample may have no solution with an error, or only such: it has no F1.
    low, high = np.nanquantile(f1_B, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
