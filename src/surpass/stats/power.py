"""How many seeds, or test examples, until a difference is seen.

The variance of an estimate has three parts: a / S falls with seeds, b / N only with test examples, and
e / (S N) with both. So more seeds help down to b / N and no further: a difference may be out of reach
of a test set for any number of seeds, and that is then the answer.

The parts come from existing results: `difference_variance` for the accuracies of two methods,
`pgr_variance` for PGR, where the ratio is linearised at its estimate. They are estimates themselves: from
two or three seeds, the part of seeds may be off by a factor of several.

Power is that of the test behind the intervals of `stats`, with normal effects: the chance that the
interval excludes 0. Its integral over the estimated variance is the noncentral t distribution where
all variance is estimated from seeds.

Shape suffixes: S seeds, N examples, Q quadrature points, K nodes of interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from surpass.errors import ConfigError, DataError
from surpass.stats.resample import Correct, Floats, check_level, panel_of
from surpass.stats.student_t import NORMAL, t_quantile
from surpass.stats.variance import Spread, degrees_of_freedom, spread_of

_POINTS = 200
_NODES = 32  # from 24 on the interpolation is as good as `t_quantile` itself
_ROOT_2 = math.sqrt(2)
_RAISE_SEEDS = 10_000


class Variance(NamedTuple):
    """Variance of an estimate from one seed and one example, in three parts.

    Unit: accuracies as fractions, squared, or PGR squared.
    """

    seeds: float
    examples: float
    rest: float

    def of(self, num_seeds: float, num_examples: int) -> float:
        """Return the variance of the estimate with so many seeds and test examples."""
        return self.seeds / num_seeds + self.examples / num_examples + self.rest / num_seeds / num_examples

    def share(self, num_seeds: int, num_examples: int) -> float:
        """Return the share of the variance that is estimated from the differences between seeds."""
        total = self.of(num_seeds, num_examples)
        return 1 - self.examples / num_examples / total if total else 0.0


class SeedsNeeded(NamedTuple):
    """The fewest seeds with enough power, or None and why no number of seeds is enough.

    `power` is that with these seeds, or the limit with ever more of them. `examples_needed` is the number of
    test examples that many seeds would need at least; None where there are enough.
    """

    num_seeds: int | None
    power: float
    reason: str | None
    examples_needed: int | None


def difference_variance(a: Correct, b: Correct) -> Variance:
    """Estimate the variance parts of accuracy of a minus accuracy of b, from crossed results (S, N).

    Raises:
        DataError: Shapes differ, a value is not 0 or 1, or there are fewer than two seeds or examples.
    """
    return _parts(_crossed(a=a, b=b), np.array([1.0, -1.0]))


def pgr_variance(weak: Correct, student: Correct, ceiling: Correct) -> Variance:
    """Estimate the variance parts of PGR, from crossed results (S, N).

    Raises:
        DataError: As for `difference_variance`, or the ceiling does not beat the weak supervisor.
    """
    spread = _crossed(weak=weak, student=student, ceiling=ceiling)
    weak_mean, student_mean, ceiling_mean = spread.means_R.tolist()
    gap = ceiling_mean - weak_mean
    if gap <= 0:
        raise DataError(f"the ceiling does not beat the weak supervisor ({100 * gap:+.1f} points): no PGR")
    ratio = (student_mean - weak_mean) / gap
    return _parts(spread, np.array([ratio - 1, 1.0, -ratio]) / gap)


def _crossed(**roles: Correct) -> Spread:
    panel = panel_of(**roles)
    if len(panel.groups) > 1:
        raise DataError(
            "results with a test set for each seed do not tell seeds from examples; "
            "pass arrays (seeds, examples) scored on one test set"
        )
    if panel.num_seeds < 2 or panel.num_examples < 2:
        raise DataError(
            f"{panel.num_seeds} seeds and {panel.num_examples} examples show no variance of both; "
            "use at least two seeds and two examples"
        )
    return spread_of(panel)


def _parts(spread: Spread, contrast_R: Floats) -> Variance:
    """Turn variances of means into variances of one seed and example; negative estimates count as 0."""
    seeds, examples, rest = (
        float(contrast_R @ matrix_RR @ contrast_R)
        for matrix_RR in (spread.seeds_RR, spread.examples_RR, spread.rest_RR)
    )
    return Variance(
        max(seeds - rest, 0.0) * spread.num_seeds,
        max(examples - rest, 0.0) * spread.num_examples,
        rest * spread.num_seeds * spread.num_examples,
    )


def power_of(
    variance: Variance, difference: float, *, num_seeds: int, num_examples: int, level: float = 0.95
) -> float:
    """Return the chance that a true difference is seen: that the interval at `level` excludes 0.

    With one seed it is the power of a test that knows nothing of other seeds.

    Args:
        variance: Parts of the variance, from `difference_variance` or `pgr_variance`.
        difference: The true difference, in accuracy as a fraction (0.01 is one point) or in PGR.
        num_seeds: Number of seeds S.
        num_examples: Number of test examples N.
        level: Coverage of the interval.

    Raises:
        ConfigError: A setting is out of range.
    """
    _check(variance, difference, level, num_seeds, num_examples)
    total = variance.of(num_seeds, num_examples)
    if total == 0:
        return 1.0
    return _power(abs(difference) / math.sqrt(total), _critical(variance, num_seeds, num_examples, level))


def _critical(
    variance: Variance, num_seeds: int, num_examples: int, level: float
) -> list[tuple[float, float]]:
    """Return (weight, critical distance in standard errors) for each way the variance may be estimated."""
    share = variance.share(num_seeds, num_examples) if num_seeds > 1 else 0.0
    if share == 0:
        df = degrees_of_freedom(0, num_seeds, num_examples)
        return [(1.0, t_quantile((1 + level) / 2, df))]
    # The estimated part is share * chi-squared / f; the test sees this estimate, not the truth.
    ratio_Q, weight_Q = _chi_squared(num_seeds - 1)
    seen_Q = [share * ratio + 1 - share for ratio in ratio_Q]
    df_Q = [
        degrees_of_freedom(share * ratio / seen, num_seeds, num_examples)
        for ratio, seen in zip(ratio_Q, seen_Q, strict=True)
    ]
    critical_Q = _t_quantiles(level, np.array(df_Q)) * np.sqrt(np.array(seen_Q))
    return list(zip(weight_Q, critical_Q.tolist(), strict=True))


def _t_quantiles(level: float, df_Q: Floats) -> Floats:
    """Quantiles for many degrees of freedom, at least 1, as an analysis needs thousands.

    Their logarithm is interpolated in 1 / df, in which it is smooth: within 1e-8 of `t_quantile`.
    """
    quantiles_Q: Floats = np.exp(chebyshev.chebval(2 / df_Q - 1, _log_quantiles(level)))
    return quantiles_Q


@lru_cache(maxsize=8)
def _log_quantiles(level: float) -> Floats:
    """Coefficients of the interpolation."""
    places_K = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
    logs = [math.log(t_quantile((1 + level) / 2, 2 / (place + 1))) for place in places_K.tolist()]
    return np.asarray(chebyshev.chebfit(places_K, logs, _NODES - 1), np.float64)


def _power(away: float, criticals: list[tuple[float, float]]) -> float:
    return min(1.0, math.fsum(weight * _beyond(away, critical) for weight, critical in criticals))


def seeds_needed(
    variance: Variance,
    difference: float,
    *,
    num_examples: int,
    power: float = 0.8,
    level: float = 0.95,
    max_seeds: int = 1000,
) -> SeedsNeeded:
    """Return how many seeds (at least 2) see a true difference with the wanted power on N test examples.

    Raises:
        ConfigError: A setting is out of range, or the difference is 0.
    """
    _check(variance, difference, level, 2, num_examples)
    _check_power(power, level)
    if difference == 0:
        raise ConfigError("difference is 0, which no number of seeds can see; name a difference")
    if not 2 <= max_seeds <= _RAISE_SEEDS:
        raise ConfigError(f"max_seeds is {max_seeds}; use 2 to {_RAISE_SEEDS}")
    z = NORMAL.inv_cdf((1 + level) / 2)
    floor = math.sqrt(variance.examples / num_examples)
    limit = _beyond(abs(difference) / floor, z) if floor else 1.0
    if limit <= power:
        wanted = _smallest(lambda away: _beyond(away, z), power)
        examples = math.floor(variance.examples * (wanted / difference) ** 2) + 1
        reason = (
            f"never with this test set: with ever more seeds the power stays below {limit:.2f}, as "
            f"{num_examples} test examples leave a standard error of {floor:.4g}; use more than {examples}"
        )
        return SeedsNeeded(None, limit, reason, examples)

    def reached(num_seeds: int) -> float:
        return power_of(variance, difference, num_seeds=num_seeds, num_examples=num_examples, level=level)

    if (most := reached(max_seeds)) < power:
        reason = f"more than {max_seeds} seeds, whose power is {most:.2f}; raise max_seeds or the difference"
        return SeedsNeeded(None, most, reason, None)
    low, high = 1, max_seeds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= power else (middle, high)
    return SeedsNeeded(high, reached(high), None, None)


def smallest_difference(
    variance: Variance, *, num_seeds: int, num_examples: int, power: float = 0.8, level: float = 0.95
) -> float:
    """Return the smallest true difference that S seeds and N test examples see with the wanted power.

    Raises:
        ConfigError: A setting is out of range.
    """
    _check(variance, 0.0, level, num_seeds, num_examples)
    _check_power(power, level)
    error = math.sqrt(variance.of(num_seeds, num_examples))
    if error == 0:
        return 0.0
    criticals = _critical(variance, num_seeds, num_examples, level)
    return error * _smallest(lambda away: _power(away, criticals), power)


def _smallest(reached: Callable[[float], float], power: float) -> float:
    low, high = 0.0, 1.0
    while reached(high) < power:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) >= power else (middle, high)
    return high


def _beyond(away: float, critical: float) -> float:
    """Return the chance that a normal value around `away` is farther from 0 than `critical`."""
    return 0.5 * (math.erfc((critical - away) / _ROOT_2) + math.erfc((critical + away) / _ROOT_2))


@lru_cache(maxsize=128)
def _chi_squared(df: int) -> tuple[list[float], list[float]]:
    """Return points and weights that integrate over a chi-squared variable divided by its df.

    Gauss-Legendre in its square root, whose density is smooth and nearly normal.
    """
    nodes_Q, weights_Q = np.polynomial.legendre.leggauss(_POINTS)
    half = 9 / math.sqrt(2 * df)
    low, high = max(0.0, 1 - half), 1 + half
    root_Q = low + (nodes_Q + 1) / 2 * (high - low)
    log_Q = (df - 1) * np.log(root_Q) - df * root_Q**2 / 2
    density_Q = 2 * np.exp(log_Q + df / 2 * math.log(df / 2) - math.lgamma(df / 2))
    return (root_Q**2).tolist(), (weights_Q * (high - low) / 2 * density_Q).tolist()


def _check(variance: Variance, difference: float, level: float, num_seeds: int, num_examples: int) -> None:
    check_level(level)
    if not all(part >= 0 and math.isfinite(part) for part in variance):
        raise ConfigError(f"variance parts are {tuple(variance)}; they must be finite and not negative")
    if not math.isfinite(difference):
        raise ConfigError(f"difference is {difference}; use a finite number")
    if num_seeds < 1 or num_examples < 1:
        raise ConfigError(f"{num_seeds} seeds and {num_examples} examples; use at least one of each")


def _check_power(power: float, level: float) -> None:
    if not 1 - level < power < 1:
        raise ConfigError(f"power is {power}; use a number between 1 - level = {1 - level:g} and 1")
