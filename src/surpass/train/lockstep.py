"""Heads that take each step together: how they are arranged, what a step is, and what is kept of it.

Shape suffixes: H heads, P heads of a part, G those of one loss, N examples of a batch, C outputs, S steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor

from surpass.errors import SurpassError
from surpass.losses import find_loss
from surpass.losses.base import cross_entropy_slopes
from surpass.train.blocks import JOINED_BYTES, Block, Joined, joined, keys_of
from surpass.train.checkpoint import read_state, write_state
from surpass.train.features import Known
from surpass.train.lanes import Lane, Trained, all_dense, saved_step
from surpass.train.linear import HeadState, batched
from surpass.train.loop import snapshot_steps, step_seed
from surpass.train.many_losses import PLAIN, Batch, chosen, many_losses, targets
from surpass.train.stacks import Stack
from surpass.train.steps import Part, parts_of

_AT_ONCE = 2 << 20
"""Numbers of the states of a block: with more they would not stay near the processor."""


class Heads:
    """Heads with as many outputs; those with the most steps to go are in front, so those at work are too."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        starts = [saved_step(lane) for lane in lanes]
        keys = keys_of(lanes, starts)
        self.order = sorted(
            range(len(lanes)), key=lambda at: (starts[at] - lanes[at].num_steps, *keys[at], at)
        )
        self.keys = [keys[at] for at in self.order]
        self.lanes = [lanes[at] for at in self.order]
        self.start = [starts[at] for at in self.order]
        self.pace = [(start, lane.num_steps) for lane, start in zip(self.lanes, self.start, strict=True)]
        self.left = [lane.num_steps - start for lane, start in zip(self.lanes, self.start, strict=True)]
        self.most = max(self.left)
        places: dict[tuple[object, ...], list[int]] = {}
        for place, lane in enumerate(self.lanes):
            places.setdefault(lane.shape, []).append(place)
        self.stacks = {shape: Stack(self.lanes, own, self.start) for shape, own in places.items()}
        self.losses_SH = torch.zeros(self.most, len(self.lanes))
        self.failed: dict[int, SurpassError] = {}
        self.before = [torch.zeros(start) for start in self.start]
        self.loss = {lane.loss: find_loss(lane.loss) for lane in self.lanes}
        self.labels = all_dense(self.lanes)
        self.width = self.labels[0].shape[1]
        self.memory = {
            place: torch.zeros(len(lane.rows_N), self.width)
            for place, lane in enumerate(self.lanes)
            if self.loss[lane.loss].memory
        }
        for place, lane in enumerate(self.lanes):
            self._resume(place, lane)
        self.joined: dict[tuple[int, ...], Joined | None] = {}
        self.blocks = list(self._blocks())
        self.active = len(self.lanes)
        self.parts: dict[tuple[int, ...], list[Part]] = {}
        self.room = torch.empty(0)
        self.looks: dict[int, list[tuple[int, int]]] = {}
        for place, lane in enumerate(self.lanes):
            for number, after in enumerate(snapshot_steps(lane.num_steps, lane.running.snapshots), 1):
                self.looks.setdefault(after - self.start[place] - 1, []).append((place, number))

    def _blocks(self) -> Iterator[Block]:
        """Heads in lockstep, as many batches of them as stay near the processor."""
        for _, same in groupby(range(len(self.keys)), key=lambda place: self.keys[place][0]):
            groups = [[*own] for _, own in groupby(same, key=lambda place: self.keys[place][1])]
            lane, each = self.lanes[groups[0][0]], len(groups[0])
            numbers = lane.recipe.batch_size * lane.known.shape[-1]
            pairs = len(lane.known.shape) > 1
            many = batched(len(lane.head), biased="head.bias" in lane.head, pairs=pairs)
            size = max(1, _AT_ONCE // numbers) if many else 1
            for begin in range(0, len(groups), size):
                some = groups[begin : begin + size]
                first, own = some[0][0], [self.lanes[place] for group in some for place in group]
                yield Block(
                    first,
                    own,
                    len(some),
                    start=self.start[first],
                    product=self.stacks[lane.shape].product(
                        first, each * len(some), num_batches=len(some), pairs=pairs
                    ),
                    labels=self.labels[first : first + len(own)],
                    joined=self._joined([lane.known for lane in own]),
                )

    def _joined(self, sets: Sequence[Known]) -> Joined | None:
        """States of some heads in one place, which several blocks may have."""
        unique = {id(known): known for known in sets}
        key = tuple(unique)
        if key not in self.joined:
            copies = (each for each in self.joined.values() if each is not None and len(each.begin) > 1)
            taken = sum(each.states.nbytes for each in copies)
            self.joined[key] = joined(list(unique.values()), JOINED_BYTES - taken)
        return self.joined[key]

    def _stack(self, place: int) -> Stack:
        return self.stacks[self.lanes[place].shape]

    @torch.no_grad()
    def step(self, step: int) -> None:
        """Step `step` of this run, from 0, of all heads that have so many to go."""
        while self.left[self.active - 1] <= step:
            self.active -= 1
        blocks = [block for block in self.blocks if block.part.start < self.active]
        for part in self._parts(tuple(block.go(step) for block in blocks)):
            own = [blocks[number] for number in part.blocks]
            states = self._read(own)
            num_heads, size = len(part.place_P), own[0].size
            logits_PCN = torch.empty(num_heads, self.lanes[0].num_outputs, size)
            target_PCN = torch.empty(num_heads, self.width, size)
            weight_PN = torch.empty(num_heads, size)
            for block, seen, at in zip(own, states, part.slices, strict=True):
                block.product.scores(seen, logits_PCN[at])
                target_PCN[at] = block.label_PCN
                weight_PN[at] = block.weight_PN
            slopes_PCN = self._slopes(part, own, logits_PCN, target_PCN, weight_PN, step)
            for block, seen, at in zip(own, states, part.slices, strict=True):
                block.product.backward(seen, slopes_PCN[at])
        for stack in self.stacks.values():
            stack.update(self.active, step)

    def _parts(self, sizes: tuple[int, ...]) -> list[Part]:
        if sizes not in self.parts:
            blocks = self.blocks[: len(sizes)]
            # Large ones without a loss of their own: their states are still near when gradients want them.
            apart = [
                2 * block.room > _AT_ONCE and all(lane.loss == PLAIN for lane in self.lanes[block.part])
                for block in blocks
            ]
            heads = [block.part for block in blocks]
            self.parts[sizes] = parts_of(sizes, heads, self.lanes, self.loss, apart)
        return self.parts[sizes]

    def _read(self, blocks: Sequence[Block]) -> list[Tensor]:
        """The states of a step, in memory that all steps use: fresh memory is slower than what is read."""
        rooms = [block.room for block in blocks]
        if sum(rooms) > self.room.shape[0]:
            self.room = torch.empty(sum(rooms))
        parts = torch.split(self.room[: sum(rooms)], rooms)
        return [block.read(own) for block, own in zip(blocks, parts, strict=True)]

    def _slopes(
        self,
        part: Part,
        blocks: Sequence[Block],
        logits_PCN: Tensor,
        target_PCN: Tensor,
        weight_PN: Tensor,
        step: int,
    ) -> Tensor:
        """The gradient of each head's mean loss by its logits, (P, C, N); the losses are noted."""
        share_PN = weight_PN / weight_PN.shape[1]
        logits_PNC, target_PNC = logits_PCN.transpose(1, 2), target_PCN.transpose(1, 2)
        order_PN = torch.cat([block.order_PN for block in blocks]) if self.memory else None
        of_examples: list[tuple[Tensor, tuple[Tensor, Tensor]]] = []
        for loss, at, places, outside in part.same:
            if loss.text == PLAIN:
                continue
            rows_GN = order_PN[at] if loss.memory and order_PN is not None else None
            memory_GNC = None if rows_GN is None else self._remembered(places, rows_GN)
            progress = [(done + step) / of for done, of in map(self.pace.__getitem__, places)]
            seeds = self._seeds(places, step) if outside else ()
            weight_GN = weight_PN.index_select(0, at)
            batch = Batch(
                chosen(logits_PNC, at), chosen(target_PNC, at), weight_GN, progress, memory_GNC, seeds
            )
            try:
                if loss.per_example:
                    of_examples.append((at, many_losses(loss, batch)))
                else:
                    target_GNC, weight_GN = targets(loss, batch)
                    target_PCN.index_copy_(0, at, target_GNC.transpose(1, 2))
                    share_PN[at] *= weight_GN
            except SurpassError as error:
                self.failed |= dict.fromkeys(places, error)
            if rows_GN is not None and memory_GNC is not None:
                for place, rows_N, memory_NC in zip(places, rows_GN, memory_GNC, strict=True):
                    self.memory[place][rows_N] = memory_NC
        means_P, slopes_PNC = cross_entropy_slopes(logits_PNC, target_PNC, share_PN, ragged=False)
        slopes_PCN = slopes_PNC.transpose(1, 2)
        for at, (means_G, slopes_GNC) in of_examples:
            means_P[at] = means_G
            slopes_PCN.index_copy_(0, at, slopes_GNC.transpose(1, 2))
        self.losses_SH[step, part.place_P] = means_P
        return slopes_PCN

    def _remembered(self, places: Sequence[int], rows_GN: Tensor) -> Tensor:
        return torch.stack(
            [self.memory[place][rows_N] for place, rows_N in zip(places, rows_GN, strict=True)]
        )

    def _seeds(self, places: list[int], step: int) -> list[int]:
        return [step_seed(self.lanes[place].seed, self.start[place] + step) for place in places]

    def look(self, step: int) -> None:
        """Show those heads that want to be looked at after a step."""
        for place, number in self.looks.get(step, ()):
            self.lanes[place].look(number, self._head(place))

    def _head(self, place: int) -> HeadState:
        return self._stack(place).head(place)

    def results(self) -> list[Trained | SurpassError]:
        """What has become of each, in the order in which lanes were given."""
        done = dict(zip(self.order, map(self._result, range(len(self.lanes))), strict=True))
        return [done[at] for at in range(len(done))]

    def _result(self, place: int) -> Trained | SurpassError:
        if place in self.failed:
            return self.failed[place]
        losses = self._losses(place, self.left[place])
        return self.lanes[place].diverged(losses) or Trained(self._head(place), losses)

    def save(self, done: int) -> None:
        """Write where each head is after so many steps of this run."""
        for place, lane in enumerate(self.lanes):
            if lane.running.checkpoint is not None:
                step = min(self.start[place] + done, lane.num_steps)
                state = self._state(place) | {"losses": self._losses(place, done)}
                write_state(lane.running.checkpoint, {"step": step, "optimizer": "adamw"}, state)

    def _state(self, place: int) -> dict[str, Tensor]:
        """All that a head needs to go on; tensors that share memory with the stack."""
        state = self._stack(place).state(place)
        if place in self.memory:
            state["memory"] = self.memory[place]
        return state

    def _losses(self, place: int, done: int) -> Tensor:
        """Of all steps of a head so far."""
        return torch.cat([self.before[place], self.losses_SH[: min(done, self.left[place]), place]])

    def _resume(self, place: int, lane: Lane) -> None:
        if not self.start[place]:
            return
        assert lane.running.checkpoint is not None
        _, saved = read_state(lane.running.checkpoint)
        for name, value in self._state(place).items():
            value.copy_(saved[name])
        self.before[place] = saved["losses"]
