"""Many completions of each prompt, drawn from a language model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from surpass.errors import ConfigError
from surpass.identity import execution_field
from surpass.models.sources import resolve
from surpass.stages.base import Context, ExampleStage, ModelStage, Stage, completes


@dataclass(frozen=True, kw_only=True)
class Sample(Stage):
    """Completions drawn from a language model, several of each prompt.

    File: `samples.parquet` with columns `id` string (of the example), `sample` int32 (from 0), `text` string
    (the completion without its end token), `num_tokens` int32 (with it) and `ended` bool (whether it ended by
    itself, not by its length); those of an example side by side, in the order of the examples.

    A sample is decided by the model, the prompt's id, its number and the seed: the first 10 of 100 are those
    of 10, but for rounding. An interrupted stage goes on behind the examples that it has finished.

    Attributes:
        source: A stage that gives a language model, or the name of a pretrained one. Behind a `Prompt`, it is
            shown examples first.
        examples: The prompts, of a task of completions.
        num_samples: How many of each.
        temperature: Logits are divided by it; 0 takes the most probable token each time.
        seed: Another seed is another independent sample.
        examples_per_shard: After how many examples work is saved.

    Raises:
        ConfigError: A number is out of its range, or the examples have no prompts to be completed.
    """

    kind: ClassVar[str] = "sample"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.world.drawing"
    work: ClassVar[str] = "forward"

    source: ModelStage | str
    examples: ExampleStage
    num_samples: int
    temperature: float = 1.0
    seed: int
    examples_per_shard: int = execution_field(100)

    def __post_init__(self) -> None:
        if self.num_samples < 1 or self.examples_per_shard < 1:
            raise ConfigError(
                f"num_samples={self.num_samples} and examples_per_shard={self.examples_per_shard} must be at "
                "least 1"
            )
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"temperature={self.temperature!r} must be a number of at least 0")
        if not completes(self.examples):
            raise ConfigError(
                f"{self.examples.label} has candidates to choose among; samples are drawn for prompts, "
                "such as those of WorldTask or GenerationTask"
            )

    @property
    def model(self) -> str:
        """The pretrained model behind it."""
        return self.source.model if isinstance(self.source, ModelStage) else self.source

    @cached_property
    def label(self) -> str:
        """Who draws how many of what."""
        source = self.source
        name = source.label if isinstance(source, ModelStage) else resolve(source).short_name
        warm = "" if self.temperature == 1 else f"-t{self.temperature:g}"
        return f"{name}-{self.num_samples}-of-{self.examples.label}{warm}-s{self.seed}"

    @property
    def cost(self) -> float:
        """A forward pass for each sample."""
        return resolve(self.model).flops * (self.examples.size or 10_000) * self.num_samples

    def outside(self) -> dict[str, str]:
        """The weights of a pretrained source."""
        return {} if isinstance(self.source, ModelStage) else {"model": resolve(self.source).digest}

    def run(self, context: Context) -> dict[str, Any]:
        """Draw."""
        from surpass.world.drawing import run_sample

        return run_sample(self, context)
