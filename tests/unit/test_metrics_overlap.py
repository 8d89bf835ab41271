"""Agreement, errors passed on, similarity beyond chance: closed forms, twins, limits, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reference import metrics as twin
from surpass import metrics
from surpass.errors import DataError

STUDENT, WEAK, TRUTH = np.array([0, 1, 1, 0, 1]), np.array([0, 1, 0, 0, 0]), np.array([0, 1, 0, 1, 1])


def answers(num_examples: int, num_candidates: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    truth_N = rng.integers(num_candidates, size=num_examples)
    noisy = [
        np.where(rng.random(num_examples) < p, truth_N, rng.integers(num_candidates, size=num_examples))
        for p in (0.6, 0.3)
    ]
    return [array.tolist() for array in (*noisy, truth_N)]


def beliefs(num_examples: int, seed: int) -> tuple[list[list[float]], list[list[float]], list[int]]:
    """Two models' rows of one to six candidates, and the truth."""
    rng = np.random.default_rng(seed)
    sizes = [6, *rng.integers(1, 7, num_examples - 1)]
    student, weak = ([rng.dirichlet(np.ones(size)).tolist() for size in sizes] for _ in range(2))
    return student, weak, [int(rng.integers(size)) for size in sizes]


def test_agreement_is_split_by_the_supervisor_being_right() -> None:
    assert metrics.agreement(STUDENT, WEAK) == 0.6
    split = metrics.agreement_split(STUDENT, WEAK, WEAK == TRUTH)
    assert split == (0.6, pytest.approx(2 / 3), 0.5)


def test_agreement_without_such_examples_is_nan() -> None:
    split = metrics.agreement_split([1, 1], [1, 0], [True, True])
    assert split.when_right == split.overall == 0.5
    assert math.isnan(split.when_wrong)
    assert math.isnan(metrics.agreement_split([1], [1], [0]).when_right)


def test_errors_are_inherited_changed_or_corrected_and_some_are_new() -> None:
    student, weak, truth = [1, 2, 0, 0, 3, 0], [1, 1, 1, 0, 3, 2], [0, 0, 0, 0, 0, 2]
    transfer = metrics.error_transfer(student, weak, truth)
    assert transfer == (0.5, 0.25, 0.25, 0.5, 4, 2)


@pytest.mark.parametrize("num_candidates", [2, 5])
@pytest.mark.parametrize("num_examples", [1, 2, 60])
@pytest.mark.parametrize("seed", range(4))
def test_overlap_equals_the_slow_twins(num_candidates: int, num_examples: int, seed: int) -> None:
    student, weak, truth = answers(num_examples, num_candidates, seed)
    student_correct, weak_correct = np.equal(student, truth), np.equal(weak, truth)
    split = metrics.agreement_split(student, weak, weak_correct)
    assert split == pytest.approx(twin.agreement_split(student, weak, truth), nan_ok=True)
    transfer = metrics.error_transfer(student, weak, truth)
    assert transfer == pytest.approx(twin.error_transfer(student, weak, truth), nan_ok=True)
    correlation = metrics.error_correlation(student_correct, weak_correct)
    bits = [correct.astype(int).tolist() for correct in (student_correct, weak_correct)]
    assert correlation.phi == pytest.approx(twin.phi(*bits), nan_ok=True)
    assert correlation.kappa == pytest.approx(twin.kappa(*bits), nan_ok=True)


@pytest.mark.parametrize("num_candidates", [2, 4])
def test_the_views_of_one_table_belong_together(num_candidates: int) -> None:
    student, weak, truth = (np.array(column) for column in answers(200, num_candidates, 9))
    split = metrics.agreement_split(student, weak, weak == truth)
    transfer = metrics.error_transfer(student, weak, truth)
    assert transfer.inherited == split.when_wrong
    assert transfer.new == pytest.approx(1 - split.when_right)
    assert transfer.inherited + transfer.changed + transfer.corrected == pytest.approx(1)
    assert (transfer.changed == 0) == (num_candidates == 2)
    gain = transfer.corrected * transfer.num_weak_wrong - transfer.new * transfer.num_weak_right
    assert gain == pytest.approx(int((student == truth).sum()) - int((weak == truth).sum()))


