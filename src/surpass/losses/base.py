"""What a loss is: a target function or a per-example function, and what both are built from.

A target function gives `Target` for the whole batch without gradient; `soft_cross_entropy` does the rest.
A per-example function, marked with `per_example`, gives the differentiable loss of each example in nats.
Both take the student's logits, the supervisor's probabilities and the progress of training in [0, 1].

Rows may be ragged: a candidate that an example does not have has logit -inf and probability 0.
Tensors are used through their methods alone, so a study can look losses up without importing torch.

Many trainings can go through one call of a loss: batches of equal size may be stacked in axes before those
that the suffixes name, and each is then treated as if alone. Progress is that of all of them. A loss from
outside is called with one batch at a time.

Shape suffixes: N examples, C candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from surpass.calls import settings_of
from surpass.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

_ONE_BATCH = 2

Function = TypeVar("Function", bound=Callable[..., Any])


class Target(NamedTuple):
    """Target probabilities, float (N, C), rows sum to 1, and weights of the examples, float (N)."""

    target_NC: Tensor
    weight_N: Tensor


class Range(NamedTuple):
    """What a setting may be: a number between bounds, or one of some words.

    Attributes:
        low: The lowest number; above `high` where no number is allowed.
        high: The highest number.
        inside: Whether the bounds themselves are excluded.
        words: The words.
    """

    low: float = -math.inf
    high: float = math.inf
    inside: bool = False
    words: tuple[str, ...] = ()

    def admits(self, value: object) -> bool:
        """Whether a setting may have this value."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value in self.words
        if not math.isfinite(value):
            return False
        return self.low < value < self.high if self.inside else self.low <= value <= self.high

    def __str__(self) -> str:
        parts = list(self.words)
        if self.low <= self.high:
            bounds = [f"{'above' if self.inside else 'from'} {self.low:g}"] if self.low > -math.inf else []
            if self.high < math.inf:
                bounds.append(f"{'below' if self.inside else 'up to'} {self.high:g}")
            parts.append(" ".join(["a number", *bounds]))
        return " or ".join(parts)


SHARE = Range(0, 1)


def one_of(*words: str) -> Range:
    """Words only."""
    return Range(1, 0, words=words)


class Kind(NamedTuple):
    """How the training loop has to call a loss."""

    per_example: bool = False
    memory: bool = False
    labels_only: bool = False
    slopes: Callable[..., tuple[Tensor, Tensor]] | None = None


@dataclass(frozen=True)
class Loss:
    """A loss with its settings bound.

    Attributes:
        text: How it was named.
        function: Takes logits (N, C), weak probabilities (N, C) and progress; gives `Target`, or loss (N).
        per_example: It gives the loss of each example, with gradient.
        memory: It also takes `memory_NC` (float32, one row per example, zeros at first), and changes it.
        labels_only: Its target does not look at the logits.
        slopes: Gives the loss of each example and its gradient by the logits, (N, C), without autograd; None
            where nobody has written that down.
    """

    text: str
    function: partial[Any]
    per_example: bool
    memory: bool
    labels_only: bool
    slopes: Callable[..., tuple[Tensor, Tensor]] | None


@overload
def per_example(function: Function, /) -> Function: ...
@overload
def per_example(
    *, memory: bool = ..., slopes: Callable[..., tuple[Tensor, Tensor]] | None = ...
) -> Callable[[Function], Function]: ...
def per_example(function: Any = None, /, *, memory: bool = False, slopes: Any = None) -> Any:
    """Mark a function that gives the loss of each example, float (N), differentiable.

    Args:
        function: Takes logits, weak probabilities and progress, then settings by keyword.
        memory: It also takes the keyword `memory_NC` and changes it in place.
        slopes: Gives, of the same arguments and all settings, the losses and their gradients by the logits,
            (N, C). Autograd finds those of losses from outside, which are checked.
    """

    def mark(function: Function) -> Function:
        function.__dict__["loss_kind"] = Kind(per_example=True, memory=memory, slopes=slopes)
        return function

    return mark if function is None else mark(function)


