"""Heads in lockstep: those of one shape whose batches are equally long are one batched product.

Shape suffixes: G batches of a step, P heads (as many on each of these batches), K numbers of those on one
batch, N examples of a batch, E of an epoch, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from surpass.train.features import Known
from surpass.train.lanes import Lane
from surpass.train.linear import Product
from surpass.train.order import order_of

JOINED_BYTES = 256 << 20
"""States of several sets of examples that are copied into one place, at most."""


_order_of = lru_cache(64)(order_of)
"""Heads of one seed on several models ask for the same one after the other."""


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
        self._numbers = int(np.prod(self.state_shape))
        self._size, self._batch_size, self._each = len(leader.rows_N), leader.recipe.batch_size, each
        self._per_epoch = -(-self._size // self._batch_size)
        self._start, self._joined = start, joined
        # With the examples last, so that an epoch lays out those of all heads by one call.
        label_PCE = torch.stack([label_EC.T for label_EC in labels])
        self._label_GKE = label_PCE.view(num_batches, -1, self._size)
        weight_PE = torch.from_numpy(np.stack([lane.labels.weight_N for lane in lanes]))
        self._weight_GKE = weight_PE.view(num_batches, each, self._size)
        self._order_GE = torch.empty(num_batches, self._size, dtype=torch.long)
        self._state_row_GE = torch.empty_like(self._order_GE)
        self._label_PCE, self._weight_PE = torch.empty_like(label_PCE), torch.empty_like(weight_PE)
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
        for lane, order_E, row_E in zip(
            self._leaders, self._order_GE.numpy(), self._state_row_GE.numpy(), strict=True
        ):
            order_E[:] = _order_of(self._size, lane.seed, self._epoch)
            begin = self._joined.begin[id(lane.known)] if self._joined else 0
            np.add(lane.rows_N[order_E], begin, out=row_E)
        for source_GKE, to in ((self._label_GKE, self._label_PCE), (self._weight_GKE, self._weight_PE)):
            order_GKE = self._order_GE[:, None].expand_as(source_GKE)
            torch.gather(source_GKE, 2, order_GKE, out=to.view_as(source_GKE))

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
        return len(self._leaders) * self.size * self._numbers

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
