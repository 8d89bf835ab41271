"""How a model is fine-tuned: the settings that are the same for weak, student and ceiling."""

from __future__ import annotations

import math
from dataclasses import dataclass

from surpass.errors import ConfigError
from surpass.identity import identity_field

SCHEDULES = ("constant", "linear", "cosine")
OPTIMIZERS = ("adamw", "lbfgs")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of one fine-tuning.

    Attributes:
        epochs: Passes over the examples, each in a new order.
        batch_size: Examples per optimizer step; the last batch of an epoch may be smaller.
        learning_rate: Peak of AdamW's learning rate.
        schedule: Course of the learning rate after warm-up: constant, linear or cosine to zero.
        warmup_frac: Share of all steps over which the rate rises linearly, in [0, 1].
        weight_decay: Decoupled weight decay; of L-BFGS twice the penalty on squared weights, not on biases.
        optimizer: "adamw", or "lbfgs" for heads on frozen states: full batches to the minimum of the loss,
            with at most `epochs` iterations; batch size, learning rate and schedule then have no part.

    Raises:
        ConfigError: A value makes no sense.
    """

    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: str = "linear"
    warmup_frac: float = 0.05
    weight_decay: float = 0.0
    optimizer: str = identity_field("adamw", since_default=True)

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"no schedule {self.schedule!r}; choose from {', '.join(SCHEDULES)}")
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(f"no optimizer {self.optimizer!r}; choose from {', '.join(OPTIMIZERS)}")
        for name, low, high in (("epochs", 1, 10_000), ("batch_size", 1, 1 << 20)):
            value = getattr(self, name)
            if not (isinstance(value, int) and low <= value <= high):
                raise ConfigError(f"{name}={value!r} must be a whole number from {low} to {high}")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate={self.learning_rate!r} must be above 0 and finite")
        if not 0 <= self.warmup_frac <= 1:
            raise ConfigError(f"warmup_frac={self.warmup_frac!r} must be in [0, 1]")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay={self.weight_decay!r} must be at least 0 and finite")

    def num_steps(self, num_examples: int) -> int:
        """Optimizer steps for this many examples; of L-BFGS the most there can be."""
        if self.optimizer == "lbfgs":
            return self.epochs
        return self.epochs * math.ceil(num_examples / self.batch_size)

    def rate(self, step: int, num_steps: int) -> float:
        """Learning rate of a step, 0 <= step < num_steps."""
        warmup = self.warmup_frac * num_steps
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        left = (num_steps - step) / max(num_steps - warmup, 1.0)
        if self.schedule == "linear":
            return self.learning_rate * min(left, 1.0)
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 - math.cos(math.pi * min(left, 1.0)))
        return self.learning_rate
