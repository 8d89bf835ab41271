"""The slow twin of `surpass.stats`: plain Python, straight from the definitions.

Variance components from deviations (not from sums of products), one resample at a time, ends of the
interval of PGR by scanning ratios (not by root finding).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from scipy import stats as scipy_stats

Bits = Sequence[Sequence[int]]
Draws = Sequence[Sequence[Sequence[int]]]


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def contrast_cells(roles: Sequence[Bits], contrast: Sequence[float]) -> list[list[float]]:
    """The contrast in every cell, [seed][example]."""
    return [
        [math.fsum(c * role[s][n] for c, role in zip(contrast, roles, strict=True)) for n in range(len(row))]
        for s, row in enumerate(roles[0])
    ]


def crossed_components(cells: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean squares of seeds, examples and rest, each divided by the number of cells."""
    num_seeds, num_examples = len(cells), len(cells[0])
    grand = mean([mean(row) for row in cells])
    seeds = [mean(row) for row in cells]
    examples = [mean([row[n] for row in cells]) for n in range(num_examples)]
    rest = [
        (cells[s][n] - seeds[s] - examples[n] + grand) ** 2
        for s in range(num_seeds)
        for n in range(num_examples)
    ]
    square_seeds = num_examples * sum((x - grand) ** 2 for x in seeds) / max(num_seeds - 1, 1)
    square_examples = num_seeds * sum((x - grand) ** 2 for x in examples) / max(num_examples - 1, 1)
    square_rest = sum(rest) / max((num_seeds - 1) * (num_examples - 1), 1)
    number = num_seeds * num_examples
    return square_seeds / number, square_examples / number, square_rest / number


def nested_components(cells: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    num_seeds = len(cells)
    seeds = [mean(row) for row in cells]
    between = sum((x - mean(seeds)) ** 2 for x in seeds) / (num_seeds - 1) / num_seeds
    within = 0.0
    for row, centre in zip(cells, seeds, strict=True):
        within += sum((x - centre) ** 2 for x in row) / (len(row) - 1) / len(row)
    return between, within / num_seeds**2, within / num_seeds**2


def degrees_of_freedom(share: float, num_seeds: int, num_examples: int) -> float:
    if num_seeds == 1 or share == 0:
        return max(num_examples - 1, 1)
    f = num_seeds - 1
    counted = min(share / (f**2 / (f**2 + 2)), 1.0)
    return 1 / (counted**2 / f + (1 - counted) ** 2 / max(num_examples - 1, 1))


def quantile(values: Sequence[float], share: float) -> float:
    """Linear interpolation between order statistics (Hyndman and Fan 1996, type 7)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def contrast_interval(
    roles: Sequence[Bits],
    contrast: Sequence[float],
    examples: Draws,
    normals: Sequence[float],
    level: float,
    nested: bool = False,
) -> tuple[float, float, float, float, float]:
    """Return value, low, high, t and degrees of freedom.

    Args:
        roles: Correctness of each role, [role][seed][example].
        contrast: Weight of each role.
        examples: Examples of each resample and seed, [resample][seed][draw].
        normals: One normal draw for each resample.
        level: Coverage.
        nested: Whether each seed has test examples of its own.
    """
    cells = contrast_cells(roles, contrast)
    value = mean([mean(row) for row in cells])
    seeds, both, rest = nested_components(cells) if nested else crossed_components(cells)
    common = max(both - rest, 0.0)
    error = math.sqrt(seeds + common)
    between = math.sqrt(max(seeds - rest, 0.0))
    resampled = []
    for drawn, normal in zip(examples, normals, strict=True):
        accuracy = mean([mean([row[n] for n in drawn[s]]) for s, row in enumerate(cells)])
        signs = (1, -1) if between else (1,)
        resampled += [accuracy - value + sign * between * normal for sign in signs]
    down, up = -quantile(resampled, (1 - level) / 2), quantile(resampled, (1 + level) / 2)
    lean = min(max(2 * down / (down + up) if down + up > 0 else 1.0, 0.5), 1.5)
    share = seeds / (seeds + common) if seeds + common > 0 else 0.0
    num_examples = sum(len(row) for row in cells) if nested else len(cells[0])
    df = degrees_of_freedom(share, len(cells), num_examples)
    factor = float(scipy_stats.t.ppf((1 + level) / 2, df))
    arm = lean if value > 0 else 2 - lean
    t = value / (error * arm) if error else math.inf
    return value, value - factor * error * lean, value + factor * error * (2 - lean), t, df


def ratio_is_kept(
    roles: Sequence[Bits],
    ratio: float,
    examples: Draws,
    normals: Sequence[float],
    level: float,
    nested: bool = False,
) -> bool:
    """Whether the interval of student - weak - ratio * (ceiling - weak) holds 0 (Fieller)."""
    contrast = (ratio - 1, 1.0, -ratio)
    _, low, high, _, _ = contrast_interval(roles, contrast, examples, normals, level, nested)
    return low <= 0 <= high


def median_coverage(num: int, k: int) -> float:
    """Chance that the median lies between the k-th smallest and k-th largest of num, by listing all signs."""
    inside = 0
    for pattern in range(2**num):
        above = bin(pattern).count("1")
        inside += k <= above <= num - k
    return inside / 2**num


def coverage_given_share(true_share: float, num_seeds: int, level: float, points: int = 4000) -> float:
    """Coverage with normal effects and ever so many examples, averaged over quantiles of the chi-squared."""
    f = num_seeds - 1
    normal = NormalDist()
    total = 0.0
    for i in range(points):
        chi = float(scipy_stats.chi2.ppf((i + 0.5) / points, f)) / f
        estimated = true_share * chi + 1 - true_share
        df = degrees_of_freedom(true_share * chi / estimated, num_seeds, 10**9)
        factor = float(scipy_stats.t.ppf((1 + level) / 2, df))
        total += 2 * normal.cdf(factor * math.sqrt(estimated)) - 1
    return total / points
