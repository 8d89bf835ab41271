"""Losses as targets: what the student is pulled towards, computed once for the whole batch.

A target function takes the student's logits without gradient, the supervisor's probabilities and
the progress of training, and returns probabilities and a weight per example. One shared soft
cross-entropy does the rest, so thresholds and class priors never depend on the micro-batch.

Candidates that an example does not have (shorter rows of a padded batch) have logit -inf and
target probability 0.

Shape suffixes: N examples, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from surpass.errors import ConfigError


class Target(NamedTuple):
    """Target probabilities, float (N, C), rows sum to 1, and weights of the examples, float (N)."""

    target_NC: Tensor
    weight_N: Tensor


TargetFunction = Callable[[Tensor, Tensor, float], Target]


def cross_entropy(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float) -> Target:
    """The labels themselves: naive fine-tuning.

    Args:
        logits_NC: Not used.
        weak_probs_NC: Label probabilities, float (N, C), rows sum to 1.
        progress: Not used.

    Returns:
        The label probabilities, weight 1 each.

    Source:
        Burns et al. 2023, section 4.2.
    """
    return Target(weak_probs_NC, torch.ones(len(weak_probs_NC)))


def soft_cross_entropy(logits_NC: Tensor, target: Target) -> Tensor:
    """Weighted cross-entropy of each example in nats, float (N); its gradient leaves the target alone.

    Args:
        logits_NC: Student logits, float (N, C); -inf where a row has no such candidate.
        target: Where to; probability 0 where the logit is -inf.
    """
    log_probs_NC = torch.log_softmax(logits_NC, dim=1)
    terms_NC = torch.where(target.target_NC > 0, target.target_NC * log_probs_NC, 0.0)
    return -terms_NC.sum(1) * target.weight_N


LOSSES: dict[str, TargetFunction] = {
    "xent": cross_entropy,
}
NEEDS_LOGITS: frozenset[str] = frozenset()
"""Losses whose targets depend on the student, and so need a pass over the whole batch first."""


def find_loss(name: str) -> TargetFunction:
    """The loss of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in LOSSES:
        raise ConfigError(f"no loss {name!r}; there are: {', '.join(sorted(LOSSES))}")
    return LOSSES[name]
