"""How much of the variance of a mean accuracy comes from seeds, from test examples, and from both together.

Correctness of seed s on example n is taken as mean + seed effect + example effect + rest, with
effects drawn anew for other seeds and examples (two-way random effects, one value in each cell).
Mean squares give unbiased estimates of the three variances, for every role and every pair of
roles at once, and so for every contrast of roles (a difference; student - weak - PGR * gap).

Nothing is known of the spread of seeds but what S seeds show, so a t quantile takes the place of
the normal one. Its degrees of freedom depend on the share of the variance that was estimated from
seeds alone (`degrees_of_freedom`).

Shape suffixes: S seeds, N examples, R roles.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from surpass.stats.resample import Floats, Panel, pooled_means


class Spread(NamedTuple):
    """Means of the roles, and where the variance of these means comes from.

    Each matrix is a mean square divided by the number of cells. `seeds_RR` expects (variance
    between seeds) / S + rest / (S N), `examples_RR` (variance between examples) / N + rest / (S N),
    and `rest_RR` rest / (S N): the variance of the means is seeds + examples - rest. In a nested
    design examples and rest are both the variance within seeds, which leaves seeds alone.
    """

    means_R: Floats
    seeds_RR: Floats
    examples_RR: Floats
    rest_RR: Floats
    num_seeds: int
    num_examples: int


class Parts(NamedTuple):
    """Variance of one estimated contrast, in two parts, and the degrees of freedom of their sum.

    `from_seeds` is the part estimated from the differences between seeds (training noise, and the noise of
    single answers), `from_examples` what all seeds have in common by sharing test examples.
    """

    from_seeds: float
    from_examples: float
    df: float

    @property
    def std_error(self) -> float:
        """Standard error of the contrast."""
        return math.sqrt(self.from_seeds + self.from_examples)


def degrees_of_freedom(share: float, num_seeds: int, num_examples: int) -> float:
    """Return the degrees of freedom of a variance of which `share` was estimated from S seeds.

    Satterthwaite's f / share^2 with f = S - 1 lets a 95 % interval cover only 87 % (S = 2) or 92 %
    (S = 3) where seeds and examples both count, because it takes the estimated share for the true
    one and misses most where the share is small by chance. Here the share counts as whole from c = f^2 /
    (f^2 + 2) on: f / min(1, share / c)^2. With normal effects, integration over the chi-squared
    distribution of the estimate gives coverage between 93.4 and 96.3 % (S = 2) and 94.7 and 95.7 %
    (S >= 3) whatever the true share; both ends, share 0 and share 1, stay exact. The remaining part
    of the variance has N - 1 degrees of freedom.

    Source:
        Satterthwaite 1946; Welch 1947 for the problem. Differs: c is ours, chosen by that integration.
    """
    of_examples = max(num_examples - 1, 1)
    if num_seeds == 1 or share <= 0:
        return of_examples
    f = num_seeds - 1
    counted = min(1.0, share * (f * f + 2) / (f * f))
    return 1 / (counted**2 / f + (1 - counted) ** 2 / of_examples)


def parts_of(spread: Spread, contrast_R: Floats) -> Parts:
    """Split the variance of a contrast of the means; negative estimates of the common part count as 0."""
    seeds, examples, rest = (
        float(contrast_R @ matrix_RR @ contrast_R)
        for matrix_RR in (spread.seeds_RR, spread.examples_RR, spread.rest_RR)
    )
    from_seeds, from_examples = max(seeds, 0.0), max(examples - rest, 0.0)
    total = from_seeds + from_examples
    share = from_seeds / total if total else 0.0
    return Parts(from_seeds, from_examples, degrees_of_freedom(share, spread.num_seeds, spread.num_examples))


def spread_of(panel: Panel) -> Spread:
    """Estimate the variance components of all roles."""
    if len(panel.groups) == 1:
        return crossed_spread(panel.groups[0].astype(np.float64))
    return _nested(panel)


def crossed_spread(values_NSR: Floats) -> Spread:
    """Decompose values of any kind, float64 (N, S, R); exact before the last division for whole numbers."""
    num_examples, num_seeds, num_roles = values_NSR.shape
    cells = num_examples * num_seeds
    by_seed_SR, by_example_NR = values_NSR.sum(axis=0), values_NSR.sum(axis=1)
    # The total from the examples: their order matters to the last bit for fractions only.
    total_R = by_example_NR.sum(axis=0)
    flat = values_NSR.reshape(cells, num_roles)
    # Four sums of products, each multiplied by the number of cells.
    all_RR = cells * _products(flat)
    seed_RR = num_seeds * _products(by_seed_SR)
    example_RR = num_examples * _products(by_example_NR)
    mean_RR = np.outer(total_R, total_R)
    df_seeds, df_examples = num_seeds - 1, num_examples - 1
    zero_RR = np.zeros((num_roles, num_roles))
    rest_RR = zero_RR
    if df_seeds and df_examples:
        rest_RR = (all_RR - seed_RR - example_RR + mean_RR) / (df_seeds * df_examples)
    return Spread(
        total_R / cells,
        (seed_RR - mean_RR) / df_seeds / cells**2 if df_seeds else zero_RR,
        (example_RR - mean_RR) / df_examples / cells**2 if df_examples else zero_RR,
        rest_RR / cells**2,
        num_seeds,
        num_examples,
    )


def _products(rows: Floats) -> Floats:
    """Return the sums of products of columns; equal columns give equal sums to the last bit."""
    sums = [[float((a * b).sum()) for b in rows.T] for a in rows.T]
    return np.array(sums)


def _nested(panel: Panel) -> Spread:
    num_seeds = panel.num_seeds
    means_R = pooled_means(panel)
    means_SR = np.array([group.mean(axis=(0, 1), dtype=np.float64) for group in panel.groups])
    between_RR = _products(means_SR - means_R) / (num_seeds - 1) / num_seeds
    within_RR = np.zeros_like(between_RR)
    for group, mean_R in zip(panel.groups, means_SR, strict=True):
        if len(group) > 1:
            squares_RR = _products(group[:, 0].astype(np.float64) - mean_R)
            within_RR += squares_RR / (len(group) - 1) / len(group) / num_seeds**2
    # The groups have an order of their own (`panel_of`), so that these sums do not depend on that of seeds.
    return Spread(means_R, between_RR, within_RR, within_RR, num_seeds, panel.num_examples)