def test_a_supervisor_that_is_never_wrong_passes_nothing_on() -> None:
    transfer = metrics.error_transfer([0, 1], [0, 0], [0, 0])
    assert math.isnan(transfer.inherited)
    assert math.isnan(transfer.corrected)
    assert (transfer.new, transfer.num_weak_wrong, transfer.num_weak_right) == (0.5, 0, 2)


@pytest.mark.parametrize(
    ("student", "weak", "phi", "kappa"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0, 1.0),
        ([1, 1, 0, 0], [0, 0, 1, 1], -1.0, -1.0),
        ([1, 1, 0, 0], [1, 0, 1, 0], 0.0, 0.0),
        ([1, 1, 1, 0], [1, 1, 0, 0], 1 / math.sqrt(3), 0.5),
        ([1, 1], [1, 0], math.nan, 0.0),
        ([1, 1], [1, 1], math.nan, math.nan),
        ([0], [0], math.nan, math.nan),
        ([0], [1], math.nan, 0.0),
    ],
)
def test_error_correlation_by_hand(student: list[int], weak: list[int], phi: float, kappa: float) -> None:
    found = metrics.error_correlation(student, weak)
    assert found == pytest.approx((phi, kappa), nan_ok=True)


def test_error_correlation_equals_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(4)
    weak_N = rng.random(300) < 0.6
    student_N = np.where(rng.random(300) < 0.5, weak_N, rng.random(300) < 0.8)
    found = metrics.error_correlation(student_N, weak_N)
    assert found.phi == pytest.approx(sklearn.matthews_corrcoef(weak_N, student_N))
    assert found.kappa == pytest.approx(sklearn.cohen_kappa_score(weak_N, student_N))
    assert metrics.error_correlation(weak_N, student_N) == pytest.approx(found)


@pytest.mark.parametrize("num_examples", [1, 2, 3, 40])
@pytest.mark.parametrize("seed", range(4))
def test_capa_equals_the_slow_twin(num_examples: int, seed: int) -> None:
    student, weak, truth = beliefs(num_examples, seed)
    assert metrics.capa(student, weak, truth) == pytest.approx(twin.capa(student, weak, truth))


def test_capa_knows_no_order_and_no_sides() -> None:
    student, weak, truth = beliefs(50, 7)
    whole = metrics.capa(student, weak, truth)
    order = np.random.default_rng(0).permutation(50)
    turned = metrics.capa(*([part[place] for place in order] for part in (student, weak, truth)))
    assert turned == pytest.approx(whole)
    assert metrics.capa(weak, student, truth) == pytest.approx(whole)


def test_capa_of_padded_rows_needs_their_number_of_candidates() -> None:
    student, weak, truth = beliefs(20, 1)
    sizes = [len(row) for row in student]
    padded = [np.array([row + [0.0] * (6 - len(row)) for row in rows]) for rows in (student, weak)]
    whole = metrics.capa(student, weak, truth)
    assert metrics.capa(*padded, truth, num_candidates_N=sizes) == pytest.approx(whole)
    assert metrics.capa(*padded, truth).kappa != pytest.approx(whole.kappa)


def sure(choices: list[int], num_candidates: int) -> np.ndarray:
    return np.eye(num_candidates)[choices]


def test_capa_of_equal_sure_models_is_one() -> None:
    model = sure([0, 1, 2, 0], 3)
    assert metrics.capa(model, model, [0, 1, 0, 1]) == (1.0, 1.0, pytest.approx(0.25 + 0.25 / 2))


def test_capa_of_equal_unsure_models_is_below_one() -> None:
    model = np.array([[0.75, 0.25], [0.75, 0.25]])
    found = metrics.capa(model, model, [0, 1])
    assert found == (pytest.approx(0.25), 0.625, 0.5)


@pytest.mark.parametrize("num_candidates", [2, 3, 30])
def test_capa_of_independent_even_errors_is_zero(num_candidates: int) -> None:
    """Both spread what they do not give the truth evenly: observed is expected, to the letter."""
    truth = [n % num_candidates for n in range(12)]
    models = []
    for share in (0.7, 0.4):
        model = np.full((12, num_candidates), (1 - share) / (num_candidates - 1))
        model[np.arange(12), truth] = share
        models.append(model)
    found = metrics.capa(*models, truth)
    assert found.kappa == pytest.approx(0, abs=1e-12)
    assert found.observed == pytest.approx(0.28 + 0.18 / (num_candidates - 1))


