"""Curves of best-of-n over problems: means, intervals, differences of rankers, groups by difficulty.

The interval is over problems: they are resampled with replacement, and a problem keeps its samples. What a
problem's own samples say by luck is in it too, as part of the spread between problems.

Shape suffixes: P problems, N sizes of subsets, B resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surpass.errors import ConfigError, DataError
from surpass.reasoning.best_of_n import Floats, Ints

RESAMPLES = 1000
_PROBLEMS_AT_LEAST = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A mean over problems for each size of subsets, with an interval.

    Attributes:
        sizes_N: How many samples are chosen from, int64 (N,).
        mean_N: The mean, float64 (N,).
        low_N: Lower end of the interval.
        high_N: Upper end.
        num_problems: Over how many problems.
        level: Of the interval, such as 0.95.
    """

    sizes_N: Ints
    mean_N: Floats
    low_N: Floats
    high_N: Floats
    num_problems: int
    level: float

    def at(self, size: int) -> tuple[float, float, float]:
        """Mean, lower and upper end for one size.

        Raises:
            DataError: The curve has no such size.
        """
        places = np.flatnonzero(self.sizes_N == size)
        if not len(places):
            raise DataError(f"the curve has no size {size}; it has {self.sizes_N.tolist()[:20]} ...")
        place = int(places[0])
        return float(self.mean_N[place]), float(self.low_N[place]), float(self.high_N[place])


def curve(
    values_PN: npt.ArrayLike,
    sizes_N: npt.ArrayLike,
    *,
    level: float = 0.95,
    num_resamples: int = RESAMPLES,
    seed: int = 0,
) -> Curve:
    """The mean of values such as those of `best_of_n`, with a percentile bootstrap interval over problems.

    Args:
        values_PN: The value of each problem at each size, (P, N), P at least 2.
        sizes_N: The sizes, (N,).
        level: Of the interval, between 0 and 1.
        num_resamples: Resamples of the problems.
        seed: Of the resamples; the same seed draws the same problems, whatever the values.

    Raises:
        DataError: Shapes do not fit, a value is not finite, or there is but one problem.
        ConfigError: `level` or `num_resamples` is out of range.
    """
    values, sizes = np.asarray(values_PN, dtype=np.float64), np.asarray(sizes_N, dtype=np.int64)
    if values.ndim != 2 or values.shape[1:] != sizes.shape or len(values) < _PROBLEMS_AT_LEAST:
        raise DataError(
            f"values have the shape {values.shape} and there are {sizes.shape} sizes; give (problems, "
            "sizes), with two problems at least"
        )
    if not np.isfinite(values).all():
        raise DataError("a value is not finite; leave out problems without a value")
    if not 0 < level < 1 or num_resamples < 100:
        raise ConfigError(
            f"level={level}, num_resamples={num_resamples}; level is in (0, 1), resamples from 100"
        )
    means_BN = _drawn(len(values), num_resamples, seed) @ values
    low_N, high_N = np.quantile(means_BN, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Curve(
        sizes_N=sizes,
        mean_N=values.mean(0),
        low_N=low_N,
        high_N=high_N,
        num_problems=len(values),
        level=level,
    )


def difference(
    first_PN: npt.ArrayLike,
    second_PN: npt.ArrayLike,
    sizes_N: npt.ArrayLike,
    *,
    level: float = 0.95,
    num_resamples: int = RESAMPLES,
    seed: int = 0,
) -> Curve:
    """How much better the first ranker is than the second on the same problems, paired by problem.

    Raises:
        DataError: As `curve`, or the two are of different shapes.
        ConfigError: As `curve`.
    """
    first, second = np.asarray(first_PN, dtype=np.float64), np.asarray(second_PN, dtype=np.float64)
    if first.shape != second.shape:
        raise DataError(
            f"rankers have values of the shapes {first.shape} and {second.shape}; a paired difference needs "
            "the same problems and sizes"
        )
    return curve(first - second, sizes_N, level=level, num_resamples=num_resamples, seed=seed)


def _drawn(num_problems: int, num_resamples: int, seed: int) -> Floats:
    """How often each resample draws each problem, as a share, float64 (B, P)."""
    rng = np.random.default_rng([seed, num_problems])
    counts = rng.multinomial(num_problems, np.full(num_problems, 1 / num_problems), size=num_resamples)
    shares: Floats = counts / num_problems
    return shares


def quantiles_of_difficulty(pass_rates_P: npt.ArrayLike, num_groups: int = 5) -> Ints:
    """The group of each problem, int64 (P,): 0 are the easiest fifth by pass rate, 4 the hardest.

    Groups differ by at most one in size. Problems of equal pass rates are divided in the order in which they
    are given.

    Args:
        pass_rates_P: The share of each problem's samples that is correct, of all samples or of a generator's.
        num_groups: How many groups; 5 as in the paper.

    Raises:
        DataError: There are fewer problems than groups, or a pass rate is no number.

    Source:
        Lightman et al. 2023, appendix G.
    """
    rates = np.asarray(pass_rates_P, dtype=np.float64)
    if rates.ndim != 1 or len(rates) < num_groups or num_groups < 1 or np.isnan(rates).any():
        raise DataError(
            f"{rates.shape} pass rates cannot be divided into {num_groups} groups; give one number for each "
            "problem, as many as groups at least"
        )
    groups = np.empty(len(rates), dtype=np.int64)
    order = np.argsort(-rates, kind="stable")
    groups[order] = np.arange(len(rates)) * num_groups // len(rates)
    return groups


def curves_by_group(
    values_PN: npt.ArrayLike,
    sizes_N: npt.ArrayLike,
    groups_P: npt.ArrayLike,
    *,
    level: float = 0.95,
    num_resamples: int = RESAMPLES,
    seed: int = 0,
) -> Mapping[object, Curve]:
    """A curve for each group, ascending: of `quantiles_of_difficulty`, or levels that are given.

    Raises:
        DataError: As `curve`; there is not one group for each problem, or a group has only one.
        ConfigError: As `curve`.
    """
    values, groups = np.asarray(values_PN, dtype=np.float64), np.asarray(groups_P)
    if groups.shape != values.shape[:1]:
        raise DataError(
            f"there are {len(values)} problems and {groups.shape} groups; give one for each problem"
        )
    return {
        group: curve(values[groups == group], sizes_N, level=level, num_resamples=num_resamples, seed=seed)
        for group in np.unique(groups).tolist()
    }
