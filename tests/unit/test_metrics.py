"""Metrics of choice tasks: closed forms, edge sizes, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reference import metrics as twin
from surpass import metrics
from surpass.errors import ConfigError, DataError

PADDED = np.array([[0.2, 0.8, 0.0], [0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
RAGGED = [[0.2, 0.8], [0.5, 0.25, 0.25], [1.0]]


def ragged(num_examples: int, seed: int = 0) -> tuple[list[list[float]], list[int]]:
    """Rows of one to five candidates, and a true one."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, num_examples)
    return [rng.dirichlet(np.ones(size)).tolist() for size in sizes], [int(rng.integers(n)) for n in sizes]


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


@pytest.mark.parametrize("num_examples", [1, 2, 50])
def test_quality_equals_the_slow_twin(num_examples: int) -> None:
    probs, truth_N = ragged(num_examples)
    prediction_N = metrics.predictions(probs)
    assert metrics.accuracy(prediction_N, truth_N) == twin.accuracy(prediction_N.tolist(), truth_N)
    assert metrics.log_loss(metrics.truth_probs(probs, truth_N)) == pytest.approx(
        twin.log_loss(probs, truth_N)
    )
    assert metrics.brier(probs, truth_N) == pytest.approx(twin.brier(probs, truth_N))
    assert metrics.confidences(probs).tolist() == [max(row) for row in probs]


def test_brier_of_sure_mistakes_is_two() -> None:
    assert metrics.brier([[1.0, 0.0]], [1]) == 2.0


def test_calibration_error_is_the_weighted_distance_of_the_bins() -> None:
    confidence_N, correct_N = [0.9, 0.9, 0.9, 0.9, 0.55, 0.55], [1, 1, 1, 0, 1, 0]
    bins = metrics.calibration_bins(confidence_N, correct_N, num_bins=10)
    assert bins.count_B.tolist() == [2, 4]
    assert bins.accuracy_B.tolist() == [0.5, 0.75]
    assert bins.confidence_B == pytest.approx([0.55, 0.9])
    expected = (2 * 0.05 + 4 * 0.15) / 6
    assert metrics.expected_calibration_error(confidence_N, correct_N, num_bins=10) == pytest.approx(expected)


@pytest.mark.parametrize("num_bins", [1, 4, 8])
def test_bins_and_their_edges_equal_the_slow_twin(num_bins: int) -> None:
    rng = np.random.default_rng(2)
    confidence_N = np.concatenate([rng.random(40), np.arange(9) / 8])  # edges too
    correct_N = rng.integers(2, size=49)
    bins = metrics.calibration_bins(confidence_N, correct_N, num_bins=num_bins)
    slow = twin.bins(confidence_N.tolist(), correct_N.tolist(), num_bins)
    assert np.transpose(bins) == pytest.approx(np.array(slow))
    assert bins.error == pytest.approx(
        twin.calibration_error(confidence_N.tolist(), correct_N.tolist(), num_bins)
    )


def test_edges_belong_to_the_bins_that_are_kept() -> None:
    bins = metrics.calibration_bins([0.3, 0.9], [0, 1], num_bins=4)
    assert bins.low_B.tolist() == [0.25, 0.75]
    assert bins.high_B.tolist() == [0.5, 1.0]
    assert ((bins.low_B < bins.confidence_B) & (bins.confidence_B <= bins.high_B)).all()


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


@pytest.mark.parametrize("probs", [[], [[]], np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3)])
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


def test_truth_must_be_a_candidate_of_its_own_row() -> None:
    with pytest.raises(DataError, match=r"example 0 is 2, but its candidates are 0\.\.1"):
        metrics.truth_probs(RAGGED, [2, 2, 0])
    assert metrics.truth_probs(PADDED, [2, 2, 0])[0] == 0  # an array does not say where its rows end


@pytest.mark.parametrize("truth", [[0.5, 0, 0], [math.inf, 0, 0], ["0", "0", "0"]])
def test_truth_must_be_whole_numbers(truth: list[object]) -> None:
    with pytest.raises(DataError, match=r"truth must be (whole|finite) numbers"):
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
    ],
)
def test_malformed_input_is_a_data_error(call: object) -> None:
    with pytest.raises(DataError):
        call()


def test_at_least_one_bin() -> None:
    with pytest.raises(ConfigError, match="num_bins is 0"):
        metrics.calibration_bins([0.5], [1], num_bins=0)


