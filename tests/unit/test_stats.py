"""PGR and its intervals: closed forms, the plain twin, edge sizes, and coverage by simulation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from reference import stats as reference
from surpass.errors import ConfigError, DataError
from surpass.resample import example_counts, seed_counts
from surpass.stats import aggregate_pgr, estimate_pgr, mean_interval, paired_difference, pgr


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


@pytest.mark.parametrize("num_seeds", [1, 2, 3, 7])
def test_seed_counts_draw_one_seed_less_than_there_are(num_seeds: int) -> None:
    counts_BS = seed_counts(num_seeds, 4000, 5)
    assert counts_BS.shape == (4000, num_seeds)
    assert (counts_BS.sum(axis=1) == max(1, num_seeds - 1)).all()
    assert counts_BS.mean(axis=0) == pytest.approx(max(1, num_seeds - 1) / num_seeds, abs=0.05)


def test_seed_resamples_have_the_unbiased_variance_of_a_mean() -> None:
    values_S = np.array([0.1, 0.5, 0.9, 0.2])
    means_B = seed_counts(4, 50_000, 0) @ values_S / 3
    assert means_B.var() == pytest.approx(values_S.var(ddof=1) / 4, rel=0.03)


@pytest.mark.parametrize("num_examples", [1, 2, 249, 1000])
def test_example_counts_draw_as_many_as_there_are_and_cannot_be_changed(num_examples: int) -> None:
    counts_BN = example_counts(num_examples, 20, 3)
    assert (counts_BN.sum(axis=1) == num_examples).all()
    assert example_counts(num_examples, 20, 3) is counts_BN
    with pytest.raises(ValueError, match="read-only"):
        counts_BN[0, 0] = 1


@pytest.mark.parametrize(
    ("num_seeds", "num_examples", "num_resamples"), [(1, 30, 249), (2, 31, 250), (5, 40, 251)]
)
def test_crossed_estimate_equals_the_plain_twin(
    num_seeds: int, num_examples: int, num_resamples: int
) -> None:
    arrays = roles(num_seeds, num_examples)
    estimate = estimate_pgr(*arrays, level=0.9, num_resamples=num_resamples, rng_seed=11)
    seeds = draws(seed_counts(num_seeds, num_resamples, 11))
    shared = draws(example_counts(num_examples, num_resamples, 11))
    plain = [array.astype(int).tolist() for array in arrays]
    resamples = list(reference.resampled_means(plain, seeds, [[row] * num_seeds for row in shared]))
    assert (estimate.low, estimate.high) == pytest.approx(reference.pgr_interval(resamples, 0.9), abs=1e-12)
    assert (estimate.gap_low, estimate.gap_high) == pytest.approx(
        reference.gap_interval(resamples, 0.9), abs=1e-12
    )
    assert estimate.weak == pytest.approx(arrays[0].mean(), abs=1e-15)
    assert estimate.design == "crossed"


def test_nested_estimate_equals_the_plain_twin() -> None:
    lengths = (40, 25, 33)
    per_role = [[bits(1, n, p, 10 * n + k)[0] for n in lengths] for k, p in enumerate((0.3, 0.5, 0.8))]
    estimate = estimate_pgr(*per_role, num_resamples=200, rng_seed=2)
    seeds = draws(seed_counts(3, 200, 2))
    per_seed = [draws(example_counts(n, 200, 2, place)) for place, n in enumerate(lengths)]
    plain = [[array.astype(int).tolist() for array in role] for role in per_role]
    resamples = list(reference.resampled_means(plain, seeds, list(zip(*per_seed, strict=True))))
    assert (estimate.low, estimate.high) == pytest.approx(reference.pgr_interval(resamples, 0.95), abs=1e-12)
    weak, student, ceiling = (np.mean([array.mean() for array in role]) for role in per_role)
    assert estimate.value == pytest.approx((student - weak) / (ceiling - weak))
    assert (estimate.design, estimate.num_seeds, estimate.num_examples) == ("nested", 3, 98)


def test_value_is_a_ratio_of_means_not_a_mean_of_ratios() -> None:
    weak = np.array([[1, 0, 0, 0] * 50, [1, 1, 0, 0] * 50])
    student = np.array([[1, 1, 0, 0] * 50, [1, 1, 1, 0] * 50])
    ceiling = np.array([[1, 1, 1, 1] * 50, [1, 1, 1, 0] * 50])
    assert estimate_pgr(weak, student, ceiling).value == pytest.approx(0.25 / 0.5)
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
    assert estimate.reason.endswith("only within noise: +1.0 points [+0.0, +3.0]")


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
    nothing = aggregate_pgr([bad])
    assert math.isnan(nothing.median)
    assert nothing.num_invalid == 1


def test_mean_interval_of_one_seed_is_the_binomial_one() -> None:
    correct_N = np.arange(1000) % 5 < 2
    estimate = mean_interval(correct_N, num_resamples=4000)
    half_width = NormalDist().inv_cdf(0.975) * math.sqrt(0.4 * 0.6 / 1000)
    assert estimate.value == 0.4
    assert estimate.low == pytest.approx(0.4 - half_width, abs=0.003)
    assert estimate.high == pytest.approx(0.4 + half_width, abs=0.003)


def test_shared_examples_do_not_average_out_over_seeds() -> None:
    one = bits(1, 400, 0.5, 0)
    same_test = np.repeat(one, 8, axis=0)
    alone, crossed = mean_interval(one), mean_interval(same_test)
    nested = mean_interval(list(same_test))
    assert (crossed.low, crossed.high) == (alone.low, alone.high)
    assert nested.high - nested.low < 0.7 * (crossed.high - crossed.low)


def test_paired_difference_is_sharper_than_its_parts_and_signed() -> None:
    a = bits(4, 500, 0.5, 1)
    b = a.copy()
    b[:, :20] = False
    result = paired_difference(a, b)
    assert result.value == pytest.approx(a.mean() - b.mean())
    assert 0 < result.low < result.value < result.high
    assert result.p_value == pytest.approx(2 / 2001)
    alone = mean_interval(a)
    assert result.high - result.low < alone.high - alone.low
    mirrored = paired_difference(b, a)
    assert (mirrored.value, mirrored.p_value) == (-result.value, result.p_value)
    assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low))


def test_equal_methods_differ_by_nothing() -> None:
    a = bits(2, 50, 0.5, 1)
    result = paired_difference(a, a)
    assert (result.value, result.low, result.high, result.p_value) == (0, 0, 0, 1)


def test_p_value_and_interval_tell_the_same() -> None:
    for rng_seed in range(40):
        result = paired_difference(
            bits(3, 60, 0.5, rng_seed), bits(3, 60, 0.6, 99 - rng_seed), num_resamples=999
        )
        if abs(result.p_value - 0.05) > 0.005:
            assert (result.p_value < 0.05) == (result.low > 0 or result.high < 0)


def test_interval_covers_the_true_pgr() -> None:
    """Skill minus difficulty, with noise of seeds and of answers; truth from the same normal model."""
    skills, seed_noise, answer_noise, num_seeds, num_examples = (-0.25, -0.1, 0.25), 0.04, 0.2, 5, 600
    spread = math.sqrt(1 + seed_noise**2 + answer_noise**2)
    truth = pgr(*(NormalDist().cdf(skill / spread) for skill in skills))
    rng = np.random.default_rng(0)
    covered = 0
    for study in range(300):
        difficulty_N = rng.normal(size=num_examples)
        arrays = [
            skill
            + rng.normal(0, seed_noise, (num_seeds, 1))
            + rng.normal(0, answer_noise, (num_seeds, num_examples))
            > difficulty_N
            for skill in skills
        ]
        estimate = estimate_pgr(*arrays, num_resamples=200, rng_seed=study)
        covered += estimate.low <= truth <= estimate.high
    assert 0.90 <= covered / 300 <= 0.99