def labels_only(function: Function) -> Function:
    """Mark a target function that does not look at the logits: it needs no pass over the batch first."""
    function.__dict__["loss_kind"] = Kind(labels_only=True)
    return function


def settings(**ranges: Range) -> Callable[[Function], Function]:
    """Declare what the settings of a loss may be, so that a study is refused before anything is trained."""

    def mark(function: Function) -> Function:
        function.__dict__["loss_settings"] = ranges
        return function

    return mark


def bound_loss(text: str, function: partial[Any]) -> Loss:
    """A function with its settings bound, as a loss.

    Raises:
        ConfigError: A setting is outside its range.
    """
    ranges: dict[str, Range] = getattr(function.func, "loss_settings", {})
    for name, value in function.keywords.items():
        if name in ranges and not ranges[name].admits(value):
            raise ConfigError(f"loss {text!r}: {name} is {value!r}; use {ranges[name]}")
    kind: Kind = getattr(function.func, "loss_kind", Kind())
    slopes = kind.slopes and partial(kind.slopes, **settings_of(function.func) | function.keywords)
    return Loss(text, function, *kind._replace(slopes=slopes))


def soft_cross_entropy(logits_NC: Tensor, target: Target) -> Tensor:
    """Weighted cross-entropy of each example in nats, float (N); its gradient leaves the target alone.

    Args:
        logits_NC: Student logits, float (N, C); -inf where a row has no such candidate.
        target: Where to; probability 0 where the logit is -inf.
    """
    return nats_of(log_softmax(wide(logits_NC)), target.target_NC.detach()) * target.weight_N


def nats_of(log_probs_NC: Tensor, target_NC: Tensor) -> Tensor:
    """Cross-entropy of each row of log probabilities, float (N); what has target 0 may be -inf."""
    return -(target_NC * log_probs_NC).where(target_NC > 0, 0.0).sum(-1)


def slopes_of(log_probs_NC: Tensor, target_NC: Tensor) -> Tensor:
    """The gradient of `nats_of` by the logits, (N, C), in place of the log probabilities."""
    return log_probs_NC.exp_().mul_(target_NC.sum(-1, keepdim=True)).sub_(target_NC)


def cross_entropy_slopes(
    logits_NC: Tensor, target_NC: Tensor, share_N: Tensor, *, ragged: bool = True
) -> tuple[Tensor, Tensor]:
    """The loss of a batch in nats, and its gradient by the logits, float (N, C), in closed form.

    The same as the sum of `soft_cross_entropy` and what autograd makes of it, in fewer calls.

    Args:
        logits_NC: Student logits, float (N, C); -inf where a row has no such candidate.
        target_NC: Where to; probability 0 where the logit is -inf, and below 0 counts as 0.
        share_N: The part of each example in the loss, with its weight.
        ragged: Whether rows may lack candidates; otherwise targets have to be 0 or more, too.
    """
    log_probs_NC = log_softmax(wide(logits_NC))
    if ragged:
        target_NC = target_NC.clamp(min=0)
        losses_N = nats_of(log_probs_NC, target_NC)
    else:
        losses_N = -(target_NC * log_probs_NC).sum(-1)
    return (losses_N * share_N).sum(-1), slopes_of(log_probs_NC, target_NC).mul_(share_N[..., None])


def nats(logits_NC: Tensor, weak_probs_NC: Tensor) -> Tensor:
    """Cross-entropy of each example with its label, float (N)."""
    return soft_cross_entropy(logits_NC, unweighted(weak_probs_NC))


def unweighted(target_NC: Tensor) -> Target:
    """A target with weight 1 for each example."""
    return Target(target_NC, target_NC.new_ones(target_NC.shape[:-1]))


def wide(logits_NC: Tensor) -> Tensor:
    """Half precision as float32, other precisions as they are."""
    return logits_NC.float() if logits_NC.element_size() < 4 else logits_NC


