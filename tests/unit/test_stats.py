"""PGR and its intervals: closed forms, the plain twin, edge sizes. Coverage: test_coverage.py."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats as scipy_stats

from reference import stats as reference
from surpass.errors import ConfigError, DataError
from surpass.stats import (
    PgrEstimate,
    aggregate_pgr,
    estimate_pgr,
    mean_interval,
    median_interval,
    paired_difference,
    pgr,
)
from surpass.stats.resample import example_counts, normal_draws, panel_of
from surpass.stats.variance import degrees_of_freedom, parts_of, spread_of

GAP = (-1.0, 0.0, 1.0)


def bits(num_seeds: int, num_examples: int, accuracy: float, rng_seed: int) -> np.ndarray:
    return np.random.default_rng(rng_seed).random((num_seeds, num_examples)) < accuracy


def roles(num_seeds: int = 3, num_examples: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(bits(num_seeds, num_examples, p, place) for place, p in enumerate((0.4, 0.5, 0.8)))


def draws(counts_BK: np.ndarray) -> list[list[int]]:
    return [np.repeat(np.arange(len(row)), row).tolist() for row in counts_BK]


@pytest.mark.parametrize(
    ("student", "expected"), [(0.5, 0.0), (0.7, 1.0), (0.6, 0.5), (0.4, -0.5), (0.8, 1.5)]
)
def test_pgr_is_the_share_of_the_gap_and_never_clipped(student: float, expected: float) -> None:
    assert pgr(0.5, student, 0.7) == pytest.approx(expected)


def test_pgr_without_a_gap_is_nan() -> None:
    assert math.isnan(pgr(0.5, 0.6, 0.5))


def test_normal_draws_are_the_quantiles_in_random_order_and_cannot_be_changed() -> None:
    draws_B = normal_draws(400, 5)
    expected = scipy_stats.norm.ppf((np.arange(400) + 0.5) / 400)
    assert np.sort(draws_B) == pytest.approx(expected)
    assert (normal_draws(400, 6) != draws_B).any()
    with pytest.raises(ValueError, match="read-only"):
        draws_B[0] = 1


@pytest.mark.parametrize("num_examples", [1, 2, 249, 1000])
def test_example_counts_draw_as_many_as_there_are_and_cannot_be_changed(num_examples: int) -> None:
    counts_BN = example_counts(num_examples, 20, 3)
    assert (counts_BN.sum(axis=1) == num_examples).all()
    assert example_counts(num_examples, 20, 3) is counts_BN
    with pytest.raises(ValueError, match="read-only"):
        counts_BN[0, 0] = 1


def assert_equals_twin(
    estimate: PgrEstimate, plain: list[list[list[int]]], examples: list[list[list[int]]], nested: bool
) -> None:
    """Gap interval digit by digit; ends of PGR by asking the twin just inside and just outside."""
    normals = normal_draws(estimate.num_resamples, 11).tolist()
    rest = (examples, normals, estimate.level, nested)
    value, low, high, _, _ = reference.contrast_interval(plain, GAP, *rest)
    assert (estimate.gap, estimate.gap_low, estimate.gap_high) == pytest.approx((value, low, high), abs=1e-9)
    assert estimate.valid
    margin = 1e-6 * (estimate.high - estimate.low)
    for end, inwards in ((estimate.low, margin), (estimate.high, -margin)):
        assert reference.ratio_is_kept(plain, end + inwards, *rest)
        assert not reference.ratio_is_kept(plain, end - inwards, *rest)


@pytest.mark.parametrize(
    ("num_seeds", "num_examples", "num_resamples"), [(1, 60, 249), (2, 61, 250), (5, 60, 251)]
)
def test_crossed_estimate_equals_the_plain_twin(
    num_seeds: int, num_examples: int, num_resamples: int
) -> None:
    arrays = roles(num_seeds, num_examples)
    estimate = estimate_pgr(*arrays, level=0.8, num_resamples=num_resamples, rng_seed=11)
    shared = draws(example_counts(num_examples, num_resamples, 11))
    plain = [array.astype(int).tolist() for array in arrays]
    assert_equals_twin(estimate, plain, [[row] * num_seeds for row in shared], nested=False)
    assert estimate.weak == pytest.approx(arrays[0].mean(), abs=1e-15)
    assert estimate.design == "crossed"


def test_nested_estimate_equals_the_plain_twin() -> None:
    lengths = (33, 33, 40)
    per_role = [
        [bits(1, n, p, 10 * place + k)[0] for place, n in enumerate(lengths)]
        for k, p in enumerate((0.3, 0.5, 0.8))
    ]
    estimate = estimate_pgr(*per_role, level=0.9, num_resamples=200, rng_seed=11)
    per_seed = [draws(np.roll(example_counts(n, 200, 11), -place, axis=0)) for place, n in enumerate(lengths)]
    # Seeds of equal size stand in the order of their content.
    cells = [np.stack(seed, axis=-1).astype(np.float32).tobytes() for seed in zip(*per_role, strict=True)]
    order = [*sorted((0, 1), key=lambda place: cells[place]), 2]
    per_role = [[role[place] for place in order] for role in per_role]
    plain = [[array.astype(int).tolist() for array in role] for role in per_role]
    assert_equals_twin(estimate, plain, [list(row) for row in zip(*per_seed, strict=True)], nested=True)
    weak, student, ceiling = (np.mean([array.mean() for array in role]) for role in per_role)
    assert estimate.value == pytest.approx((student - weak) / (ceiling - weak))
    assert (estimate.design, estimate.num_seeds, estimate.num_examples) == ("nested", 3, 106)


@pytest.mark.parametrize("shape", [(1, 7), (2, 1), (2, 2), (3, 8), (4, 30)])
def test_variance_components_equal_the_plain_twin(shape: tuple[int, int]) -> None:
    arrays = roles(*shape)
    spread = spread_of(panel_of(weak=arrays[0], student=arrays[1], ceiling=arrays[2]))
    contrast = np.array([-0.3, 1.0, -0.7])
    cells = reference.contrast_cells([array.astype(int).tolist() for array in arrays], contrast)
    seeds, examples, rest = reference.crossed_components(cells)
    parts = parts_of(spread, contrast)
    assert parts.from_seeds == pytest.approx(seeds, abs=1e-15)
    assert parts.from_examples == pytest.approx(max(examples - rest, 0.0), abs=1e-15)


def test_variance_components_are_unbiased() -> None:
    """Effects of variance 1, 4 and 9; means over many draws."""
    from surpass.stats.variance import crossed_spread

    rng = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        cells_NS = rng.normal(0, 2, (20, 1)) + rng.normal(0, 1, (1, 4)) + rng.normal(0, 3, (20, 4))
        spread = crossed_spread(cells_NS[:, :, None])
        found.append([m.item() for m in (spread.seeds_RR, spread.examples_RR, spread.rest_RR)])
    expected = (1 / 4 + 9 / 80, 4 / 20 + 9 / 80, 9 / 80)
    assert np.mean(found, axis=0) == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 10])
def test_degrees_of_freedom_keep_coverage_whatever_the_share(num_seeds: int) -> None:
    """The claim of the docstring, by integration over the estimated variance."""
    lowest, highest = (0.933, 0.964) if num_seeds == 2 else (0.947, 0.957)
    for share in (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 1.0):
        covered = reference.coverage_given_share(share, num_seeds, 0.95, points=200)
        assert lowest <= covered <= highest
        assert degrees_of_freedom(share, num_seeds, 10**9) == pytest.approx(
            reference.degrees_of_freedom(share, num_seeds, 10**9)
        )


def test_value_is_a_ratio_of_means_not_a_mean_of_ratios() -> None:
    weak = np.array([[1, 0, 0, 0] * 50, [1, 1, 0, 0] * 50])
    student = np.array([[1, 1, 0, 0] * 50, [1, 1, 1, 0] * 50])
    ceiling = np.array([[1, 1, 1, 1] * 50, [1, 1, 1, 0] * 50])
    # At 95 % two seeds as different as these show no gap.
    assert estimate_pgr(weak, student, ceiling, level=0.5).value == pytest.approx(0.25 / 0.5)
    assert not estimate_pgr(weak, student, ceiling).valid
    per_seed = [pgr(w.mean(), s.mean(), c.mean()) for w, s, c in zip(weak, student, ceiling, strict=True)]
    assert np.mean(per_seed) == pytest.approx(2 / 3)


def test_a_student_equal_to_an_end_of_the_gap_has_an_exact_interval() -> None:
    weak, _, ceiling = roles()
    for student, end in ((weak, 0.0), (ceiling, 1.0)):
        estimate = estimate_pgr(weak, student, ceiling)
        assert (estimate.value, estimate.low, estimate.high) == (end, end, end)


def test_estimates_repeat_exactly_and_depend_on_the_rng_seed_only() -> None:
    arrays = roles()
    first = estimate_pgr(*arrays, rng_seed=4)
    example_counts.cache_clear()
    assert estimate_pgr(*arrays, rng_seed=4) == first
    assert estimate_pgr(*(array.astype(np.float64) for array in arrays), rng_seed=4) == first
    assert estimate_pgr(*arrays, rng_seed=5).low != first.low


def test_order_of_examples_shared_by_all_roles_does_not_move_the_value() -> None:
    arrays = roles()
    order = np.random.default_rng(0).permutation(arrays[0].shape[1])
    assert estimate_pgr(*(array[:, order] for array in arrays)).value == estimate_pgr(*arrays).value


def test_order_of_seeds_changes_no_digit() -> None:
    arrays = roles(5, 200)
    order = [3, 0, 4, 1, 2]
    assert estimate_pgr(*(array[order] for array in arrays)) == estimate_pgr(*arrays)
    assert paired_difference(arrays[0][order], arrays[1][order]) == paired_difference(arrays[0], arrays[1])
    lists = [[row[: 100 + 20 * (s // 2)] for s, row in enumerate(array)] for array in arrays]
    assert estimate_pgr(*([role[s] for s in order] for role in lists)) == estimate_pgr(*lists)


def test_a_list_of_arrays_of_many_seeds_is_refused() -> None:
    with pytest.raises(DataError, match="one array \\(seeds, examples\\)"):
        mean_interval([np.ones((2, 5)), np.ones((2, 5))])


def test_one_seed_is_noted_and_array_and_list_agree() -> None:
    weak, student, ceiling = (array[0] for array in roles())
    estimate = estimate_pgr(weak, student, ceiling)
    assert estimate.note is not None
    assert "one seed" in estimate.note
    assert estimate == estimate_pgr([weak], [student], [ceiling])
    assert estimate_pgr(*roles()).note is None


def test_no_gap_is_undefined_with_the_reason_and_keeps_the_accuracies() -> None:
    weak, student, ceiling = roles()
    estimate = estimate_pgr(ceiling, student, weak)
    assert not estimate.valid
    assert all(math.isnan(x) for x in (estimate.value, estimate.low, estimate.high))
    assert estimate.weak == ceiling.mean()
    assert estimate.gap < 0
    assert estimate.undefined_frac == 1.0
    assert estimate.reason is not None
    assert estimate.reason.startswith("the ceiling does not beat the weak supervisor: -")


def test_gap_within_noise_is_undefined_and_names_the_gap_and_its_interval() -> None:
    weak = np.array([[1, 0] * 50])
    ceiling = weak.copy()
    ceiling[0, 1] = 1
    estimate = estimate_pgr(weak, weak, ceiling)
    assert estimate.gap == pytest.approx(0.01)
    assert not estimate.valid
    assert 0.3 < estimate.undefined_frac < 0.45  # the one example is left out of a share 1/e of resamples
    assert estimate.reason is not None
    assert estimate.reason.endswith("only within noise: +1.0 points [-0.3, +3.6]")


def test_the_smallest_study_has_an_answer() -> None:
    estimate = estimate_pgr(np.array([0]), np.array([1]), np.array([1]))
    assert (estimate.value, estimate.low, estimate.high, estimate.valid) == (1.0, 1.0, 1.0, True)


@pytest.mark.parametrize(
    ("weak", "message"),
    [
        (np.zeros((3, 199)), "weak \\(3, 199\\), student \\(3, 200\\)"),
        (np.zeros((3, 0)), "not empty"),
        (np.zeros((1, 3, 200)), "correctness must be"),
        (np.full((3, 200), 0.5), "must be 0 or 1"),
        (np.full((3, 200), np.nan), "must be 0 or 1"),
    ],
)
def test_malformed_correctness_is_refused(weak: np.ndarray, message: str) -> None:
    _, student, ceiling = roles()
    with pytest.raises(DataError, match=message):
        estimate_pgr(weak, student, ceiling)


def test_lists_need_the_same_seeds() -> None:
    one = [np.ones(3)]
    with pytest.raises(DataError, match="same seeds"):
        estimate_pgr(one, one * 2, one)
    with pytest.raises(DataError, match="at least one"):
        estimate_pgr([], [], [])
    with pytest.raises(DataError, match="weak \\(3,\\), student \\(4,\\)"):
        estimate_pgr(one, [np.ones(4)], one)


@pytest.mark.parametrize("level", [0, 1, -0.1, 95])
def test_level_is_a_fraction(level: float) -> None:
    with pytest.raises(ConfigError, match="level"):
        mean_interval(np.ones(4), level=level)


def test_resamples_are_needed() -> None:
    with pytest.raises(ConfigError, match="num_resamples is 0"):
        mean_interval(np.ones(4), num_resamples=0)


def test_aggregate_is_the_median_of_the_valid_and_drops_nothing_silently() -> None:
    weak, student, ceiling = roles()
    good, better = estimate_pgr(weak, student, ceiling), estimate_pgr(weak, ceiling, ceiling)
    bad = estimate_pgr(ceiling, student, weak)
    result = aggregate_pgr([good, bad, better])
    assert result.median == pytest.approx((good.value + 1) / 2)
    assert (result.num_valid, result.num_invalid, result.reasons) == (2, 1, (bad.reason,))
    assert (result.low, result.high, result.coverage) == (good.value, 1.0, 0.5)
    nothing = aggregate_pgr([bad])
    assert math.isnan(nothing.median)
    assert math.isnan(nothing.low)
    assert (nothing.num_invalid, nothing.coverage) == (1, 0.0)


@pytest.mark.parametrize("num", [1, 2, 4, 5, 6, 8, 9, 13])
def test_median_interval_is_the_narrowest_pair_with_the_coverage(num: int) -> None:
    values = list(range(1, num + 1))
    low, high, coverage = median_interval(values[::-1])
    k = int(low)
    assert high == num + 1 - k
    assert coverage == pytest.approx(reference.median_coverage(num, k) if num > 1 else 0.0)
    enough = [j for j in range(1, (num + 1) // 2 + 1) if reference.median_coverage(num, j) >= 0.95]
    assert k == max(enough, default=1)


def test_median_interval_of_few_tasks_says_what_it_has() -> None:
    assert median_interval([0.1, 0.5, 0.2, 0.3]) == (0.1, 0.5, 0.875)
    assert median_interval([1, 2, 3, 4, 5, 6])[2] == 0.96875
    with pytest.raises(ConfigError, match="level is 2"):
        median_interval([1.0], level=2)


def test_mean_interval_of_one_seed_is_the_t_interval() -> None:
    correct_N = np.arange(1000) % 5 < 2
    estimate = mean_interval(correct_N, num_resamples=4000)
    expected = scipy_stats.t.interval(0.95, 999, 0.4, scipy_stats.sem(correct_N))
    assert estimate.value == 0.4
    assert estimate.high - estimate.low == pytest.approx(expected[1] - expected[0], rel=1e-9)
    assert (estimate.low, estimate.high) == pytest.approx(expected, abs=0.001)  # the rest is lopsidedness


def test_nested_difference_is_the_paired_t_test_over_seeds() -> None:
    a, b = (list(bits(6, 300, p, k)) for k, p in enumerate((0.55, 0.5)))
    result = paired_difference(a, b)
    seeds_a, seeds_b = [row.mean() for row in a], [row.mean() for row in b]
    expected = scipy_stats.ttest_rel(seeds_a, seeds_b)
    low, high = expected.confidence_interval(0.95)
    assert result.high - result.low == pytest.approx(high - low, rel=1e-9)
    assert result.p_value == pytest.approx(expected.pvalue, rel=0.15)  # the rest is lopsidedness


def test_shared_examples_do_not_average_out_over_seeds() -> None:
    one = bits(1, 400, 0.5, 0)
    same_test = np.repeat(one, 8, axis=0)
    alone, crossed = mean_interval(one), mean_interval(same_test)
    nested = mean_interval(list(same_test))
    assert (crossed.low, crossed.high) == pytest.approx((alone.low, alone.high))
    # As separate test sets they would be eight equal results, without any noise.
    assert nested.high - nested.low == pytest.approx(0, abs=1e-12)


def test_paired_difference_is_sharper_than_its_parts_and_signed() -> None:
    a = bits(4, 500, 0.5, 1)
    b = a.copy()
    b[:, :20] = False
    result = paired_difference(a, b)
    assert result.value == pytest.approx(a.mean() - b.mean())
    assert 0 < result.low < result.value < result.high
    assert result.p_value < 0.05
    alone = mean_interval(a)
    assert result.high - result.low < alone.high - alone.low
    mirrored = paired_difference(b, a)
    assert (mirrored.value, mirrored.p_value) == (-result.value, pytest.approx(result.p_value))
    assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low))


def test_the_mirrored_comparison_has_the_mirrored_interval_also_where_seeds_differ() -> None:
    a = np.stack([bits(1, 300, p, k)[0] for k, p in enumerate((0.5, 0.6, 0.75))])
    b = bits(3, 300, 0.4, 9)
    result, mirrored = paired_difference(a, b), paired_difference(b, a)
    assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low), abs=1e-12)
    assert mirrored.p_value == pytest.approx(result.p_value)


def test_equal_methods_differ_by_nothing() -> None:
    a = bits(2, 50, 0.5, 1)
    result = paired_difference(a, a)
    assert (result.value, result.low, result.high, result.p_value) == (0, 0, 0, 1)


def test_p_value_and_interval_tell_the_same() -> None:
    for rng_seed in range(40):
        result = paired_difference(
            bits(3, 60, 0.5, rng_seed), bits(3, 60, 0.6, 99 - rng_seed), num_resamples=999
        )
        assert (result.p_value < 0.05) == (result.low > 0 or result.high < 0)


def test_the_same_difference_everywhere_has_the_p_value_of_a_sign_test() -> None:
    result = paired_difference(np.ones((2, 10)), np.zeros((2, 10)))
    assert (result.value, result.low, result.high) == (1, 1, 1)
    assert result.p_value == 2 / 2**10


def test_fieller_holds_more_than_the_linearised_ratio_where_the_gap_is_uncertain() -> None:
    weak, student, ceiling = (bits(1, 400, p, k) for k, p in enumerate((0.5, 0.55, 0.63)))
    estimate = estimate_pgr(weak, student, ceiling)
    assert estimate.valid
    contrast = (student - weak.astype(float) - estimate.value * (ceiling - weak.astype(float)))[0]
    linear = scipy_stats.sem(contrast) / estimate.gap * scipy_stats.norm.ppf(0.975)
    assert estimate.high - estimate.low > 2 * linear
    assert estimate.high - estimate.value > estimate.value - estimate.low or estimate.value < 0


def test_an_estimate_takes_a_moment() -> None:
    arrays = roles(5, 6000)
    estimate_pgr(*arrays)  # draws the examples, once for a test set
    start = time.process_time()
    estimate_pgr(*arrays)
    assert time.process_time() - start < 0.5  # 0.05 s on an idle core
