"""The auxiliary confidence loss, as the paper has it and as it was released.

Both mix the label with the student's own hard label, whose threshold is chosen so that the batch has a given
share of each class. That is possible where every row has the same two candidates; elsewhere the own label is
the student's best guess, and equal best guesses share it.

Arguments and shape suffixes are those of `losses.base`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surpass.losses.base import (
    SHARE,
    Target,
    hardened,
    largest,
    mixed,
    one_of,
    ramp,
    scores_of,
    settings,
    wide,
)

if TYPE_CHECKING:
    from torch import Tensor


@settings(alpha=SHARE, warmup_frac=SHARE, prior=one_of("half", "weak", "none"))
def confidence(
    logits_NC: Tensor,
    weak_probs_NC: Tensor,
    progress: float,
    *,
    alpha: float = 0.5,
    warmup_frac: float = 0.2,
    prior: str = "half",
) -> Target:
    """Target (1 - a) * weak + a * own hard label, a rising linearly to alpha over the first part of training.

    With two classes the second is given to the examples whose log-odds are above the threshold that makes
    their number exactly N/2, or the sum of the labels' second class. An example at the threshold (the middle
    one of an odd batch, or equal values) has both classes in the parts that make the number exact.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Share of training done.
        alpha: Share of the own label; 0.5 in the paper, 0.75 for its largest students. 0 is cross-entropy.
        warmup_frac: Share of training over which the share rises from 0.
        prior: "half" for balanced classes, "weak" for the share that the batch's labels have, "none" for the
            best guess alone. A batch in which every row happens to have two candidates that are not classes
            (two legal moves) cannot be told from two classes: use "none" where candidates differ.

    Source:
        Burns et al. 2023, section 4.3.2 and appendix A.4, with footnote 7 for "weak". Parts at the threshold
        are ours; the paper speaks of exactly half of a batch.
    """
    own_NC = hardened(logits_NC)
    two = _two_classes(logits_NC) if prior != "none" and logits_NC.shape[-1] > 1 else None
    # On other devices to ask would be to wait for them.
    if two is not None and (logits_NC.device.type != "cpu" or two.any()):
        first_N, second_N = wide(logits_NC.detach())[..., :2].unbind(-1)
        second: Tensor | float = logits_NC.shape[-2] / 2
        if prior == "weak":  # in an order that is not the batch's
            second = weak_probs_NC[..., 1].sort().values.sum(-1, keepdim=True)
        of_two_NC = _of_second_class(largest(second_N - first_N, second), own_NC)
        own_NC = of_two_NC.where(two, own_NC)
    return mixed(weak_probs_NC, own_NC, alpha * ramp(progress, warmup_frac))


@settings(alpha=SHARE, warmup_frac=SHARE)
def confidence_openai(
    logits_NC: Tensor,
    weak_probs_NC: Tensor,
    progress: float,
    *,
    alpha: float = 0.5,
    warmup_frac: float = 0.1,
) -> Target:
    """The released confidence loss: threshold at a quantile, and a warm-up that jumps.

    Own label: the first class where its probability is at least the m-quantile (linear interpolation) of the
    batch, m the mean of the labels' second class. Its share is alpha * progress up to `warmup_frac`
    of training, and alpha from there on.

    Args:
        logits_NC: Student logits.
        weak_probs_NC: Supervisor probabilities.
        progress: Share of training done.
        alpha: Share of the own label; 0 is cross-entropy.
        warmup_frac: When the share jumps to alpha.

    Source:
        openai/weak-to-strong, loss.py, from its description. Differs: where there are not two classes it
        takes the best guess; the released code refuses.
    """
    own_NC = hardened(logits_NC)
    if logits_NC.shape[-1] > 1:
        first_N = scores_of(logits_NC.detach()).probs_NC[..., 0]
        second = weak_probs_NC[..., 1].sort().values.mean(-1, keepdim=True).clamp(0, 1)
        threshold = _quantile(first_N, second.to(first_N.dtype))
        of_two_NC = _of_second_class((first_N < threshold).to(own_NC.dtype), own_NC)
        own_NC = of_two_NC.where(_two_classes(logits_NC), own_NC)
    return mixed(weak_probs_NC, own_NC, alpha * (1.0 if progress > warmup_frac else progress))


def _quantile(values_N: Tensor, share: Tensor) -> Tensor:
    """As torch's own, which warns where it is mapped over heads."""
    ordered_N, place = values_N.sort().values, share * (values_N.shape[-1] - 1)
    below, above = (ordered_N.gather(-1, end.long()) for end in (place.floor(), place.ceil()))
    return below.lerp(above, place - place.floor())


def _two_classes(logits_NC: Tensor) -> Tensor:
    """Whether every row has the first two candidates and no other, bool; no branch, so it maps over heads."""
    present_NC = ~logits_NC.isneginf()
    others = present_NC[..., 2:].flatten(-2).any(-1)
    return (present_NC[..., :2].flatten(-2).all(-1) & ~others)[..., None, None]


def _of_second_class(share_N: Tensor, like_NC: Tensor) -> Tensor:
    first_C, second_C = (like_NC.new_zeros(like_NC.shape[-1]) for _ in range(2))
    first_C[0] = second_C[1] = 1
    return (1 - share_N)[..., None] * first_C + share_N[..., None] * second_C
