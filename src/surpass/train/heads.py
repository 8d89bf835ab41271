"""Many heads at once: all that are trained on frozen states take each step together.

Heads of one model on equal batches are one matrix product, whatever their labels and losses; heads with one
loss are one call of it, whatever model they are of; heads of one shape share an optimizer step. Each keeps
its own batches, schedule and end, so that it comes out as if trained alone.

Shape suffixes: H heads, G heads on one batch, N examples of a batch, C outputs, S steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from surpass.calls import is_outside
from surpass.errors import Stopped, SurpassError
from surpass.losses import find_loss
from surpass.train.checkpoint import read_state, write_state
from surpass.train.features import Known, Rows
from surpass.train.full_batch import fit_full_batch
from surpass.train.lanes import AllLabels, Lane, Trained, saved_step
from surpass.train.linear import HeadState, Product
from surpass.train.loop import snapshot_steps, step_seed
from surpass.train.many_losses import PLAIN, Batch, chosen, many_losses, targets, towards
from surpass.train.order import batches
from surpass.train.stacks import Stack
from surpass.train.steps import Part, parts_of


def fit_heads(lanes: Sequence[Lane]) -> list[Trained | SurpassError]:
    """Train all heads, each as if alone to rounding.

    Returns:
        For each head what it became, or why there is none: its training diverged, or its loss is none.

    Raises:
        Stopped: The first lane's `running.stop` said so; every head has saved where it is.
    """
    results: dict[int, Trained | SurpassError] = {}
    kinds: dict[tuple[object, ...], list[int]] = {}
    for place, lane in enumerate(lanes):
        alike = lane.shape if lane.recipe.optimizer == "lbfgs" else (lane.num_outputs,)
        kinds.setdefault((lane.recipe.optimizer, *alike), []).append(place)
    for (optimizer, *_), places in kinds.items():
        same = [lanes[place] for place in places]
        found: Sequence[Trained | SurpassError]
        found = fit_full_batch(same) if optimizer == "lbfgs" else _Heads(same).fit()
        results |= zip(places, found, strict=True)
    return [results[place] for place in range(len(lanes))]


class _Group(NamedTuple):
    """Heads of one shape that see the same batches."""

    part: slice
    product: Product
    known: Known
    rows_N: Rows
    batches: Iterator[Rows]


class _Heads:
    """Heads with as many outputs; those with the most steps to go are in front, so those at work are too."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        starts = [saved_step(lane) for lane in lanes]
        keys = [(*lane.batch_key, lane.shape, start) for lane, start in zip(lanes, starts, strict=True)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self.order = sorted(
            range(len(lanes)), key=lambda at: (starts[at] - lanes[at].num_steps, numbers[keys[at]], at)
        )
        self.keys = [keys[at] for at in self.order]
        self.lanes = [lanes[at] for at in self.order]
        self.start = [starts[at] for at in self.order]
        self.left = [lane.num_steps - start for lane, start in zip(self.lanes, self.start, strict=True)]
        places: dict[tuple[object, ...], list[int]] = {}
        for place, lane in enumerate(self.lanes):
            places.setdefault(lane.shape, []).append(place)
        self.stacks = {shape: Stack(self.lanes, own, self.start) for shape, own in places.items()}
        self.losses_SH = torch.zeros(max(self.left, default=0), len(self.lanes))
        self.failed: dict[int, SurpassError] = {}
        self.before = [torch.zeros(start) for start in self.start]
        self.loss = {lane.loss: find_loss(lane.loss) for lane in self.lanes}
        self.labels = AllLabels(self.lanes)
        remembers = any(loss.memory for loss in self.loss.values())
        self.memory_NC = torch.zeros_like(self.labels.labels_NC) if remembers else None
        for place, lane in enumerate(self.lanes):
            self._resume(place, lane)
        self.groups = list(self._grouped())
        self.active = len(self.lanes)
        self.parts: dict[tuple[int, ...], list[Part]] = {}
        self.looks: dict[int, list[tuple[int, int]]] = {}
        for place, lane in enumerate(self.lanes):
            for number, after in enumerate(snapshot_steps(lane.num_steps, lane.running.snapshots), 1):
                self.looks.setdefault(after - self.start[place] - 1, []).append((place, number))

    def _grouped(self) -> Iterator[_Group]:
        for _, same in groupby(range(len(self.keys)), key=self.keys.__getitem__):
            first, *more = same
            lane, stack = self.lanes[first], self.stack_of(first)
            rows = batches(len(lane.rows_N), lane.recipe, lane.seed, self.start[first])
            product = stack.product(first, 1 + len(more), pairs=len(lane.known.shape) == 2)
            yield _Group(slice(first, first + 1 + len(more)), product, lane.known, lane.rows_N, rows)

    def stack_of(self, place: int) -> Stack:
        return self.stacks[self.lanes[place].shape]

    def fit(self) -> list[Trained | SurpassError]:
        """Train all of them; results in the order in which lanes were given."""
        saved, most = time.monotonic(), max(self.left, default=0)
        running = self.lanes[0].running
        for step in range(most):
            self._step(step)
            self._look(step)
            stop = running.stop()
            if stop or time.monotonic() - saved > running.checkpoint_seconds:
                self._save(step + 1)
                saved = time.monotonic()
            if stop:
                raise Stopped("stopped; run the same command again to go on from here")
            for lane in self.lanes:
                lane.running.report((step + 1) / most)
        done: list[Trained | SurpassError] = [self._result(place) for place in range(len(self.lanes))]
        return [done[self.order.index(place)] for place in range(len(done))]

    @torch.no_grad()
    def _step(self, step: int) -> None:
        while self.left[self.active - 1] <= step:
            self.active -= 1
        groups = [group for group in self.groups if group.part.start < self.active]
        rows = [next(group.batches) for group in groups]
        states = [group.known[group.rows_N[own]] for group, own in zip(groups, rows, strict=True)]
        for part in self._parts(tuple(map(len, rows))):
            taking_part = [(states[number], groups[number]) for number in part.groups]
            logits_PCN = torch.cat([group.product.scores(seen) for seen, group in taking_part])
            rows_GN = torch.from_numpy(np.stack([rows[number] for number in part.groups]))
            slopes_PCN = self._slopes(part, rows_GN, logits_PCN, step)
            for (seen, group), own in zip(taking_part, part.slices, strict=True):
                group.product.backward(seen, slopes_PCN[own])
        for stack in self.stacks.values():
            stack.update(self.active, step)

    def _parts(self, sizes: tuple[int, ...]) -> list[Part]:
        if sizes not in self.parts:
            self.parts[sizes] = parts_of(sizes, [group.part for group in self.groups], self.lanes, self.loss)
        return self.parts[sizes]

    def _slopes(self, part: Part, rows_GN: Tensor, logits_PCN: Tensor, step: int) -> Tensor:
        """The gradient of each head's mean loss by its logits, (P, C, N); the losses are noted."""
        label_PN = self.labels.offset_H[part.place_P][:, None] + rows_GN[part.group_P]
        target_PCN, weight_PN = self.labels.at(label_PN)
        share_PN = weight_PN / weight_PN.shape[1]
        logits_PNC, target_PNC = logits_PCN.transpose(1, 2), target_PCN.transpose(1, 2)
        of_examples: list[tuple[Tensor, tuple[Tensor, Tensor]]] = []
        for loss, at, places in part.same:
            if loss.text == PLAIN:
                continue
            memory_GNC = self.memory_NC[label_PN[at]] if loss.memory else None  # type: ignore[index]
            progress = [(self.start[place] + step) / self.lanes[place].num_steps for place in places]
            seeds = self._seeds(places, step) if is_outside(loss.text) else ()
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
            if memory_GNC is not None:
                self.memory_NC[label_PN[at]] = memory_GNC  # type: ignore[index]
        means_P, slopes_PNC = towards(logits_PNC, target_PNC, share_PN)
        slopes_PCN = slopes_PNC.transpose(1, 2)
        for at, (means_G, slopes_GNC) in of_examples:
            means_P[at] = means_G
            slopes_PCN.index_copy_(0, at, slopes_GNC.transpose(1, 2))
        self.losses_SH[step, part.place_P] = means_P
        return slopes_PCN

    def _seeds(self, places: list[int], step: int) -> list[int]:
        return [step_seed(self.lanes[place].seed, self.start[place] + step) for place in places]

    def _look(self, step: int) -> None:
        for place, number in self.looks.get(step, ()):
            self.lanes[place].look(number, self._head(place))

    def _head(self, place: int) -> HeadState:
        return self.stack_of(place).head(place)

    def _result(self, place: int) -> Trained | SurpassError:
        if place in self.failed:
            return self.failed[place]
        losses = self._losses(place, self.left[place])
        return self.lanes[place].diverged(losses) or Trained(self._head(place), losses)

    def _save(self, done: int) -> None:
        for place, lane in enumerate(self.lanes):
            if lane.running.checkpoint is not None:
                step = min(self.start[place] + done, lane.num_steps)
                state = self._state(place) | {"losses": self._losses(place, done)}
                write_state(lane.running.checkpoint, {"step": step, "optimizer": "adamw"}, state)

    def _state(self, place: int) -> dict[str, Tensor]:
        """All that a head needs to go on; tensors that share memory with the stack."""
        state = self.stack_of(place).state(place)
        if self.memory_NC is not None and self.loss[self.lanes[place].loss].memory:
            begin = int(self.labels.offset_H[place])
            state["memory"] = self.memory_NC[begin : begin + len(self.lanes[place].rows_N)]
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
