"""Heads of one shape: each of their parameters as one tensor, and what changes it.

Shape suffixes: H heads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import torch
from torch import Tensor

from surpass.train.adam import Adam, Averages
from surpass.train.lanes import Lane
from surpass.train.linear import HeadState, Product


class Stack:
    """Heads of one shape, in the order in which they come among all.

    Attributes:
        places: Where each of them is among all heads, ascending.
    """

    def __init__(self, lanes: Sequence[Lane], places: Sequence[int], start: Sequence[int]) -> None:
        self.places = list(places)
        self._lanes = [lanes[place] for place in places]
        self._names = list(self._lanes[0].head)
        self._parameters = [torch.stack([lane.head[name] for lane in self._lanes]) for name in self._names]
        self._gradients = [torch.empty_like(value) for value in self._parameters]
        begun = [start[place] for place in places]
        self._adam = Adam(self._parameters, self._gradients, self._lanes, begun)
        self._averages = Averages(self._parameters, self._lanes, begun)

    def product(self, first: int, count: int, *, num_batches: int, pairs: bool) -> Product:
        """So many heads from this one on, on so many batches a step; `update` takes their gradients in."""
        own = slice(at := self.places.index(first), at + count)
        values, gradients = ([value[own] for value in of] for of in (self._parameters, self._gradients))
        biased = "head.bias" in self._names
        return Product(values, gradients, num_batches=num_batches, biased=biased, pairs=pairs)

    def update(self, active: int, step: int) -> None:
        """Step `step` of this run, from 0, for its heads among the first `active` of all."""
        own = bisect_left(self.places, active)
        if own:
            self._adam.update(own, step)
            self._averages.update(own, step)

    def head(self, place: int) -> HeadState:
        """What a head is now."""
        at = self.places.index(place)
        values = self._averages.mean if self._lanes[at].ema else self._parameters
        return {name: value[at].clone() for name, value in zip(self._names, values, strict=True)}

    def state(self, place: int) -> dict[str, Tensor]:
        """All that a head needs to go on; tensors that share memory with the stack."""
        at = self.places.index(place)
        stacks = {
            "value": self._parameters,
            "first": self._adam.first,
            "second": self._adam.second,
        }
        if self._averages.mean is not self._parameters:
            stacks["mean"] = self._averages.mean
        return {
            f"{what}.{name}": values[at]
            for what, stack in stacks.items()
            for name, values in zip(self._names, stack, strict=True)
        }
