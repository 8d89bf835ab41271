"""Each loss against its textbook form, differentiated by autograd: naive, dense, no ragged rows.

All at their defaults, late enough in training for every warm-up to be over.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from surpass.losses import LOSSES, find_loss, soft_cross_entropy

LATE = 0.6


def ce(logits_NC: Tensor, probs_NC: Tensor) -> Tensor:
    return F.cross_entropy(logits_NC, probs_NC, reduction="none")


def one_hot(values_NC: Tensor) -> Tensor:
    return F.one_hot(values_NC.argmax(1), values_NC.shape[1]).double()


def own_label(logits_NC: Tensor) -> Tensor:
    """Above the median of the batch for two classes, which has no middle one where N is even."""
    if logits_NC.shape[1] > 2:
        return one_hot(logits_NC)
    second_N = logits_NC.softmax(1)[:, 1]
    above_N = (second_N > second_N.quantile(0.5)).double()
    return torch.stack([1 - above_N, above_N], 1)


def own_label_openai(logits_NC: Tensor, probs_NC: Tensor) -> Tensor:
    if logits_NC.shape[1] > 2:
        return one_hot(logits_NC)
    first_N = logits_NC.softmax(1)[:, 0]
    above_N = (first_N >= torch.quantile(first_N, probs_NC.mean(0)[1])).double()
    return torch.stack([above_N, 1 - above_N], 1)


def to(target_NC: Tensor) -> Tensor:
    return (target_NC / target_NC.sum(1, keepdim=True)).detach()


def adaptconf(logits_NC: Tensor, probs_NC: Tensor) -> Tensor:
    own_NC = one_hot(logits_NC)
    own_N, weak_N = (torch.exp(ce(logits_NC, label) / 0.5) for label in (own_NC, one_hot(probs_NC)))
    share_N = (own_N / (own_N + weak_N)).detach()
    distance_N = F.kl_div(logits_NC.log_softmax(1), probs_NC, reduction="none").sum(1)
    return (1 - share_N) * distance_N + share_N * ce(logits_NC, own_NC)


def small_loss(logits_NC: Tensor, probs_NC: Tensor) -> Tensor:
    """Four of five in a batch of five are kept, and the mean is theirs."""
    losses_N = ce(logits_NC, probs_NC)
    kept = losses_N.detach().argsort()[:4]
    weight_N = torch.zeros(5, dtype=torch.float64)
    weight_N[kept] = 5 / 4
    return losses_N * weight_N


def window(logits_NC: Tensor, probs_NC: Tensor) -> Tensor:
    top_N2 = logits_NC.softmax(1).detach().topk(2).values
    inside_N = top_N2[:, 0] < 0.65 if logits_NC.shape[1] == 2 else top_N2.diff().abs()[:, 0] < 0.3
    return ce(logits_NC, probs_NC) * inside_N


def weighted(weight: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda logits_NC, probs_NC: weight(probs_NC) * ce(logits_NC, probs_NC)


def of_label(form: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The mean of a form of p over the candidates of the label."""
    return lambda logits_NC, probs_NC: (probs_NC * form(logits_NC.softmax(1))).sum(1)


def transition(num_classes: int, noise: float = 0.2) -> Tensor:
    wrong = noise / (num_classes - 1)
    return torch.full((num_classes, num_classes), wrong, dtype=torch.float64).fill_diagonal_(1 - noise)


def forward_correction(logits_NC: Tensor, probs_NC: Tensor) -> Tensor:
    return -(probs_NC * (logits_NC.softmax(1) @ transition(logits_NC.shape[1])).log()).sum(1)


def backward_correction(logits_NC: Tensor, probs_NC: Tensor) -> Tensor:
    inverse = torch.linalg.inv(transition(logits_NC.shape[1]))
    return (probs_NC * (-logits_NC.log_softmax(1) @ inverse.T)).sum(1)


def sce(logits_NC: Tensor, probs_NC: Tensor) -> Tensor:
    label_logs_NC = torch.where(probs_NC > 0, probs_NC.log(), -4.0).clamp(min=-4.0)
    return 0.1 * ce(logits_NC, probs_NC) - (logits_NC.softmax(1) * label_logs_NC).sum(1)


