"""Per-example losses that compare the student with its label, or with itself, as distributions.

Terms that push the student away from or towards certainty have gradients that no distribution can be the
target of (entries would be negative), so they are written as losses and not as targets.

Arguments and shape suffixes are those of `losses.base`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surpass.losses.base import SHARE, Range, entropy_of, nats, per_example, ramp, scores_of, settings

if TYPE_CHECKING:
    from torch import Tensor


@per_example
def kl(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float) -> Tensor:
    """KL(weak || student): cross-entropy less the entropy of the label, so it has the same gradient.

    Source:
        Hinton et al. 2015 at temperature 1; the default of EleutherAI's fork of weak-to-strong.
    """
    certain_NC = weak_probs_NC.where(weak_probs_NC > 0, 1.0)
    return nats(logits_NC, weak_probs_NC) + (weak_probs_NC * certain_NC.log()).sum(-1)


@per_example
@settings(alpha=SHARE, floor=Range(0, 1, inside=True))
def reverse_kl(
    logits_NC: Tensor,
    weak_probs_NC: Tensor,
    progress: float,
    *,
    alpha: float = 1.0,
    floor: float = 1e-6,
) -> Tensor:
    """(1 - alpha) * cross-entropy + alpha * KL(student || weak): the student may ignore what it doubts.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        alpha: 1 as published; 0 is cross-entropy.
        floor: Label probabilities below it count as it. It decides how strongly a hard label is held to
            (13.8 nats by default), and lets the value fall below 0 by at most C * floor.

    Source:
        Yao et al. 2025 (arXiv 2502.11107). The floor and the mixture are ours.
    """
    scores = scores_of(logits_NC)
    gap_NC = scores.log_probs_NC - weak_probs_NC.clamp(min=floor).log()
    return (1 - alpha) * nats(logits_NC, weak_probs_NC) + alpha * (scores.probs_NC * gap_NC).sum(-1)


@per_example
@settings(alpha=SHARE, warmup_frac=SHARE)
def entropy(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, alpha: float = 0.5, warmup_frac: float = 0.2
) -> Tensor:
    """(1 - a) * cross-entropy + a * entropy of the student, a rising as in `confidence`.

    Minimising entropy makes the student confident. Per example, with gradient through the student's
    probabilities: with a stop there the term would have no gradient at all.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Share of training done.
        alpha: Share of the entropy; 0 is cross-entropy.
        warmup_frac: Share of training over which the share rises from 0.

    Source:
        Burns et al. 2023, appendix B, which prints the term for two classes with the opposite sign, p log p +
        (1 - p) log(1 - p); minimising that would make the student less confident. Share and warm-up are
        those of section 4.3.2; without the rebalancing that the paper found necessary.
    """
    share = alpha * ramp(progress, warmup_frac)
    return (1 - share) * nats(logits_NC, weak_probs_NC) + share * entropy_of(scores_of(logits_NC))


@per_example
@settings(alpha=SHARE, warmup_frac=SHARE)
def squared_confidence(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, alpha: float = 0.5, warmup_frac: float = 0.2
) -> Tensor:
    """(1 - a) * cross-entropy - a * half the squared distance of the student from uniform.

    For two candidates the term is -(p - 0.5)^2; for C it is -(sum p^2 - 1/C) / 2. Per example, as `entropy`.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Share of training done.
        alpha: Share of the term; 0 is cross-entropy.
        warmup_frac: Share of training over which the share rises from 0.

    Source:
        Burns et al. 2023, appendix B (two classes). More candidates, share and warm-up as in `entropy`.
    """
    share = alpha * ramp(progress, warmup_frac)
    scores = scores_of(logits_NC)
    term_N = (1 / scores.count_N - (scores.probs_NC**2).sum(-1)) / 2
    return (1 - share) * nats(logits_NC, weak_probs_NC) + share * term_N


@per_example
@settings(beta=SHARE)
def bootstrap_soft(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, beta: float = 0.95
) -> Tensor:
    """Cross-entropy towards beta * weak + (1 - beta) * student, with gradient through both students.

    That is beta * cross-entropy + (1 - beta) * entropy: `entropy` without its warm-up.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        beta: Share of the label; 1 is cross-entropy.

    Source:
        Reed et al. 2015 (soft bootstrapping).
    """
    return beta * nats(logits_NC, weak_probs_NC) + (1 - beta) * entropy_of(scores_of(logits_NC))
