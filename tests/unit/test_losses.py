from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from reference import losses as twin
from surpass.errors import ConfigError
from surpass.losses import LOSSES, NEEDS_LOGITS, Target, cross_entropy, find_loss, soft_cross_entropy

INF = math.inf


def ragged(num_examples: int = 6, width: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (-inf behind the last candidate) and target probabilities, float64."""
    rng = np.random.default_rng(seed)
    logits_NC = torch.full((num_examples, width), -INF, dtype=torch.float64)
    probs_NC = torch.zeros(num_examples, width, dtype=torch.float64)
    for row in range(num_examples):
        size = width if row == 0 else 1 + row % width
        logits_NC[row, :size] = torch.from_numpy(3 * rng.standard_normal(size))
        probs_NC[row, :size] = torch.from_numpy(rng.dirichlet(np.ones(size)))
    return logits_NC, probs_NC


def test_cross_entropy_is_the_labels():
    logits_NC, probs_NC = ragged()
    target = cross_entropy(logits_NC, probs_NC, 0.3)
    assert torch.equal(target.target_NC, probs_NC)
    assert target.weight_N.tolist() == [1.0] * 6


@pytest.mark.parametrize(
    ("logits", "target", "loss"),
    [
        ([0.0, 0.0], [0.3, 0.7], math.log(2)),
        ([0.0, math.log(3)], [0.0, 1.0], math.log(4 / 3)),
        ([1.0, 1.0, 1.0, 1.0], [0.25] * 4, math.log(4)),
        ([5.0], [1.0], 0.0),
        ([2.0, -INF, -INF], [1.0, 0.0, 0.0], 0.0),
        ([0.0, 0.0, -INF], [0.5, 0.5, 0.0], math.log(2)),
        ([1000.0, 0.0], [0.0, 1.0], 1000.0),
    ],
)
def test_closed_forms(logits, target, loss):
    given = Target(torch.tensor([target]), torch.ones(1))
    assert soft_cross_entropy(torch.tensor([logits]), given).item() == pytest.approx(loss, abs=1e-6)


def test_equals_the_slow_twin():
    logits_NC, probs_NC = ragged(12)
    weight_N = torch.linspace(0, 2, 12, dtype=torch.float64)
    losses_N = soft_cross_entropy(logits_NC, Target(probs_NC, weight_N))
    for loss, logits, probs, weight in zip(losses_N, logits_NC, probs_NC, weight_N, strict=True):
        size = int(torch.isfinite(logits).sum())
        slow = twin.soft_cross_entropy(logits[:size].tolist(), probs[:size].tolist(), weight.item())
        assert loss.item() == pytest.approx(slow, rel=1e-12, abs=1e-12)


def test_at_the_labels_it_is_their_entropy_and_the_gradient_is_nothing():
    _, probs_NC = ragged()
    logits_NC = probs_NC.log().requires_grad_()
    losses_N = soft_cross_entropy(logits_NC, Target(probs_NC, torch.ones(6)))
    torch.testing.assert_close(losses_N, torch.special.entr(probs_NC).sum(1))
    losses_N.sum().backward()
    assert logits_NC.grad.abs().max() < 1e-12


def test_weights_scale_and_zero_silences():
    logits_NC, probs_NC = ragged(3)
    plain_N = soft_cross_entropy(logits_NC, Target(probs_NC, torch.ones(3)))
    weighted_N = soft_cross_entropy(logits_NC, Target(probs_NC, torch.tensor([2.0, 0.0, 0.5])))
    torch.testing.assert_close(weighted_N, plain_N * torch.tensor([2.0, 0.0, 0.5], dtype=torch.float64))
    logits_NC.requires_grad_()
    soft_cross_entropy(logits_NC, Target(probs_NC, torch.tensor([2.0, 0.0, 0.5]))).sum().backward()
    assert not logits_NC.grad[1].any()


def test_gradient_is_finite_and_what_differences_say():
    logits_NC, probs_NC = ragged()
    weight_N = torch.linspace(0.5, 2, 6, dtype=torch.float64)

    def total(logits_NC: Tensor) -> Tensor:
        return soft_cross_entropy(logits_NC, Target(probs_NC, weight_N)).sum()

    free_NC = logits_NC.clone().requires_grad_()
    total(free_NC).backward()
    assert torch.isfinite(free_NC.grad).all()
    assert not free_NC.grad[logits_NC.isinf()].any()
    step = 1e-5
    for row, column in torch.nonzero(logits_NC.isfinite()).tolist():
        change = torch.zeros_like(logits_NC)
        change[row, column] = step
        difference = (total(logits_NC + change) - total(logits_NC - change)) / (2 * step)
        assert free_NC.grad[row, column].item() == pytest.approx(difference.item(), abs=1e-8)


def test_padding_changes_nothing():
    logits_NC, probs_NC = ragged()
    wide = [torch.nn.functional.pad(logits_NC, (0, 3), value=-INF), torch.nn.functional.pad(probs_NC, (0, 3))]
    torch.testing.assert_close(
        soft_cross_entropy(wide[0], Target(wide[1], torch.ones(6))),
        soft_cross_entropy(logits_NC, Target(probs_NC, torch.ones(6))),
        rtol=0,
        atol=1e-15,
    )


def test_probability_where_there_is_no_candidate_is_never_silent():
    loss_N = soft_cross_entropy(
        torch.tensor([[0.0, -INF]]), Target(torch.tensor([[0.5, 0.5]]), torch.ones(1))
    )
    assert loss_N.item() == INF


def test_losses_by_name():
    assert find_loss("xent") is LOSSES["xent"] is cross_entropy
    assert LOSSES.keys() >= NEEDS_LOGITS
    with pytest.raises(ConfigError, match=r"no loss 'hinge'; there are: .*xent"):
        find_loss("hinge")
