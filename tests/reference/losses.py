"""Slow twins of the losses: plain Python, one example after the other, no padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Ragged = Sequence[Sequence[float]]


def log_softmax(logits: Sequence[float]) -> list[float]:
    highest = max(logits)
    log_sum = highest + math.log(math.fsum(math.exp(logit - highest) for logit in logits))
    return [logit - log_sum for logit in logits]


def soft_cross_entropy(logits: Sequence[float], target: Sequence[float], weight: float) -> float:
    pairs = zip(target, log_softmax(logits), strict=True)
    return -weight * math.fsum(share * log_prob for share, log_prob in pairs if share > 0)


def cross_entropy(logits: Ragged, weak_probs: Ragged, progress: float) -> tuple[Ragged, Sequence[float]]:
    return weak_probs, [1.0] * len(weak_probs)


TWINS: dict[str, Callable[[Ragged, Ragged, float], tuple[Ragged, Sequence[float]]]] = {
    "xent": cross_entropy,
}
"""Logits and weak probabilities of a whole batch, and progress, to targets and weights."""
