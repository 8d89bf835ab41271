"""AdamW and moving averages for many heads at once, each with its own rate and number of steps.

Shape suffixes: H heads, A those that want an average.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surpass.train.adamw import fused_step
from surpass.train.lanes import Lane
from surpass.train.recipe import Recipe

Floats = npt.NDArray[np.float64]


class _Schedule(NamedTuple):
    """What decides on the rate of a head."""

    recipe: Recipe
    num_steps: int
    start: int


class _Alike(NamedTuple):
    """Heads side by side that have one schedule: parts of the stacks, one for each kind of parameter."""

    first: int
    schedule: _Schedule
    parameters: list[Tensor]
    gradients: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]


class Adam:
    """The optimizer of stacked heads, those with the most steps to go first.

    Args:
        parameters: Tensors (H, ...), changed in place.
        gradients: Where their gradients will be when `update` is called.
        lanes: The heads.
        start: How many steps each has behind it.

    Source:
        Loshchilov and Hutter 2019 (AdamW).
    """

    def __init__(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        lanes: Sequence[Lane],
        start: Sequence[int],
    ) -> None:
        self.first = [torch.zeros_like(value) for value in parameters]
        self.second = [torch.zeros_like(value) for value in parameters]
        schedules = [
            _Schedule(lane.recipe, lane.num_steps, done) for lane, done in zip(lanes, start, strict=True)
        ]
        self._alike = []
        counts = {schedule: torch.tensor(float(schedule.start)) for schedule in schedules}
        for schedule, heads in groupby(range(len(lanes)), key=schedules.__getitem__):
            first, *more = heads
            own = slice(first, first + 1 + len(more))
            self._alike.append(
                _Alike(
                    first,
                    schedule,
                    parameters=[value[own] for value in parameters],
                    gradients=[value[own] for value in gradients],
                    means=[value[own] for value in self.first],
                    squares=[value[own] for value in self.second],
                    steps=[counts[schedule]] * len(parameters),
                )
            )

    def update(self, active: int, step: int) -> None:
        """Step `step` of this run, from 0, for the first `active` heads; of one schedule all or none."""
        calls: dict[_Schedule, list[_Alike]] = {}
        for alike in self._alike:
            if alike.first < active:
                calls.setdefault(alike.schedule, []).append(alike)
        for (recipe, num_steps, start), found in calls.items():
            fused_step(
                [value for alike in found for value in alike.parameters],
                [value for alike in found for value in alike.gradients],
                [value for alike in found for value in alike.means],
                [value for alike in found for value in alike.squares],
                [value for alike in found for value in alike.steps],
                lr=recipe.rate(start + step, num_steps),
                weight_decay=recipe.weight_decay,
            )


class Averages:
    """The moving averages of those heads that want one; see `weights.Average`."""

    def __init__(self, parameters: list[Tensor], lanes: Sequence[Lane], start: Sequence[int]) -> None:
        self._parameters, self._lanes, self._start = parameters, lanes, start
        self._wanted = torch.tensor([at for at, lane in enumerate(lanes) if lane.ema], dtype=torch.long)
        self.mean = [value.clone() for value in parameters] if len(self._wanted) else parameters

    def update(self, active: int, step: int) -> None:
        """Take in the weights after a step."""
        at_A = self._wanted[self._wanted < active]
        if not len(at_A):
            return
        done = [(self._lanes[at].ema, self._start[at] + step) for at in at_A.tolist()]
        share_A = np.array([1 - min(decay, (1 + steps) / (10 + steps)) for decay, steps in done])
        for mean, value in zip(self.mean, self._parameters, strict=True):
            mean[at_A] = torch.lerp(mean[at_A], value[at_A], _of_each(share_A, value))


def _of_each(values_H: Floats, like: Tensor) -> Tensor:
    """A number for each head in the shape of its parameters."""
    return torch.from_numpy(values_H).to(like.dtype).view(-1, *([1] * (like.dim() - 1)))
