"""Overfitting to weak labels: where a student was best on the way, and where one would have stopped.

Shape suffixes: T snapshots of one fit, in order of training.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.errors import DataError
from surpass.metrics.checks import finite_column


class Snapshot(NamedTuple):
    """One point of the curves: its place among the snapshots, how far training was, what was measured."""

    place: int
    progress: float
    accuracy: float
    weak_agreement: float


class Overfitting(NamedTuple):
    """The three points, and what they cost.

    `best` is the oracle's point, `last` the end of training, `weak_stopped` where agreement with the weak
    labels peaks, which needs no truth. `lost_at_end` and `lost_at_weak_stop` are accuracies given away
    against `best`. `peak_frac` is the fraction of training done at `best`.
    """

    best: Snapshot
    last: Snapshot
    weak_stopped: Snapshot
    lost_at_end: float
    lost_at_weak_stop: float
    peak_frac: float


def overfitting(
    accuracy_T: npt.ArrayLike,
    weak_agreement_T: npt.ArrayLike,
    *,
    progress_T: npt.ArrayLike | None = None,
    choose_best_by_T: npt.ArrayLike | None = None,
) -> Overfitting:
    """Find the best, the last and the weak-stopped snapshot of a fit.

    The best of several noisy accuracies is too good: with no overfitting at all, `lost_at_end` comes
    out above 0. Where that matters, choose by the accuracy on other examples (`choose_best_by_T`); then
    `lost_at_end` has no such bias, and may be negative. Of equal values the earliest is taken.

    Args:
        accuracy_T: Accuracy against the truth, (T,), or any other measure of which more is better.
        weak_agreement_T: Agreement with the weak labels on held-out examples, (T,), more being better.
        progress_T: Steps, examples or epochs done at each snapshot, (T,), at least 0 and increasing.
            Without it snapshots are equally spaced, the last at 1.
        choose_best_by_T: Accuracy against the truth on other examples, (T,).

    Raises:
        DataError: No snapshots, unequal lengths, a value is not finite, or progress does not increase.

    Source:
        Burns et al. 2023, section 5.1.1 and figures 7 and 13.
    """
    accuracy_T = finite_column(accuracy_T, "accuracy")
    num_snapshots = len(accuracy_T)
    agreement_T = finite_column(weak_agreement_T, "weak agreement", num_snapshots)
    if progress_T is None:
        progress_T = np.arange(1, num_snapshots + 1) / num_snapshots
    progress_T = finite_column(progress_T, "progress", num_snapshots)
    if progress_T[0] < 0 or progress_T[-1] <= 0 or (np.diff(progress_T) <= 0).any():
        raise DataError(
            f"progress must be at least 0, increase and end above 0, got {progress_T.tolist()[:10]}; "
            "sort snapshots by step"
        )
    chosen_by_T = accuracy_T
    if choose_best_by_T is not None:
        chosen_by_T = finite_column(choose_best_by_T, "accuracy to choose by", num_snapshots)

    def snapshot(place: int) -> Snapshot:
        values = progress_T[place], accuracy_T[place], agreement_T[place]
        return Snapshot(place, *map(float, values))

    best, last = snapshot(int(chosen_by_T.argmax())), snapshot(num_snapshots - 1)
    weak_stopped = snapshot(int(agreement_T.argmax()))
    return Overfitting(
        best=best,
        last=last,
        weak_stopped=weak_stopped,
        lost_at_end=best.accuracy - last.accuracy,
        lost_at_weak_stop=best.accuracy - weak_stopped.accuracy,
        peak_frac=best.progress / last.progress,
    )
