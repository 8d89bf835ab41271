"""Performance gap recovered, and how sure one can be of it.

Whether each test example was answered correctly is observed for each seed, by weak supervisor,
student and ceiling. Two things are a sample: the test examples, and the seeds (data order and
initial weights). The truth aimed at is that of the mean accuracies over all seeds and all examples.

A paired bootstrap draws examples, within the seeds' shared test set or within each seed's own (`resample`),
and above it the level of seeds (hierarchical). Two things are corrected (`variance`, `intervals`):
the spread of the resamples is brought to the unbiased estimate of the variance, since drawing both
examples and seeds counts the noise of single answers more than once; and a t quantile takes the
place of the normal one, since a few seeds know little of how seeds differ. The interval of PGR then
holds every ratio that the data do not contradict (Fieller). Measured coverage: docs/statistics.md.

Shape suffixes: S seeds, N examples, B bootstrap resamples, R roles.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np

from surpass.stats.intervals import Inference
from surpass.stats.resample import Correct, Panel, check_level, panel_of

Design = Literal["crossed", "nested"]

NUM_RESAMPLES = 2000
ONE_SEED = "one seed: the interval covers the choice of test examples, not the noise of training"

# Contrasts of the roles weak, student, ceiling.
_GAINED = np.array([-1.0, 1.0, 0.0])
_GAP = np.array([-1.0, 0.0, 1.0])


@dataclass(frozen=True, kw_only=True, slots=True)
class PgrEstimate:
    """Performance gap recovered with its interval, or why there is none.

    `weak`, `student`, `ceiling` are mean accuracies; `gap` is ceiling - weak. `value`, `low` and
    `high` are NaN unless `valid`. `undefined_frac` is the fraction of resamples without a positive gap.
    `num_examples` counts distinct test examples.
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
    """The median over the valid estimates (NaN if none), why the others are missing, and its interval.

    `low` and `high` are two of the valid values: the median over all tasks like these lies between them
    with probability `coverage`. With fewer than six tasks no interval has 95 %; the whole range is
    given then, with what it has (four tasks: 87.5 %).
    """

    median: float
    num_valid: int
    num_invalid: int
    reasons: tuple[str, ...]
    low: float
    high: float
    coverage: float


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
    """Estimate the PGR of the mean accuracies with its interval (designs: see `resample`).

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
        Burns et al. 2023, section 3, for the ratio. Differs: the interval is ours (Fieller 1954).
    """
    panel = panel_of(weak=weak, student=student, ceiling=ceiling)
    return pgr_of(panel, level=level, num_resamples=num_resamples, rng_seed=rng_seed)


def pgr_of(panel: Panel, *, level: float, num_resamples: int, rng_seed: int) -> PgrEstimate:
    """The same of a panel of weak, student and ceiling."""
    inference = Inference.of(panel, level=level, num_resamples=num_resamples, rng_seed=rng_seed)
    weak_mean, student_mean, ceiling_mean = inference.spread.means_R.tolist()
    gap = inference.test(_GAP)
    reason = _why_undefined(gap.value, gap.low, gap.high)
    value = low = high = math.nan
    if reason is None:
        value = pgr(weak_mean, student_mean, ceiling_mean)
        low, high = inference.ratio(_GAINED, _GAP)
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
        gap=gap.value,
        gap_low=gap.low,
        gap_high=gap.high,
        undefined_frac=float(np.mean(gap.value + inference.resamples(_GAP) <= 0)),
        num_seeds=panel.num_seeds,
        num_examples=panel.num_examples,
        num_resamples=num_resamples,
        design="crossed" if len(panel.groups) == 1 else "nested",
    )