def elr(logits_NC: Tensor, probs_NC: Tensor) -> Tensor:
    """At first sight of the examples: the memory is 0.3 of what the student says now."""
    p_NC = logits_NC.softmax(1).clamp(1e-4, 1 - 1e-4)
    return ce(logits_NC, probs_NC) + 3 * torch.log(1 - (0.3 * to(p_NC) * p_NC).sum(1))


def entropy(logits_NC: Tensor) -> Tensor:
    return torch.distributions.Categorical(logits=logits_NC).entropy()


def squared(logits_NC: Tensor) -> Tensor:
    p_NC = logits_NC.softmax(1)
    if logits_NC.shape[1] == 2:
        return -((p_NC[:, 0] - 0.5) ** 2)
    return -((p_NC - 1 / logits_NC.shape[1]) ** 2).sum(1) / 2


TEXTBOOK: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "adaptconf": adaptconf,
    "backward_correction": backward_correction,
    "bootstrap_hard": lambda z, w: 0.8 * ce(z, w) + 0.2 * ce(z, one_hot(z)),
    "bootstrap_soft": lambda z, w: -((0.95 * w + 0.05 * z.softmax(1)) * z.log_softmax(1)).sum(1),
    "confidence": lambda z, w: 0.5 * ce(z, w) + 0.5 * ce(z, own_label(z)),
    "confidence_openai": lambda z, w: 0.5 * ce(z, w) + 0.5 * ce(z, own_label_openai(z, w)),
    "elr": elr,
    "entropy": lambda z, w: 0.5 * ce(z, w) + 0.5 * entropy(z),
    "forward_correction": forward_correction,
    "gce": of_label(lambda p: (1 - p**0.7) / 0.7),
    "geometric_mean": lambda z, w: ce(z, to((w * z.softmax(1)).sqrt())),
    "kl": lambda z, w: F.kl_div(z.log_softmax(1), w, reduction="none").sum(1),
    "label_smoothing": lambda z, w: F.cross_entropy(z, w, reduction="none", label_smoothing=0.1),
    "product": lambda z, w: ce(z, to(w * z.softmax(1))),
    "product_openai": lambda z, w: ce(z, to(w * z.softmax(1))),
    "reliability": weighted(lambda w: w.amax(1).clamp(max=1 - 1e-6)),
    "reverse_kl": lambda z, w: F.kl_div(w.clamp(min=1e-6).log(), z.softmax(1), reduction="none").sum(1),
    "sce": sce,
    "small_loss": small_loss,
    "squared_confidence": lambda z, w: 0.5 * ce(z, w) + 0.5 * squared(z),
    "truncated_gce": of_label(lambda p: (1 - p.clamp(min=0.5) ** 0.7) / 0.7),
    "weak_confidence": weighted(lambda w: w.topk(2).values.diff().abs()[:, 0]),
    "window": window,
    "xent": ce,
}
WITHOUT_VALUE = {"adaptconf"}
"""Whose published value differs by what has no gradient."""


