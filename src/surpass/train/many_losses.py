"""One loss for many heads: what it says of the batch of each, and the gradient by the logits.

Our losses take stacked batches of equal size, so all heads that have come equally far are one call. A loss of
somebody else's is called head by head.

Shape suffixes: G heads, N examples of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from surpass.calls import is_outside
from surpass.losses import Loss, Target
from surpass.losses.base import cross_entropy_slopes

PLAIN = "xent"
"""The loss whose targets are the labels."""


class Batch(NamedTuple):
    """Batches of equal size of heads that have the same loss.

    Attributes:
        logits_GNC: What the heads say; here and below, fastest where examples lie side by side in memory.
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

    def part(self, at: Sequence[int]) -> Batch:
        """Some of the heads; the memory is a copy."""
        at_G = torch.tensor(at)
        memory_GNC = None if self.memory_GNC is None else chosen(self.memory_GNC, at_G)
        seeds = [self.seeds[place] for place in at] if self.seeds else ()
        progress = [self.progress[place] for place in at]
        return Batch(
            chosen(self.logits_GNC, at_G),
            chosen(self.labels_GNC, at_G),
            self.weight_GN[at_G],
            progress,
            memory_GNC,
            seeds,
        )


def chosen(values_GNC: Tensor, at: Tensor) -> Tensor:
    """Values of some of the heads, a copy with examples side by side in memory."""
    return values_GNC.transpose(1, 2).index_select(0, at).transpose(1, 2)


def many_losses(loss: Loss, batch: Batch) -> tuple[Tensor, Tensor]:
    """The mean loss of each head in nats, float (G,), and its gradient by the logits, (G, N, C)."""
    share_GN = batch.weight_GN / batch.weight_GN.shape[1]
    if loss.slopes is not None:
        losses_GN, slopes_GNC = _called(loss, batch)
        return (losses_GN * share_GN).sum(1), slopes_GNC.mul_(share_GN[:, :, None])
    if loss.per_example:
        with torch.enable_grad():
            logits_GNC = batch.logits_GNC.detach().requires_grad_()
            (losses_GN,) = _called(loss, batch._replace(logits_GNC=logits_GNC))
        (slopes_GNC,) = torch.autograd.grad(losses_GN, logits_GNC, share_GN.to(losses_GN.dtype))
        return (losses_GN.detach() * share_GN).sum(1), slopes_GNC
    target_GNC, weight_GN = targets(loss, batch)
    return cross_entropy_slopes(batch.logits_GNC, target_GNC, share_GN * weight_GN, ragged=False)


def targets(loss: Loss, batch: Batch) -> tuple[Tensor, Tensor]:
    """Where a loss that has targets draws heads to, (G, N, C), and its weights (G, N)."""
    target_GNC, weight_GN = _called(loss, batch)
    return target_GNC, weight_GN


def _called(loss: Loss, batch: Batch) -> tuple[Tensor, ...]:
    """What the function gives, stacked over heads: losses, maybe with slopes, or targets and weights."""
    outside = is_outside(loss.text)
    if not outside and len(set(batch.progress)) == 1:
        return _at_once(loss, batch)
    alike: dict[object, list[int]] = {}
    for place, progress in enumerate(batch.progress):
        alike.setdefault(place if outside else progress, []).append(place)
    if len(alike) == 1:
        return _at_once(loss, batch)
    given = []
    for places in alike.values():
        part = batch.part(places)
        given.append(_at_once(loss, part))
        if part.memory_GNC is not None:
            batch.memory_GNC[torch.tensor(places)] = part.memory_GNC  # type: ignore[index]
    back_G = torch.tensor([place for places in alike.values() for place in places]).argsort()
    return tuple(torch.cat(each)[back_G] for each in zip(*given, strict=True))


def _at_once(loss: Loss, batch: Batch) -> tuple[Tensor, ...]:
    """Of heads that have come equally far; of a single one if the loss is somebody else's."""
    outside = is_outside(loss.text)
    if batch.seeds:
        torch.default_generator.manual_seed(batch.seeds[0])
    logits, labels, memory = batch.logits_GNC, batch.labels_GNC, batch.memory_GNC
    if outside:
        logits, labels, memory = logits[0], labels[0], None if memory is None else memory[0]
    if loss.slopes is not None:
        return loss.slopes(logits, labels, batch.progress[0])
    given = loss.function(logits, labels, batch.progress[0], **({"memory_NC": memory} if loss.memory else {}))
    if not outside:
        return tuple(given) if isinstance(given, Target) else (given,)
    if isinstance(given, Target):  # below 0 counts as 0, as in `soft_cross_entropy`
        return given.target_NC.clamp(min=0)[None], given.weight_N[None]
    return (given[None],)
