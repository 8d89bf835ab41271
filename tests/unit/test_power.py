"""Power against the noncentral t of scipy, the normal limit, simulation, and itself turned round."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from reference import power as reference
from reference.stats import contrast_cells, crossed_components
from surpass.errors import ConfigError, DataError
from surpass.stats.power import (
    Variance,
    _t_quantiles,
    difference_variance,
    pgr_variance,
    power_of,
    seeds_needed,
    smallest_difference,
)
from surpass.stats.student_t import t_quantile


def bits(num_seeds: int, num_examples: int, accuracy: float, rng_seed: int) -> np.ndarray:
    return np.random.default_rng(rng_seed).random((num_seeds, num_examples)) < accuracy


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 12, 60, 400])
@pytest.mark.parametrize("away", [0.0, 0.5, 2.0, 3.3, 8.0])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_all_variance_from_seeds_is_the_noncentral_t(num_seeds: int, away: float, level: float) -> None:
    variance = Variance(seeds=0.02, examples=0.0, rest=0.5)
    difference = away * math.sqrt(variance.of(num_seeds, 50))
    power = power_of(variance, difference, num_seeds=num_seeds, num_examples=50, level=level)
    expected = reference.noncentral_t_power(away, num_seeds - 1, level)
    assert power == pytest.approx(expected, abs=2e-6)


def test_no_variance_from_seeds_is_the_t_test_over_examples() -> None:
    variance = Variance(seeds=0.0, examples=0.25, rest=0.0)
    power = power_of(variance, 0.01, num_seeds=7, num_examples=20_000)
    away = 0.01 / math.sqrt(0.25 / 20_000)
    assert power == pytest.approx(scipy_stats.norm.sf(1.96 - away), abs=1e-4)
    assert power == power_of(variance, -0.01, num_seeds=7, num_examples=20_000)


@pytest.mark.parametrize("num_seeds", [2, 3, 6])
@pytest.mark.parametrize("seeds", [0.001, 0.01])
def test_power_is_what_simulation_finds(num_seeds: int, seeds: float) -> None:
    variance = Variance(seeds=seeds, examples=0.3, rest=0.2)
    difference = 2.5 * math.sqrt(variance.of(num_seeds, 200))
    power = power_of(variance, difference, num_seeds=num_seeds, num_examples=200)
    simulated = reference.simulated_power(variance, difference, num_seeds, 200, 0.95, 1500, num_seeds)
    assert power == pytest.approx(simulated, abs=4 * math.sqrt(0.25 / 1500))


def test_power_without_a_difference_is_the_level() -> None:
    for num_seeds in (3, 5, 20):
        power = power_of(Variance(0.004, 0.3, 0.2), 0.0, num_seeds=num_seeds, num_examples=200)
        assert 0.043 < power < 0.053


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.999])
def test_many_quantiles_are_those_of_one(level: float) -> None:
    df_Q = np.array([1, 1.01, 1.5, 2, 2.7, 5, 9.9, 30, 400, 1e4, 1e6, 1e9])
    expected = [t_quantile((1 + level) / 2, df) for df in df_Q.tolist()]
    assert _t_quantiles(level, df_Q) == pytest.approx(expected, rel=1e-8)


def test_seeds_needed_is_the_first_number_with_enough_power() -> None:
    variance = Variance(seeds=0.0004, examples=0.1, rest=0.1)
    for difference in (0.02, 0.03, 0.06):
        result = seeds_needed(variance, difference, num_examples=6000)
        assert result.num_seeds is not None
        assert result.reason is None
        below = result.num_seeds - 1
        assert result.power == power_of(variance, difference, num_seeds=result.num_seeds, num_examples=6000)
        assert result.power >= 0.8
        assert below == 1 or power_of(variance, difference, num_seeds=below, num_examples=6000) < 0.8
    assert seeds_needed(variance, 0.5, num_examples=6000).num_seeds == 2


def test_what_more_seeds_cannot_show_is_said_with_the_examples_it_takes() -> None:
    variance = Variance(seeds=0.0004, examples=0.1, rest=0.1)
    result = seeds_needed(variance, 0.005, num_examples=6000)
    assert result.num_seeds is None
    assert result.reason is not None
    assert result.reason.startswith(
        "never with this test set: with ever more seeds the power stays below 0.2"
    )
    assert result.power == pytest.approx(
        power_of(variance, 0.005, num_seeds=20_000, num_examples=6000), abs=0.002
    )
    # The usual formula for the sample size of a normal test, without its far tail.
    usual = 0.1 * ((1.959964 + 0.841621) / 0.005) ** 2
    assert result.examples_needed == pytest.approx(usual, rel=1e-3)
    assert (
        seeds_needed(variance, 0.005, num_examples=result.examples_needed + 1000, max_seeds=10_000).reason
        is None
    )
    assert seeds_needed(variance, 0.005, num_examples=result.examples_needed - 1).num_seeds is None


def test_more_seeds_than_max_seeds_is_said() -> None:
    result = seeds_needed(Variance(0.04, 0.0, 0.0), 0.01, num_examples=100, max_seeds=50)
    assert result.num_seeds is None
    assert result.reason is not None
    assert result.reason.startswith("more than 50 seeds, whose power is 0.06")
    assert result.examples_needed is None


@pytest.mark.parametrize("num_seeds", [1, 2, 5])
def test_smallest_difference_turns_power_round(num_seeds: int) -> None:
    variance = Variance(seeds=0.0004, examples=0.1, rest=0.1)
    smallest = smallest_difference(variance, num_seeds=num_seeds, num_examples=1000, power=0.9)
    assert power_of(variance, smallest, num_seeds=num_seeds, num_examples=1000) == pytest.approx(
        0.9, abs=1e-9
    )
    assert smallest_difference(Variance(0, 0, 0), num_seeds=2, num_examples=10) == 0.0


def test_parts_of_a_difference_equal_the_plain_twin() -> None:
    a, b = bits(3, 20, 0.6, 0), bits(3, 20, 0.5, 1)
    cells = contrast_cells([a.astype(int).tolist(), b.astype(int).tolist()], (1, -1))
    seeds, examples, rest = crossed_components(cells)
    variance = difference_variance(a, b)
    expected = (max(seeds - rest, 0) * 3, max(examples - rest, 0) * 20, rest * 60)
    assert tuple(variance) == pytest.approx(expected)


def test_parts_are_found_back_from_planted_ones() -> None:
    rng = np.random.default_rng(0)
    difficulty_N = rng.normal(size=4000)
    roles = [
        skill + rng.normal(0, 0.1, (40, 1)) + rng.normal(0, 0.5, (40, 4000)) > difficulty_N
        for skill in (-0.3, 0.0, 0.4)
    ]
    variance = difference_variance(roles[1], roles[0])
    slope = scipy_stats.norm.pdf(0, scale=math.sqrt(1.25))
    assert variance.seeds == pytest.approx(2 * (0.1 * slope) ** 2, rel=0.35)
    halves = [difference_variance(roles[1][s], roles[0][s]) for s in (slice(20), slice(20, 40))]
    assert np.mean([h.examples for h in halves]) == pytest.approx(variance.examples, rel=0.05)
    share = pgr_variance(*roles)
    gap = float(roles[2].mean() - roles[0].mean())
    assert 0.2 < share.rest * gap**2 / variance.rest < 1  # the ceiling's noise comes in, weak's goes out


def test_results_that_show_no_parts_are_refused() -> None:
    one = bits(1, 20, 0.5, 0)
    with pytest.raises(DataError, match="1 seeds and 20 examples"):
        difference_variance(one, one)
    lists = list(bits(3, 20, 0.5, 0))
    with pytest.raises(DataError, match="a test set for each seed"):
        difference_variance(lists, lists)
    ones = np.ones((2, 20))
    with pytest.raises(DataError, match="does not beat the weak supervisor"):
        pgr_variance(ones, ones, ones)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"difference": 0.0}, "difference is 0"),
        ({"difference": math.nan}, "difference is nan"),
        ({"power": 1.0}, "power is 1.0"),
        ({"power": 0.04}, "power is 0.04"),
        ({"level": 0.0}, "level is 0.0"),
        ({"num_examples": 0}, "0 examples"),
        ({"max_seeds": 1}, "max_seeds is 1"),
        ({"variance": Variance(-1.0, 0.0, 0.0)}, "must be finite and not negative"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    given = {"variance": Variance(0.01, 0.1, 0.1), "difference": 0.01, "num_examples": 100, **settings}
    with pytest.raises(ConfigError, match=message):
        seeds_needed(**given)
