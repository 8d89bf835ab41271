"""The one training loop, and labelling.

Whatever the loss, a step is: targets for the whole batch without gradient, then the soft
cross-entropy towards them in micro-batches. Only memory depends on the size of the micro-batches.

Shape suffixes: N examples, C candidates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from surpass.errors import DataError, Stopped
from surpass.losses import NEEDS_LOGITS, Target, find_loss, soft_cross_entropy
from surpass.train.checkpoint import load_checkpoint, save_checkpoint
from surpass.train.recipe import Recipe

Rows = npt.NDArray[np.int64]
LABEL_BATCH = 256


class ChoiceModel(Protocol):
    """A module that scores the candidates of examples it has encoded."""

    def __call__(self, examples: Any, rows: Rows) -> Tensor:
        """Logits (N, C) of these rows, -inf where a row has no such candidate."""
        ...


@dataclass(frozen=True)
class Running:
    """How a fit is carried out; nothing here changes a number beyond rounding.

    Attributes:
        checkpoint: Where to keep the state of training, or None.
        checkpoint_seconds: How often, in seconds.
        micro_batch: Examples per forward pass at most; None for the whole batch.
        report: Called with the share of steps done, in [0, 1].
        stop: Asked after each step; True saves a checkpoint and raises `Stopped`.
    """

    checkpoint: Path | None = None
    checkpoint_seconds: float = 30.0
    micro_batch: int | None = None
    report: Callable[[float], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False


def padded_probs(probs: Sequence[npt.NDArray[np.float32]], rows: Rows) -> Tensor:
    """Ragged label probabilities as float32 (N, C), zero behind the last candidate."""
    chosen = [probs[row] for row in rows]
    padded_NC = np.zeros((len(chosen), max(map(len, chosen))), np.float32)
    for place, row in enumerate(chosen):
        padded_NC[place, : len(row)] = row
    return torch.from_numpy(padded_NC)


def batches(num_examples: int, recipe: Recipe, seed: int, start: int = 0) -> Iterator[Rows]:
    """Rows of each step from step `start` on; a function of seed and step alone."""
    per_epoch = -(-num_examples // recipe.batch_size)
    for epoch in range(start // per_epoch, recipe.epochs):
        order = np.random.default_rng((seed, epoch)).permutation(num_examples)
        for step in range(max(start - epoch * per_epoch, 0), per_epoch):
            yield order[step * recipe.batch_size : (step + 1) * recipe.batch_size]


def _seed_of(seed: int, step: int) -> int:
    """What the model's own randomness starts from: of seed and step alone, so there is no state to save."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0])


def accumulate_gradient(
    model: ChoiceModel,
    examples: Any,
    rows: Rows,
    labels_NC: Tensor,
    loss: str,
    progress: float,
    micro_batch: int | None,
) -> Tensor:
    """Add the gradient of the batch's mean loss, and return that loss (nats, no gradient)."""
    make_target = find_loss(loss)
    size = micro_batch or len(rows)
    parts = [slice(start, start + size) for start in range(0, len(rows), size)]
    if len(parts) == 1:
        logits_NC = model(examples, rows)
        with torch.no_grad():
            target = make_target(logits_NC.detach(), labels_NC, progress)
        mean = soft_cross_entropy(logits_NC, target).sum() / len(rows)
        mean.backward()  # type: ignore[no-untyped-call]
        return mean.detach()
    with torch.no_grad():
        logits = _whole(model, examples, rows, parts, labels_NC) if loss in NEEDS_LOGITS else labels_NC
        target = make_target(logits, labels_NC, progress)
    total = torch.zeros(())
    for part in parts:
        logits_NC = model(examples, rows[part])
        width = logits_NC.shape[1]
        here = Target(target.target_NC[part, :width], target.weight_N[part])
        mean = soft_cross_entropy(logits_NC, here).sum() / len(rows)
        mean.backward()  # type: ignore[no-untyped-call]
        total += mean.detach()
    return total


def _whole(model: ChoiceModel, examples: Any, rows: Rows, parts: Sequence[slice], like_NC: Tensor) -> Tensor:
    logits_NC = torch.full_like(like_NC, -torch.inf)
    for part in parts:
        some = model(examples, rows[part])
        logits_NC[part, : some.shape[1]] = some
    return logits_NC


def fit(
    model: nn.Module,
    examples: Any,
    labels: Sequence[npt.NDArray[np.float32]],
    *,
    loss: str,
    recipe: Recipe,
    seed: int,
    running: Running = Running(),
) -> Tensor:
    """Fine-tune a model in place on labels.

    Args:
        model: A `ChoiceModel`.
        examples: What the model's `encode` gave.
        labels: Probabilities over the candidates of each example, row for row.
        loss: A key of `LOSSES`.
        recipe: The settings.
        seed: Order of the examples, and whatever else is random.
        running: How to carry it out.

    Returns:
        The loss of each step in nats, float32.

    Raises:
        ConfigError: There is no such loss.
        Stopped: `running.stop` said so.
    """
    find_loss(loss)
    num_steps = recipe.num_steps(len(labels))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    losses, start = torch.zeros(num_steps), 0
    if running.checkpoint is not None and running.checkpoint.exists():
        with suppress(DataError):  # a damaged one costs time, nothing else
            position, extra = load_checkpoint(running.checkpoint, model, optimizer)
            start, losses = int(position["step"]), extra["losses"]
    model.train()
    saved = time.monotonic()
    for step, rows in enumerate(batches(len(labels), recipe, seed, start), start):
        torch.manual_seed(_seed_of(seed, step))
        optimizer.param_groups[0]["lr"] = recipe.rate(step, num_steps)
        optimizer.zero_grad(set_to_none=True)
        losses[step] = accumulate_gradient(
            model, examples, rows, padded_probs(labels, rows), loss, step / num_steps, running.micro_batch
        )
        optimizer.step()
        running.report((step + 1) / num_steps)
        stop = running.stop()
        due = time.monotonic() - saved > running.checkpoint_seconds
        if running.checkpoint is not None and (due or stop):
            save_checkpoint(running.checkpoint, model, optimizer, {"step": step + 1}, {"losses": losses})
            saved = time.monotonic()
        if stop:
            raise Stopped("stopped; run the same command again to go on from here")
    return losses


@torch.no_grad()
def label(
    model: nn.Module,
    examples: Any,
    num_candidates: Sequence[int],
    *,
    micro_batch: int | None = None,
    report: Callable[[float], None] = lambda _: None,
) -> list[npt.NDArray[np.float32]]:
    """Probabilities over the candidates of each example, in order; each sums to 1."""
    model.eval()
    size = min(LABEL_BATCH, micro_batch or LABEL_BATCH)
    probs: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(num_candidates), size):
        rows = np.arange(start, min(start + size, len(num_candidates)))
        probs_NC = torch.softmax(model(examples, rows), dim=1).numpy()
        probs += [row[: num_candidates[place]] for place, row in zip(rows.tolist(), probs_NC, strict=True)]
        report(len(probs) / len(num_candidates))
    return probs