def log_softmax(logits_NC: Tensor) -> Tensor:
    """Log probabilities of each row, nats."""
    if logits_NC.dim() == _ONE_BATCH:
        return logits_NC.log_softmax(1)
    # Rows of few candidates are slow (2026: 30 times as slow for ten) unless candidates lie apart in memory.
    return logits_NC.transpose(-1, -2).contiguous().log_softmax(-2).transpose(-1, -2)


def softmax(logits_NC: Tensor) -> Tensor:
    """Probabilities of each row."""
    if logits_NC.dim() == _ONE_BATCH:
        return logits_NC.softmax(1)
    return logits_NC.transpose(-1, -2).contiguous().softmax(-2).transpose(-1, -2)


class Scores(NamedTuple):
    """What logits say; where a row has no such candidate, everything is 0 and has no gradient.

    Attributes:
        present_NC: Whether the row has the candidate, bool.
        log_probs_NC: Log probabilities, nats.
        probs_NC: Probabilities; rows sum to 1.
    """

    present_NC: Tensor
    log_probs_NC: Tensor
    probs_NC: Tensor

    @property
    def count_N(self) -> Tensor:
        """How many candidates each row has, in the precision of the probabilities."""
        return self.present_NC.sum(-1).to(self.probs_NC.dtype)


def scores_of(logits_NC: Tensor) -> Scores:
    """Probabilities of the student that are safe to multiply and to differentiate."""
    present_NC = ~logits_NC.isneginf()
    logits_NC = wide(logits_NC)
    log_probs_NC = log_softmax(logits_NC).where(present_NC, 0.0)
    return Scores(present_NC, log_probs_NC, softmax(logits_NC))


def entropy_of(scores: Scores) -> Tensor:
    """Entropy of each row, nats, float (N)."""
    return -(scores.probs_NC * scores.log_probs_NC).sum(-1)


def hardened(values_NC: Tensor) -> Tensor:
    """Probability 1 on the largest value of each row; equal ones share it. No gradient."""
    values_NC = wide(values_NC.detach())
    best_NC = (values_NC == values_NC.amax(-1, keepdim=True)).to(values_NC.dtype)
    return best_NC / best_NC.sum(-1, keepdim=True)


def ramp(progress: float, frac: float) -> float:
    """A linear rise from 0 to 1 over the first `frac` of training; 1 throughout where `frac` is 0."""
    return min(1.0, progress / frac) if frac > 0 else 1.0


def mixed(weak_probs_NC: Tensor, own_NC: Tensor, alpha: float) -> Target:
    """The label with a part `alpha` of something of the student's own."""
    return unweighted((1 - alpha) * weak_probs_NC + alpha * own_NC)


def largest(values_N: Tensor, mass: Tensor | float) -> Tensor:
    """How much of each example is among the `mass` largest: 1, 0, or a part at the threshold, float (N).

    Examples with equal values have equal parts, so their order never matters, and the parts sum to `mass`
    (in [0, N], whole or not; one number, or one for each of stacked batches, (..., 1)).
    """
    import torch

    ordered_N = values_N.sort().values
    last_N = torch.searchsorted(ordered_N, values_N, right=True)
    count_N = (last_N - torch.searchsorted(ordered_N, values_N)).to(values_N.dtype)
    above_N = values_N.shape[-1] - last_N.to(values_N.dtype)
    parts: Tensor = ((mass - above_N) / count_N).clamp(0, 1)
    return parts


def top_margin(probs_NC: Tensor) -> Tensor:
    """The highest probability minus the next, float (N); |2p - 1| for two candidates, 1 for a single one."""
    if probs_NC.shape[-1] < 2:
        return probs_NC.new_ones(probs_NC.shape[:-1])
    top_N2 = probs_NC.topk(2, dim=-1).values
    return top_N2[..., 0] - top_N2[..., 1]
