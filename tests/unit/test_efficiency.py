"""Data efficiency where the truth is planted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from surpass.errors import ConfigError, DataError
from surpass.reasoning.efficiency import LearningCurve, data_efficiency

SIZES = (25.0, 50.0, 100.0, 200.0, 400.0)


def curve(intercept, slope, *, seeds=1, noise=0.0, rng=None, shared=None, sizes=SIZES):
    rng = rng or np.random.default_rng(0)
    rows = intercept + slope * np.log(sizes) + noise * rng.normal(size=(seeds, len(sizes)))
    rows = rows if shared is None else rows + shared[:, None]
    return LearningCurve(sizes=sizes, accuracies=tuple(map(tuple, rows.tolist())))


def test_parallel_lines_differ_in_data_alone():
    found = data_efficiency(curve(0.3, 0.05, seeds=2), curve(0.3 + 0.05 * math.log(2.6), 0.05, seeds=2))
    assert found.data.value == pytest.approx(2.6)
    assert (found.data.low, found.data.high) == pytest.approx((2.6, 2.6))
    assert found.slopes.value == pytest.approx(1)
    assert found.baseline.at(math.e) == pytest.approx(0.35)
    assert found.data.reason == found.slopes.reason == ""


def test_slopes_are_what_the_paper_compares():
    found = data_efficiency(curve(0.2, 0.02, seeds=2), curve(0.1, 0.052, seeds=2), accuracy=0.3)
    assert found.slopes.value == pytest.approx(2.6)
    assert found.data.value == pytest.approx(math.exp(0.1 / 0.02 - 0.2 / 0.052))
    assert found.accuracy == 0.3


def test_sizes_may_differ():
    found = data_efficiency(curve(0.3, 0.05, seeds=2), curve(0.3, 0.05, seeds=2, sizes=(30.0, 60.0, 90.0)))
    assert found.data.value == pytest.approx(1)
    assert found.accuracy == pytest.approx(0.3 + 0.05 * (math.log(30) + math.log(90)) / 2)


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_intervals_cover_the_truth(seeds):
    rng = np.random.default_rng(seeds)
    inside, of_slopes, defined = 0, 0, 0
    for run in range(200):
        shared = 0.02 * rng.normal(size=seeds)
        baseline = curve(0.3, 0.05, seeds=seeds, noise=0.008, rng=rng, shared=shared)
        other = curve(0.32, 0.06, seeds=seeds, noise=0.008, rng=rng, shared=shared)
        found = data_efficiency(baseline, other, accuracy=0.55, num_draws=2000, seed=run)
        if found.data.reason:
            continue
        defined += 1
        truth = math.exp(0.25 / 0.05 - 0.23 / 0.06)
        inside += found.data.low <= truth <= found.data.high
        of_slopes += found.slopes.low <= 1.2 <= found.slopes.high
    assert defined > 190
    assert 0.9 <= inside / defined <= 1
    assert 0.9 <= of_slopes / defined <= 1


def test_seeds_are_paired():
    """What a seed does to both curves cancels: noise between seeds does not widen the interval."""
    rng = np.random.default_rng(0)
    shared = 0.1 * rng.normal(size=6)
    baseline = curve(0.3, 0.05, seeds=6, noise=0.003, rng=rng, shared=shared)
    other = curve(0.35, 0.05, seeds=6, noise=0.003, rng=rng, shared=shared)
    paired = data_efficiency(baseline, other)
    turned = LearningCurve(sizes=SIZES, accuracies=other.accuracies[::-1])
    unpaired = data_efficiency(baseline, turned)
    assert paired.data.high / paired.data.low < unpaired.data.high / unpaired.data.low / 2


def test_where_it_is_not_defined():
    rng = np.random.default_rng(3)
    flat = curve(0.5, 0.0, seeds=3, noise=0.02, rng=rng)
    rising = curve(0.3, 0.05, seeds=3, noise=0.002, rng=rng)
    found = data_efficiency(flat, rising)
    assert found.slopes.reason == found.data.reason == "the baseline does not gain with data beyond noise"
    assert math.isnan(found.data.value)
    assert math.isnan(found.slopes.low)
    other = data_efficiency(rising, flat)
    assert other.slopes.reason == ""
    assert other.data.reason == "the other does not gain with data beyond noise"
    apart = data_efficiency(rising, curve(0.9, 0.01, seeds=3, noise=0.0001, rng=rng))
    assert apart.data.reason == "the lines reach no accuracy in common at their sizes"
    assert apart.slopes.value < 1


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: LearningCurve(sizes=(5.0, 5.0), accuracies=((1, 1),)), DataError, "cannot be fitted"),
        (lambda: LearningCurve(sizes=(0.0, 5.0), accuracies=((1, 1),)), DataError, "above 0"),
        (lambda: LearningCurve(sizes=(1.0, 5.0), accuracies=((1,),)), DataError, "an accuracy for each"),
        (lambda: LearningCurve(sizes=(1.0, 5.0), accuracies=()), DataError, "an accuracy for each"),
        (lambda: LearningCurve(sizes=(1.0, 5.0), accuracies=((1, math.nan),)), DataError, "no number"),
        (lambda: data_efficiency(curve(0, 1, seeds=2), curve(0, 1, seeds=3)), DataError, "paired"),
        (
            lambda: data_efficiency(curve(0, 1, sizes=(1.0, 2.0)), curve(0, 1)),
            DataError,
            "say nothing of noise",
        ),
        (lambda: data_efficiency(curve(0, 1), curve(0, 1), level=2), ConfigError, "level=2"),
    ],
)
def test_what_makes_no_sense(call, error, said):
    with pytest.raises(error, match=said):
        call()
