"""Values of problems: their mean is the statistic, their spread that of resampled problems."""

from __future__ import annotations

import numpy as np
import pytest

from surpass.errors import DataError
from surpass.stats import estimate_pgr, mean_interval, paired_difference
from surpass.stats.values import (
    harmonic_values,
    share_values,
    value_difference,
    value_mean,
    value_pgr,
)


def clustered(seed, problems=150):
    """Right solutions, wrong ones and hits among both, of each problem."""
    random = np.random.default_rng(seed)
    skill = random.beta(2, 2, problems)
    counts = random.integers(0, 4, (2, problems))
    return counts, random.binomial(counts, skill)


def f1(counts, hits):
    a, b = hits.sum(-1) / counts.sum(-1)
    return 2 * a * b / (a + b)


def f1_values(counts, hits):
    return harmonic_values(*(share_values(*pair) for pair in zip(hits, counts, strict=True)))


def test_on_single_examples_values_are_correctness_itself():
    random = np.random.default_rng(0)
    correct = random.integers(0, 2, (3, 3, 80))
    ones = np.ones(80)
    values = np.stack([[share_values(row, ones) for row in role] for role in correct])
    np.testing.assert_allclose(values, correct, atol=1e-12)
    assert value_pgr(*values) == estimate_pgr(*correct)
    assert value_mean(values[0]) == mean_interval(correct[0])
    assert value_difference(values[0], values[1]) == paired_difference(correct[0], correct[1])


def test_the_mean_of_values_is_the_statistic():
    for seed in range(5):
        counts, hits = clustered(seed)
        assert f1_values(counts, hits).mean() == pytest.approx(f1(counts, hits), abs=1e-12)
        values = share_values(hits[0], counts[0])
        assert values.mean() == pytest.approx(hits[0].sum() / counts[0].sum(), abs=1e-12)


def test_values_are_derivatives_by_the_weight_of_a_problem():
    counts, hits = clustered(1, problems=12)
    values, small = f1_values(counts, hits), 1e-6
    for place in range(12):
        weight = np.ones(12)
        weight[place] += small
        weight *= 12 / weight.sum()
        a, b = (hits * weight).sum(-1) / (counts * weight).sum(-1)
        slope = (2 * a * b / (a + b) - f1(counts, hits)) / small
        assert values[place] == pytest.approx(f1(counts, hits) + 12 * slope, abs=1e-4)


def test_their_spread_is_that_of_resampled_problems():
    counts, hits = clustered(2)
    random = np.random.default_rng(0)
    draws = random.integers(0, 150, (4000, 150))
    brute = np.array([f1(counts[:, draw], hits[:, draw]) for draw in draws])
    values = f1_values(counts, hits)
    assert values.std() / np.sqrt(150) == pytest.approx(brute.std(), rel=0.05)
    found = value_mean(values)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(brute, [0.025, 0.975])), abs=0.006)


def test_intervals_of_f1_cover():
    """Of 200 sets of problems, about 95 % of the intervals hold the F1 of all problems."""
    true = f1(*clustered(99, problems=200_000))
    found = [value_mean(f1_values(*clustered(seed)), num_resamples=300) for seed in range(200)]
    covered = np.mean([each.low <= true <= each.high for each in found])
    assert 0.9 <= covered <= 0.99


def test_pgr_of_f1_is_that_of_the_three_statistics():
    counts, _ = clustered(3)
    random = np.random.default_rng(3)
    roles = []
    for skill in (0.4, 0.6, 0.8):
        hits = random.binomial(counts, skill, (2, *counts.shape))
        roles.append((hits, np.stack([f1_values(counts, each) for each in hits])))
    means = [np.mean([f1(counts, each) for each in hits]) for hits, _ in roles]
    found = value_pgr(*(values for _, values in roles))
    assert found.valid
    assert found.value == pytest.approx((means[1] - means[0]) / (means[2] - means[0]), abs=1e-5)
    assert found.low < found.value < found.high
    difference = value_difference(roles[2][1], roles[0][1])
    assert difference.value == pytest.approx(means[2] - means[0], abs=1e-6)
    assert difference.low > 0


def test_f1_of_nothing_found_is_zero():
    assert harmonic_values(np.zeros(3), np.array([0.5, 1.5, 1.0])).tolist() == [0, 0, 0]


def test_what_makes_no_values():
    with pytest.raises(DataError, match="need some"):
        share_values(np.zeros(3), np.zeros(3))
    with pytest.raises(DataError, match="every problem"):
        harmonic_values(np.zeros(3), np.zeros(2))
    with pytest.raises(DataError, match="alike"):
        value_difference(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(DataError, match="not finite"):
        value_mean(np.array([1.0, np.nan]))