def classes(num_examples: int, num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities rounded so that ties occur, and a truth in which every class does."""
    rng = np.random.default_rng(seed)
    probs_NC = rng.multinomial(8, np.ones(num_classes) / num_classes, num_examples) / 8
    truth_N = rng.permutation(np.arange(num_examples) % num_classes)
    return probs_NC, truth_N


def of_class_1(score_N: object) -> np.ndarray:
    return np.stack([1 - np.asarray(score_N), np.asarray(score_N)], axis=1)


@pytest.mark.parametrize(
    ("score", "truth", "area"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),
        ([0.1, 0.9], [0, 1], 1.0),
        ([0.9, 0.1], [0, 1], 0.0),
        ([0.5, 0.5, 0.5], [0, 1, 1], 0.5),
        ([0.2, 0.2, 0.7], [0, 1, 1], 0.75),
    ],
)
def test_auroc_by_hand(score: list[float], truth: list[int], area: float) -> None:
    assert metrics.auroc(of_class_1(score), truth) == area


@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_auroc_equals_the_slow_twin(num_classes: int, seed: int) -> None:
    probs_NC, truth_N = classes(40 + seed, num_classes, seed)
    slow = twin.auroc_one_vs_rest(probs_NC.tolist(), truth_N.tolist())
    assert metrics.auroc(probs_NC, truth_N) == pytest.approx(slow, abs=1e-12)
    pairs = twin.auroc_pairwise(probs_NC.tolist(), truth_N.tolist())
    assert metrics.auroc(probs_NC, truth_N, multi_class="pairwise") == pytest.approx(pairs, abs=1e-12)


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_auroc_equals_scikit_learn(num_classes: int) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    probs_NC, truth_N = classes(200, num_classes)
    if num_classes == 2:
        assert metrics.auroc(probs_NC, truth_N) == pytest.approx(
            sklearn.roc_auc_score(truth_N, probs_NC[:, 1]), abs=1e-12
        )
        return
    ovr = sklearn.roc_auc_score(truth_N, probs_NC, multi_class="ovr", average="macro")
    ovo = sklearn.roc_auc_score(truth_N, probs_NC, multi_class="ovo", average="macro")
    assert metrics.auroc(probs_NC, truth_N) == pytest.approx(ovr, abs=1e-12)
    assert metrics.auroc(probs_NC, truth_N, multi_class="pairwise") == pytest.approx(ovo, abs=1e-12)


def test_auroc_sees_the_order_of_scores_only() -> None:
    rng = np.random.default_rng(3)
    score_N, truth_N, order = rng.random(60).round(1), rng.integers(2, size=60), rng.permutation(60)
    whole = metrics.auroc(of_class_1(score_N), truth_N)
    assert metrics.auroc(of_class_1(score_N[order]), truth_N[order]) == whole
    assert metrics.auroc(of_class_1(score_N**3), truth_N) == whole
    assert metrics.auroc(of_class_1(score_N)[:, ::-1], 1 - truth_N) == pytest.approx(whole)
    assert metrics.auroc(of_class_1(score_N), 1 - truth_N) == pytest.approx(1 - whole)


def test_auroc_is_exact_for_many_equal_scores() -> None:
    score_N = np.repeat([0.25, 0.5], [100_000, 100_001])
    truth_N = np.arange(200_001) % 2
    assert metrics.auroc(of_class_1(np.full(200_001, 0.5)), truth_N) == 0.5
    assert metrics.auroc(of_class_1(score_N), (score_N > 0.3).astype(int)) == 1.0


@pytest.mark.parametrize("multi_class", ["one-vs-rest", "pairwise"])
def test_auroc_without_one_class_is_nan(multi_class: str) -> None:
    assert math.isnan(metrics.auroc([[0.2, 0.8]], [1], multi_class=multi_class))
    probs_NC, _ = classes(4, 3)
    assert math.isnan(metrics.auroc(probs_NC, [0, 1, 1, 0], multi_class=multi_class))


@pytest.mark.parametrize("probs", [RAGGED, [[1.0], [1.0]], np.ones((2, 1))])
def test_auroc_needs_classes(probs: object) -> None:
    with pytest.raises(DataError, match="AUROC needs the same classes"):
        metrics.auroc(probs, [0] * len(probs))


def test_auroc_names_its_ways() -> None:
    with pytest.raises(ConfigError, match='multi_class is \'ovr\'; use "one-vs-rest" or "pairwise"'):
        metrics.auroc([[0.5, 0.5]], [0], multi_class="ovr")
