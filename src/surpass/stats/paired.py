"""Exact paired tests on plain numbers, and corrections for many tests.

All p values are two-sided: the probability, were there no difference, of a result at least as far from
what is expected. Exact for any number of units, with tied values taken into account.

Shape suffixes: U units, N examples, M tests, P patterns of signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from surpass.errors import ConfigError, DataError
from surpass.stats.resample import Floats

Correction = Literal["holm", "benjamini-hochberg", "none"]

_BLOCK = 2**16
_ROUNDING = 1e-12


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values so that the chance of any false find is bounded, whatever their dependence.

    Raises:
        DataError: A p value is not in [0, 1].

    Source:
        Holm 1979.
    """
    values_M = _checked(p_values)
    order_M = np.argsort(values_M, kind="stable")
    scaled_M = values_M[order_M] * np.arange(len(values_M), 0, -1)
    return _in_order(np.maximum.accumulate(scaled_M), order_M)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjust p values so that the expected share of false finds is bounded, for independent tests.

    It holds for positively dependent tests too, such as methods compared with one baseline.

    Raises:
        DataError: A p value is not in [0, 1].

    Source:
        Benjamini and Hochberg 1995; Benjamini and Yekutieli 2001 for dependent tests.
    """
    values_M = _checked(p_values)
    order_M = np.argsort(values_M, kind="stable")
    scaled_M = values_M[order_M] * (len(values_M) / np.arange(1, len(values_M) + 1))
    return _in_order(np.minimum.accumulate(scaled_M[::-1])[::-1], order_M)


def adjusted(p_values: Sequence[float], correction: Correction) -> list[float]:
    """Adjust p values as named.

    Raises:
        ConfigError: The correction is unknown.
        DataError: A p value is not in [0, 1].
    """
    if correction not in get_args(Correction):
        raise ConfigError(f"correction is {correction!r}; use one of {', '.join(get_args(Correction))}")
    if correction == "none":
        return list(p_values)
    return holm(p_values) if correction == "holm" else benjamini_hochberg(p_values)


def sign_test(wins: int, losses: int) -> float:
    """Return the p value of so many wins and losses; ties are left out. 1 where nothing was won or lost.

    Raises:
        DataError: A negative count.
    """
    if min(wins, losses) < 0:
        raise DataError(f"counts are {wins} and {losses}; they cannot be negative")
    num, fewer = wins + losses, min(wins, losses)
    return min(1.0, 2 * sum(_ways(num, fewer + 1)) / (1 << num))


def mcnemar(a_N: npt.ArrayLike, b_N: npt.ArrayLike, *, mid_p: bool = False) -> float:
    """Return the p value that two sets of predictions of the same examples are equally often right.

    Only examples count that one has right and the other wrong. The exact test is cautious; mid-p counts
    half of the probability of what was observed, and keeps its level closely though not always.

    Args:
        a_N: Correctness, 0 or 1, (N,).
        b_N: Correctness of the other on the same examples.
        mid_p: Whether to use the mid-p variant.

    Raises:
        DataError: Shapes differ, nothing is there, or a value is not 0 or 1.

    Source:
        McNemar 1947; Fagerland, Lydersen and Laake 2013 for mid-p.
    """
    a, b = np.asarray(a_N), np.asarray(b_N)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise DataError(f"correctness must be (examples,), equally many, not empty; got {a.shape}, {b.shape}")
    if not all(((x == 0) | (x == 1)).all() for x in (a, b)):
        raise DataError("correctness must be 0 or 1 (or false, true) for each example")
    wins, losses = int((a > b).sum()), int((a < b).sum())
    if not mid_p:
        return sign_test(wins, losses)
    num, fewer = wins + losses, min(wins, losses)
    if wins == losses:  # twice the lower tail with half of the middle is 1 by symmetry
        return 1.0
    ways = _ways(num, fewer + 1)
    return (2 * sum(ways) - ways[-1]) / (1 << num)


def wilcoxon_signed_rank(differences_U: npt.ArrayLike) -> float:
    """Return the p value of the signed-rank test that differences are symmetric about 0.

    Zeros are left out, tied sizes share their mean rank, and the distribution of the rank sum is
    exact given these ranks (found by adding one unit after the other, not by listing 2^U signs).

    Raises:
        DataError: A difference is not finite, or they are no sequence.

    Source:
        Wilcoxon 1945.
    """
    values_U = _finite(differences_U)
    values_U = values_U[values_U != 0]
    if values_U.size == 0:
        return 1.0
    # Twice the rank, whole also for ties: how many are smaller, plus how many are not larger, plus 1.
    ordered_U = np.sort(np.abs(values_U))
    first_U = np.searchsorted(ordered_U, np.abs(values_U), side="left")
    last_U = np.searchsorted(ordered_U, np.abs(values_U), side="right")
    double_rank_U = first_U + last_U + 1
    total = int(double_rank_U.sum())
    chances = np.zeros(total + 1)  # of each sum of the ranks of positive differences
    chances[0] = 1.0
    for rank in double_rank_U.tolist():
        chances[rank:] += chances[: total + 1 - rank].copy()
        chances /= 2
    positive = int(double_rank_U[values_U > 0].sum())
    return float(min(1.0, 2 * chances[: min(positive, total - positive) + 1].sum()))


def sign_flip_test(
    differences_U: npt.ArrayLike, *, max_exact: int = 20, num_draws: int = 10_000, rng_seed: int = 0
) -> float:
    """Return the p value of the mean difference when every sign was as likely as its opposite.

    All 2^U patterns of signs are counted up to `max_exact` units; beyond, `num_draws` random ones, and the
    observed one with them, so that the p value is never 0.

    Args:
        differences_U: Differences of independent units, such as tasks. Seeds of one task that share its
            test examples are not independent units.
        max_exact: Most units for which all patterns are counted.
        num_draws: Number of random patterns beyond.
        rng_seed: Equal seeds give equal digits.

    Raises:
        DataError: No difference, or one is not finite.
        ConfigError: `max_exact` is out of range (0 to 30), or `num_draws` is below 1.

    Source:
        Fisher 1935, section 21.
    """
    values_U = _finite(differences_U)
    if not 0 <= max_exact <= 30:
        raise ConfigError(f"max_exact is {max_exact}; use 0 to 30 (2^30 patterns take minutes)")
    if num_draws < 1:
        raise ConfigError(f"num_draws is {num_draws}; use at least 1 (10000 is customary)")
    if values_U.size == 0:
        raise DataError("no differences; pass one for each unit")
    reached = abs(float(values_U.sum())) - _ROUNDING * float(np.abs(values_U).sum())
    num = values_U.size
    if num > max_exact:
        rng = np.random.default_rng(rng_seed)
        counts = [
            _far(2.0 * rng.integers(2, size=(min(256, num_draws - start), num)) - 1, values_U, reached)
            for start in range(0, num_draws, 256)
        ]
        return (sum(counts) + 1) / (num_draws + 1)
    # The first sign stays +: the other half of the patterns mirrors this one.
    half = 1 << (num - 1)
    far = 0
    for start in range(0, half, _BLOCK):
        patterns = np.arange(start, min(start + _BLOCK, half), dtype=np.int64)
        signs_PU = 1.0 - 2.0 * ((patterns[:, None] >> np.arange(num)) & 1)
        far += _far(signs_PU, values_U, reached)
    return far / half


def _ways(num: int, count: int) -> list[int]:
    """Return in how many ways k of num can be chosen, for k below count; each from the one before."""
    ways = [1]
    for k in range(1, count):
        ways.append(ways[-1] * (num - k + 1) // k)
    return ways


def _far(signs_PU: npt.NDArray[np.floating], values_U: Floats, reached: float) -> int:
    return int((np.abs(signs_PU @ values_U) >= reached).sum())


def _finite(differences_U: npt.ArrayLike) -> Floats:
    values_U = np.asarray(differences_U, np.float64)
    if values_U.ndim != 1:
        raise DataError(f"differences must be (units,), got {values_U.shape}")
    if not np.isfinite(values_U).all():
        raise DataError(f"difference {values_U[~np.isfinite(values_U)][0]} is not finite; leave its unit out")
    return values_U


def _checked(p_values: Sequence[float]) -> Floats:
    values_M = np.asarray(p_values, np.float64)
    if not ((values_M >= 0) & (values_M <= 1)).all():
        raise DataError(f"p values must be in [0, 1]; got {list(p_values)}")
    return values_M


def _in_order(values_M: Floats, order_M: npt.NDArray[np.int64]) -> list[float]:
    adjusted_M = np.empty_like(values_M)
    adjusted_M[order_M] = np.minimum(values_M, 1.0)
    return [float(value) for value in adjusted_M]
