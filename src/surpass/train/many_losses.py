"""One loss for many heads: the mean of each head's batch, and its gradient by the logits.

A loss is a function of one batch. One that gives the loss of each example is called with the examples of all
heads that have come equally far. Another is mapped over heads, first with the progress of each as a number
of its own, then with those that have come equally far; where neither works, because what it does depends
on values, it is called head by head.

Shape suffixes: G heads, N examples of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from surpass.calls import is_outside
from surpass.losses import Loss, Target

_PLAIN = "xent"
_FEW = 2
_ways: dict[str, int] = {}
"""Which of `_WAYS` works for a loss, by its text."""


class Batch(NamedTuple):
    """Batches of equal size of heads that have the same loss.

    Attributes:
        logits_GNC: What the heads say.
        labels_GNC: What they are to say.
        weight_GN: How much each example counts.
        progress: The share of its training that each head has behind it.
        memory_GNC: What the loss keeps of each example, changed in place; None without.
        seeds: What the randomness of somebody else's loss starts from, for each head; empty for ours.
    """

    logits_GNC: Tensor
    labels_GNC: Tensor
    weight_GN: Tensor
    progress: list[float]
    memory_GNC: Tensor | None = None
    seeds: Sequence[int] = ()


def many_losses(loss: Loss, batch: Batch) -> tuple[Tensor, Tensor]:
    """The mean loss of each head in nats, float (G,), and its gradient by the logits, (G, N, C)."""
    share_GN = batch.weight_GN / batch.weight_GN.shape[1]
    if loss.per_example:
        with torch.enable_grad():
            logits_GNC = batch.logits_GNC.detach().requires_grad_()
            losses_GN = _mapped(loss, batch._replace(logits_GNC=logits_GNC))[0]
            means_G = (losses_GN * share_GN).sum(1)
            (slopes_GNC,) = torch.autograd.grad(means_G.sum(), logits_GNC)
        return means_G.detach(), slopes_GNC
    target_GNC, weight_GN = targets(loss, batch)
    return towards(batch.logits_GNC, target_GNC, share_GN if weight_GN is None else share_GN * weight_GN)


def targets(loss: Loss, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Where a loss that has targets draws heads to, (G, N, C), and its weights (G, N), or None for 1."""
    if loss.text == _PLAIN:
        return batch.labels_GNC, None
    target_GNC, weight_GN = _mapped(loss, batch)
    return target_GNC, weight_GN


def towards(logits_GNC: Tensor, target_GNC: Tensor, share_GN: Tensor) -> tuple[Tensor, Tensor]:
    """`soft_cross_entropy` in closed form: the loss of each head, (G,), and its gradient, (G, N, C).

    Args:
        logits_GNC: What the heads say.
        target_GNC: What they are drawn to.
        share_GN: The part of each example in the loss.
    """
    target_GNC = target_GNC.clamp(min=0)
    log_probs_GNC = logits_GNC.log_softmax(2)
    means_G = -((target_GNC * log_probs_GNC).sum(2) * share_GN).sum(1)
    slopes_GNC = log_probs_GNC.exp_().mul_(target_GNC.sum(2, keepdim=True)).sub_(target_GNC)
    return means_G, slopes_GNC.mul_(share_GN[:, :, None])


Given = tuple[Tensor, ...]


def _mapped(loss: Loss, batch: Batch) -> Given:
    """What the function gives, stacked over heads: losses, or targets and weights."""
    if is_outside(loss.text):  # whose code may look at values, draw numbers, or go through numpy
        return _one_by_one(loss, batch)
    if loss.per_example and len(set(batch.progress)) <= _FEW:
        return _over_equal(loss, batch, _flat)
    while True:
        # A number is cheaper than a tensor of equal numbers.
        way = max(_ways.get(loss.text, 0), int(len(set(batch.progress)) == 1))
        try:
            return _WAYS[way](loss, batch)
        except RuntimeError:
            if way == len(_WAYS) - 1:
                raise
            _ways[loss.text] = way + 1


def _called(
    loss: Loss, logits_NC: Tensor, labels_NC: Tensor, progress: Any, memory_NC: Tensor | None
) -> Given:
    memory = {"memory_NC": memory_NC} if loss.memory else {}
    given = loss.function(logits_NC, labels_NC, progress, **memory)
    return tuple(given) if isinstance(given, Target) else (given,)


def _over_all(loss: Loss, batch: Batch) -> Given:
    """Mapped over heads, each with its own progress."""
    progress_G = torch.tensor(batch.progress, dtype=torch.float64)
    return _map(loss, batch, progress_G, 0)


def _over_equal(loss: Loss, batch: Batch, call: Callable[..., Given] | None = None) -> Given:
    """Called at once for the heads that have come equally far."""
    call = call or _map
    parts: dict[float, list[int]] = {}
    for place, progress in enumerate(batch.progress):
        parts.setdefault(progress, []).append(place)

    def of(places: list[int], progress: float) -> Given:
        if len(parts) == 1:
            return call(loss, batch, progress, None)
        at = torch.tensor(places)
        memory = None if batch.memory_GNC is None else batch.memory_GNC[at]
        part = Batch(batch.logits_GNC[at], batch.labels_GNC[at], batch.weight_GN[at], [progress], memory)
        given = call(loss, part, progress, None)
        if memory is not None:
            batch.memory_GNC[at] = memory  # type: ignore[index]
        return given

    given = [of(places, progress) for progress, places in parts.items()]
    back = torch.tensor([place for places in parts.values() for place in places]).argsort()
    return tuple(torch.cat(each)[back] for each in zip(*given, strict=True))


def _map(loss: Loss, batch: Batch, progress: Any, over: int | None) -> Given:
    def function(logits_NC: Tensor, labels_NC: Tensor, progress: Any, memory_NC: Tensor | None) -> Given:
        return _called(loss, logits_NC, labels_NC, progress, memory_NC)

    memory_GNC = batch.memory_GNC if loss.memory else None
    dims = (0, 0, over, None if memory_GNC is None else 0)
    mapped = torch.func.vmap(function, in_dims=dims)
    given: Given = mapped(batch.logits_GNC, batch.labels_GNC, progress, memory_GNC)
    return given


def _flat(loss: Loss, batch: Batch, progress: float, _over: None) -> Given:
    """Of each example by itself, whatever head it is of."""
    memory_NC = None if batch.memory_GNC is None else batch.memory_GNC.flatten(0, 1)
    given = _called(loss, batch.logits_GNC.flatten(0, 1), batch.labels_GNC.flatten(0, 1), progress, memory_NC)
    return tuple(each.view(batch.weight_GN.shape) for each in given)


def _one_by_one(loss: Loss, batch: Batch) -> Given:
    given = []
    for place, progress in enumerate(batch.progress):
        if batch.seeds:
            torch.default_generator.manual_seed(batch.seeds[place])
        memory_NC = None if batch.memory_GNC is None else batch.memory_GNC[place]
        given.append(_called(loss, batch.logits_GNC[place], batch.labels_GNC[place], progress, memory_NC))
    return tuple(torch.stack(each) for each in zip(*given, strict=True))


_WAYS: tuple[Callable[[Loss, Batch], Given], ...] = (_over_all, _over_equal, _one_by_one)
