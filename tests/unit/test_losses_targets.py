"""Target losses where each is particular: thresholds, ties, schedules, weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from surpass.losses import Target, find_loss

INF = math.inf


def made(name: str, logits: list[list[float]], probs: list[list[float]], progress: float = 1.0) -> Target:
    return find_loss(name).function(torch.tensor(logits).double(), torch.tensor(probs).double(), progress)


def of_odds(*log_odds: float) -> list[list[float]]:
    return [[0.0, value] for value in log_odds]


def second_class(*probs: float) -> list[list[float]]:
    return [[1 - prob, prob] for prob in probs]


ONLY_OWN = "confidence(alpha=1, warmup_frac=0)"


class TestConfidence:
    def own(
        self, *log_odds: float, name: str = ONLY_OWN, probs: tuple[float, ...] | None = None
    ) -> list[float]:
        """The own label's second class, of a student that is sure of it everywhere."""
        labels = second_class(*(probs or (0.3,) * len(log_odds)))
        return made(name, of_odds(*log_odds), labels).target_NC[:, 1].tolist()

    def test_half_of_an_even_batch_is_above_whatever_the_student_prefers(self):
        assert self.own(3.0, 5.0, 4.0, 9.0) == [0, 1, 0, 1]

    def test_the_middle_one_of_an_odd_batch_is_halved(self):
        assert self.own(3.0, 5.0, 4.0) == [0, 1, 0.5]

    def test_one_example_is_halved(self):
        assert self.own(3.0) == [0.5]

    def test_equal_ones_share_what_is_left(self):
        assert self.own(3.0, 3.0, 3.0, 9.0) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])

    def test_swapping_the_classes_swaps_the_labels(self):
        log_odds = (0.3, -1.0, 2.0, 0.3, 5.0)
        there, back = self.own(*log_odds), self.own(*(-value for value in log_odds))
        assert there == pytest.approx([1 - share for share in back])

    def test_a_saturated_student_still_has_an_order(self):
        """In single precision all of these probabilities are 1."""
        logits_NC = torch.tensor(of_odds(100.0, 300.0, 200.0, 400.0))
        target = find_loss(ONLY_OWN).function(logits_NC, torch.full((4, 2), 0.5), 1.0)
        assert target.target_NC[:, 1].tolist() == [0, 1, 0, 1]

    def test_the_share_of_the_labels(self):
        name = "confidence(alpha=1, prior=weak, warmup_frac=0)"
        assert self.own(3.0, 5.0, 4.0, 9.0, name=name, probs=(0.9, 0.8, 0.7, 0.6)) == [0, 1, 1, 1]
        assert self.own(3.0, 5.0, 4.0, 9.0, name=name, probs=(0.1, 0.2, 0.3, 0.65)) == pytest.approx(
            [0, 0.25, 0, 1]
        )
        assert self.own(3.0, 5.0, name=name, probs=(1.0, 1.0)) == [1, 1]
        assert self.own(3.0, 5.0, name=name, probs=(0.0, 0.0)) == [0, 0]

    def test_more_candidates_take_the_best_guess(self):
        logits = [[0.0, 5.0, 1.0], [9.0, 0.0, 1.0], [9.0, 0.0, 1.0]]
        target = made(ONLY_OWN, logits, [[0.2, 0.3, 0.5]] * 3)
        assert target.target_NC.tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0]]

    @pytest.mark.parametrize("other", [[0.0, 1.0, 2.0], [0.0, -INF, -INF]])
    def test_so_does_a_row_of_two_among_others(self, other):
        logits = [[0.0, 3.0, -INF], [0.0, 5.0, -INF], other]
        target = made(ONLY_OWN, logits, [[0.5, 0.5, 0.0]] * 2 + [[1.0, 0.0, 0.0]])
        assert target.target_NC[:2].tolist() == [[0, 1, 0]] * 2

    def test_two_candidates_in_other_columns_are_not_classes(self):
        target = made(ONLY_OWN, [[0.0, -INF, 3.0]] * 2, [[0.5, 0.0, 0.5]] * 2)
        assert target.target_NC.tolist() == [[0, 0, 1]] * 2

    def test_without_a_prior_it_is_hard_bootstrapping(self):
        logits, probs = of_odds(3.0, 5.0, -4.0), second_class(0.2, 0.4, 0.7)
        found = made("confidence(alpha=0.2, warmup_frac=0, prior=none)", logits, probs)
        torch.testing.assert_close(found.target_NC, made("bootstrap_hard", logits, probs).target_NC)

    @pytest.mark.parametrize(
        ("progress", "share"), [(0, 0), (0.05, 0.125), (0.1, 0.25), (0.2, 0.5), (1.0, 0.5)]
    )
    def test_the_share_rises_over_a_fifth_of_training(self, progress, share):
        target = made("confidence", of_odds(-1.0, 1.0), second_class(1.0, 0.0), progress)
        assert target.target_NC[:, 1].tolist() == pytest.approx([1 - share, share])


