"""Paired tests and corrections: brute force over all signs, scipy, edge sizes, level by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from reference import comparison as reference
from surpass.errors import ConfigError, DataError
from surpass.stats.comparison import compare_methods
from surpass.stats.paired import (
    benjamini_hochberg,
    holm,
    mcnemar,
    sign_flip_test,
    sign_test,
    wilcoxon_signed_rank,
)


def bits(num_seeds: int, num_examples: int, accuracy: float, rng_seed: int) -> np.ndarray:
    return np.random.default_rng(rng_seed).random((num_seeds, num_examples)) < accuracy


@pytest.mark.parametrize("num", [0, 1, 2, 5, 8])
def test_corrections_equal_their_twins_and_scipy(num: int) -> None:
    p_values = (np.random.default_rng(num).random(num) ** 2).round(2).tolist()
    assert holm(p_values) == pytest.approx(reference.holm(p_values))
    assert benjamini_hochberg(p_values) == pytest.approx(reference.benjamini_hochberg(p_values))
    if num:
        assert benjamini_hochberg(p_values) == pytest.approx(scipy_stats.false_discovery_control(p_values))


def test_holm_by_hand_keeps_places_and_stays_below_one() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert benjamini_hochberg([0.04, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(bad: float) -> None:
    for correct in (holm, benjamini_hochberg):
        with pytest.raises(DataError, match="p values must be in"):
            correct([0.5, bad])


@pytest.mark.parametrize("num", [1, 2, 5, 6, 9])
def test_wilcoxon_equals_brute_force_with_and_without_ties(num: int) -> None:
    rng = np.random.default_rng(num)
    for differences in (rng.normal(0.3, 1, num), rng.integers(-2, 4, num).astype(float)):
        expected = reference.wilcoxon(differences.tolist())
        assert wilcoxon_signed_rank(differences) == pytest.approx(expected)


@pytest.mark.parametrize("num", [3, 10, 25, 49])
def test_wilcoxon_equals_scipys_exact_test(num: int) -> None:
    differences = np.random.default_rng(num).normal(0.2, 1, num)
    expected = scipy_stats.wilcoxon(differences, method="exact").pvalue
    assert wilcoxon_signed_rank(differences) == pytest.approx(expected)


def test_wilcoxon_of_many_units_agrees_with_the_normal_approximation() -> None:
    differences = np.random.default_rng(0).normal(0.1, 1, 400)
    expected = scipy_stats.wilcoxon(differences, method="approx").pvalue
    assert wilcoxon_signed_rank(differences) == pytest.approx(expected, rel=0.02)


def test_four_tasks_cannot_be_significant_however_large_the_gain() -> None:
    assert wilcoxon_signed_rank([5, 6, 7, 8]) == sign_test(4, 0) == sign_flip_test([5, 6, 7, 8]) == 0.125


def test_nothing_won_or_lost_is_no_evidence() -> None:
    assert wilcoxon_signed_rank([]) == wilcoxon_signed_rank([0, 0]) == 1.0
    assert sign_test(0, 0) == sign_test(3, 3) == 1.0
    assert sign_flip_test([0.0, 0.0]) == 1.0


@pytest.mark.parametrize(("wins", "losses"), [(0, 1), (4, 1), (10, 30), (1500, 1400)])
def test_sign_test_is_the_binomial_test(wins: int, losses: int) -> None:
    assert sign_test(wins, losses) == pytest.approx(scipy_stats.binomtest(wins, wins + losses).pvalue)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(DataError, match="counts are -1 and 2"):
        sign_test(-1, 2)


@pytest.mark.parametrize("num", [1, 2, 7, 11])
def test_sign_flips_equal_brute_force_and_scipy(num: int) -> None:
    differences = np.random.default_rng(num).normal(0.4, 1, num)
    p_value = sign_flip_test(differences)
    assert p_value == pytest.approx(reference.sign_flip(differences.tolist()))
    if num > 1:
        expected = scipy_stats.permutation_test(
            (differences, np.zeros(num)),
            lambda a, b, axis: (a - b).mean(axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf,
        )
        assert p_value == pytest.approx(expected.pvalue)


def test_sign_flips_count_equal_sums_in_spite_of_rounding() -> None:
    assert sign_flip_test([0.1, 0.2, 0.3]) == reference.sign_flip([0.1, 0.2, 0.3]) == 0.25
    assert sign_flip_test([0.1, 0.2, -0.3, 0.3]) == pytest.approx(reference.sign_flip([0.1, 0.2, -0.3, 0.3]))


def test_random_sign_flips_approach_the_exact_ones_and_repeat() -> None:
    differences = np.random.default_rng(3).normal(0.5, 1, 15)
    drawn = sign_flip_test(differences, max_exact=0, num_draws=20_001)
    assert drawn == sign_flip_test(differences, max_exact=0, num_draws=20_001)
    assert drawn == pytest.approx(sign_flip_test(differences), abs=0.01)
    assert sign_flip_test(np.ones(40), num_draws=99) == 0.01


def test_exact_sign_flips_go_up_to_max_exact() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 17)
    assert sign_flip_test(values, max_exact=17) == sign_flip_test(values, max_exact=18)
    assert sign_flip_test(values, max_exact=16) != sign_flip_test(values, max_exact=17)


def test_unit_tests_refuse_what_makes_no_sense() -> None:
    for test in (wilcoxon_signed_rank, sign_flip_test):
        with pytest.raises(DataError, match="not finite"):
            test([1.0, float("nan")])
        with pytest.raises(DataError, match="must be \\(units,\\)"):
            test([[1.0, 2.0]])
    with pytest.raises(DataError, match="no differences"):
        sign_flip_test([])
    with pytest.raises(ConfigError, match="max_exact is 31"):
        sign_flip_test([1.0], max_exact=31)
    with pytest.raises(ConfigError, match="num_draws is 0"):
        sign_flip_test([1.0], num_draws=0)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (7, 2), (4, 4), (30, 12)])
def test_mcnemar_is_binomial_on_the_examples_that_tell(wins: int, losses: int) -> None:
    a = np.array([1] * wins + [0] * losses + [1] * 20 + [0] * 5)
    b = np.array([0] * wins + [1] * losses + [1] * 20 + [0] * 5)
    num = wins + losses
    exact = scipy_stats.binomtest(wins, num).pvalue if num else 1.0
    assert mcnemar(a, b) == pytest.approx(exact)
    half = scipy_stats.binom.pmf(min(wins, losses), num, 0.5)
    expected = 1.0 if wins == losses else exact - half
    assert mcnemar(a, b, mid_p=True) == pytest.approx(expected)
    assert mcnemar(b.astype(bool), a.astype(bool)) == mcnemar(a, b)


def test_mcnemar_of_a_large_test_set_is_quick_and_finite() -> None:
    a, b = bits(1, 40_000, 0.5, 0)[0], bits(1, 40_000, 0.51, 1)[0]
    assert mcnemar(a, b) == pytest.approx(
        scipy_stats.binomtest(int((a > b).sum()), int((a != b).sum())).pvalue
    )


def test_mcnemar_refuses_what_is_no_correctness() -> None:
    with pytest.raises(DataError, match="equally many"):
        mcnemar([1, 0], [1])
    with pytest.raises(DataError, match="not empty"):
        mcnemar([], [])
    with pytest.raises(DataError, match="0 or 1"):
        mcnemar([0.5], [1])


def study(num_seeds: int, lengths: tuple[int, ...]) -> dict[str, list[np.ndarray]]:
    return {
        name: [bits(num_seeds, n, p + 0.1 * task, 100 * place + task) for task, n in enumerate(lengths)]
        for place, (name, p) in enumerate((("naive", 0.4), ("good", 0.55), ("same", 0.41)))
    }


@pytest.mark.parametrize("num_seeds", [1, 2, 4])
@pytest.mark.parametrize("examples", ["shared", "separate"])
def test_compare_methods_equals_the_plain_twin(num_seeds: int, examples: str) -> None:
    correct = study(num_seeds, (30, 30, 30) if examples == "shared" else (30, 20, 41))
    results = compare_methods(correct, baseline="naive", level=0.9, examples=examples)
    plain = {name: [task.astype(int).tolist() for task in tasks] for name, tasks in correct.items()}
    expected = [
        reference.mean_difference(plain[name], plain["naive"], examples == "shared", 0.9)
        for name in ("good", "same")
    ]
    for result, values in zip(results, expected, strict=True):
        found = (result.difference, result.low, result.high, result.p_value)
        assert found == pytest.approx(values, abs=1e-9)
    assert [r.adjusted_p for r in results] == pytest.approx(reference.holm([r.p_value for r in results]))


def test_compare_methods_counts_and_names() -> None:
    results = compare_methods(study(3, (50, 60)), baseline="naive", correction="benjamini-hochberg")
    assert [result.method for result in results] == ["good", "same"]
    good = results[0]
    assert (good.baseline, good.num_tasks, good.num_seeds, good.num_examples) == ("naive", 2, 3, 110)
    assert good.wins + good.ties + good.losses == 2
    assert good.difference == pytest.approx(good.accuracy - good.baseline_accuracy)
    assert good.sign_p == 0.5
    assert good.correction == "benjamini-hochberg"
    unadjusted = compare_methods(study(3, (50, 60)), baseline="naive", correction="none")
    assert all(result.adjusted_p == result.p_value for result in unadjusted)


def test_a_copy_of_the_baseline_differs_by_nothing() -> None:
    naive = study(2, (10, 12))["naive"]
    (result,) = compare_methods({"naive": naive, "copy": naive}, baseline="naive")
    assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)
    assert (result.wins, result.ties, result.losses) == (0, 2, 0)


def test_shared_examples_are_not_counted_once_for_each_task() -> None:
    task, better = bits(3, 300, 0.5, 1), bits(3, 300, 0.6, 2)
    one = compare_methods({"naive": [task], "new": [better]}, baseline="naive")[0]
    four = {"naive": [task] * 4, "new": [better] * 4}
    shared = compare_methods(four, baseline="naive", examples="shared")[0]
    assert (shared.low, shared.high) == pytest.approx((one.low, one.high))


def test_order_of_seeds_does_not_matter() -> None:
    correct = study(4, (40, 40))
    turned = {name: [task[[2, 0, 3, 1]] for task in tasks] for name, tasks in correct.items()}
    first, second = (compare_methods(c, baseline="naive")[0] for c in (correct, turned))
    assert (first.low, first.p_value) == pytest.approx((second.low, second.p_value), rel=1e-12)


@pytest.mark.parametrize("examples", ["shared", "separate"])
def test_a_true_null_is_refused_at_the_level(examples: str) -> None:
    """Four pairs, five seeds, examples shared or not; seeds have an effect across pairs, methods none."""
    rng = np.random.default_rng(5)
    num_studies, refused = 700, 0
    for _ in range(num_studies):
        hard_TN = rng.normal(size=(1 if examples == "shared" else 4, 1, 150)) + np.zeros((4, 1, 1))
        arrays = {}
        for name in ("naive", "new"):
            noise = rng.normal(0, 0.15, (1, 5, 1)) + rng.normal(0, 0.1, (4, 5, 1))
            taste_TN = rng.normal(0, 0.6, (*hard_TN.shape[:1], 1, 150)) if examples == "separate" else 0
            shared_N = rng.normal(0, 0.6, (1, 1, 150)) if examples == "shared" else 0
            arrays[name] = list(noise + rng.normal(0, 0.5, (4, 5, 150)) + taste_TN + shared_N > hard_TN)
        refused += compare_methods(arrays, baseline="naive", examples=examples)[0].p_value < 0.05
    assert 0.03 <= refused / num_studies <= 0.07


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "other"}, "baseline 'other' is none of"),
        ({"correction": "bonferroni"}, "correction is 'bonferroni'"),
        ({"examples": "both"}, "examples is 'both'"),
        ({"level": 95}, "level is 95"),
    ],
)
def test_unknown_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compare_methods(study(2, (5, 5)), **{"baseline": "naive", **change})


def test_malformed_studies_are_refused() -> None:
    ones = [np.ones((2, 5))]
    with pytest.raises(ConfigError, match="only the baseline"):
        compare_methods({"naive": ones}, baseline="naive")
    for bad, message in (
        ([np.ones((2, 6))], "comparisons are paired"),
        (ones * 2, "comparisons are paired"),
        ([np.full((2, 5), 0.5)], "must be 0 or 1"),
        ([np.ones((2, 0))], "must be \\(seeds, examples\\)"),
    ):
        with pytest.raises(DataError, match=message):
            compare_methods({"naive": ones, "new": bad}, baseline="naive")
    with pytest.raises(DataError, match="has no tasks"):
        compare_methods({"naive": [], "new": []}, baseline="naive")
    mixed = [np.ones((2, 5)), np.ones((3, 5))]
    with pytest.raises(DataError, match="\\[2, 3\\] seeds"):
        compare_methods({"naive": mixed, "new": mixed}, baseline="naive")
    uneven = [np.ones((2, 5)), np.ones((2, 6))]
    with pytest.raises(DataError, match="cannot share test examples"):
        compare_methods({"naive": uneven, "new": uneven}, baseline="naive", examples="shared")


def test_p_values_of_unit_tests_are_exact() -> None:
    """Over all signs of five units, a p value of at most x comes up in just a share x of cases."""
    sizes = np.array([1.0, 2.0, 2.0, 4.0, 5.5])
    for test in (wilcoxon_signed_rank, sign_flip_test):
        p_values = [test(sizes * signs) for signs in itertools.product((1, -1), repeat=5)]
        for x in set(p_values):
            assert np.mean(np.array(p_values) <= x) == pytest.approx(x)