def batch(num_classes: int, hard: bool, seed: int, num_examples: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    logits_NC = torch.from_numpy(2 * rng.standard_normal((num_examples, num_classes)))
    probs_NC = torch.from_numpy(rng.dirichlet(np.ones(num_classes), num_examples))
    return logits_NC, one_hot(probs_NC) if hard else probs_NC


def differentiated(form: Callable[[Tensor, Tensor], Tensor], logits_NC: Tensor, probs_NC: Tensor) -> Tensor:
    free_NC = logits_NC.clone().requires_grad_()
    losses_N = form(free_NC, probs_NC)
    losses_N.sum().backward()
    return losses_N.detach(), free_NC.grad


def ours(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    loss = find_loss(name)

    def form(logits_NC: Tensor, probs_NC: Tensor) -> Tensor:
        memory = {"memory_NC": torch.zeros(probs_NC.shape)} if loss.memory else {}
        found = loss.function(logits_NC, probs_NC, LATE, **memory)
        return found if loss.per_example else soft_cross_entropy(logits_NC, found)

    return form


def test_every_loss_has_its_textbook_form():
    assert TEXTBOOK.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("hard", [False, True])
def test_value_and_gradient_are_those_of_the_textbook(name, num_classes, hard):
    size = 5 if name == "small_loss" else 8
    tolerance = 1e-6 if name == "elr" else 1e-12  # a memory is single precision
    for seed in range(4):
        logits_NC, probs_NC = batch(num_classes, hard, seed, size)
        value_N, gradient_NC = differentiated(ours(name), logits_NC, probs_NC)
        expected_N, expected_NC = differentiated(TEXTBOOK[name], logits_NC, probs_NC)
        torch.testing.assert_close(gradient_NC, expected_NC, atol=tolerance, rtol=0)
        if name not in WITHOUT_VALUE:
            torch.testing.assert_close(value_N, expected_N, atol=tolerance, rtol=0)


def test_the_gradient_of_kl_is_that_of_cross_entropy():
    logits_NC, probs_NC = batch(4, False, 0, 8)
    divergence_N, gradient_NC = differentiated(ours("kl"), logits_NC, probs_NC)
    plain_N, plain_NC = differentiated(ours("xent"), logits_NC, probs_NC)
    torch.testing.assert_close(gradient_NC, plain_NC, atol=1e-14, rtol=0)
    torch.testing.assert_close(divergence_N, plain_N - torch.special.entr(probs_NC).sum(1))
    assert (divergence_N > 0).all()


@pytest.mark.parametrize("name", ["kl", "reverse_kl"])
def test_a_divergence_is_nothing_where_the_student_says_the_same(name):
    _, probs_NC = batch(4, False, 0, 8)
    value_N, gradient_NC = differentiated(ours(name), probs_NC.log(), probs_NC)
    assert value_N.abs().max() < 1e-12
    assert gradient_NC.abs().max() < 1e-12


def test_reverse_kl_of_a_hard_label_is_held_by_the_floor():
    logits_NC, probs_NC = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    for floor in (0.5, 0.01, 1e-6):
        value_N = find_loss(f"reverse_kl(floor={floor})").function(logits_NC, probs_NC, 0.0)
        assert value_N.item() == pytest.approx(-math.log(2) - math.log(floor) / 2, abs=1e-6)


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_backward_correction_is_unbiased(num_classes):
    """Its mean over noisy labels is the cross-entropy of the clean label."""
    logits_NC, _ = batch(num_classes, True, 0, num_classes)
    clean_NC = torch.eye(num_classes).double()
    wrong = 0.3 / (num_classes - 1)
    noisy_NC = 0.7 * clean_NC + wrong * (1 - clean_NC)
    found_N = find_loss("backward_correction(noise=0.3)").function(logits_NC, noisy_NC, 0.0)
    torch.testing.assert_close(found_N, ce(logits_NC, clean_NC), atol=1e-12, rtol=0)


def test_backward_correction_can_be_negative():
    logits_NC, probs_NC = torch.tensor([[9.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    assert find_loss("backward_correction").function(logits_NC, probs_NC, 0.0).item() < -2


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_forward_correction_is_least_at_the_clean_distribution(num_classes):
    _, clean_NC = batch(num_classes, False, 1, 6)
    noisy_NC = clean_NC @ transition(num_classes, 0.3)
    loss = find_loss("forward_correction(noise=0.3)")
    free_NC = clean_NC.log().requires_grad_()
    loss.function(free_NC, noisy_NC, 0.0).sum().backward()
    assert free_NC.grad.abs().max() < 1e-12


def test_corrections_know_how_many_candidates_a_row_has():
    logits_NC = torch.tensor([[0.3, -0.2, 0.1], [0.3, -0.2, -math.inf], [0.3, -math.inf, -math.inf]])
    probs_NC = torch.tensor([[1.0, 0.0, 0.0]] * 3)
    for name in ("forward_correction", "backward_correction", "label_smoothing", "squared_confidence"):
        together_N = find_loss(name).function(logits_NC, probs_NC, 0.5)
        alone = [
            find_loss(name).function(logits_NC[row : row + 1, :size], probs_NC[row : row + 1, :size], 0.5)
            for row, size in enumerate((3, 2, 1))
        ]
        torch.testing.assert_close(together_N, torch.cat(alone))


class TestGeneralisedCrossEntropy:
    def test_ends_at_the_probability_of_being_wrong(self):
        logits_NC, probs_NC = batch(4, True, 0, 8)
        found_N = find_loss("gce(q=1)").function(logits_NC, probs_NC, 0.0)
        torch.testing.assert_close(found_N, 1 - (probs_NC * logits_NC.softmax(1)).sum(1))

    def test_begins_at_cross_entropy(self):
        logits_NC, probs_NC = batch(4, False, 0, 8)
        nearly_N, exactly_N = (find_loss(f"gce(q={q})").function(logits_NC, probs_NC, 0.0) for q in (1e-9, 0))
        torch.testing.assert_close(nearly_N, exactly_N, atol=1e-6, rtol=0)
        torch.testing.assert_close(exactly_N, ce(logits_NC, probs_NC))

    @pytest.mark.parametrize(("progress", "cut"), [(0.0, False), (0.33, False), (0.34, True), (1.0, True)])
    def test_is_cut_late(self, progress, cut):
        logits_NC = torch.tensor([[0.0, 2.0]]).double().requires_grad_()
        find_loss("truncated_gce").function(logits_NC, torch.tensor([[1.0, 0.0]]), progress).sum().backward()
        assert bool(logits_NC.grad.any()) is not cut

    def test_what_is_cut_costs_a_constant(self):
        logits_NC = torch.tensor([[0.0, 2.0], [0.0, 9.0]])
        found_N = find_loss("truncated_gce").function(logits_NC, torch.tensor([[1.0, 0.0]] * 2), 1.0)
        assert found_N.tolist() == pytest.approx([(1 - 0.5**0.7) / 0.7] * 2)


class TestEarlyLearning:
    def told(self, memory_NC: Tensor, text: str = "elr", logits: float = 1.0) -> Tensor:
        logits_NC = torch.tensor([[logits, 0.0], [0.0, -math.inf]], requires_grad=True)
        probs_NC = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        loss_N = find_loss(text).function(logits_NC, probs_NC, 0.0, memory_NC=memory_NC)
        loss_N.sum().backward()
        return loss_N

    def test_the_memory_is_a_moving_average_of_predictions(self):
        memory_NC = torch.zeros(2, 2)
        expected = torch.zeros(2, 2).double()
        for logit in (1.0, -2.0, 0.5):
            self.told(memory_NC, logits=logit)
            predicted = torch.tensor([[logit, 0.0]]).double().softmax(1)[0]
            expected = 0.7 * expected + 0.3 * torch.stack([predicted, torch.tensor([1.0, 0.0])])
        torch.testing.assert_close(memory_NC.double(), expected, atol=1e-6, rtol=0)

    def test_the_memory_has_no_gradient_and_stays_where_it_is(self):
        memory_NC = torch.zeros(2, 2)
        place = memory_NC.data_ptr()
        self.told(memory_NC)
        assert not memory_NC.requires_grad
        assert memory_NC.data_ptr() == place
        assert memory_NC.dtype == torch.float32

    def test_the_memory_may_move_on_before_the_gradient_is_taken(self):
        memory_NC, loss = torch.zeros(1, 2), find_loss("elr")
        logits_NC = torch.tensor([[1.0, 0.0]], requires_grad=True)
        loss_N = loss.function(logits_NC, torch.tensor([[0.0, 1.0]]), 0.0, memory_NC=memory_NC)
        memory_NC += 0.1
        loss_N.sum().backward()
        assert logits_NC.grad.isfinite().all()

    def test_at_its_worst_it_is_finite(self):
        memory_NC = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        assert self.told(memory_NC, "elr(lam=7, beta=0.9)", logits=1e4).isfinite().all()

    def test_what_the_student_said_early_holds_against_a_wrong_label(self):
        """The gradient towards the label is weaker where the memory is against it."""
        logits_NC = torch.tensor([[1.0, 0.0]])
        pulls = []
        for memory_NC in (torch.zeros(1, 2), torch.tensor([[0.9, 0.1]])):
            free_NC = logits_NC.clone().requires_grad_()
            loss = find_loss("elr(beta=1)")
            loss.function(free_NC, torch.tensor([[0.0, 1.0]]), 0.0, memory_NC=memory_NC).sum().backward()
            pulls.append(free_NC.grad[0, 0].item())
        assert pulls[1] < 0 < pulls[0]
