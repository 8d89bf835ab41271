"""Intervals of contrasts and of ratios of contrasts, from the spread of the means and their resamples.

The bootstrap gives the shape of an interval (how lopsided it is), the variance components its
width: standard error times a t quantile. Percentiles of the resamples alone have the wrong width:
they count the noise of single answers up to three times (96 to 100 % coverage where that
dominates) and know nothing of how little a few seeds tell (72 % with two seeds that differ much).

Shape suffixes: B bootstrap resamples, R roles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from surpass.stats.resample import Floats, Panel, check_resampling, normal_draws, resampled_deviations
from surpass.stats.student_t import t_quantile, t_tail
from surpass.stats.variance import Parts, Spread, parts_of, spread_of

_MOST_LOPSIDED = 1.5  # one arm of an interval is at most three times the other


class Contrast(NamedTuple):
    """An estimated contrast, its interval, and its two-sided p value against 0."""

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Inference:
    """What intervals are made of: the spread of the means, and resamples of them."""

    spread: Spread
    deviations_BR: Floats
    normals_B: Floats
    level: float

    @classmethod
    def of(cls, panel: Panel, *, level: float, num_resamples: int, rng_seed: int) -> Inference:
        """Resample a panel.

        Raises:
            ConfigError: `level` or `num_resamples` is out of range.
        """
        check_resampling(num_resamples, level)
        deviations_BR = resampled_deviations(panel, num_resamples, rng_seed)
        return cls(spread_of(panel), deviations_BR, normal_draws(num_resamples, rng_seed), level)

    def resamples(self, contrast_R: Floats) -> Floats:
        """Return the contrast in each resample minus the observed one, float64: examples, then seeds.

        B values, or 2 B where seeds differ: their draws are used with both signs, so that the mirrored
        contrast has the mirrored interval.
        """
        return self._resamples(contrast_R, parts_of(self.spread, contrast_R))

    def _resamples(self, contrast_R: Floats, parts: Parts) -> Floats:
        rest = float(contrast_R @ self.spread.rest_RR @ contrast_R)
        between_seeds = math.sqrt(max(parts.from_seeds - rest, 0.0))
        of_examples_B: Floats = self.deviations_BR @ contrast_R
        if not between_seeds:
            return of_examples_B
        of_seeds_B = between_seeds * self.normals_B
        return np.concatenate([of_examples_B + of_seeds_B, of_examples_B - of_seeds_B])

    def test(self, contrast_R: Floats) -> Contrast:
        """Estimate a contrast of the means; p < 1 - level just where the interval excludes 0."""
        value = float(contrast_R @ self.spread.means_R)
        parts = parts_of(self.spread, contrast_R)
        down, up = self._arms(contrast_R, parts)
        quantile = t_quantile((1 + self.level) / 2, parts.df)
        arm = down if value > 0 else up
        return Contrast(
            value, value - quantile * down, value + quantile * up, self._p_value(value, arm, parts.df)
        )

    def _p_value(self, value: float, arm: float, df: float) -> float:
        if value == 0:
            return 1.0
        if arm == 0:  # the same difference everywhere: all signs alike, as in a sign test
            return min(1.0, 2.0 ** (1 - self.spread.num_examples))
        return 2 * t_tail(abs(value) / arm, df)

    def _arms(self, contrast_R: Floats, parts: Parts) -> tuple[float, float]:
        """Return the standard error, drawn out on the side to which the resamples lean: (down, up)."""
        tail = (1 - self.level) / 2
        low, high = _two_quantiles(self._resamples(contrast_R, parts), tail)
        lean = -2 * low / (high - low) if high > low else 1.0
        lean = min(max(lean, 2 - _MOST_LOPSIDED), _MOST_LOPSIDED)
        return parts.std_error * lean, parts.std_error * (2 - lean)

    def ratio(self, top_R: Floats, bottom_R: Floats) -> tuple[float, float]:
        """Return the ratios that the data do not contradict, where the interval of the bottom is above 0.

        A ratio is kept where the interval of top - ratio * bottom holds 0. That is one interval with two
        ends just where the bottom differs from 0 at this level, and it needs no smallness of the
        bottom's error, which a linearised standard error of the ratio would.

        Source:
            Fieller 1954. Differs: degrees of freedom and shape follow the contrast, so the ends are found by
            root finding instead of a quadratic equation.
        """
        means_R = self.spread.means_R
        ratio = float(top_R @ means_R) / float(bottom_R @ means_R)
        step = max(abs(ratio), 1.0)

        def end(sign: float) -> float:
            # Between the estimate (0) and infinity (1), so that the far end has a finite contrast, too.
            def excess(place: float) -> float:
                near_R = top_R - ratio * bottom_R
                contrast_R = sign * ((1 - place) * near_R - sign * place * step * bottom_R)
                # The value's own rounding must not decide at the estimate, where it is 0 by construction.
                value = -place * step * float(bottom_R @ means_R)
                parts = parts_of(self.spread, contrast_R)
                up = self._arms(contrast_R, parts)[1]
                return value + t_quantile((1 + self.level) / 2, parts.df) * up

            place = _root(excess)
            return ratio + sign * step * place / (1 - place)

        return end(-1.0), end(1.0)


def _two_quantiles(values_B: Floats, tail: float) -> tuple[float, float]:
    """Return both tail quantiles, interpolated linearly between order statistics."""
    last = len(values_B) - 1
    place = tail * last
    below = int(place)
    above = min(below + 1, last)
    ordered_B = np.partition(values_B, sorted({below, above, last - above, last - below}))
    part = place - below
    low = ordered_B[below] + part * (ordered_B[above] - ordered_B[below])
    high = ordered_B[last - below] - part * (ordered_B[last - below] - ordered_B[last - above])
    return float(low), float(high)


def _root(excess: Callable[[float], float]) -> float:
    """Return where a function that is >= 0 at 0 and < 0 at 1 changes sign, to 1e-11 (Illinois method)."""
    low, high = 0.0, 1.0
    at_low, at_high = excess(low), excess(high)
    if at_low <= 0:
        return 0.0
    kept_low = kept_high = False
    for _ in range(100):
        place = (low * at_high - high * at_low) / (at_high - at_low)
        if not low < place < high:
            place = (low + high) / 2
        here = excess(place)
        if here >= 0:
            # An end kept twice in a row counts half, or the other end would creep.
            at_high = at_high / 2 if kept_high else at_high
            low, at_low, kept_low, kept_high = place, here, False, True
        else:
            at_low = at_low / 2 if kept_low else at_low
            high, at_high, kept_low, kept_high = place, here, True, False
        if high - low < 1e-11 or abs(here) < 1e-12:
            return place
    return (low + high) / 2
