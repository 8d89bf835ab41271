"""Targets that need no threshold: the label, products with the student, and its own best guess.

Arguments and shape suffixes are those of `losses.base`. Probabilities are multiplied as sums of logarithms,
so a product that would underflow in every candidate is still a distribution.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from surpass.losses.base import (
    SHARE,
    Range,
    Target,
    hardened,
    labels_only,
    mixed,
    ramp,
    scores_of,
    settings,
    softmax,
    unweighted,
)

if TYPE_CHECKING:
    from torch import Tensor


@labels_only
def cross_entropy(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float) -> Target:
    """The labels themselves: naive fine-tuning.

    Source:
        Burns et al. 2023, section 4.2.
    """
    return unweighted(weak_probs_NC)


@settings(beta=Range(0), warmup_frac=SHARE)
def product(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, beta: float = 1.0, warmup_frac: float = 0.0
) -> Target:
    """Product of experts: target proportional to weak * student^beta, renormalised over the candidates.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Share of training done.
        beta: Exponent of the student; 1 as published, 0 is cross-entropy.
        warmup_frac: Share of training over which beta rises from 0; none is published.

    Source:
        Burns et al. 2023, appendix B (product confidence loss). The exponent and its warm-up are ours.
    """
    return unweighted(_product(logits_NC, weak_probs_NC, 1.0, beta * ramp(progress, warmup_frac)))


@settings(alpha=Range(0), beta=Range(0))
def product_openai(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, alpha: float = 1.0, beta: float = 1.0
) -> Target:
    """The released product loss: target proportional to weak^alpha * student^beta, without warm-up.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used: the released warm-up setting has no effect.
        alpha: Exponent of the label.
        beta: Exponent of the student; with alpha 1, 0 is cross-entropy.

    Source:
        openai/weak-to-strong, loss.py. Differs: finite where the released product underflows to 0 / 0.
    """
    return unweighted(_product(logits_NC, weak_probs_NC, alpha, beta))


@settings(alpha=SHARE, warmup_frac=SHARE)
def geometric_mean(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, alpha: float = 0.5, warmup_frac: float = 0.0
) -> Target:
    """Target proportional to weak^(1 - alpha) * student^alpha: at 0.5 their geometric mean.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Share of training done.
        alpha: Share of the student in the exponents; 0 is cross-entropy.
        warmup_frac: Share of training over which alpha rises from 0; none is published.

    Source:
        Burns et al. 2023, appendix B. Unequal shares and the warm-up are ours.
    """
    share = alpha * ramp(progress, warmup_frac)
    return unweighted(_product(logits_NC, weak_probs_NC, 1 - share, share))


def _product(logits_NC: Tensor, weak_probs_NC: Tensor, weak_power: float, own_power: float) -> Tensor:
    present_NC, log_probs_NC, _ = scores_of(logits_NC.detach())
    weak_NC = (weak_power * weak_probs_NC.log()).where(weak_probs_NC > 0, -math.inf if weak_power else 0.0)
    return softmax((weak_NC + own_power * log_probs_NC).where(present_NC, -math.inf))


@settings(alpha=SHARE, temperature=Range(0, inside=True), warmup_frac=SHARE)
def adaptconf(
    logits_NC: Tensor,
    weak_probs_NC: Tensor,
    progress: float,
    *,
    alpha: float = 1.0,
    temperature: float = 0.5,
    warmup_frac: float = 0.0,
) -> Target:
    """Target (1 - b) * weak + b * own best guess, with b from how much the student doubts each of the two.

    b = alpha * e^(s/T) / (e^(s/T) + e^(w/T)), where s and w are the student's cross-entropies with its own
    best guess and with the supervisor's, and T is the temperature. s never exceeds w, so b is at most 1/2:
    where both agree it is 1/2, and the surer the student is of another candidate, the more the label counts.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Share of training done.
        alpha: Factor of b; 1 as published, 0 is cross-entropy.
        temperature: T in nats; the released commands use 0.5 (CIFAR-100) and 4 (ImageNet).
        warmup_frac: Share of training over which b rises from 0; 0.25 in the released noisy-label runs.

    Source:
        Guo et al. 2024 (arXiv 2402.03749) and its code. Differs: no distillation temperature, since labels
        are probabilities; cross-entropy in place of the Kullback-Leibler divergence (equal gradients).
    """
    logits_NC = logits_NC.detach()
    own_NC = hardened(logits_NC)
    log_probs_NC = scores_of(logits_NC).log_probs_NC
    doubt_N = ((hardened(weak_probs_NC) - own_NC) * log_probs_NC).sum(-1)
    share_N = alpha * ramp(progress, warmup_frac) * (doubt_N / temperature).sigmoid()
    return unweighted((1 - share_N)[..., None] * weak_probs_NC + share_N[..., None] * own_NC)


@settings(beta=SHARE)
def bootstrap_hard(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, beta: float = 0.8) -> Target:
    """Target beta * weak + (1 - beta) * own best guess.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        beta: Share of the label; 1 is cross-entropy.

    Source:
        Reed et al. 2015 (hard bootstrapping). The confidence loss with argmax, without its warm-up.
    """
    return mixed(weak_probs_NC, hardened(logits_NC), 1 - beta)
