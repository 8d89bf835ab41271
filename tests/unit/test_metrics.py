"""Metrics of choice tasks: closed forms, edge sizes, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from surpass import metrics
from surpass.errors import ConfigError, DataError

PADDED = np.array([[0.2, 0.8, 0.0], [0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
RAGGED = [[0.2, 0.8], [0.5, 0.25, 0.25], [1.0]]


@pytest.mark.parametrize("probs", [PADDED, RAGGED, PADDED.astype(np.float16)])
def test_padded_and_ragged_rows_are_the_same(probs: object) -> None:
    assert metrics.predictions(probs).tolist() == [1, 0, 0]
    assert metrics.confidences(probs) == pytest.approx([0.8, 0.5, 1.0], abs=1e-3)
    assert metrics.truth_probs(probs, [1, 2, 0]) == pytest.approx([0.8, 0.25, 1.0], abs=1e-3)
    assert metrics.brier(probs, [1, 2, 0]) == pytest.approx((0.08 + 0.875 + 0.0) / 3, abs=1e-3)


def test_the_first_of_equal_candidates_is_predicted() -> None:
    assert metrics.predictions([[0.5, 0.5], [0.25] * 4]).tolist() == [0, 0]


def test_accuracy_counts_equal_choices() -> None:
    assert metrics.accuracy([1, 0, 2, 3], [1, 0, 0, 3]) == 0.75
    assert metrics.accuracy([1], [0]) == 0.0


def test_log_loss_of_a_uniform_guess_is_the_log_of_the_candidates() -> None:
    assert metrics.log_loss([0.25] * 3) == pytest.approx(math.log(4))
    assert math.copysign(1, metrics.log_loss([1.0])) == 1  # 0, not -0


def test_log_loss_is_infinite_where_truth_was_excluded() -> None:
    assert metrics.log_loss([0.5, 0.0]) == math.inf


def test_brier_equals_the_distance_to_the_one_hot_truth() -> None:
    rng = np.random.default_rng(0)
    probs_NC = rng.dirichlet(np.ones(5), 50)
    truth_N = rng.integers(5, size=50)
    plain = [
        sum((p - (c == truth)) ** 2 for c, p in enumerate(row))
        for row, truth in zip(probs_NC, truth_N, strict=True)
    ]
    assert metrics.brier(probs_NC, truth_N) == pytest.approx(sum(plain) / 50)
    assert metrics.brier([[1.0, 0.0]], [1]) == 2.0


def test_calibration_error_is_the_weighted_distance_of_the_bins() -> None:
    confidence_N, correct_N = [0.9, 0.9, 0.9, 0.9, 0.55, 0.55], [1, 1, 1, 0, 1, 0]
    bins = metrics.calibration_bins(confidence_N, correct_N, num_bins=10)
    assert bins.count_B.tolist() == [2, 4]
    assert bins.accuracy_B.tolist() == [0.5, 0.75]
    assert bins.confidence_B == pytest.approx([0.55, 0.9])
    expected = (2 * 0.05 + 4 * 0.15) / 6
    assert metrics.expected_calibration_error(confidence_N, correct_N, num_bins=10) == pytest.approx(expected)


def test_bins_are_closed_on_the_right_and_zero_is_in_the_first() -> None:
    bins = metrics.calibration_bins([0.0, 0.5, 0.5000001, 1.0], [0, 0, 0, 0], num_bins=2)
    assert bins.count_B.tolist() == [2, 2]


def test_calibration_error_knows_no_order_and_has_its_ends() -> None:
    rng = np.random.default_rng(1)
    confidence_N, correct_N = rng.random(200).round(1), rng.integers(2, size=200)
    order = rng.permutation(200)
    whole = metrics.expected_calibration_error(confidence_N, correct_N)
    assert metrics.expected_calibration_error(confidence_N[order], correct_N[order]) == pytest.approx(whole)
    assert metrics.expected_calibration_error([1.0, 1.0], [True, True]) == 0.0
    assert metrics.expected_calibration_error([1.0], [False]) == 1.0
    one_bin = metrics.expected_calibration_error(confidence_N, correct_N, num_bins=1)
    assert one_bin == pytest.approx(abs(confidence_N.mean() - correct_N.mean()))


def test_agreement_is_split_by_the_supervisor_being_right() -> None:
    student, weak, truth = np.array([0, 1, 1, 0, 1]), np.array([0, 1, 0, 0, 0]), np.array([0, 1, 0, 1, 1])
    assert metrics.agreement(student, weak) == 0.6
    split = metrics.agreement_split(student, weak, weak == truth)
    assert split == (0.6, pytest.approx(2 / 3), 0.5)


def test_agreement_without_such_examples_is_nan() -> None:
    split = metrics.agreement_split([1, 1], [1, 0], [True, True])
    assert split.when_right == split.overall == 0.5
    assert math.isnan(split.when_wrong)
    assert math.isnan(metrics.agreement_split([1], [1], [0]).when_right)


@pytest.mark.parametrize("probs", [[], np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3)])
def test_no_probabilities_are_refused(probs: object) -> None:
    with pytest.raises(DataError, match="not empty"):
        metrics.predictions(probs)


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        ([[0.5, math.nan]], "NaN"),
        ([[2.0, -1.0]], "lowest is -1"),
        ([[0.5, 0.5], [3.0, 1.0]], "row 1 sums to 4"),
        ([[[0.5, 0.5]]], "one-dimensional"),
    ],
)
def test_what_is_no_distribution_is_refused(probs: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        metrics.confidences(probs)


@pytest.mark.parametrize("truth", [[0, 3, 0], [-1, 0, 0]])
def test_truth_must_be_a_candidate(truth: list[int]) -> None:
    with pytest.raises(DataError, match=r"candidates are 0\.\.2"):
        metrics.truth_probs(PADDED, truth)


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.accuracy([], []),
        lambda: metrics.accuracy([1, 2], [1]),
        lambda: metrics.accuracy([1.0, math.nan], [1, 1]),
        lambda: metrics.log_loss([]),
        lambda: metrics.log_loss([math.nan]),
        lambda: metrics.log_loss([1.1]),
        lambda: metrics.brier(PADDED, [0, 0]),
        lambda: metrics.expected_calibration_error([], []),
        lambda: metrics.expected_calibration_error([0.5, math.nan], [0, 1]),
        lambda: metrics.expected_calibration_error([0.5, 1.5], [0, 1]),
        lambda: metrics.expected_calibration_error([0.5], [2]),
        lambda: metrics.agreement([[1]], [[1]]),
        lambda: metrics.agreement_split([1, 0], [1, 0], [True]),
    ],
)
def test_malformed_input_is_a_data_error(call: object) -> None:
    with pytest.raises(DataError):
        call()


def test_at_least_one_bin() -> None:
    with pytest.raises(ConfigError, match="num_bins is 0"):
        metrics.calibration_bins([0.5], [1], num_bins=0)
