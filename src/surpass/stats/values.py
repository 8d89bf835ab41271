"""Intervals and PGR of statistics that are no shares of independent examples.

Steps of a solution, and solutions of a problem, are right or wrong together, and F1 is no mean at all. So
problems are what is resampled, and each has a value: the statistic plus what the problem adds to it, to first
order (its influence). The mean of these values is the statistic, exactly, and their spread that of the
statistic, so that all of `gap` can be used as it is: paired by problem and seed, seeds on top, PGR by
Fieller.

Source: the infinitesimal jackknife (Jaeckel 1972; Efron 1982, chapter 6).

Shape suffixes: S seeds, P problems.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from surpass.errors import DataError
from surpass.stats.gap import (
    NUM_RESAMPLES,
    Difference,
    MeanEstimate,
    PgrEstimate,
    difference_of,
    mean_of,
    pgr_of,
)
from surpass.stats.resample import Floats, Panel

Values = npt.NDArray[Any]


def share_values(hits_P: Values, counts_P: Values) -> Floats:
    """Values whose mean is the share of all cases that are hits: sum of hits over sum of counts.

    Args:
        hits_P: Hits of each problem, (P,).
        counts_P: Its cases, (P,); 0 for a problem that has none.

    Raises:
        DataError: Shapes differ, or there are no cases.
    """
    hits, counts = np.asarray(hits_P, np.float64), np.asarray(counts_P, np.float64)
    if hits.shape != counts.shape or hits.ndim != 1 or counts.sum() <= 0:
        raise DataError(f"{hits.shape} hits and {counts.shape} counts, {counts.sum():g} in all; need some")
    share = hits.sum() / counts.sum()
    values: Floats = share + (hits - share * counts) / counts.mean()
    return values


def harmonic_values(first_P: Values, second_P: Values) -> Floats:
    """Values whose mean is the harmonic mean of the means of two others, such as F1 of two accuracies.

    Args:
        first_P: Values of one statistic, of the same problems, (P,).
        second_P: Values of the other.

    Raises:
        DataError: Shapes differ.
    """
    first, second = np.asarray(first_P, np.float64), np.asarray(second_P, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise DataError(f"{first.shape} and {second.shape} values; give one of each to every problem")
    a, b = first.mean(), second.mean()
    if a <= 0 or b <= 0:
        # It is 0, and stays so with a little more or less of either.
        return np.zeros(len(first))
    slope_a, slope_b = 2 * (b / (a + b)) ** 2, 2 * (a / (a + b)) ** 2
    values: Floats = 2 * a * b / (a + b) + slope_a * (first - a) + slope_b * (second - b)
    return values


def value_pgr(
    weak: Values,
    student: Values,
    ceiling: Values,
    *,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    rng_seed: int = 0,
) -> PgrEstimate:
    """PGR of three statistics from the values of problems; as `estimate_pgr`, whose design is crossed.

    Args:
        weak: Values, (S, P), of the same problems for every seed.
        student: The same seeds and problems.
        ceiling: The same seeds and problems.
        level: Coverage of the intervals.
        num_resamples: Number of bootstrap resamples.
        rng_seed: Equal seeds give equal digits.

    Raises:
        DataError: Shapes differ, or a value is not finite.
        ConfigError: `level` or `num_resamples` is out of range.
    """
    panel = _panel(weak, student, ceiling)
    return pgr_of(panel, level=level, num_resamples=num_resamples, rng_seed=rng_seed)


def value_mean(
    values: Values, *, level: float = 0.95, num_resamples: int = NUM_RESAMPLES, rng_seed: int = 0
) -> MeanEstimate:
    """A statistic with its interval; arguments and errors as in `value_pgr`."""
    return mean_of(_panel(values), level=level, num_resamples=num_resamples, rng_seed=rng_seed)


def value_difference(
    a: Values, b: Values, *, level: float = 0.95, num_resamples: int = NUM_RESAMPLES, rng_seed: int = 0
) -> Difference:
    """A statistic of a less that of b, paired, with its interval; as in `value_pgr`."""
    return difference_of(_panel(a, b), level=level, num_resamples=num_resamples, rng_seed=rng_seed)


def _panel(*roles: Values) -> Panel:
    arrays = [np.atleast_2d(np.asarray(values, np.float64)) for values in roles]
    if len({array.shape for array in arrays}) > 1 or arrays[0].ndim != 2 or not arrays[0].size:
        shapes = ", ".join(str(np.shape(values)) for values in roles)
        raise DataError(f"values must be (seeds, problems), alike for every role and not empty; got {shapes}")
    values_SPR = np.stack(arrays, axis=-1)
    if not np.isfinite(values_SPR).all():
        raise DataError("a value is not finite; leave out problems for which the statistic is not defined")
    return Panel([values_SPR.swapaxes(0, 1).astype(np.float32)])
