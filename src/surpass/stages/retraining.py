"""Stages that give a head on frozen states: what such stages share, and last-layer retraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from surpass.errors import ConfigError, DataError
from surpass.models.sources import resolve
from surpass.stages.base import TRUTH, Context, ExampleStage, LabelStage, ModelStage, Stage
from surpass.stages.examples import Hint
from surpass.stages.features import Features

_FLOPS_PER_STATE = 1e5


@dataclass(frozen=True, kw_only=True)
class StatesHead(ModelStage):
    """A linear head on states that nobody trains here.

    File: `model.safetensors` with the head alone, `head.weight` (C, D) and `head.bias` (C,); of pairs of
    texts, each of which has a reward, `head.weight` (1, D).

    Attributes:
        features: The states that it learns from.
        seed: Of whatever is random.
    """

    features: Features
    seed: int

    @property
    def model(self) -> str:  # type: ignore[override]
        """The pretrained model whose states these are, or whose weights became those of their model."""
        return self.features.model

    @property
    def examples(self) -> ExampleStage:
        """What it learns from."""
        return self.features.examples

    @property
    def follows(self) -> tuple[Stage, ...]:
        """The examples."""
        return (self.features.examples,)

    @property
    def features_source(self) -> ModelStage | str:
        """Whose states the head reads."""
        return self.features.source

    @property
    def cost(self) -> float:
        """Small, beside that of the states."""
        return _FLOPS_PER_STATE * (self.examples.size or 10_000)

    def sees(self, examples: ExampleStage) -> ExampleStage:
        """Examples in the form that the model below the head learned from."""
        source = self.features.source
        return source.sees(examples) if isinstance(source, ModelStage) else examples

    def load_into(self, model: Any, context: Context) -> None:
        """Make of the pretrained model the one below the head, with this head, in place."""
        from safetensors.torch import load_file

        if isinstance(self.features.source, ModelStage):
            self.features.source.load_into(model, context)
        head = load_file(context.find(self).file("model.safetensors"))
        if strange := model.load_state_dict(head, strict=False).unexpected_keys:
            raise DataError(f"{self.model} has no {strange[0]}, so that {self.label} is no head of it")


def truth_behind(examples: ExampleStage) -> Stage:
    """The examples whose truth is seen, whatever is shown beside them."""
    return examples.examples if isinstance(examples, Hint) else examples


@dataclass(frozen=True, kw_only=True)
class Retrain(StatesHead):
    """Last-layer retraining: a logistic regression on balanced groups of examples that were held out.

    Files: `model.safetensors` as in `StatesHead`, and `tuning.parquet` with the accuracy in the worst group
    (`worst_group`) for each inverse `strength` of the penalty.

    Groups are those of label and attribute; where examples have no attribute, those of the label. What is
    fitted, and how, is said in `train.retrain`.

    Attributes:
        labels: What it learns, and balances by; the truth by name.
        num_subsets: Over how many balanced subsets the head is averaged.

    Raises:
        ConfigError: The number is out of its range.

    Source:
        Kirichenko et al. 2022, "Last layer re-training is sufficient for robustness to spurious
        correlations".
    """

    kind: ClassVar[str] = "retrain"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.train.retrain"
    work: ClassVar[str] = "optimizer"

    labels: LabelStage | Literal["truth"]
    num_subsets: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.num_subsets <= 1000:
            raise ConfigError(f"num_subsets={self.num_subsets} must be from 1 to 1000")

    @property
    def teacher(self) -> str:
        """Whom it learned from."""
        return TRUTH if isinstance(self.labels, str) else self.labels.teacher

    @property
    def label(self) -> str:
        """Whose last layer is retrained, and on whose labels."""
        teacher = self.teacher if self.teacher == TRUTH else f"from-{self.teacher}"
        source = self.features.source
        name = source.label if isinstance(source, ModelStage) else resolve(source).short_name
        return f"{name}-retrained-{teacher}-s{self.seed}"

    @property
    def truth_of(self) -> Stage | None:
        """The examples, if it learns the truth."""
        return truth_behind(self.examples) if isinstance(self.labels, str) else None

    def run(self, context: Context) -> dict[str, Any]:
        """Fit the head."""
        from surpass.train.retrain import run_retrain

        return run_retrain(self, context)
