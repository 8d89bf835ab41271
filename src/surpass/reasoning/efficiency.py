"""How much less data one way of choosing it needs than another: lines of best fit through learning curves.

Accuracy is fitted as a line in the logarithm of the number of labelled solutions, a + b ln(x). Two ratios say
how much better one line is:

- the ratio of the slopes b, which the paper gives (2.6 for active learning);
- the ratio of data at equal accuracy, x of the baseline over x of the other, where both lines reach the same
  accuracy: what somebody who pays for labels asks for. Lines of different slopes have a different ratio at
  each accuracy, so it is given at one, and is constant only for parallel lines (whose ratio of slopes is 1).

Shape suffixes: S seeds, N numbers of solutions, B draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from surpass.errors import ConfigError, DataError
from surpass.reasoning.reductions import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningCurve:
    """Accuracies after learning from so many labelled solutions.

    Attributes:
        sizes: How many, two different ones at least.
        accuracies: Of each seed, one for each size.

    Raises:
        DataError: Shapes do not fit, or a number is no number.
    """

    sizes: tuple[float, ...]
    accuracies: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if len(set(self.sizes)) < 2 or not all(0 < size < math.inf for size in self.sizes):
            raise DataError(f"a line through the sizes {self.sizes} cannot be fitted; give two above 0")
        if not self.accuracies or any(len(row) != len(self.sizes) for row in self.accuracies):
            raise DataError(f"there are {len(self.sizes)} sizes; each seed needs an accuracy for each")
        if not np.isfinite(np.asarray(self.accuracies)).all():
            raise DataError("an accuracy is no number; leave out sizes that were not measured")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """accuracy = intercept + slope * ln(size)."""

    intercept: float
    slope: float

    def at(self, size: float) -> float:
        """The accuracy at a size."""
        return self.intercept + self.slope * math.log(size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """A ratio and its interval; NaN, and the reason, where it is not defined."""

    value: float
    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Efficiency:
    """How much better a way of choosing data is than a baseline.

    Attributes:
        slopes: Slope of the other over that of the baseline.
        data: Data of the baseline over data of the other at `accuracy`: 2.6 says that the other needs 1 /
        2.6. accuracy: Where the lines were compared; NaN where there is no such place.
        baseline: The line of the baseline.
        other: The line of the other.
        level: Of the intervals.
    """

    slopes: Ratio
    data: Ratio
    accuracy: float
    baseline: Line
    other: Line
    level: float


def data_efficiency(
    baseline: LearningCurve,
    other: LearningCurve,
    *,
    accuracy: float | None = None,
    level: float = 0.95,
    num_draws: int = 10_000,
    seed: int = 0,
) -> Efficiency:
    """Compares two learning curves by their lines of best fit.

    The interval: with two seeds or more, lines are fitted for each seed, and means of lines are drawn from
    the multivariate t distribution with the covariance that the seeds show; seeds are paired, so what a seed
    does to both curves cancels. With one seed, lines are drawn from the scatter of points about them (t, N -
    2 degrees of freedom; more than two sizes are needed). That accuracies do not lie on a line is no part of
    the first.

    Args:
        baseline: The curve that is to be beaten, such as uniform choice.
        other: The other one, with as many seeds, in the same order; sizes may differ.
        accuracy: Where data are compared; None for the middle of what both lines reach at their own sizes.
        level: Of the intervals, in (0, 1).
        num_draws: How many lines are drawn.
        seed: Of the draws.

    Returns:
        Both ratios. A ratio is undefined where a slope that it divides by is not above 0 beyond noise, or
        where the lines reach no accuracy in common.

    Raises:
        DataError: The curves differ in seeds, or there is one seed and there are only two sizes.
        ConfigError: `level` or `num_draws` is out of range.

    Source:
        Lightman et al. 2023, section 4.2 and figure 4, which gives the ratio of slopes without an interval.
    """
    if not 0 < level < 1 or num_draws < 1000:
        raise ConfigError(f"level={level}, num_draws={num_draws}; allowed: (0, 1), and 1000 or more")
    if len(baseline.accuracies) != len(other.accuracies):
        raise DataError(
            f"the baseline has {len(baseline.accuracies)} seeds, the other {len(other.accuracies)}; seeds "
            "are paired: give the same ones"
        )
    lines_S4 = np.concatenate([_lines(baseline), _lines(other)], 1)
    mean_4 = lines_S4.mean(0)
    lines_B4 = mean_4 + _deviations(lines_S4, (baseline, other), num_draws, np.random.default_rng(seed))
    first, second = (Line(intercept=float(a), slope=float(b)) for a, b in mean_4.reshape(2, 2))
    if accuracy is None:
        accuracy = _common_accuracy(first, baseline, second, other)
    tail = (1 - level) / 2
    flat = [_flat(lines_B4[:, 1], "baseline", tail), _flat(lines_B4[:, 3], "other", tail)]
    slopes, data = _ratios(lines_B4, accuracy), _ratios(mean_4[None], accuracy)
    no_place = "" if math.isfinite(accuracy) else "the lines reach no accuracy in common at their sizes"
    return Efficiency(
        slopes=_ratio(data[0], slopes[0], tail, flat[0]),
        data=_ratio(data[1], slopes[1], tail, flat[0] or flat[1] or no_place),
        accuracy=accuracy,
        baseline=first,
        other=second,
        level=level,
    )


def _lines(curve: LearningCurve) -> Floats:
    """Intercept and slope of each seed, (S, 2)."""
    design_N2 = np.stack([np.ones(len(curve.sizes)), np.log(curve.sizes)], 1)
    lines: Floats = np.linalg.lstsq(design_N2, np.asarray(curve.accuracies).T, rcond=None)[0].T
    return lines


def _deviations(
    lines_S4: Floats, curves: tuple[LearningCurve, LearningCurve], num_draws: int, rng: np.random.Generator
) -> Floats:
    """Draws of how far the mean lines are from the true ones, (B, 4)."""
    num_seeds = len(lines_S4)
    if num_seeds > 1:
        centred_S4 = (lines_S4 - lines_S4.mean(0)) / math.sqrt(num_seeds * (num_seeds - 1))
        normal_BS = rng.standard_normal((num_draws, num_seeds))
        return _stretched(normal_BS @ centred_S4, num_seeds - 1, rng)
    pieces = []
    for curve, line_2 in zip(curves, lines_S4.reshape(2, 2), strict=True):
        df = len(curve.sizes) - 2
        if df < 1:
            raise DataError("one seed and two sizes say nothing of noise; give a third size, or another seed")
        design_N2 = np.stack([np.ones(len(curve.sizes)), np.log(curve.sizes)], 1)
        residuals_N = np.asarray(curve.accuracies[0]) - design_N2 @ line_2
        # QR: the covariance of a line is that of R^-1 times independent noise.
        root_22 = np.linalg.inv(np.linalg.qr(design_N2, mode="r")) * math.sqrt(residuals_N @ residuals_N / df)
        pieces.append(_stretched(rng.standard_normal((num_draws, 2)) @ root_22.T, df, rng))
    return np.concatenate(pieces, 1)


def _stretched(normal_BK: Floats, df: int, rng: np.random.Generator) -> Floats:
    """From normal draws to those of the multivariate t distribution."""
    stretched: Floats = normal_BK * np.sqrt(df / rng.chisquare(df, size=(len(normal_BK), 1)))
    return stretched


def _common_accuracy(first: Line, baseline: LearningCurve, second: Line, other: LearningCurve) -> float:
    """The middle of the accuracies that both lines reach at their sizes; NaN where there are none."""
    ends = [
        sorted((line.at(min(curve.sizes)), line.at(max(curve.sizes))))
        for line, curve in ((first, baseline), (second, other))
    ]
    low, high = max(end[0] for end in ends), min(end[1] for end in ends)
    return (low + high) / 2 if low < high else math.nan


def _flat(slopes_B: Floats, whose: str, tail: float) -> str:
    """Why a slope cannot be divided by; empty where it can."""
    share = float((slopes_B <= 0).mean())
    return f"the {whose} does not gain with data beyond noise" if share > tail else ""


def _ratios(lines_B4: Floats, accuracy: float) -> tuple[Floats, Floats]:
    """Ratio of slopes and ratio of data of each pair of lines."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        baseline_B = (accuracy - lines_B4[:, 0]) / lines_B4[:, 1]
        other_B = (accuracy - lines_B4[:, 2]) / lines_B4[:, 3]
        return lines_B4[:, 3] / lines_B4[:, 1], np.exp(baseline_B - other_B)


def _ratio(value_1: Floats, values_B: Floats, tail: float, reason: str) -> Ratio:
    if reason:
        return Ratio(value=math.nan, low=math.nan, high=math.nan, reason=reason)
    low, high = np.nanquantile(values_B, [tail, 1 - tail])
    return Ratio(value=float(value_1[0]), low=float(low), high=float(high))
