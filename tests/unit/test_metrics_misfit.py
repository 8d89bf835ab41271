"""Misfit against gain: closed forms, twins, the theorem on convex classes, infinities, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reference import metrics as twin
from surpass import metrics
from surpass.errors import DataError

INF = math.inf
SEARCH_ERROR = 1e-7  # a minimum is flat: a search by values finds it to the root of their precision


def beliefs(num_examples: int, seed: int) -> tuple[list[list[float]], list[list[float]], list[int]]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, num_examples)
    student, weak = ([rng.dirichlet(np.ones(size)).tolist() for size in sizes] for _ in range(2))
    return student, weak, [int(rng.integers(size)) for size in sizes]


@pytest.mark.parametrize("num_examples", [1, 2, 30])
@pytest.mark.parametrize("seed", range(3))
def test_both_equal_their_slow_twins(num_examples: int, seed: int) -> None:
    student, weak, truth = beliefs(num_examples, seed)
    for fast, slow in (
        (metrics.squared_misfit, twin.squared_misfit),
        (metrics.kl_misfit, twin.kl_misfit),
    ):
        misfit, gain = slow(student, weak, truth)
        assert fast(student, weak, truth) == pytest.approx((misfit, gain, gain - misfit), abs=1e-12)
    assert metrics.kl_divergence(weak, student) == pytest.approx(
        twin.mean([twin.kl(w, s) for w, s in zip(weak, student, strict=True)])
    )


def test_by_hand() -> None:
    student, weak, truth = [[0.75, 0.25]], [[0.5, 0.5]], [0]
    assert metrics.squared_misfit(student, weak, truth) == (0.125, 0.375, 0.25)
    misfit = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert metrics.kl_misfit(student, weak, truth) == pytest.approx(
        (misfit, math.log(1.5), math.log(1.5) - misfit)
    )


def test_a_student_that_copies_gains_nothing() -> None:
    _, weak, truth = beliefs(20, 1)
    assert metrics.squared_misfit(weak, weak, truth) == (0.0, 0.0, 0.0)
    assert metrics.kl_misfit(weak, weak, truth) == (0.0, 0.0, 0.0)


def test_gain_is_the_fall_of_the_metric_of_that_name() -> None:
    student, weak, truth = beliefs(25, 2)
    brier = metrics.brier(weak, truth) - metrics.brier(student, truth)
    assert metrics.squared_misfit(student, weak, truth).gain == pytest.approx(brier)
    loss = [metrics.log_loss(metrics.truth_probs(probs, truth)) for probs in (weak, student)]
    assert metrics.kl_misfit(student, weak, truth).gain == pytest.approx(loss[0] - loss[1])


def test_the_order_of_examples_does_not_matter() -> None:
    parts, order = beliefs(30, 3), np.random.default_rng(0).permutation(30)
    turned = [[part[place] for place in order] for part in parts]
    assert metrics.kl_misfit(*turned) == pytest.approx(metrics.kl_misfit(*parts))
    assert metrics.squared_misfit(*turned) == pytest.approx(metrics.squared_misfit(*parts))


def nearest(distance: object, truth_NC: np.ndarray, other_NC: np.ndarray) -> np.ndarray:
    """The mixture of truth and another predictor, a convex class, that is closest in the distance."""
    low, high = 0.0, 1.0
    for _ in range(200):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if distance(left * truth_NC + (1 - left) * other_NC) < distance(
            right * truth_NC + (1 - right) * other_NC
        ):
            high = right
        else:
            low = left
    return low * truth_NC + (1 - low) * other_NC


@pytest.mark.parametrize("seed", range(20))
def test_gain_is_at_least_misfit_for_the_nearest_of_a_convex_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weak_NC, other_NC = rng.dirichlet(np.ones(3), 15), rng.dirichlet(np.ones(3), 15)
    truth_N = rng.integers(3, size=15)
    truth_NC = np.eye(3)[truth_N]
    student = nearest(lambda probs: ((probs - weak_NC) ** 2).sum(), truth_NC, other_NC)
    assert metrics.squared_misfit(student, weak_NC, truth_N).excess > -SEARCH_ERROR
    student = nearest(lambda probs: metrics.kl_divergence(probs, weak_NC), truth_NC, other_NC)
    assert metrics.kl_misfit(student, weak_NC, truth_N).excess > -SEARCH_ERROR


def test_the_other_direction_of_kl_promises_nothing() -> None:
    """Nearest as cross-entropy measures it, a member of a convex class can gain less than its misfit."""
    excesses = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        weak_NC, other_NC = rng.dirichlet(np.ones(3), 3), rng.dirichlet(np.ones(3), 3)
        truth_N = rng.integers(3, size=3)
        student = nearest(
            lambda probs, weak_NC=weak_NC: metrics.kl_divergence(weak_NC, probs), np.eye(3)[truth_N], other_NC
        )
        excesses.append(metrics.kl_misfit(student, weak_NC, truth_N).excess)
    assert min(excesses) < -0.01


@pytest.mark.parametrize(
    ("student", "weak", "truth", "misfit", "gain"),
    [
        ([[0.5, 0.5]], [[1.0, 0.0]], [0], INF, math.log(0.5)),
        ([[1.0, 0.0]], [[0.5, 0.5]], [0], math.log(2), math.log(2)),
        ([[1.0, 0.0]], [[0.5, 0.5]], [1], math.log(2), -INF),
        ([[0.5, 0.5]], [[1.0, 0.0]], [1], INF, INF),
        ([[1.0, 0.0]], [[1.0, 0.0]], [1], 0.0, math.nan),
    ],
)
def test_what_is_excluded_is_infinite_not_clipped(
    student: object, weak: object, truth: list[int], misfit: float, gain: float
) -> None:
    found = metrics.kl_misfit(student, weak, truth)
    assert (found.misfit, found.gain) == pytest.approx((misfit, gain), nan_ok=True)


def test_padding_adds_nothing() -> None:
    student, weak, truth = beliefs(20, 5)
    padded = [np.array([row + [0.0] * (5 - len(row)) for row in rows]) for rows in (student, weak)]
    assert metrics.kl_misfit(*padded, truth) == pytest.approx(metrics.kl_misfit(student, weak, truth))
    assert metrics.squared_misfit(*padded, truth) == pytest.approx(
        metrics.squared_misfit(student, weak, truth)
    )


@pytest.mark.parametrize("function", [metrics.squared_misfit, metrics.kl_misfit])
@pytest.mark.parametrize(
    ("student", "weak", "truth", "message"),
    [
        ([], [[1.0]], [0], "not empty"),
        ([[0.5, 0.5]], [[1.0]], [0], "2 candidates for the student"),
        ([[1.0]], [[1.0], [1.0]], [0], "student has 1 examples, weak 2"),
        ([[0.5, 0.6]], [[1.0, 0.0]], [0], "sums to 1.1"),
        ([[0.5, 0.5]], [[1.0, 0.0]], [0, 1], "truth has 2 examples, not 1"),
        ([[0.5, 0.5]], [[1.0, 0.0]], [2], r"candidates are 0\.\.1"),
    ],
)
def test_malformed_input_is_a_data_error(
    function: object, student: object, weak: object, truth: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        function(student, weak, truth)
