"""Scores of solutions from those of steps, and finding the first error, against what one would do by hand."""

from __future__ import annotations

import numpy as np
import pytest

from surpass.errors import ConfigError, DataError
from surpass.reasoning.first_error import best_threshold, first_error_scores, predicted_first_errors
from surpass.reasoning.reductions import REDUCTIONS, correctness, solution_scores

ROWS = [[0.9, 0.5, 0.8], [0.2], [1.0, 0.0, 0.6, 0.6]]
PROBS, LENGTHS = np.concatenate(ROWS), [len(row) for row in ROWS]
BY_HAND = {"product": np.prod, "minimum": np.min, "last": lambda row: row[-1], "mean": np.mean}


class TestReductions:
    @pytest.mark.parametrize("name", REDUCTIONS)
    def test_by_hand(self, name):
        expected = [BY_HAND[name](row) for row in ROWS]
        assert solution_scores(PROBS, LENGTHS, reduction=name) == pytest.approx(expected, abs=1e-15)

    def test_neutral_steps(self):
        probs = [[0.1, 0.3, 0.6], [0.0, 0.3, 0.7]]
        assert correctness(probs) == pytest.approx([0.9, 1.0])
        assert correctness(probs).max() <= 1
        assert correctness(probs, neutral="negative") == pytest.approx([0.6, 0.7])
        assert correctness([[0.25, 0.75]], neutral="negative") == pytest.approx([0.75])

    @pytest.mark.parametrize(
        ("probs", "lengths", "said"),
        [
            ([0.5], [1, 0], "solution 1 has 0 steps; a solution without steps has no score"),
            ([], [], "one for each solution"),
            ([0.5, 0.5], [1], r"\(2,\) scores"),
            ([1.5], [1], "step 0 has the score 1.5"),
            ([float("nan")], [1], "step 0 has the score nan"),
        ],
    )
    def test_what_has_no_score(self, probs, lengths, said):
        for call in (solution_scores, predicted_first_errors):
            with pytest.raises(DataError, match=said):
                call(probs, lengths)

    def test_what_does_not_exist(self):
        with pytest.raises(ConfigError, match="product, minimum, last, mean"):
            solution_scores([0.5], [1], reduction="sum")
        with pytest.raises(ConfigError, match="positive and negative"):
            correctness([[0.5, 0.5]], neutral="unknown")
        with pytest.raises(DataError, match="expected"):
            correctness([[1.0]])
        with pytest.raises(DataError, match="step 1 has the probabilities"):
            correctness([[0.5, 0.5], [0.5, 0.6]])


class TestFirstError:
    def test_predictions(self):
        assert predicted_first_errors(PROBS, LENGTHS).tolist() == [-1, 0, 1]
        assert predicted_first_errors(PROBS, LENGTHS, threshold=0.6).tolist() == [1, 0, 1]
        assert predicted_first_errors(PROBS, LENGTHS, threshold=0.0).tolist() == [-1, -1, -1]

    def test_scores(self):
        labels = [-1, -1, -1, 0, 2, 5, 1, 1]
        predicted = [-1, 0, -1, 0, 1, 5, -1, 1]
        found = first_error_scores(predicted, labels)
        assert (found.num_wrong, found.num_right) == (5, 3)
        assert found.on_wrong == pytest.approx(3 / 5)
        assert found.on_right == pytest.approx(2 / 3)
        assert found.f1 == pytest.approx(2 * 0.6 * (2 / 3) / (0.6 + 2 / 3))
        assert found.low < found.f1 < found.high

    def test_judges_that_always_say_the_same_have_nothing(self):
        labels = [-1, -1, 0, 0]
        assert first_error_scores([-1] * 4, labels).f1 == 0
        assert first_error_scores([0] * 4, labels).f1 == 0
        assert first_error_scores([7] * 4, labels).f1 == 0
        assert first_error_scores(labels, labels).f1 == 1

    def test_the_interval_covers(self):
        rng = np.random.default_rng(0)
        inside = 0
        for run in range(150):
            labels = np.where(rng.random(300) < 0.5, -1, 3)
            hit = rng.random(300) < np.where(labels < 0, 0.8, 0.4)
            found = first_error_scores(np.where(hit, labels, 99), labels, num_resamples=200, seed=run)
            inside += found.low <= 2 * 0.8 * 0.4 / 1.2 <= found.high
        assert 132 <= inside <= 150

    def test_solutions_of_one_problem_count_together(self):
        rng = np.random.default_rng(1)
        problems = np.repeat(np.arange(60), 10)
        labels = np.tile([-1, 2], 300)
        hit = np.repeat(rng.random(60) < 0.5, 10)
        predicted = np.where(hit, labels, 99)
        apart = first_error_scores(predicted, labels)
        together = first_error_scores(predicted, labels, problems_S=[f"p{number}" for number in problems])
        assert together.f1 == apart.f1
        assert together.high - together.low > 2 * (apart.high - apart.low)

    def test_the_best_threshold_is_that_of_trying_all(self):
        for seed in range(20):
            rng = np.random.default_rng(seed)
            lengths = rng.integers(1, 6, size=30)
            probs = rng.integers(0, 11, size=lengths.sum()) / 10
            labels = np.array([rng.integers(-1, length) for length in lengths])
            labels[:2] = [-1, 0]
            found = best_threshold(probs, lengths, labels)

            def f1(threshold, probs=probs, lengths=lengths, labels=labels):
                predicted = predicted_first_errors(probs, lengths, threshold=threshold)
                return first_error_scores(predicted, labels, num_resamples=100).f1

            assert f1(found) == pytest.approx(max(f1(place / 20) for place in range(22)))

    @pytest.mark.parametrize(
        ("call", "error", "said"),
        [
            (lambda: first_error_scores([0], [0, 1]), DataError, "give one each"),
            (lambda: first_error_scores([0, 0], [0, 0]), DataError, "2 of 2 solutions have an error"),
            (lambda: first_error_scores([0, 0], [-1, -1]), DataError, "0 of 2 solutions"),
            (lambda: first_error_scores([0, 0], [-2, -1]), DataError, "a label is -2"),
            (lambda: first_error_scores([0, 0], [0, -1], level=0), ConfigError, "level=0"),
            (lambda: first_error_scores([0, 0], [0, -1], problems_S=[1]), DataError, "give one each"),
            (lambda: best_threshold([0.5], [1], [1]), DataError, "no step of its solution"),
            (lambda: best_threshold([0.5], [1], [0]), DataError, "all solutions have an error"),
        ],
    )
    def test_what_makes_no_sense(self, call, error, said):
        with pytest.raises(error, match=said):
            call()
