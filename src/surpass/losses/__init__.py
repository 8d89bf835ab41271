"""Losses: what the student is pulled towards.

A loss is a function of the student's logits (N, C), the supervisor's probabilities (N, C) and the progress of
training, with settings as keyword-only parameters. Most give targets and weights for the whole batch, so
thresholds and class priors never depend on the micro-batch; the few that are no cross-entropy towards a
distribution give the loss of each example. `losses.base` says more. No torch is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from surpass.calls import find, is_outside
from surpass.losses.base import Loss, Target, bound_loss, labels_only, per_example, soft_cross_entropy
from surpass.losses.confidence import confidence, confidence_openai
from surpass.losses.divergences import bootstrap_soft, entropy, kl, reverse_kl, squared_confidence
from surpass.losses.noise import (
    backward_correction,
    elr,
    forward_correction,
    gce,
    label_smoothing,
    sce,
    truncated_gce,
)
from surpass.losses.outside import checked
from surpass.losses.targets import (
    adaptconf,
    bootstrap_hard,
    cross_entropy,
    geometric_mean,
    product,
    product_openai,
)
from surpass.losses.weighting import reliability, small_loss, weak_confidence, window

LOSSES: dict[str, Callable[..., Any]] = {
    "adaptconf": adaptconf,
    "backward_correction": backward_correction,
    "bootstrap_hard": bootstrap_hard,
    "bootstrap_soft": bootstrap_soft,
    "confidence": confidence,
    "confidence_openai": confidence_openai,
    "elr": elr,
    "entropy": entropy,
    "forward_correction": forward_correction,
    "gce": gce,
    "geometric_mean": geometric_mean,
    "kl": kl,
    "label_smoothing": label_smoothing,
    "product": product,
    "product_openai": product_openai,
    "reliability": reliability,
    "reverse_kl": reverse_kl,
    "sce": sce,
    "small_loss": small_loss,
    "squared_confidence": squared_confidence,
    "truncated_gce": truncated_gce,
    "weak_confidence": weak_confidence,
    "window": window,
    "xent": cross_entropy,
}


def find_loss(text: str) -> Loss:
    """The loss that a text names: `xent`, `confidence(alpha=0.75)`, or `module:function` of somebody else's.

    Raises:
        ConfigError: There is no such loss or setting, or a setting is outside its range.
    """
    loss = bound_loss(text, find(text, LOSSES, "loss"))
    return replace(loss, function=checked(loss), slopes=None) if is_outside(text) else loss


__all__ = [
    "LOSSES",
    "Loss",
    "Target",
    "find_loss",
    "labels_only",
    "per_example",
    "soft_cross_entropy",
]
