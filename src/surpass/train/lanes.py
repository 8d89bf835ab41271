"""One head among many: what it learns, how, and where it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from surpass.errors import DataError
from surpass.train.checkpoint import read_state
from surpass.train.features import Known, Rows
from surpass.train.gradient import padded_probs
from surpass.train.linear import HeadState
from surpass.train.loop import Labels, Running
from surpass.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One head, and all that is its own.

    Attributes:
        known: States of its examples.
        rows_N: Which of them its labels are of.
        labels: What it learns, row for row.
        loss: A name in `LOSSES`, with its settings.
        recipe: The settings.
        seed: Order of the examples.
        ema: Decay of the average of the weights that it has at the end; 0 for the last weights.
        head: What it begins as.
        running: Where its checkpoint is, and how often it is looked at; its `snapshot` is not called.
        look: Called with the number of the snapshot, from 1, and the head as it is there.
    """

    known: Known
    rows_N: Rows
    labels: Labels
    loss: str
    recipe: Recipe
    seed: int
    ema: float = 0.0
    head: HeadState
    running: Running = field(default_factory=Running)
    look: Callable[[int, HeadState], None] = lambda _number, _head: None

    @cached_property
    def num_steps(self) -> int:
        """Of its whole training."""
        return self.recipe.num_steps(len(self.rows_N))

    @property
    def num_outputs(self) -> int:
        """How many numbers the head gives for an example."""
        return 2 if len(self.known.shape) == 2 else len(next(reversed(self.head.values())))

    @property
    def shape(self) -> tuple[object, ...]:
        """What heads must have in common to be stacked."""
        return tuple((name, tuple(value.shape)) for name, value in self.head.items())

    @cached_property
    def seen(self) -> tuple[int, str]:
        """What heads must have in common to see the same examples."""
        return id(self.known), sha256(self.rows_N.tobytes()).hexdigest()

    @property
    def batch_key(self) -> tuple[object, ...]:
        """What heads must have in common to see the same batches."""
        return *self.seen, self.seed, self.recipe.batch_size, self.recipe.epochs

    def diverged(self, losses: Tensor) -> DataError | None:
        """What is wrong with the losses of its steps, if anything is."""
        if losses.isfinite().all():
            return None
        return DataError(
            f"training diverged at step {int(losses.isfinite().int().argmin()) + 1} of {len(losses)}; "
            f"lower learning_rate={self.recipe.learning_rate:g}"
        )


class Trained(NamedTuple):
    """A head, and the loss of each of its steps in nats, float32."""

    head: HeadState
    losses: Tensor


def saved_step(lane: Lane) -> int:
    """After how many steps an interrupted training goes on."""
    path = lane.running.checkpoint
    if path is None or not path.exists():
        return 0
    with suppress(DataError, KeyError):  # a damaged one costs time, nothing else
        position, _ = read_state(path)
        if position["optimizer"] == lane.recipe.optimizer:
            return int(position["step"])
    return 0


def dense(labels: Labels, width: int = 0) -> Tensor:
    """All labels of a head, float32 (N, C), with at least so many columns."""
    labels_NC = padded_probs(labels.probs)
    missing = width - labels_NC.shape[1]
    return functional.pad(labels_NC, (0, missing)) if missing > 0 else labels_NC


def all_dense(lanes: Sequence[Lane]) -> list[Tensor]:
    """Labels of heads, with as many columns."""
    found = [dense(lane.labels) for lane in lanes]
    width = max(labels_NC.shape[1] for labels_NC in found)
    return [functional.pad(each, (0, width - each.shape[1])) for each in found]
