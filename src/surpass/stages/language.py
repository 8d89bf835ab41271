"""Stages of language models: examples shown in the prompt, and generative fine-tuning."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from surpass.errors import ConfigError
from surpass.identity import execution_field
from surpass.models.sources import resolve
from surpass.stages.base import TRUTH, Context, ExampleStage, LabelStage, ModelStage, Stage
from surpass.stages.examples import Examples
from surpass.train.recipe import Recipe

_BACKWARD = 3.0
MAX_SHOTS = 1000


@dataclass(frozen=True, kw_only=True)
class Prompt(ModelStage):
    """A pretrained language model that is shown examples with their answers before every text.

    File: `prompt.json` with the text (`prefix`), and the `ids` and `answers` of the examples in their order.
    There are no weights.

    Classes take turns, in an order that the seed decides, each giving the example whose id's hash comes
    next; one that has no more is passed over. So are classes balanced as far as the labels allow.
    The order of the examples in the prompt is another hash of their ids.

    Attributes:
        model: The pretrained model.
        examples: Among which the shots are chosen.
        labels: Their answers, of which the most probable is shown; the truth by name.
        num_shots: How many.
        seed: Chooses which, and their order.

    Raises:
        ConfigError: The number is out of its range.

    Source:
        Burns et al. 2023, section 5.2.1. How they choose their five examples is not said.
    """

    kind: ClassVar[str] = "prompt"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.train.language"
    work: ClassVar[str] = "data"
    has_weights: ClassVar[bool] = False

    model: str = execution_field()
    examples: Examples
    labels: LabelStage | Literal["truth"]
    num_shots: int = 5
    seed: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_shots <= MAX_SHOTS:
            raise ConfigError(
                f"num_shots={self.num_shots} must be from 1 to {MAX_SHOTS}; zero_shot shows none"
            )

    @property
    def teacher(self) -> str:
        """Whose answers it is shown."""
        return TRUTH if isinstance(self.labels, str) else self.labels.teacher

    @property
    def label(self) -> str:
        """Model, how many examples, whose answers, seed."""
        shown = self.teacher if self.teacher == TRUTH else f"from-{self.teacher}"
        return f"{resolve(self.model).short_name}-{self.num_shots}-shots-{shown}-s{self.seed}"

    @property
    def truth_of(self) -> Stage | None:
        """The examples, if their truth is shown."""
        return self.examples if isinstance(self.labels, str) else None

    def outside(self) -> dict[str, str]:
        """The pretrained model, whose tokenizer decides how answers are written."""
        return {"model": resolve(self.model).digest}

    def load_into(self, model: Any, context: Context) -> None:
        """Put the examples before every text."""
        model.prefix = json.loads(context.find(self).file("prompt.json").read_text())["prefix"]

    def run(self, context: Context) -> dict[str, Any]:
        """Choose and write."""
        from surpass.train.language import run_prompt

        return run_prompt(self, context)


def _once() -> Recipe:
    return Recipe(epochs=1, learning_rate=1e-5)


@dataclass(frozen=True, kw_only=True)
class Adapt(ModelStage):
    """Generative fine-tuning: a pretrained language model goes on to predict texts, with no label at all.

    Files: `model.safetensors`, in which the head is the unembedding of the answers as it has become, and
    `curve.parquet` with the loss of each step in nats per token.

    Every token but the first of a text is predicted; a step's loss is the mean over all of its batch.

    Attributes:
        model: The pretrained model.
        examples: Whose texts.
        recipe: Settings of the training; one pass by default.
        seed: Order of the examples.

    Source:
        Burns et al. 2023, section 5.2.2. Settings are not stated there.
    """

    kind: ClassVar[str] = "adapt"
    version: ClassVar[int] = 2
    runs_in: ClassVar[str] = "surpass.train.language"

    model: str = execution_field()
    examples: ExampleStage
    recipe: Recipe = field(default_factory=_once)
    seed: int

    def __post_init__(self) -> None:
        if self.recipe.optimizer != "adamw":
            raise ConfigError(f"{self.recipe.optimizer} is for heads on frozen states; texts need adamw")

    @property
    def teacher(self) -> str:
        """Nobody; the texts themselves."""
        return "texts"

    @property
    def label(self) -> str:
        """Model and seed."""
        return f"{resolve(self.model).short_name}-texts-s{self.seed}"

    @property
    def cost(self) -> float:
        """Forward and backward passes."""
        passes = self.recipe.epochs * (self.examples.size or 10_000)
        return _BACKWARD * resolve(self.model).flops * passes

    def outside(self) -> dict[str, str]:
        """The pretrained weights."""
        return {"model": resolve(self.model).digest}

    def run(self, context: Context) -> dict[str, Any]:
        """Fine-tune."""
        from surpass.train.language import run_adapt

        return run_adapt(self, context)