class TestReleasedConfidence:
    @pytest.mark.parametrize(
        ("progress", "share"), [(0, 0), (0.05, 0.025), (0.1, 0.05), (0.1001, 0.5), (1.0, 0.5)]
    )
    def test_the_share_crawls_and_then_jumps(self, progress, share):
        target = made("confidence_openai", of_odds(-1.0, 1.0), second_class(1.0, 0.0), progress)
        assert target.target_NC[:, 1].tolist() == pytest.approx([1 - share, share])

    def own(self, log_odds: tuple[float, ...], probs: tuple[float, ...]) -> list[float]:
        target = made("confidence_openai(alpha=1)", of_odds(*log_odds), second_class(*probs))
        return target.target_NC[:, 1].tolist()

    def test_the_share_of_each_class_is_about_that_of_the_labels(self):
        assert self.own((1.0, 2.0, 3.0, 4.0), (0.9, 0.8, 0.7, 0.6)) == [0, 1, 1, 1]
        assert self.own((1.0, 2.0, 3.0, 4.0), (0.1, 0.2, 0.3, 0.4)) == [0, 0, 0, 1]

    def test_where_all_labels_are_of_the_second_class_one_example_is_not(self):
        """The threshold is then the highest probability of the first class, and it counts as reached."""
        assert self.own((1.0, 2.0, 3.0), (1.0, 1.0, 1.0)) == [0, 1, 1]
        assert self.own((1.0, 2.0, 3.0), (0.0, 0.0, 0.0)) == [0, 0, 0]

    def test_equal_ones_are_all_of_the_first_class(self):
        assert self.own((1.0, 1.0, 1.0, 1.0), (0.5, 0.5, 0.5, 0.5)) == [0, 0, 0, 0]


class TestProducts:
    def test_two_experts(self):
        target = made("product", [[0.0, math.log(3)]], [[0.5, 0.5]])
        assert target.target_NC.tolist()[0] == pytest.approx([0.25, 0.75])
        target = made("product", [[0.0, math.log(3)]], [[0.75, 0.25]])
        assert target.target_NC.tolist()[0] == pytest.approx([0.5, 0.5])

    def test_mean(self):
        target = made("geometric_mean", [[0.0, math.log(4)]], [[0.2, 0.8]])
        assert target.target_NC.tolist()[0] == pytest.approx([0.2, 0.8])
        target = made("geometric_mean", [[0.0, math.log(4)]], [[0.5, 0.5]])
        assert target.target_NC.tolist()[0] == pytest.approx([1 / 3, 2 / 3])

    @pytest.mark.parametrize("name", ["product", "product_openai", "geometric_mean", "adaptconf"])
    def test_a_certain_label_against_a_certain_student(self, name):
        target = made(name, [[1e4, -1e4]], [[0.0, 1.0]])
        assert target.target_NC.tolist() == [[0, 1]]

    def test_the_released_product_has_no_warm_up(self):
        early, late = (made("product_openai", of_odds(2.0), second_class(0.3), at) for at in (0.0, 1.0))
        assert torch.equal(early.target_NC, late.target_NC)

    def test_at_the_defaults_the_released_product_is_the_papers(self):
        logits, probs = of_odds(2.0, -1.0, 0.3), second_class(0.3, 0.9, 0.0)
        found, released = (made(name, logits, probs).target_NC for name in ("product", "product_openai"))
        torch.testing.assert_close(found, released, atol=1e-15, rtol=0)

    def test_a_warm_up_begins_at_the_label(self):
        target = made("product(warmup_frac=0.5)", of_odds(2.0), second_class(0.3), 0.0)
        assert target.target_NC.tolist()[0] == pytest.approx([0.7, 0.3])


