"""Performance gap recovered, and how sure one can be of it.

Whether each test example was answered correctly is observed for each seed, by weak supervisor,
student and ceiling. Two things are a sample: the test examples, and the seeds (data order and
initial weights).

Intervals are percentiles over paired bootstrap resamples, crossed or nested as `resample` explains.

Shape suffixes: S seeds, N examples, B bootstrap resamples, R roles.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from surpass.resample import Correct, Floats, panel_of, pooled_means, resampled_means

Design = Literal["crossed", "nested"]

NUM_RESAMPLES = 2000
ONE_SEED = "one seed: the interval covers the choice of test examples, not the noise of training"


@dataclass(frozen=True, kw_only=True, slots=True)
class PgrEstimate:
    """Performance gap recovered with its interval, or why there is none.

    `weak`, `student`, `ceiling` are mean accuracies; `gap` is ceiling - weak. `value`, `low` and
    `high` are NaN unless `valid`. `undefined_frac` is the fraction of resamples without a positive gap,
    which the interval leaves out. `num_examples` counts distinct test examples.
    """

    weak: float
    student: float
    ceiling: float
    value: float
    low: float
    high: float
    level: float
    valid: bool
    reason: str | None
    note: str | None
    gap: float
    gap_low: float
    gap_high: float
    undefined_frac: float
    num_seeds: int
    num_examples: int
    num_resamples: int
    design: Design


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanEstimate:
    """A mean accuracy with its interval."""

    value: float
    low: float
    high: float
    level: float
    num_seeds: int
    num_examples: int
    num_resamples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Accuracy of a minus accuracy of b, with its interval and two-sided p value."""

    a: float
    b: float
    value: float
    low: float
    high: float
    level: float
    p_value: float
    num_seeds: int
    num_examples: int
    num_resamples: int


class PgrAggregate(NamedTuple):
    """The median over the valid estimates (NaN if none), and why the others are missing."""

    median: float
    num_valid: int
    num_invalid: int
    reasons: tuple[str, ...]


def pgr(weak: float, student: float, ceiling: float) -> float:
    """Return the performance gap recovered, (student - weak) / (ceiling - weak); NaN where there is no gap.

    1 equals the ceiling, 0 the weak supervisor. Never clipped: a student may be worse than its
    supervisor or better than the ceiling.

    Source:
        Burns et al. 2023, section 3.
    """
    return (student - weak) / (ceiling - weak) if ceiling != weak else math.nan


def estimate_pgr(
    weak: Correct,
    student: Correct,
    ceiling: Correct,
    *,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    rng_seed: int = 0,
) -> PgrEstimate:
    """Estimate the PGR of the mean accuracies with a percentile bootstrap interval (designs: see `resample`).

    The value is a ratio of mean differences. It is not the mean of one ratio per seed, which a
    single seed with a small gap would dominate.

    PGR is undefined where the interval of the gap (ceiling - weak, at the same level) reaches 0 or
    below: a share of a gap that may not exist means nothing.

    Args:
        weak: Correctness, 0 or 1. Crossed: array (S, N), or (N,) for one seed; column n is the same
            test example for every seed. Nested: a list of S arrays (N_s,), where every seed counts
            equally.
        student: The same seeds and examples.
        ceiling: The same seeds and examples.
        level: Coverage of the intervals, in (0, 1).
        num_resamples: Number of bootstrap resamples B.
        rng_seed: Equal seeds give equal digits.

    Raises:
        DataError: Shapes differ, nothing is there, or a value is not 0 or 1.
        ConfigError: `level` or `num_resamples` is out of range.

    Source:
        Burns et al. 2023, section 3, for the ratio. Differs: the interval is ours.
    """
    panel = panel_of(weak=weak, student=student, ceiling=ceiling)
    means_BR = resampled_means(panel, num_resamples, level, rng_seed)
    weak_mean, student_mean, ceiling_mean = pooled_means(panel).tolist()
    weak_B, student_B, ceiling_B = means_BR.T
    gap_B = ceiling_B - weak_B
    gap = ceiling_mean - weak_mean
    gap_low, gap_high = _interval(gap_B, level)
    reason = _why_undefined(gap, gap_low, gap_high)
    value = low = high = math.nan
    if reason is None:
        value = pgr(weak_mean, student_mean, ceiling_mean)
        positive = gap_B > 0
        low, high = _interval((student_B - weak_B)[positive] / gap_B[positive], level)
    return PgrEstimate(
        weak=weak_mean,
        student=student_mean,
        ceiling=ceiling_mean,
        value=value,
        low=low,
        high=high,
        level=level,
        valid=reason is None,
        reason=reason,
        note=ONE_SEED if panel.num_seeds == 1 else None,
        gap=gap,
        gap_low=gap_low,
        gap_high=gap_high,
        undefined_frac=float(np.mean(gap_B <= 0)),
        num_seeds=panel.num_seeds,
        num_examples=panel.num_examples,
        num_resamples=num_resamples,
        design="crossed" if len(panel.groups) == 1 else "nested",
    )


