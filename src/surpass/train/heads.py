"""Many heads at once: all that are trained on frozen states of one width take each step together.

Heads of one model on equal batches are one matrix product, whatever their labels and losses; all heads share
one optimizer step. Each keeps its own batches, schedule and end, so that it comes out as if trained alone.

Shape suffixes: H heads, G heads on one batch, N examples of a batch, C outputs, S steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from surpass.calls import is_outside
from surpass.errors import Stopped, SurpassError
from surpass.losses import find_loss
from surpass.train.adam import Adam, Averages
from surpass.train.checkpoint import read_state, write_state
from surpass.train.features import Known, Rows
from surpass.train.full_batch import fit_full_batch
from surpass.train.lanes import AllLabels, Lane, Trained, saved_step
from surpass.train.linear import HeadState, backward, scores
from surpass.train.loop import batches, snapshot_steps, step_seed
from surpass.train.many_losses import Batch, many_losses


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
        kinds.setdefault((lane.recipe.optimizer, *lane.shape), []).append(place)
    for (optimizer, *_), places in kinds.items():
        same = [lanes[place] for place in places]
        found: Sequence[Trained | SurpassError]
        found = fit_full_batch(same) if optimizer == "lbfgs" else _Stack(same).fit()
        results |= zip(places, found, strict=True)
    return [results[place] for place in range(len(lanes))]


class _Group(NamedTuple):
    """Heads that see the same batches: a slice of the stack."""

    part: slice
    known: Known
    rows_N: Rows
    batches: Iterator[Rows]


class _Stack:
    """Heads of one shape, those with the most steps to go first, so that those still at work are in front."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        starts = [saved_step(lane) for lane in lanes]
        known = {key: number for number, key in enumerate(dict.fromkeys(lane.batch_key for lane in lanes))}
        self.order = sorted(
            range(len(lanes)),
            key=lambda at: (starts[at] - lanes[at].num_steps, known[lanes[at].batch_key], starts[at], at),
        )
        self.lanes = [lanes[at] for at in self.order]
        self.start = [starts[at] for at in self.order]
        self.left = [lane.num_steps - start for lane, start in zip(self.lanes, self.start, strict=True)]
        self.names = list(self.lanes[0].head)
        self.biased = "head.bias" in self.names
        self.parameters = [torch.stack([lane.head[name] for lane in self.lanes]) for name in self.names]
        self.adam = Adam(self.parameters, self.lanes, self.start)
        self.averages = Averages(self.parameters, self.lanes, self.start)
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
        self.looks: dict[int, list[tuple[int, int]]] = {}
        for place, lane in enumerate(self.lanes):
            for number, after in enumerate(snapshot_steps(lane.num_steps, lane.running.snapshots), 1):
                self.looks.setdefault(after - self.start[place] - 1, []).append((place, number))

    def _grouped(self) -> Iterator[_Group]:
        keys = [(lane.batch_key, start) for lane, start in zip(self.lanes, self.start, strict=True)]
        for _, same in groupby(range(len(keys)), key=keys.__getitem__):
            members = list(same)
            lane, start = self.lanes[members[0]], self.start[members[0]]
            rows = batches(len(lane.rows_N), lane.recipe, lane.seed, start)
            yield _Group(slice(members[0], members[-1] + 1), lane.known, lane.rows_N, rows)

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
        active = sum(left > step for left in self.left)
        groups = [group for group in self.groups if group.part.start < active]
        gradients = [torch.empty_like(value[:active]) for value in self.parameters]
        by_size: dict[int, list[tuple[_Group, Tensor, Rows, Tensor]]] = {}
        for group in groups:
            rows = next(group.batches)
            states = group.known[group.rows_N[rows]]
            logits_GNC = scores(states, self._of(group, self.parameters), self.biased)
            by_size.setdefault(len(rows), []).append((group, states, rows, logits_GNC))
        for entries in by_size.values():
            parts = [group.part for group, _, _, _ in entries]
            places = [place for part in parts for place in range(part.start, part.stop)]
            rows_HN = torch.cat([torch.from_numpy(rows).expand(len(own), -1) for _, _, rows, own in entries])
            slopes_HNC = self._slopes(places, rows_HN, torch.cat([own for *_, own in entries]), step)
            slopes = torch.split(slopes_HNC, [part.stop - part.start for part in parts])
            for (group, states, _, _), slopes_GNC in zip(entries, slopes, strict=True):
                given = backward(states, self._of(group, self.parameters), slopes_GNC, self.biased)
                for gradient, value in zip(gradients, given, strict=True):
                    gradient[group.part] = value
        self.adam.update(gradients, active, step)
        self.averages.update(active, step)

    @staticmethod
    def _of(group: _Group, values: Sequence[Tensor]) -> list[Tensor]:
        return [value[group.part] for value in values]

    def _slopes(self, places: list[int], rows_HN: Tensor, logits_HNC: Tensor, step: int) -> Tensor:
        """The gradient of each head's mean loss by its logits, (H, N, C); the losses are noted."""
        place_H = torch.tensor(places)
        label_HN = self.labels.offset_H[place_H][:, None] + rows_HN
        progress = [(self.start[place] + step) / self.lanes[place].num_steps for place in places]
        slopes_HNC = torch.empty_like(logits_HNC)
        by_loss: dict[str, list[int]] = {}
        for at, place in enumerate(places):
            by_loss.setdefault(self.lanes[place].loss, []).append(at)
        for text, ats in by_loss.items():
            at_G = slice(None) if len(by_loss) == 1 else torch.tensor(ats)
            label_GN = label_HN[at_G]
            batch = Batch(
                logits_HNC[at_G],
                self.labels.labels_NC[label_GN],
                self.labels.weight_N[label_GN],
                [progress[at] for at in ats],
                None if self.memory_NC is None else self.memory_NC[label_GN],
                self._seeds(ats, places, step) if is_outside(text) else (),
            )
            try:
                means_G, slopes_HNC[at_G] = many_losses(self.loss[text], batch)
            except SurpassError as error:
                self.failed |= {places[at]: error for at in ats}
                means_G, slopes_HNC[at_G] = torch.full((len(ats),), torch.nan), 0.0
            if batch.memory_GNC is not None and self.loss[text].memory:
                self.memory_NC[label_GN] = batch.memory_GNC  # type: ignore[index]
            self.losses_SH[step, place_H[at_G]] = means_G
        return slopes_HNC

    def _seeds(self, ats: list[int], places: list[int], step: int) -> list[int]:
        return [step_seed(self.lanes[places[at]].seed, self.start[places[at]] + step) for at in ats]

    def _look(self, step: int) -> None:
        for place, number in self.looks.get(step, ()):
            self.lanes[place].look(number, self._head(place))

    def _head(self, place: int) -> HeadState:
        values = self.averages.mean if self.lanes[place].ema else self.parameters
        return {name: value[place].clone() for name, value in zip(self.names, values, strict=True)}

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
        stacks = {
            "value": self.parameters,
            "first": self.adam.first,
            "second": self.adam.second,
            "mean": self.averages.mean,
        }
        state = {
            f"{what}.{name}": values[place]
            for what, stack in stacks.items()
            for name, values in zip(self.names, stack, strict=True)
        }
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
