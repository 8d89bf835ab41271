"""Per-example losses with their gradients in closed form, for those that studies of many heads have most.

Each gives what the function of the same name in `losses.noise` does, and what autograd makes of it.

Arguments and shape suffixes are those of `losses.base`; settings have no defaults of their own here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surpass.losses.base import log_softmax, nats_of, slopes_of, wide

if TYPE_CHECKING:
    from torch import Tensor


def gce(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, q: float) -> tuple[Tensor, Tensor]:
    """The gradient is that of cross-entropy towards weak * p^q, which is no distribution."""
    log_probs_NC = log_softmax(wide(logits_NC))
    if q > 0:
        less_NC = (q * log_probs_NC).expm1_()  # p^q - 1
        losses_N = (weak_probs_NC * less_NC).sum(-1) / -q
        taught_NC = less_NC.add_(1).mul_(weak_probs_NC)
    else:
        losses_N, taught_NC = nats_of(log_probs_NC, weak_probs_NC), weak_probs_NC
    return losses_N, slopes_of(log_probs_NC, taught_NC)


def sce(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, alpha: float, beta: float, log_zero: float
) -> tuple[Tensor, Tensor]:
    """With a = log weak and p the student, the reverse -<p, a> has the gradient -p * (a - <p, a>)."""
    log_probs_NC = log_softmax(wide(logits_NC))
    forward_N = nats_of(log_probs_NC, weak_probs_NC)
    probs_NC, logs_NC = log_probs_NC.exp_(), weak_probs_NC.log().clamp_(min=log_zero)
    reverse_N = -(probs_NC * logs_NC).sum(-1)
    total_N1 = alpha * weak_probs_NC.sum(-1, keepdim=True)
    pulled_NC = logs_NC.add_(reverse_N[..., None]).mul_(-beta).add_(total_N1)
    slopes_NC = probs_NC.mul_(pulled_NC).sub_(weak_probs_NC, alpha=alpha)
    return alpha * forward_N + beta * reverse_N, slopes_NC