def aggregate_pgr(estimates: Sequence[PgrEstimate]) -> PgrAggregate:
    """Return the median PGR over tasks, as the paper reports it, with what had to be left out.

    Source:
        Burns et al. 2023, figures 3 and 5 (medians over the NLP tasks).
    """
    valid = [estimate.value for estimate in estimates if estimate.valid]
    reasons = tuple(estimate.reason or "" for estimate in estimates if not estimate.valid)
    return PgrAggregate(statistics.median(valid) if valid else math.nan, len(valid), len(reasons), reasons)


def paired_difference(
    a: Correct,
    b: Correct,
    *,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    rng_seed: int = 0,
) -> Difference:
    """Compare two methods on the same seeds and test examples (shapes as `estimate_pgr`).

    The p value is twice the share of resamples on the far side of 0, so that p < 1 - level where
    the interval leaves 0 out. It counts the observation as one resample and is never 0.

    Raises:
        DataError: Shapes differ, nothing is there, or a value is not 0 or 1.
        ConfigError: `level` or `num_resamples` is out of range.
    """
    panel = panel_of(a=a, b=b)
    a_B, b_B = resampled_means(panel, num_resamples, level, rng_seed).T
    a_mean, b_mean = pooled_means(panel).tolist()
    difference_B = a_B - b_B
    far_side = min(int((difference_B <= 0).sum()), int((difference_B >= 0).sum()))
    low, high = _interval(difference_B, level)
    return Difference(
        a=a_mean,
        b=b_mean,
        value=a_mean - b_mean,
        low=low,
        high=high,
        level=level,
        p_value=min(1.0, 2 * (far_side + 1) / (num_resamples + 1)),
        num_seeds=panel.num_seeds,
        num_examples=panel.num_examples,
        num_resamples=num_resamples,
    )


def mean_interval(
    correct: Correct, *, level: float = 0.95, num_resamples: int = NUM_RESAMPLES, rng_seed: int = 0
) -> MeanEstimate:
    """Estimate a mean accuracy with its interval (shapes as `estimate_pgr`).

    Raises:
        DataError: Nothing is there, or a value is not 0 or 1.
        ConfigError: `level` or `num_resamples` is out of range.
    """
    panel = panel_of(correct=correct)
    low, high = _interval(resampled_means(panel, num_resamples, level, rng_seed), level)
    return MeanEstimate(
        value=float(pooled_means(panel)[0]),
        low=low,
        high=high,
        level=level,
        num_seeds=panel.num_seeds,
        num_examples=panel.num_examples,
        num_resamples=num_resamples,
    )


def _interval(values: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _why_undefined(gap: float, gap_low: float, gap_high: float) -> str | None:
    if gap <= 0:
        return f"the ceiling does not beat the weak supervisor: {100 * gap:+.1f} points"
    if gap_low <= 0:
        interval = f"[{100 * gap_low:+.1f}, {100 * gap_high:+.1f}]"
        return f"the ceiling beats the weak supervisor only within noise: {100 * gap:+.1f} points {interval}"
    return None