def test_capa_of_errors_that_avoid_each_other_is_negative() -> None:
    truth = [0, 0]
    assert metrics.capa(sure([0, 1], 2), sure([1, 0], 2), truth) == (-1.0, 0.0, 0.5)
    assert metrics.capa(sure([0, 1], 3), sure([1, 0], 3), truth).kappa == pytest.approx(-0.375 / 0.625)


def test_capa_of_drawn_independent_errors_nears_zero() -> None:
    student, weak, truth = answers(20_000, 4, 0)
    assert abs(metrics.capa(sure(student, 4), sure(weak, 4), truth).kappa) < 0.02


def test_capa_of_two_sure_classes_is_kappa_of_right_and_wrong() -> None:
    student, weak, truth = (np.array(column) for column in answers(80, 2, 3))
    found = metrics.capa(sure(student, 2), sure(weak, 2), truth).kappa
    assert found == pytest.approx(metrics.error_correlation(student == truth, weak == truth).kappa)


@pytest.mark.parametrize(
    ("model", "truth"), [(sure([0, 1], 2), [0, 1]), (sure([0, 1], 2), [1, 0]), (sure([1], 4), [1])]
)
def test_capa_is_nan_where_chance_explains_everything(model: np.ndarray, truth: list[int]) -> None:
    found = metrics.capa(model, model, truth)
    assert math.isnan(found.kappa)
    assert found.observed == found.expected == 1


def test_capa_leaves_examples_without_a_choice_out() -> None:
    student, weak, truth = [[0.6, 0.4], [1.0]], [[0.7, 0.3], [1.0]], [0, 0]
    assert metrics.capa(student, weak, truth) == metrics.capa(student[:1], weak[:1], [0])
    assert all(math.isnan(value) for value in metrics.capa([[1.0]], [[1.0]], [0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.agreement([[1]], [[1]]), "one-dimensional"),
        (lambda: metrics.agreement([], []), "not empty"),
        (lambda: metrics.agreement([1, 0], [1]), "weak predictions has 1 examples, not 2"),
        (lambda: metrics.agreement_split([1, 0], [1, 0], [True]), "weak correct has 1 examples, not 2"),
        (lambda: metrics.agreement_split([1, 0], [1, 0], [0, 2]), "weak correct must be 0 or 1"),
        (lambda: metrics.error_transfer([1], [1], [1, 0]), "truth has 2 examples, not 1"),
        (lambda: metrics.error_transfer([1.0], [math.nan], [1]), "weak predictions holds a NaN"),
        (lambda: metrics.error_correlation([1, 2], [1, 0]), "student correct must be 0 or 1"),
        (lambda: metrics.error_correlation([1], [1, 0]), "join both by example id"),
        (lambda: metrics.capa([[0.5, 0.5]], [[0.5, 0.5]] * 2, [0]), "student has 1 examples, weak 2"),
        (lambda: metrics.capa([[0.5, 0.5]], [[1.0]], [0]), "example 0 has 2 candidates .* and 1 for weak"),
        (lambda: metrics.capa([[0.5, 0.5]], [[0.5, 0.5]], [2]), r"candidates are 0\.\.1"),
        (lambda: metrics.capa([[0.5, 0.5]], [[0.5, math.nan]], [0]), "NaN"),
        (lambda: capa_of_one(1), "lies behind the last candidate"),
        (lambda: capa_of_one(0), "num_candidates_N is 0 to 0; rows have room for 1 to 2"),
        (lambda: capa_of_one(3), "num_candidates_N is 3 to 3"),
        (lambda: capa_of_one(1.5), "num_candidates_N must be whole numbers"),
    ],
)
def test_malformed_input_is_a_data_error(call: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def capa_of_one(num_candidates: float) -> metrics.Capa:
    row = np.array([[0.5, 0.5]])
    return metrics.capa(row, row, [0], num_candidates_N=[num_candidates])
