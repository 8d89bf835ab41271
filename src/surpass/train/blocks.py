"""Heads in lockstep: those of one shape whose batches are equally long are one batched product.

Shape suffixes: G batches of a step, P heads (as many on each of these batches), N examples of a batch, E of
an epoch, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from surpass.train.features import Known
from surpass.train.lanes import Lane
from surpass.train.linear import Product
from surpass.train.order import batches

JOINED_BYTES = 256 << 20
"""States of several sets of examples that are copied into one place, at most."""


class Block:
    """Heads that are side by side, those on the same batches too.

    Args:
        first: Where they begin among all heads.
        lanes: The heads; all go on with the same step.
        num_batches: On how many batches they are at a time.
        start: How many steps they have behind them.
        product: Their weights.
        labels: Of each head (E, C).
        joined: States of all their examples in one place; None where they are asked for each time.
    """

    def __init__(
        self,
        first: int,
        lanes: Sequence[Lane],
        num_batches: int,
        *,
        start: int,
        product: Product,
        labels: Sequence[Tensor],
        joined: Joined | None,
    ) -> None:
        self.part = slice(first, first + len(lanes))
        self.product = product
        self.size = 0
        each = len(lanes) // num_batches
        self._leaders = lanes[::each]
        leader = lanes[0]
        self.state_shape = leader.known.shape
        self._size, self._batch_size, self._each = len(leader.rows_N), leader.recipe.batch_size, each
        self._per_epoch = -(-self._size // self._batch_size)
        self._start, self._joined = start, joined
        self._rows = [
            batches(self._size, lane.recipe, lane.seed, start - start % self._per_epoch)
            for lane in self._leaders
        ]
        # One row for each example, with the labels of all heads that see it.
        shared = [slice(at, at + each) for at in range(0, len(lanes), each)]
        self._labels = [torch.cat([*labels[own]], 1) for own in shared]
        self._weights = [
            torch.from_numpy(np.stack([lane.labels.weight_N for lane in lanes[own]], 1)) for own in shared
        ]
        self._order_GE = torch.empty(num_batches, self._size, dtype=torch.long)
        self._state_row_GE = torch.empty_like(self._order_GE)
        self._label_PCE = torch.empty(len(lanes), labels[0].shape[1], self._size)
        self._weight_PE = torch.empty(len(lanes), self._size)
        self._now, self._epoch = slice(0), -1

    def go(self, step: int) -> int:
        """Step `step` of this run, from 0, begins; how long its batches are."""
        epoch, at = divmod(self._start + step, self._per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._turn()
        begin = at * self._batch_size
        self._now = slice(begin, min(begin + self._batch_size, self._size))
        self.size = self._now.stop - begin
        return self.size

    def _turn(self) -> None:
        """An epoch begins: in which order examples come, and what heads are to say of them."""
        for number, lane in enumerate(self._leaders):
            order_E = np.concatenate(list(islice(self._rows[number], self._per_epoch)))
            self._order_GE[number] = torch.from_numpy(order_E)
            rows_E = torch.from_numpy(lane.rows_N[order_E])
            self._state_row_GE[number] = rows_E + (self._joined.begin[id(lane.known)] if self._joined else 0)
            own = slice(number * self._each, (number + 1) * self._each)
            for to, source in (
                (self._label_PCE[own].flatten(0, 1), self._labels[number]),
                (self._weight_PE[own], self._weights[number]),
            ):
                to.copy_(source.index_select(0, self._order_GE[number]).T)

    @property
    def order_PN(self) -> Tensor:
        """Which of their labels the heads see now."""
        return self._order_GE[:, self._now].repeat_interleave(self._each, 0)

    @property
    def label_PCN(self) -> Tensor:
        """What they are to say."""
        return self._label_PCE[:, :, self._now]

    @property
    def weight_PN(self) -> Tensor:
        """How much it counts."""
        return self._weight_PE[:, self._now]

    @property
    def room(self) -> int:
        """How many numbers the states of this step are."""
        return len(self._leaders) * self.size * int(np.prod(self.state_shape))

    def read(self, out: Tensor) -> Tensor:
        """The states of this step in the place given, (G, N, ...)."""
        rows_GN = self._state_row_GE[:, self._now]
        given = out.view(*rows_GN.shape, *self.state_shape)
        if self._joined:
            torch.index_select(self._joined.states, 0, rows_GN.flatten(), out=given.flatten(0, 1))
        else:
            for lane, rows_N, states in zip(self._leaders, rows_GN, given, strict=True):
                states.copy_(lane.known[rows_N.numpy()])
        return given


class Joined:
    """States of several sets of examples, one below the other.

    Attributes:
        begin: Where those of each begin, by the identity of the set.
        states: All of them.
    """

    def __init__(self, sets: Sequence[Known]) -> None:
        held = [known.held for known in sets if known.held is not None]
        self.begin: dict[int, int] = {}
        at = 0
        for known in sets:
            self.begin[id(known)] = at
            at += len(known)
        self.states = torch.cat(held) if len(held) > 1 else held[0]


def joined(sets: Sequence[Known], left: int) -> Joined | None:
    """States of sets of examples in one place; None where some are in files, or there are too many bytes."""
    if any(known.held is None for known in sets):
        return None
    if len(sets) > 1 and sum(map(_nbytes, sets)) > left:
        return None
    return Joined(sets)


def _nbytes(known: Known) -> int:
    return 4 * len(known) * int(np.prod(known.shape))


def keys_of(lanes: Sequence[Lane], starts: Sequence[int]) -> list[tuple[int, int]]:
    """Of each head the number of the heads that it is in lockstep with, and of those on its batches."""
    batch = [(*lane.batch_key, lane.shape, start) for lane, start in zip(lanes, starts, strict=True)]
    groups: dict[tuple[object, ...], list[int]] = {}
    for at, key in enumerate(batch):
        groups.setdefault(key, []).append(at)
    found: dict[int, tuple[int, int]] = {}
    steps: dict[tuple[object, ...], int] = {}
    for number, same in enumerate(groups.values()):
        lane = lanes[same[0]]
        recipe, shapes = lane.recipe, (lane.shape, lane.known.shape)
        alike = recipe.batch_size, recipe.epochs, len(lane.rows_N), starts[same[0]], *shapes, len(same)
        found |= dict.fromkeys(same, (steps.setdefault(alike, len(steps)), number))
    return [found[at] for at in range(len(lanes))]