class TestAdaptConf:
    def test_agreement_is_shared_evenly(self):
        target = made("adaptconf", of_odds(2.0), second_class(0.6))
        assert target.target_NC.tolist()[0] == pytest.approx([0.2, 0.8])

    def test_the_surer_of_something_else_the_more_the_label_counts(self):
        shares = [
            made("adaptconf", of_odds(odds), second_class(0.4)).target_NC[0, 1].item() for odds in (1, 2, 4)
        ]
        assert shares == sorted(shares, reverse=True)
        assert shares[0] == pytest.approx(0.4 + 0.6 / (1 + math.exp(1 / 0.5)))

    def test_a_high_temperature_forgets_the_difference(self):
        target = made("adaptconf(temperature=1e6)", of_odds(3.0), second_class(0.0))
        assert target.target_NC[0, 1].item() == pytest.approx(0.5, abs=1e-5)


class TestWeights:
    def weights(
        self, name: str, logits: list[list[float]], probs: list[list[float]], at: float = 1.0
    ) -> list[float]:
        target = made(name, logits, probs, at)
        assert torch.equal(target.target_NC, torch.tensor(probs).double())
        return target.weight_N.tolist()

    def test_only_students_in_doubt_learn(self):
        logits = [[0.0, math.log(p / (1 - p))] for p in (0.64, 0.66, 0.36, 0.34, 0.5)]
        assert self.weights("window", logits, [[0.5, 0.5]] * 5) == [1, 0, 1, 0, 1]

    def test_or_only_doubtful_labels_teach(self):
        labels = second_class(0.64, 0.66, 0.36, 0.34, 0.5)
        assert self.weights("window(of=weak)", [[0.0, 9.0]] * 5, labels) == [1, 0, 1, 0, 1]

    def test_the_edge_of_the_window_is_outside(self):
        assert self.weights("window(radius=0.25, of=weak)", [[0.0, 0.0]], second_class(0.75)) == [0]

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ((0.5, 0.6, 0.8, 1.0), [1, 1, 0, 0]),
            ((0.5, 0.6, 0.8), [1, 0, 0]),
            ((0.9,), [0]),
            ((0.7, 0.7), [0, 0]),
        ],
    )
    def test_below_the_median_of_the_labels(self, labels, expected):
        name = "window(radius=midweak, of=weak)"
        assert self.weights(name, [[0.0, 0.0]] * len(labels), second_class(*labels)) == expected

    def test_margins_of_many(self):
        labels = [[0.5, 0.3, 0.2], [0.6, 0.2, 0.2], [1.0, 0.0, 0.0]]
        assert self.weights("window(of=weak)", [[0.0] * 3] * 3, labels) == [1, 0, 0]

    def test_confidence(self):
        labels = [[0.5, 0.5, 0.0], [0.6, 0.2, 0.2], [1.0, 0.0, 0.0]]
        assert self.weights("weak_confidence", [[0.0] * 3] * 3, labels) == pytest.approx([0, 0.4, 1])
        assert self.weights("weak_confidence(power=2)", [[0.0] * 3] * 3, labels) == pytest.approx(
            [0, 0.16, 1]
        )

    def test_reliability_is_confidence_unless_calibrated(self):
        labels = second_class(0.5, 0.8, 0.1)
        assert self.weights("reliability", of_odds(0, 0, 0), labels) == pytest.approx([0.5, 0.8, 0.9])
        doubted = self.weights("reliability(slope=0.5)", of_odds(0, 0, 0), labels)
        assert doubted == pytest.approx([0.5, 2 / 3, 0.75])

    def test_reliability_of_a_fit_is_how_often_labels_are_right(self):
        """As the docs say: fit right or wrong on the log-odds of the confidence."""
        rng = np.random.default_rng(0)
        confidence_N = rng.uniform(0.5, 0.999, 20_000)
        log_odds_N = np.log(confidence_N / (1 - confidence_N))
        right_N = rng.random(20_000) < 1 / (1 + np.exp(-(0.6 * log_odds_N + 0.3)))
        slope, intercept = newton_logistic(log_odds_N, right_N)
        labels = second_class(*confidence_N.tolist())
        name = f"reliability(slope={slope}, intercept={intercept})"
        weight_N = np.array(self.weights(name, of_odds(*[0.0] * 20_000), labels))
        for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1.0)):
            chosen_N = (confidence_N >= low) & (confidence_N < high)
            assert weight_N[chosen_N].mean() == pytest.approx(right_N[chosen_N].mean(), abs=0.015)


