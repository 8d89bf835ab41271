"""AdamW and moving averages for many heads at once, each with its own rate and number of steps.

Shape suffixes: H heads, A those that want an average.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surpass.train.lanes import Lane

Floats = npt.NDArray[np.float64]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""As torch has them by default."""


class Adam:
    """The optimizer of stacked heads, those with the most steps to go first.

    Args:
        parameters: Tensors (H, ...), changed in place.
        lanes: The heads.
        start: How many steps each has behind it.

    Source:
        Loshchilov and Hutter 2019 (AdamW).
    """

    def __init__(self, parameters: list[Tensor], lanes: Sequence[Lane], start: Sequence[int]) -> None:
        self.parameters = parameters
        self.first = [torch.zeros_like(value) for value in parameters]
        self.second = [torch.zeros_like(value) for value in parameters]
        self._start_H = np.array(start, np.float64)
        self._decay_H = np.array([lane.recipe.weight_decay for lane in lanes])
        keys = [(lane.recipe, lane.num_steps, begun) for lane, begun in zip(lanes, start, strict=True)]
        self._schedules = list(dict.fromkeys(keys))
        self._schedule_H = np.array([self._schedules.index(key) for key in keys])

    def update(self, gradients: list[Tensor], active: int, step: int) -> None:
        """Step `step` of this run, from 0, for the first `active` heads."""
        rates = [recipe.rate(start + step, num_steps) for recipe, num_steps, start in self._schedules]
        rate_H: Floats = np.array(rates)[self._schedule_H[:active]]
        steps_H = self._start_H[:active] + (step + 1)
        decay_H = 1 - rate_H * self._decay_H[:active]
        size_H = rate_H / (1 - BETA_1**steps_H)
        root_H = np.sqrt(1 - BETA_2**steps_H)
        stacks = zip(gradients, self.parameters, self.first, self.second, strict=True)
        for gradient, value, first, second in stacks:
            first[:active].lerp_(gradient, 1 - BETA_1)
            second[:active].mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
            bound = second[:active].sqrt().div_(_of_each(root_H, value)).add_(EPSILON)
            if self._decay_H.any():
                value[:active].mul_(_of_each(decay_H, value))
            change = torch.div(first[:active], bound, out=bound)
            value[:active].sub_(change.mul_(_of_each(size_H, value)))


class Averages:
    """The moving averages of those heads that want one; see `weights.Average`."""

    def __init__(self, parameters: list[Tensor], lanes: Sequence[Lane], start: Sequence[int]) -> None:
        self._parameters, self._lanes, self._start = parameters, lanes, start
        self.mean = [value.clone() for value in parameters]
        self._wanted = torch.tensor([at for at, lane in enumerate(lanes) if lane.ema], dtype=torch.long)

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
