"""The gradient of a batch: targets for all of it, then a pass over each micro-batch, there and back.

Only memory depends on the size of the micro-batches; the few losses without targets are sums over examples,
and so are cut in pieces too. Losses give the gradient by the logits, those with targets in closed form; from
there the model's own way back goes on, or autograd.

Shape suffixes: N examples, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surpass.clock import spent
from surpass.losses import Loss, Target
from surpass.losses.base import cross_entropy_slopes
from surpass.models.embedding import added_in_place
from surpass.ragged import rectangle
from surpass.train.order import Rows


def padded_probs(probs: Sequence[npt.NDArray[np.float32]]) -> Tensor:
    """Ragged label probabilities as float32 (N, C), zero behind the last candidate."""
    sizes_N = np.array([len(row) for row in probs], np.int64)
    values = np.concatenate([*probs, np.zeros(0, np.float32)]).astype(np.float32, copy=False)
    return torch.from_numpy(rectangle(values, sizes_N))


class Batch(NamedTuple):
    """Labels of the examples of one step, and what the loss keeps of each.

    `labels_NC` float32, zero behind the last candidate; `weight_N` float32; `memory_NC` as the labels, or
    None where the loss has no memory.
    """

    rows: Rows
    labels_NC: Tensor
    weight_N: Tensor
    memory_NC: Tensor | None

    def part(self, part: slice, width: int) -> Batch:
        """Some of its examples; the memory is shared, so that what is written into it stays."""
        if part.stop - part.start == len(self.rows) and width == self.labels_NC.shape[1]:
            return self
        memory_NC = None if self.memory_NC is None else self.memory_NC[part, :width]
        return Batch(self.rows[part], self.labels_NC[part, :width], self.weight_N[part], memory_NC)


def accumulate_gradient(
    model: Any, examples: Any, batch: Batch, loss: Loss, progress: float, micro_batch: int | None
) -> Tensor:
    """Add the gradient of the batch's mean loss, and return that loss (nats, no gradient)."""
    num_examples = len(batch.rows)
    size = micro_batch or num_examples
    parts = [slice(start, start + size) for start in range(0, num_examples, size)]
    target: Target | None = None
    if len(parts) > 1 and not loss.per_example:
        with torch.no_grad(), spent("forward"):
            logits = batch.labels_NC if loss.labels_only else _whole(model, examples, batch, parts)
            target = loss.function(logits, batch.labels_NC, progress)
    losses = []
    for part in parts:
        with spent("forward"):
            with added_in_place() if len(parts) > 1 else nullcontext():
                logits_NC, backward = _there_and_back(model, examples, batch.rows[part])
            here = batch.part(part, logits_NC.shape[1])
            goal = target and Target(target.target_NC[part, : logits_NC.shape[1]], target.weight_N[part])
            share_N = here.weight_N / num_examples
            part_of_loss, slopes_NC = _slopes(loss, logits_NC, here, goal, share_N, progress)
        with spent("backward"):
            backward(slopes_NC.to(logits_NC.dtype))
        losses.append(part_of_loss)
    return sum(losses[1:], start=losses[0])


def _there_and_back(model: Any, examples: Any, rows: Rows) -> tuple[Tensor, Callable[[Tensor], None]]:
    """Logits of some examples, and what adds the gradients of parameters, given that of a loss by those."""
    passed = model.passed(examples, rows) if hasattr(model, "passed") else None
    if passed is None:
        logits_NC = model(examples, rows)
        return logits_NC.detach(), logits_NC.backward
    logits_NC, backward = passed
    return logits_NC, backward


def _slopes(
    loss: Loss, logits_NC: Tensor, batch: Batch, goal: Target | None, share_N: Tensor, progress: float
) -> tuple[Tensor, Tensor]:
    """Losses of some examples, each times its share and summed, and the gradient by the logits, (N, C)."""
    if loss.slopes is not None:
        losses_N, slopes_NC = loss.slopes(logits_NC, batch.labels_NC, progress)
        return (losses_N * share_N).sum(), slopes_NC * share_N[:, None]
    if loss.per_example:
        memory = {"memory_NC": batch.memory_NC} if loss.memory else {}
        losses_N = loss.function(logits_NC.requires_grad_(), batch.labels_NC, progress, **memory)
        total = (losses_N * share_N).sum()
        return total.detach(), torch.autograd.grad(total, logits_NC)[0]
    if goal is None:
        with torch.no_grad():
            goal = loss.function(logits_NC, batch.labels_NC, progress)
    return cross_entropy_slopes(logits_NC, goal.target_NC, goal.weight_N * share_N)


def _whole(model: Any, examples: Any, batch: Batch, parts: Sequence[slice]) -> Tensor:
    logits_NC = torch.full_like(batch.labels_NC, -torch.inf)
    for part in parts:
        some = model(examples, batch.rows[part])
        logits_NC[part, : some.shape[1]] = some
    return logits_NC