def aggregate_pgr(estimates: Sequence[PgrEstimate], *, level: float = 0.95) -> PgrAggregate:
    """Return the median PGR over tasks, as the paper reports it, with what had to be left out.

    The interval takes the tasks as a sample of tasks like them and goes by order statistics: each is
    above the median of all tasks with probability 1/2, whatever the distribution. Resampling so few
    tasks would claim more than they show. It holds the noise within tasks, as that moves the values.

    Raises:
        ConfigError: `level` is out of range.

    Source:
        Burns et al. 2023, figures 3 and 5 (medians over the NLP tasks). Differs: the interval is ours.
    """
    valid = [estimate.value for estimate in estimates if estimate.valid]
    reasons = tuple(estimate.reason or "" for estimate in estimates if not estimate.valid)
    low, high, coverage = median_interval(valid, level=level)
    median = statistics.median(valid) if valid else math.nan
    return PgrAggregate(median, len(valid), len(reasons), reasons, low, high, coverage)


def median_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float, float]:
    """Return two of the values, and the probability at least with which the median of all lies between them.

    The k-th smallest and the k-th largest for the largest k whose probability reaches `level`, or the
    whole range if none does; NaN, NaN, 0 for no values. One value alone has probability 0.

    Raises:
        ConfigError: `level` is out of range.
    """
    check_level(level)
    ordered = sorted(values)
    if not ordered:
        return math.nan, math.nan, 0.0
    # Binomial(n, 1/2): P(k-th smallest > median) = P(fewer than k values below), for both ends twice that.
    num = len(ordered)
    ways = accumulate(math.comb(num, j) for j in range((num + 1) // 2))
    coverages = [1 - 2 * fewer / (1 << num) for fewer in ways]
    k = max((k for k, coverage in enumerate(coverages) if coverage >= level), default=0)
    return ordered[k], ordered[-1 - k], max(coverages[k], 0.0)


def paired_difference(
    a: Correct,
    b: Correct,
    *,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    rng_seed: int = 0,
) -> Difference:
    """Compare two methods on the same seeds and test examples (shapes as `estimate_pgr`).

    The p value is that of the t test behind the interval, with the same lopsidedness: p < 1 - level
    just where the interval leaves 0 out.

    Raises:
        DataError: Shapes differ, nothing is there, or a value is not 0 or 1.
        ConfigError: `level` or `num_resamples` is out of range.
    """
    panel = panel_of(a=a, b=b)
    return difference_of(panel, level=level, num_resamples=num_resamples, rng_seed=rng_seed)


def difference_of(panel: Panel, *, level: float, num_resamples: int, rng_seed: int) -> Difference:
    """The same of a panel of a and b."""
    inference = Inference.of(panel, level=level, num_resamples=num_resamples, rng_seed=rng_seed)
    a_mean, b_mean = inference.spread.means_R.tolist()
    difference = inference.test(np.array([1.0, -1.0]))
    return Difference(
        a=a_mean,
        b=b_mean,
        value=difference.value,
        low=difference.low,
        high=difference.high,
        level=level,
        p_value=difference.p_value,
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
    return mean_of(panel_of(correct=correct), level=level, num_resamples=num_resamples, rng_seed=rng_seed)


def mean_of(panel: Panel, *, level: float, num_resamples: int, rng_seed: int) -> MeanEstimate:
    """The same of a panel of one role."""
    inference = Inference.of(panel, level=level, num_resamples=num_resamples, rng_seed=rng_seed)
    mean = inference.test(np.ones(1))
    return MeanEstimate(
        value=mean.value,
        low=mean.low,
        high=mean.high,
        level=level,
        num_seeds=panel.num_seeds,
        num_examples=panel.num_examples,
        num_resamples=num_resamples,
    )


def _why_undefined(gap: float, gap_low: float, gap_high: float) -> str | None:
    if gap <= 0:
        return f"the ceiling does not beat the weak supervisor: {100 * gap:+.1f} points"
    if gap_low <= 0:
        interval = f"[{100 * gap_low:+.1f}, {100 * gap_high:+.1f}]"
        return f"the ceiling beats the weak supervisor only within noise: {100 * gap:+.1f} points {interval}"
    return None
