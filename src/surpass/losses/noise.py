"""Per-example losses that were made for labels with errors.

They were published for hard labels; for soft ones each takes the mean over the label's candidates, which
is the same where a label is certain.

Arguments and shape suffixes are those of `losses.base`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from surpass.losses import closed_forms
from surpass.losses.base import SHARE, Range, Scores, nats, per_example, scores_of, settings

if TYPE_CHECKING:
    from torch import Tensor

NOISE = Range(0, 0.49)


@per_example(slopes=closed_forms.gce)
@settings(q=SHARE)
def gce(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, q: float = 0.7) -> Tensor:
    """Generalised cross-entropy, (1 - p^q) / q.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        q: Towards 0 cross-entropy (exactly so at 0); at 1 the probability of being wrong.

    Source:
        Zhang and Sabuncu 2018 (the L_q loss).
    """
    return (weak_probs_NC * _box_cox(scores_of(logits_NC).log_probs_NC, q)).sum(-1)


@per_example
@settings(q=SHARE, k=SHARE, start_frac=SHARE)
def truncated_gce(
    logits_NC: Tensor,
    weak_probs_NC: Tensor,
    progress: float,
    *,
    q: float = 0.7,
    k: float = 0.5,
    start_frac: float = 1 / 3,
) -> Tensor:
    """Generalised cross-entropy of max(p, k): a candidate with probability up to k no longer teaches.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Share of training done.
        q: As in `gce`.
        k: Where it is cut; 0 is `gce`.
        start_frac: Share of training before which nothing is cut; published as 40 of 120 epochs.

    Source:
        Zhang and Sabuncu 2018 (truncated L_q loss). Differs: cut anew at each step, where the paper
        keeps for some epochs which examples are cut.
    """
    log_probs_NC = scores_of(logits_NC).log_probs_NC
    if k > 0 and progress >= start_frac:
        log_probs_NC = log_probs_NC.clamp(min=math.log(k))
    return (weak_probs_NC * _box_cox(log_probs_NC, q)).sum(-1)


def _box_cox(log_probs_NC: Tensor, q: float) -> Tensor:
    return -(q * log_probs_NC).expm1() / q if q > 0 else -log_probs_NC


@per_example(slopes=closed_forms.sce)
@settings(alpha=Range(0), beta=Range(0), log_zero=Range(high=0))
def sce(
    logits_NC: Tensor,
    weak_probs_NC: Tensor,
    progress: float,
    *,
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = -4.0,
) -> Tensor:
    """Symmetric cross-entropy: alpha * CE(weak, student) + beta * CE(student, weak).

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        alpha: Factor of the cross-entropy; 0.1 for CIFAR-10, 6 for CIFAR-100.
        beta: Factor of the reverse; 1 for CIFAR-10, 0.1 for CIFAR-100. `alpha=1, beta=0` is cross-entropy.
        log_zero: Log of a label's probability 0, nats; smaller ones are raised to it.

    Source:
        Wang et al. 2019 (symmetric cross entropy).
    """
    reverse_N = -(scores_of(logits_NC).probs_NC * weak_probs_NC.log().clamp(min=log_zero)).sum(-1)
    return alpha * nats(logits_NC, weak_probs_NC) + beta * reverse_N


@per_example(memory=True)
@settings(lam=Range(0), beta=SHARE, clamp=Range(0, 0.5, inside=True))
def elr(
    logits_NC: Tensor,
    weak_probs_NC: Tensor,
    progress: float,
    *,
    memory_NC: Tensor,
    lam: float = 3.0,
    beta: float = 0.7,
    clamp: float = 1e-4,
) -> Tensor:
    """Early-learning regularisation: cross-entropy + lam * log(1 - <t, p>), t what the student said before.

    t becomes beta * t + (1 - beta) * p before it is used; p is held `clamp` away from 0 and 1, and is
    renormalised for t. The term holds the student to what it said early, before it learned the errors.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        memory_NC: t of these examples, float32, zeros at first; changed in place.
        lam: Factor of the term; 3 for CIFAR-10, 7 for CIFAR-100. 0 is cross-entropy.
        beta: How much of t stays at each visit; 0.7 for CIFAR-10, 0.9 for CIFAR-100.
        clamp: How near to 0 and 1 a probability may come.

    Source:
        Liu et al. 2020 (early-learning regularization).
    """
    present_NC, _, probs_NC = scores_of(logits_NC)
    held_NC = probs_NC.clamp(clamp, 1 - clamp).where(present_NC, 0.0)
    seen_NC = held_NC.detach() / held_NC.detach().sum(-1, keepdim=True)
    memory_NC.copy_(beta * memory_NC + (1 - beta) * seen_NC)
    agreed_N = (memory_NC.to(held_NC.dtype, copy=True) * held_NC).sum(-1)
    return nats(logits_NC, weak_probs_NC) + lam * (1 - agreed_N).log()


class _Flip(NamedTuple):
    """Symmetric noise: the chance of each wrong candidate, and how much likelier the right one is, (N, 1)."""

    wrong_N1: Tensor
    gap_N1: Tensor


def _flips(scores: Scores, noise: float) -> _Flip:
    count_N1 = scores.count_N[..., None]
    wrong_N1 = (noise / (count_N1 - 1).clamp(min=1)).where(count_N1 > 1, 0.0)
    return _Flip(wrong_N1, 1 - count_N1 * wrong_N1)


@per_example
@settings(noise=NOISE)
def forward_correction(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, noise: float = 0.2
) -> Tensor:
    """Cross-entropy of the label with the student seen through the noise: -log sum_i T_ij p_i.

    T has 1 - noise on its diagonal and noise / (C - 1) elsewhere, C the row's own number of candidates, so
    that it needs no classes that all examples share.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        noise: How often labels are wrong: the supervisor's error on examples it was not trained on.
            0 is cross-entropy. No value is published, the authors estimate T.

    Source:
        Patrini et al. 2017, theorem 2, for symmetric noise.
    """
    scores = scores_of(logits_NC)
    wrong_N1, gap_N1 = _flips(scores, noise)
    seen_NC = wrong_N1.log().logaddexp(gap_N1.log() + scores.log_probs_NC)
    return -(weak_probs_NC * seen_NC).sum(-1)


@per_example
@settings(noise=NOISE)
def backward_correction(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, noise: float = 0.2
) -> Tensor:
    """Cross-entropies of all candidates through the inverse of the noise: (T^-1 l)_j, unbiased.

    With l_i = -log p_i and the T of `forward_correction` this is (l_j - wrong * sum_i l_i) / (1 - C * wrong),
    wrong = noise / (C - 1). It may be negative and has no lower bound, so long training can diverge.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        noise: As in `forward_correction`.

    Source:
        Patrini et al. 2017, theorem 1, for symmetric noise.
    """
    scores = scores_of(logits_NC)
    wrong_N1, gap_N1 = _flips(scores, noise)
    all_N = scores.log_probs_NC.sum(-1)
    return (nats(logits_NC, weak_probs_NC) + wrong_N1[..., 0] * all_N) / gap_N1[..., 0]


@per_example
@settings(epsilon=SHARE)
def label_smoothing(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, epsilon: float = 0.1
) -> Tensor:
    """Cross-entropy towards (1 - epsilon) * weak + epsilon / C, C the row's own number of candidates.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Not used.
        epsilon: Share of the uniform distribution; 0 is cross-entropy.

    Source:
        Szegedy et al. 2016, section 7.
    """
    scores = scores_of(logits_NC)
    uniform_N = -scores.log_probs_NC.sum(-1) / scores.count_N
    return (1 - epsilon) * nats(logits_NC, weak_probs_NC) + epsilon * uniform_N
