"""The slow twin of `stats.power`: draw the effects, make the test, count how often it finds something."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats as scipy_stats

from reference.stats import degrees_of_freedom


def simulated_power(
    variance: tuple[float, float, float],
    difference: float,
    num_seeds: int,
    num_examples: int,
    level: float,
    num_studies: int,
    rng_seed: int,
) -> float:
    """Share of studies whose interval excludes 0, effects drawn one by one; the common part is known."""
    of_seeds, of_examples, of_rest = variance
    rng = np.random.default_rng(rng_seed)
    found = 0
    for _ in range(num_studies):
        common = rng.normal(0, math.sqrt(of_examples / num_examples))
        spread = math.sqrt(of_seeds + of_rest / num_examples)
        seeds = [difference + common + rng.normal(0, spread) for _ in range(num_seeds)]
        value = sum(seeds) / num_seeds
        estimated = sum((x - value) ** 2 for x in seeds) / (num_seeds - 1) / num_seeds
        total = estimated + of_examples / num_examples
        df = degrees_of_freedom(estimated / total, num_seeds, num_examples)
        found += 2 * scipy_stats.t.sf(abs(value) / math.sqrt(total), df) < 1 - level
    return found / num_studies


def noncentral_t_power(away: float, df: int, level: float) -> float:
    """Power of the two-sided t test at a distance of `away` standard errors."""
    critical = scipy_stats.t.ppf((1 + level) / 2, df)
    # Far from 0 scipy answers NaN for the wrong tail, which holds next to nothing there.
    wrong_tail = np.nan_to_num(scipy_stats.nct.cdf(-critical, df, away))
    return float(scipy_stats.nct.sf(critical, df, away) + wrong_tail)
