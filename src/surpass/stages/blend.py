"""The stage that averages the weights of models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from surpass.errors import ConfigError
from surpass.identity import execution_field
from surpass.models.sources import resolve
from surpass.stages.base import Context, ExampleStage, ModelStage, Stage
from surpass.stages.features import Features
from surpass.stages.models import Stop


@dataclass(frozen=True, kw_only=True)
class Blend(ModelStage):
    """A weighted mean of the weights of models of one shape, such as before and after fine-tuning.

    File: `model.safetensors`; of heads on frozen states the head alone.

    Attributes:
        model: The pretrained model.
        examples: Some that the models can read.
        fits: What it became.
        weights: Of the pretrained model, then of each fit; they sum to 1.

    Source:
        Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT).
    """

    kind: ClassVar[str] = "blend"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.train.average"
    work: ClassVar[str] = "optimizer"

    model: str = execution_field()
    examples: ExampleStage
    fits: tuple[ModelStage, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.fits) + 1 or abs(sum(self.weights) - 1) > 1e-9:
            raise ConfigError(
                f"weights={self.weights} must be {len(self.fits) + 1} numbers that sum to 1: "
                "of the pretrained model, then of each fit"
            )

    @property
    def seed(self) -> int:
        """That of the first fit."""
        first = self.fits[0]
        return int(getattr(first.fit if isinstance(first, Stop) else first, "seed", 0))

    @property
    def teacher(self) -> str:
        """Whom it learned from."""
        return self.fits[0].teacher

    @property
    def label(self) -> str:
        """What is averaged."""
        return f"{self.fits[0].label}-blend-{'-'.join(f'{weight:g}' for weight in self.weights)}"

    def outside(self) -> dict[str, str]:
        """The pretrained weights."""
        return {"model": resolve(self.model).digest}

    @property
    def features_source(self) -> ModelStage | str | None:
        """That of its fits, if all are heads on the same states of the pretrained model."""
        sources = {fit.features_source for fit in self.fits}
        return self.model if sources == {self.model} else None

    @cached_property
    def features(self) -> Features | None:
        """The states of the examples, which know the head that the pretrained model has of its own."""
        return None if self.features_source is None else Features(source=self.model, examples=self.examples)

    @property
    def follows(self) -> tuple[Stage, ...]:
        """Those states."""
        return () if self.features is None else (self.features,)

    @property
    def revision(self) -> int:
        """As that of fits of heads."""
        return self.version + (self.features is not None)

    def load_into(self, model: Any, context: Context) -> None:
        """Make of the pretrained model what the average is, in place."""
        from surpass.train.run import load_fitted

        first = self.fits[0].fit if isinstance(self.fits[0], Stop) else self.fits[0]
        adapter = getattr(first, "adapter", "frozen")
        load_fitted(model, adapter, context.find(self).file("model.safetensors"))

    def sees(self, examples: ExampleStage) -> ExampleStage:
        """Examples in the form that its first fit learned from."""
        return self.fits[0].sees(examples)

    def run(self, context: Context) -> dict[str, Any]:
        """Average."""
        from surpass.train.average import run_blend

        return run_blend(self, context)
