"""Slow twins of `stats.paired` and `stats.comparison`: all patterns of signs, one after the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from scipy import stats as scipy_stats

from reference.stats import crossed_components, degrees_of_freedom, mean

Cells = Sequence[Sequence[int]]


def holm(p_values: Sequence[float]) -> list[float]:
    """The largest of p times the number of hypotheses left, over all p values that come no later."""
    num = len(p_values)
    order = sorted(range(num), key=lambda i: p_values[i])
    result = [0.0] * num
    for place, i in enumerate(order):
        result[i] = min(1.0, max((num - j) * p_values[order[j]] for j in range(place + 1)))
    return result


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    num = len(p_values)
    order = sorted(range(num), key=lambda i: p_values[i])
    result = [0.0] * num
    for place, i in enumerate(order):
        result[i] = min(1.0, min(num / (j + 1) * p_values[order[j]] for j in range(place, num)))
    return result


def wilcoxon(differences: Sequence[float]) -> float:
    values = [x for x in differences if x != 0]
    ranks = []
    for x in values:
        smaller = sum(abs(y) < abs(x) for y in values)
        equal = sum(abs(y) == abs(x) for y in values)
        ranks.append(smaller + (equal + 1) / 2)
    middle = sum(ranks) / 2
    seen = abs(sum(r for r, x in zip(ranks, values, strict=True) if x > 0) - middle)
    far = 0
    for signs in itertools.product((0, 1), repeat=len(values)):
        far += abs(sum(r for r, s in zip(ranks, signs, strict=True) if s) - middle) >= seen
    return far / 2 ** len(values)


def sign_flip(differences: Sequence[float]) -> float:
    seen = abs(math.fsum(differences))
    far = 0
    for signs in itertools.product((1, -1), repeat=len(differences)):
        total = abs(math.fsum(s * x for s, x in zip(signs, differences, strict=True)))
        far += total >= seen - 1e-9
    return far / 2 ** len(differences)


def mean_difference(
    method: Sequence[Cells], baseline: Sequence[Cells], shared: bool, level: float
) -> tuple[float, float, float, float]:
    """Return value, low, high and p value of the mean over tasks."""
    tasks = [
        [[x - y for x, y in zip(row, other, strict=True)] for row, other in zip(a, b, strict=True)]
        for a, b in zip(method, baseline, strict=True)
    ]
    num_seeds = len(tasks[0])
    seeds = [mean([mean(task[s]) for task in tasks]) for s in range(num_seeds)]
    value = mean(seeds)
    from_seeds = 0.0
    if num_seeds > 1:
        from_seeds = sum((x - value) ** 2 for x in seeds) / (num_seeds - 1) / num_seeds
    if shared:
        tasks = [
            [
                [mean([task[s][n] for task in tasks]) for n in range(len(tasks[0][0]))]
                for s in range(num_seeds)
            ]
        ]
    common = 0.0
    for task in tasks:
        _, examples, rest = crossed_components(task)
        common += max(examples - rest, 0.0) / len(tasks) ** 2
    share = from_seeds / (from_seeds + common)
    df = degrees_of_freedom(share, num_seeds, min(len(task[0]) for task in tasks))
    error = math.sqrt(from_seeds + common)
    factor = float(scipy_stats.t.ppf((1 + level) / 2, df))
    p_value = 2 * float(scipy_stats.t.sf(abs(value) / error, df))
    return value, value - factor * error, value + factor * error, p_value
