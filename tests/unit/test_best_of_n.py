"""Best-of-n and voting against all subsets one by one, and against the released way of drawing them."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surpass.errors import ConfigError, DataError
from surpass.reasoning.best_of_n import (
    NO_ANSWER,
    answer_classes,
    best_of_n,
    mean_of_n,
    oracle,
    padded,
    top_ranks,
)
from surpass.reasoning.curves import curve, curves_by_group, difference, quantiles_of_difficulty
from surpass.reasoning.voting import majority_exactly, voting

NAN = float("nan")


def best_by_all_subsets(scores, correct, size):
    won = []
    for subset in combinations(range(len(scores)), size):
        there = [place for place in subset if not np.isnan(scores[place])]
        top = [place for place in there if scores[place] == max(scores[other] for other in there)]
        won.append(np.mean([correct[place] for place in top]) if top else 0.0)
    return np.mean(won)


def vote_by_all_subsets(answers, correct, size, weights=None):
    weights = [1] * len(answers) if weights is None else weights
    won = []
    for subset in combinations(range(len(answers)), size):
        totals, right = {}, {}
        for place in subset:
            if answers[place] >= 0 and weights[place] > 0:
                totals[answers[place]] = totals.get(answers[place], 0) + weights[place]
                right[answers[place]] = correct[place]
        top = [answer for answer in totals if totals[answer] == max(totals.values())]
        won.append(np.mean([right[answer] for answer in top]) if top else 0.0)
    return np.mean(won)


samples = st.lists(
    st.tuples(st.sampled_from([NAN, -np.inf, 0.0, 0.5, 1.0, np.inf]), st.booleans()), min_size=1, max_size=9
)


class TestBestOfN:
    @given(samples)
    @settings(max_examples=60, deadline=None)
    def test_equals_all_subsets(self, drawn):
        scores, correct = zip(*drawn, strict=True)
        values = best_of_n([scores], [correct])[0]
        for size in range(1, len(scores) + 1):
            assert values[size - 1] == pytest.approx(best_by_all_subsets(scores, correct, size), abs=1e-12)

    def test_problems_do_not_mix(self):
        rng = np.random.default_rng(0)
        scores = rng.integers(3, size=(6, 8)).astype(float)
        scores[rng.random((6, 8)) < 0.3] = NAN
        correct = rng.random((6, 8)) < 0.5
        together = best_of_n(scores, correct, [1, 3, 8])
        for place in range(6):
            assert together[place] == pytest.approx(
                best_of_n(scores[[place]], correct[[place]], [1, 3, 8])[0]
            )

    def test_pass_at_n_is_that_of_binomials(self):
        correct = np.zeros((1, 50), dtype=bool)
        correct[0, :7] = True
        expected = [1 - comb(43, n) / comb(50, n) for n in range(1, 51)]
        assert oracle(correct)[0] == pytest.approx(expected, abs=1e-12)

    def test_a_random_choice_is_the_mean_at_each_size(self):
        correct = np.random.default_rng(1).random((3, 20)) < 0.4
        assert mean_of_n(correct) == pytest.approx(np.tile(correct.mean(1)[:, None], (1, 20)))

    def test_ranks_are_a_distribution_at_the_size_of_the_paper(self):
        sizes = (1, 2, 100, 1859, 1860)
        probs = top_ranks(1860, sizes)
        assert probs.sum(0) == pytest.approx(np.ones(5), abs=1e-11)
        assert probs[:, 4].tolist() == [1.0] + [0.0] * 1859
        assert probs[1000, 2] == pytest.approx(comb(859, 99) / comb(1860, 100), rel=1e-9)

    def test_the_released_evaluation_agrees_within_its_error(self):
        """Shuffles, takes the first n, drops what has no answer, takes the highest score: 400 times."""
        rng = np.random.default_rng(2)
        num_problems, num_samples, trials, size = 30, 60, 400, 10
        quality = rng.normal(size=(num_problems, num_samples))
        correct = quality + rng.normal(size=quality.shape) > 0.5
        scores = np.where(rng.random(quality.shape) < 0.1, NAN, quality)
        found = []
        for _ in range(trials):
            right = 0
            for row, truth in zip(scores, correct, strict=True):
                taken = [place for place in rng.permutation(num_samples)[:size] if not np.isnan(row[place])]
                right += bool(taken) and truth[max(taken, key=lambda place, row=row: row[place])]
            found.append(right / num_problems)
        error = np.std(found, ddof=1) / np.sqrt(trials)
        exact = best_of_n(scores, correct, [size]).mean()
        assert abs(np.mean(found) - exact) < 4 * error
        assert error < 0.01

    @pytest.mark.parametrize(
        ("scores", "correct", "sizes", "said"),
        [
            ([[1.0]], [[True, False]], None, "both have to be"),
            ([1.0], [True], None, "both have to be"),
            (np.zeros((0, 3)), np.zeros((0, 3)), None, "both have to be"),
            ([[1.0, 2.0]], [[True, False]], [0], "best of 0"),
            ([[1.0, 2.0]], [[True, False]], [3], "best of 3"),
            ([[1.0, 2.0]], [[True, False]], [1.5], "best of 1.5"),
            ([[1.0, 2.0]], [[True, False]], [], "best of"),
        ],
    )
    def test_what_makes_no_sense(self, scores, correct, sizes, said):
        with pytest.raises(DataError, match=said):
            best_of_n(scores, correct, sizes)

    def test_rows_of_unequal_length(self):
        scores = padded([[1.0, None], [2.0, 3.0, 4.0], []], fill=NAN)
        assert scores.shape == (3, 3)
        assert np.isnan(scores[0, 1:]).all()
        assert padded([[1]], fill=0, width=2).tolist() == [[1, 0]]
        with pytest.raises(DataError, match="2 samples, more than 1"):
            padded([[1, 2]], fill=0, width=1)
        assert answer_classes([["a", None, "b", "a"], ["b"]]).tolist() == [[0, -1, 1, 0], [0, -1, -1, -1]]


votes = st.lists(st.integers(NO_ANSWER, 3), min_size=4, max_size=9)


class TestVoting:
    @given(votes, st.sets(st.integers(0, 3)))
    @settings(max_examples=60, deadline=None)
    def test_majority_equals_all_subsets(self, answers, right):
        correct = [answer in right for answer in answers]
        values = majority_exactly([answers], [correct])[0]
        for size in range(1, len(answers) + 1):
            assert values[size - 1] == pytest.approx(vote_by_all_subsets(answers, correct, size), abs=1e-12)

    def cases(self):
        rng = np.random.default_rng(3)
        answers = rng.integers(-1, 4, size=(5, 8))
        correct = (answers == 0) | (answers == 3)
        # Halves, so that sums are exact and tie often; zeros, and votes that are taken away.
        weights = rng.integers(0, 4, size=answers.shape) / 2
        weights[rng.random(answers.shape) < 0.15] = NAN
        return answers, correct, weights

    @pytest.mark.parametrize("weighted", [False, True])
    def test_trials_find_what_all_subsets_say(self, weighted):
        answers, correct, weights = self.cases()
        found = voting(answers, correct, weights_PM=weights if weighted else None, num_trials=20_000)
        for place in range(len(answers)):
            for size in range(1, 9):
                expected = vote_by_all_subsets(
                    answers[place].tolist(), correct[place], size, weights[place] if weighted else None
                )
                assert found.values_PN[place, size - 1] == pytest.approx(expected, abs=0.02)

    def test_all_samples_leave_nothing_to_chance(self):
        answers, correct, weights = self.cases()
        found = voting(answers, correct, [8], weights_PM=weights, num_trials=3)
        expected = [
            vote_by_all_subsets(a.tolist(), c, 8, w)
            for a, c, w in zip(answers, correct, weights, strict=True)
        ]
        assert found.values_PN[:, 0] == pytest.approx(expected)
        assert found.std_error_N == pytest.approx([0.0], abs=1e-9)

    def test_the_error_is_that_of_the_trials(self):
        answers, correct, _ = self.cases()
        exact = majority_exactly(answers, correct).mean(0)
        runs = [voting(answers, correct, num_trials=20, seed=seed) for seed in range(200)]
        spread = np.std([run.values_PN.mean(0) for run in runs], axis=0)
        said = np.sqrt(np.mean([run.std_error_N**2 for run in runs], axis=0))
        assert said[:7] == pytest.approx(spread[:7], rel=0.25)
        mean = np.mean([run.values_PN.mean(0) for run in runs], axis=0)
        assert mean == pytest.approx(exact, abs=4 * spread.max() / np.sqrt(200))

    def test_seeds(self):
        answers, correct, _ = self.cases()
        one, same, other = (voting(answers, correct, [3], seed=seed).values_PN for seed in (0, 0, 1))
        assert (one == same).all()
        assert (one != other).any()

    def test_pieces_of_problems_make_no_difference_to_what_is_estimated(self, monkeypatch):
        answers, correct, weights = self.cases()
        monkeypatch.setattr("surpass.reasoning.voting._ROWS_AT_ONCE", 1)
        found = voting(answers, correct, [8], weights_PM=weights)
        monkeypatch.undo()
        assert found.values_PN == pytest.approx(voting(answers, correct, [8], weights_PM=weights).values_PN)

    def test_majority_at_a_size_that_strains_numbers(self):
        answers = np.zeros((1, 300), dtype=int)
        answers[0, :100], answers[0, 100:140] = 1, 2
        correct = answers == 0
        exact = majority_exactly(answers[:, 60:], correct[:, 60:], [100, 240])
        assert exact[0, 1] == 1.0
        trials = voting(answers[:, 60:], correct[:, 60:], [1], num_trials=2)
        assert trials.values_PN.shape == (1, 1)
        assert 0.999 < exact[0, 0] <= 1.0

    @pytest.mark.parametrize(
        ("answers", "correct", "extra", "said"),
        [
            ([[0, 0]], [[True, False]], {}, "answer 0 of problem 0 is correct in one"),
            ([[0.5, 0]], [[True, True]], {}, "give whole numbers"),
            ([[-2, 0]], [[True, True]], {}, "from -2"),
            ([[5, 0]], [[True, True]], {}, "class 5 among 2"),
            ([[1, 0]], [[True, True]], {"weights_PM": [[1.0]]}, "give one each"),
            ([[1, 0]], [[True, True]], {"weights_PM": [[1.0, -1.0]]}, "below 0"),
            ([[1, 0]], [[True, True]], {"num_trials": 1}, "1 trials"),
            ([[1, 0]], [[True]], {}, "both have to be"),
        ],
    )
    def test_what_makes_no_sense(self, answers, correct, extra, said):
        with pytest.raises(DataError, match=said):
            voting(answers, correct, **extra)

    def test_too_many_to_sum_over(self):
        with pytest.raises(DataError, match="use voting"):
            majority_exactly(np.zeros((1, 1001), dtype=int), np.zeros((1, 1001), dtype=bool))


class TestCurves:
    def test_the_interval_covers(self):
        """Of 200 sets of problems, about 95 % have intervals around the true mean."""
        rng = np.random.default_rng(4)
        inside = 0
        for run in range(200):
            values = rng.beta(2, 1, size=(60, 1))
            found = curve(values, [1], num_resamples=400, seed=run)
            inside += found.low_N[0] <= 2 / 3 <= found.high_N[0]
        assert 178 <= inside <= 199

    def test_paired_differences_are_narrower_than_unpaired(self):
        rng = np.random.default_rng(5)
        easy = rng.random((100, 1))
        first, second = easy + 0.02 + rng.normal(0, 0.02, easy.shape), easy + rng.normal(0, 0.02, easy.shape)
        apart = difference(first, second, [7])
        alone = curve(first, [7])
        mean, low, high = apart.at(7)
        assert mean == pytest.approx((first - second).mean())
        assert 0 < low < mean < high
        assert high - low < (alone.high_N - alone.low_N)[0] / 5
        with pytest.raises(DataError, match="has no size 8"):
            apart.at(8)

    def test_difficulty(self):
        groups = quantiles_of_difficulty([0.1, 0.9, 0.5, 0.7, 0.3, 0.5])
        assert groups.tolist() == [4, 0, 1, 0, 3, 2]
        assert quantiles_of_difficulty([0.5] * 10).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        found = curves_by_group([[0.0], [1.0], [1.0], [0.0]], [1], ["b", "a", "a", "b"])
        assert list(found) == ["a", "b"]
        assert found["a"].at(1) == (1.0, 1.0, 1.0)
        assert found["b"].num_problems == 2

    @pytest.mark.parametrize(
        ("call", "error"),
        [
            (lambda: curve([[1.0]], [1]), DataError),
            (lambda: curve([[1.0], [NAN]], [1]), DataError),
            (lambda: curve([[1.0], [1.0]], [1, 2]), DataError),
            (lambda: curve([[1.0], [1.0]], [1], level=1.0), ConfigError),
            (lambda: curve([[1.0], [1.0]], [1], num_resamples=1), ConfigError),
            (lambda: difference([[1.0], [1.0]], [[1.0]], [1]), DataError),
            (lambda: quantiles_of_difficulty([0.5] * 4), DataError),
            (lambda: quantiles_of_difficulty([NAN] * 5), DataError),
            (lambda: curves_by_group([[1.0], [1.0]], [1], [0]), DataError),
        ],
    )
    def test_what_makes_no_sense(self, call, error):
        with pytest.raises(error):
            call()
