"""Overfitting curves and effective data: by hand, twins, edge sizes, bounds, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reference import metrics as twin
from surpass import metrics
from surpass.errors import ConfigError, DataError

SIZES, ACCURACY = [100, 1000, 10_000], [0.5, 0.6, 0.8]


class TestOverfitting:
    def test_by_hand(self) -> None:
        found = metrics.overfitting(
            [0.5, 0.75, 0.625, 0.5625], [0.5, 0.6, 0.7, 0.7], progress_T=[0, 10, 20, 40]
        )
        assert found.best == (1, 10, 0.75, 0.6)
        assert found.last == (3, 40, 0.5625, 0.7)
        assert found.weak_stopped == (2, 20, 0.625, 0.7)
        assert (found.lost_at_end, found.lost_at_weak_stop, found.peak_frac) == (0.1875, 0.125, 0.25)

    def test_snapshots_are_equally_spaced_where_nothing_is_said(self) -> None:
        found = metrics.overfitting([0.1, 0.9, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4])
        assert (found.peak_frac, found.weak_stopped.progress, found.last.progress) == (0.5, 1.0, 1.0)

    def test_nothing_is_lost_where_accuracy_rises(self) -> None:
        found = metrics.overfitting([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
        assert found.best == found.last == found.weak_stopped
        assert (found.lost_at_end, found.lost_at_weak_stop, found.peak_frac) == (0, 0, 1)

    def test_one_snapshot(self) -> None:
        found = metrics.overfitting([0.4], [0.6], progress_T=[7])
        assert found.best == found.last == found.weak_stopped == (0, 7, 0.4, 0.6)
        assert found.peak_frac == 1

    @pytest.mark.parametrize("seed", range(20))
    def test_points_equal_the_slow_twin(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        accuracy, agreement = (rng.random(1 + seed).round(1) for _ in range(2))  # ties
        found = metrics.overfitting(accuracy, agreement)
        places = twin.overfitting_places(accuracy.tolist(), agreement.tolist())
        assert (found.best.place, found.last.place, found.weak_stopped.place) == places
        assert found.lost_at_end >= 0
        assert found.lost_at_weak_stop >= 0

    def test_the_best_may_be_chosen_on_other_examples(self) -> None:
        found = metrics.overfitting([0.5, 0.9, 0.6], [0.1, 0.2, 0.3], choose_best_by_T=[0.7, 0.2, 0.1])
        assert found.best.place == 0
        assert found.lost_at_end == pytest.approx(-0.1)

    def test_choosing_and_measuring_on_the_same_examples_flatters(self) -> None:
        rng = np.random.default_rng(0)
        accuracy, other = rng.normal(0.7, 0.02, (2, 400, 10))  # no overfitting at all, only noise
        flat = np.zeros(10)
        same = [metrics.overfitting(row, flat).lost_at_end for row in accuracy]
        apart = [
            metrics.overfitting(row, flat, choose_best_by_T=chosen).lost_at_end
            for row, chosen in zip(accuracy, other, strict=True)
        ]
        assert np.mean(same) > 0.02
        assert abs(np.mean(apart)) < 0.005

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: metrics.overfitting([], []), "not empty"),
            (lambda: metrics.overfitting([0.5], [0.5, 0.6]), "weak agreement has 2 examples, not 1"),
            (lambda: metrics.overfitting([0.5, math.inf], [0.5, 0.6]), "accuracy must be finite"),
            (lambda: metrics.overfitting([0.5, math.nan], [0.5, 0.6]), "accuracy holds a NaN"),
            (lambda: metrics.overfitting(["a"], [0.5]), "accuracy must be finite"),
            (lambda: metrics.overfitting([0.5] * 2, [0.5] * 2, progress_T=[1, 1]), "sort snapshots by step"),
            (lambda: metrics.overfitting([0.5] * 2, [0.5] * 2, progress_T=[-1, 1]), "at least 0"),
            (lambda: metrics.overfitting([0.5], [0.5], progress_T=[0]), "end above 0"),
            (lambda: metrics.overfitting([0.5], [0.5], choose_best_by_T=[0.1, 0.2]), "to choose by has 2"),
        ],
    )
    def test_malformed_input(self, call: object, message: str) -> None:
        with pytest.raises(DataError, match=message):
            call()


class TestIsotonic:
    @pytest.mark.parametrize(
        ("values", "rising"),
        [
            ([0.3], [0.3]),
            ([1, 2, 2, 5], [1, 2, 2, 5]),
            ([3, 1], [2, 2]),
            ([1, 3, 2, 4], [1, 2.5, 2.5, 4]),
            ([4, 3, 2, 1], [2.5] * 4),
            ([1, 4, 3, -2, 9], [1, 5 / 3, 5 / 3, 5 / 3, 9]),
        ],
    )
    def test_by_hand(self, values: list[float], rising: list[float]) -> None:
        assert metrics.isotonic(values) == pytest.approx(rising)

    @pytest.mark.parametrize("seed", range(20))
    def test_equals_the_slow_twin(self, seed: int) -> None:
        values = np.random.default_rng(seed).normal(np.arange(1 + seed % 9) * 0.3, 1).tolist()
        rising = metrics.isotonic(values)
        assert rising == pytest.approx(twin.isotonic(values))
        assert (np.diff(rising) >= 0).all()
        assert metrics.isotonic(rising).tolist() == rising.tolist()

    def test_equal_values_are_not_averaged(self) -> None:
        """The mean of three times 0.1 is not 0.1 in floating point, and a student would fall short of it."""
        assert metrics.isotonic([0.1, 0.1, 0.1]).tolist() == [0.1, 0.1, 0.1]
        assert metrics.effective_data([1, 2, 3], [0.1, 0.1, 0.1], 0.1) == (1, "equal")

    def test_equals_scikit_learn(self) -> None:
        sklearn = pytest.importorskip("sklearn.isotonic", reason="scikit-learn is not installed")
        values = np.random.default_rng(1).normal(np.arange(50) * 0.1, 1)
        assert metrics.isotonic(values) == pytest.approx(sklearn.isotonic_regression(values))


class TestEffectiveData:
    @pytest.mark.parametrize(
        ("student", "size", "relation", "text"),
        [
            (0.5, 100, "equal", "100"),
            (0.55, math.sqrt(100 * 1000), "equal", "316"),
            (0.6, 1000, "equal", "1,000"),
            (0.7, math.sqrt(1000 * 10_000), "equal", "3,162"),
            (0.8, 10_000, "equal", "10,000"),
            (0.499, 100, "less", "less than 100"),
            (0.801, 10_000, "more", "more than 10,000"),
            (-1e9, 100, "less", "less than 100"),
        ],
    )
    def test_by_hand(self, student: float, size: float, relation: str, text: str) -> None:
        found = metrics.effective_data(SIZES, ACCURACY, student)
        assert found == (pytest.approx(size), relation)
        assert found.text == text

    def test_what_was_measured_is_met_exactly(self) -> None:
        sizes, accuracy = [7, 100, 333, 6001], [0.1, 0.3, 0.7, 0.9]
        for size, value in zip(sizes, accuracy, strict=True):
            assert metrics.effective_data(sizes, accuracy, value) == (size, "equal")

    def test_where_the_curve_is_flat_the_smallest_size_counts(self) -> None:
        assert metrics.effective_data([10, 100, 1000], [0.5, 0.7, 0.7], 0.7) == (100, "equal")
        assert metrics.effective_data([10, 100, 1000], [0.5, 0.5, 0.7], 0.5) == (10, "equal")
        assert metrics.effective_data([10, 100], [0.5, 0.5], 0.5) == (10, "equal")

    def test_a_curve_that_falls_is_pooled_first(self) -> None:
        found = metrics.effective_data([10, 100, 1000], [0.5, 0.75, 0.625], 0.6875)
        assert found == (100, "equal")
        assert metrics.effective_data([10, 100, 1000], [0.5, 0.75, 0.625], 0.7).relation == "more"

    @pytest.mark.parametrize("seed", range(30))
    def test_equals_the_slow_twin(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        num_sizes = 2 + seed % 6
        sizes = np.sort(rng.choice(np.arange(1, 5000), num_sizes, replace=False)).tolist()
        accuracy = (0.5 + 0.05 * np.arange(num_sizes) + rng.normal(0, 0.03, num_sizes)).tolist()
        for student in rng.uniform(0.45, 0.8, 5).tolist():
            found = metrics.effective_data(sizes, accuracy, student)
            size, relation = twin.effective_data(sizes, accuracy, student)
            assert found.relation == relation
            if size is not None:
                assert found.num_examples == pytest.approx(size, rel=1e-6)

    def test_a_better_student_never_needs_fewer(self) -> None:
        students = np.linspace(0.5, 0.8, 101).tolist()
        found = [metrics.effective_data(SIZES, ACCURACY, student).num_examples for student in students]
        assert found == sorted(found)

    @pytest.mark.parametrize(
        ("sizes", "accuracy", "student", "message"),
        [
            ([100], [0.5], 0.5, "at least two"),
            ([100, 100], [0.5, 0.6], 0.5, "increase"),
            ([1000, 100], [0.5, 0.6], 0.5, "increase"),
            ([0, 100], [0.5, 0.6], 0.5, "at least 1"),
            ([1.5, 100], [0.5, 0.6], 0.5, "sizes must be whole numbers"),
            ([10, 100], [0.5], 0.5, "learning curve has 1 examples, not 2"),
            ([10, 100], [0.5, math.nan], 0.5, "NaN"),
            ([10, 100], [0.5, 0.6], math.nan, "student accuracy holds a NaN"),
            ([10, 100], [0.5, 0.6], math.inf, "student accuracy must be finite"),
        ],
    )
    def test_malformed_input(
        self, sizes: list[float], accuracy: list[float], student: float, message: str
    ) -> None:
        with pytest.raises(DataError, match=message):
            metrics.effective_data(sizes, accuracy, student)


class TestEffectiveDataInterval:
    def resamples(self, num_resamples: int = 200) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        return rng.normal(ACCURACY, 0.01, (num_resamples, 3)), rng.normal(0.7, 0.01, num_resamples)

    def test_it_is_what_single_resamples_give(self) -> None:
        accuracy_BK, student_B = self.resamples()
        found = metrics.effective_data_interval(SIZES, accuracy_BK, student_B, level=0.9)
        single = [
            metrics.effective_data(SIZES, row, student).num_examples
            for row, student in zip(accuracy_BK, student_B, strict=True)
        ]
        low, high = np.quantile(single, 0.05, method="lower"), np.quantile(single, 0.95, method="higher")
        assert found == ((low, "equal"), (high, "equal"))
        assert low < metrics.effective_data(SIZES, ACCURACY, 0.7).num_examples < high

    def test_wider_at_a_higher_level_and_blind_to_order(self) -> None:
        accuracy_BK, student_B = self.resamples()
        narrow = metrics.effective_data_interval(SIZES, accuracy_BK, student_B, level=0.5)
        wide = metrics.effective_data_interval(SIZES, accuracy_BK, student_B)
        assert wide.low.num_examples < narrow.low.num_examples
        assert wide.high.num_examples > narrow.high.num_examples
        order = np.random.default_rng(1).permutation(200)
        assert metrics.effective_data_interval(SIZES, accuracy_BK[order], student_B[order]) == wide

    def test_bounds_stay_bounds(self) -> None:
        accuracy_BK = np.tile(ACCURACY, (4, 1))
        found = metrics.effective_data_interval(SIZES, accuracy_BK, [0.9, 0.6, 0.1, 0.7])
        assert found == ((100, "less"), (10_000, "more"))
        assert metrics.effective_data_interval(SIZES, accuracy_BK, [0.9] * 4).low.text == "more than 10,000"
        assert metrics.effective_data_interval(SIZES, accuracy_BK, [0.1] * 4).high.text == "less than 100"

    @pytest.mark.parametrize("num_resamples", [20, 21, 22])
    def test_whole_tails_are_cut_whole(self, num_resamples: int) -> None:
        students = np.linspace(0.5, 0.8, num_resamples)
        found = metrics.effective_data_interval(
            SIZES, np.tile(ACCURACY, (num_resamples, 1)), students, level=0.9
        )
        cut = 1 if num_resamples > 20 else 0  # 5 % of 20 or 21 steps between resamples, and of 19
        assert found.low == metrics.effective_data(SIZES, ACCURACY, students[cut])
        assert found.high == metrics.effective_data(SIZES, ACCURACY, students[-1 - cut])

    def test_one_resample(self) -> None:
        found = metrics.effective_data_interval(SIZES, np.array([ACCURACY]), [0.6])
        assert found == ((1000, "equal"), (1000, "equal"))

    @pytest.mark.parametrize("shape", [(3,), (2, 2), (3, 3)])
    def test_shapes(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(DataError, match=r"\(resamples, sizes\) = \(2, 3\)"):
            metrics.effective_data_interval(SIZES, np.full(shape, 0.5), [0.5, 0.5])

    @pytest.mark.parametrize("level", [0, 1, 95])
    def test_level(self, level: float) -> None:
        with pytest.raises(ConfigError, match="between 0 and 1"):
            metrics.effective_data_interval(SIZES, np.array([ACCURACY]), [0.6], level=level)
