"""Targets that are the labels, with examples weighted: which of them are worth learning from.

The mean loss of a batch divides by all its examples, whatever their weights.

Arguments and shape suffixes are those of `losses.base`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surpass.losses.base import (
    SHARE,
    Range,
    Target,
    labels_only,
    largest,
    nats,
    one_of,
    ramp,
    scores_of,
    settings,
    top_margin,
)

if TYPE_CHECKING:
    from torch import Tensor

CERTAIN = 1e-6


@settings(radius=Range(0, words=("midweak",)), of=one_of("student", "weak"))
def window(
    logits_NC: Tensor,
    weak_probs_NC: Tensor,
    progress: float,
    *,
    radius: float | str = 0.15,
    of: str = "student",
) -> Target:
    """Weight 1 where the highest probability is below 0.5 + radius, else 0: only uncertain examples teach.

    For more than two candidates, where half the margin between the highest probability and the next is below
    the radius; for two that is the same. A single candidate is certain.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        radius: Half the width of the window; above 0.5 it is cross-entropy. "midweak": the median over the
            batch of half the labels' margins, |weak - 0.5| for two candidates.
        of: Whose uncertainty counts, the student's as in the source, or the supervisor's.

    Source:
        EleutherAI/w2s, loss.py (confidence window). Differs: its "midweak" is one median of all labels.
    """
    probs_NC = weak_probs_NC if of == "weak" else scores_of(logits_NC.detach()).probs_NC
    if isinstance(radius, str):
        sorted_N = (top_margin(weak_probs_NC) / 2).sort().values
        num = sorted_N.shape[-1]
        limit = (sorted_N[..., [(num - 1) // 2]] + sorted_N[..., [num // 2]]) / 2
        weight_N = top_margin(probs_NC) / 2 < limit
    else:
        weight_N = top_margin(probs_NC) / 2 < radius
    return Target(weak_probs_NC, weight_N.to(weak_probs_NC.dtype))


@labels_only
@settings(power=Range(0))
def weak_confidence(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, power: float = 1.0
) -> Target:
    """Weight (highest - next highest label probability)^power; |2p - 1|^power for two candidates.

    Args:
        logits_NC: Not used.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        power: 0 is cross-entropy.

    Source:
        The idea of CW-PO (arXiv 2603.04968), which weights a preference loss by the weak model's confidence.
        Differs: the formula is ours, its own was not at hand.
    """
    return Target(weak_probs_NC, top_margin(weak_probs_NC) ** power)


@labels_only
@settings(slope=Range(), intercept=Range())
def reliability(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, slope: float = 1.0, intercept: float = 0.0
) -> Target:
    """Weight = calibrated probability that the label's best guess is right, from its confidence c.

    sigmoid(slope * log(c / (1 - c)) + intercept), c the highest label probability, kept 1e-6 away from 1.
    With the defaults that is c itself: the supervisor is taken at its word. To calibrate, fit a logistic
    regression of right or wrong on log(c / (1 - c)) over examples with truth that the supervisor was not
    trained on, and give its coefficient and intercept.

    Args:
        logits_NC: Not used.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        slope: Coefficient of the log-odds of the confidence; 0 weights all examples alike.
        intercept: Log-odds of being right at confidence 1/2. `slope=0, intercept=40` is cross-entropy.

    Source:
        Platt 1999 for the calibration; weights of this kind in mayankmahajan24/weak-to-strong (logistic on
        one confidence). Differs: log-odds in place of the confidence itself.
    """
    confidence_N = weak_probs_NC.amax(-1).clamp(CERTAIN, 1 - CERTAIN)
    return Target(weak_probs_NC, (slope * confidence_N.logit() + intercept).sigmoid())


@settings(forget=Range(0, 0.99), ramp_frac=SHARE)
def small_loss(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, forget: float = 0.2, ramp_frac: float = 0.05
) -> Target:
    """Only the (1 - R) share of the batch with the smallest cross-entropy teaches; R rises to `forget`.

    K = (1 - R) N examples weigh N/K, so that the mean of the batch is the mean of those that are kept. K need
    not be whole: examples at the threshold count in part, equal ones alike, so order never matters
    and a batch of one is kept.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Share of training done.
        forget: The share left out in the end; published as the share of wrong labels. 0 is cross-entropy.
        ramp_frac: Share of training over which R rises; published as 10 of 200 epochs.

    Source:
        Han et al. 2018 (co-teaching). Differs: the network chooses for itself, where co-teaching trains two
        that choose for each other; kept examples are not cut to a whole number.
    """
    num_examples = logits_NC.shape[-2]
    kept = num_examples * (1 - forget * ramp(progress, ramp_frac))
    kept_N = largest(-nats(logits_NC.detach(), weak_probs_NC), kept)
    return Target(weak_probs_NC, kept_N * (num_examples / kept))