def newton_logistic(values_N: np.ndarray, right_N: np.ndarray) -> tuple[float, float]:
    design_ND, coefficients_D = np.stack([values_N, np.ones_like(values_N)], 1), np.zeros(2)
    for _ in range(20):
        chance_N = 1 / (1 + np.exp(-design_ND @ coefficients_D))
        hessian_DD = design_ND.T @ (design_ND * (chance_N * (1 - chance_N))[:, None])
        coefficients_D += np.linalg.solve(hessian_DD, design_ND.T @ (right_N - chance_N))
    return float(coefficients_D[0]), float(coefficients_D[1])


class TestSmallLoss:
    LOGITS = of_odds(0.1, 0.4, 0.2, 0.5, 0.3)
    LABELS = second_class(1.0, 1.0, 1.0, 1.0, 1.0)

    def weights(self, name: str, progress: float = 1.0) -> list[float]:
        return made(name, self.LOGITS, self.LABELS, progress).weight_N.tolist()

    def test_the_largest_losses_are_left_out(self):
        assert self.weights("small_loss(forget=0.4)") == pytest.approx([0, 5 / 3, 0, 5 / 3, 5 / 3])

    def test_not_whole(self):
        assert self.weights("small_loss(forget=0.5)") == pytest.approx([0, 2, 0, 2, 1])

    @pytest.mark.parametrize(("progress", "left"), [(0.0, 5), (0.25, 4), (0.5, 3), (1.0, 3)])
    def test_more_and_more(self, progress, left):
        found = self.weights("small_loss(forget=0.4, ramp_frac=0.5)", progress)
        assert sum(weight > 0 for weight in found) == left
        assert sum(found) == pytest.approx(5)

    def test_one_example_is_kept(self):
        assert made("small_loss(forget=0.9)", [[0.0, 9.0]], [[1.0, 0.0]]).weight_N.tolist() == [1]

    def test_equal_losses_are_kept_alike(self):
        found = made("small_loss(forget=0.5)", of_odds(1, 1, 1, 1), second_class(0, 0, 0, 0))
        assert found.weight_N.tolist() == pytest.approx([1] * 4)


@pytest.mark.parametrize("name", ["entropy", "squared_confidence"])
def test_terms_of_confidence_push_away_from_the_middle(name):
    logits_NC = torch.tensor([[0.0, 0.5], [0.0, -0.5]], requires_grad=True)
    loss = find_loss(f"{name}(alpha=1, warmup_frac=0)")
    loss.function(logits_NC, torch.full((2, 2), 0.5), 0.0).sum().backward()
    assert logits_NC.grad[0, 1] < 0 < logits_NC.grad[1, 1]
