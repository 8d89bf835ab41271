"""The average of weights over the steps of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from surpass.train.mesh_state import placed


class Average:
    """Exponential moving average of some parameters, kept beside them.

    In the first steps the decay is (1 + step) / (10 + step) where that is less, so that the initial
    weights do not linger.

    Source:
        Burns et al. 2023, appendix B (EMA; decay not stated).
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.parameters = parameters
        self.decay = decay
        self.mean = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, the first of which is 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for mean, parameter in zip(self.mean, self.parameters, strict=True):
            mean.lerp_(parameter, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the parameters be the average for a while; then they are to the bit what they were."""
        before = [parameter.detach().clone() for parameter in self.parameters]
        self.apply()
        yield
        with torch.no_grad():
            for parameter, value in zip(self.parameters, before, strict=True):
                parameter.copy_(value)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average in place of the weights."""
        for mean, parameter in zip(self.mean, self.parameters, strict=True):
            parameter.copy_(mean)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {f"ema.{place}": mean for place, mean in enumerate(self.mean)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what a checkpoint kept."""
        for place, mean in enumerate(self.mean):
            mean.copy_(placed(state[f"ema.{place}"], mean))
