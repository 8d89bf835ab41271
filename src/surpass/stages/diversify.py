"""Diversify and disambiguate: heads that explain the same labels and differ elsewhere; one is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from surpass.errors import ConfigError
from surpass.models.sources import resolve
from surpass.stages.base import Context, LabelStage, Stage
from surpass.stages.features import Features
from surpass.stages.retraining import StatesHead, truth_behind
from surpass.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Diversify(StatesHead):
    """Several heads learn the same labels and are told apart by other examples, whose labels they do not see.

    Files: `model.safetensors` with the head that is kept, as in `StatesHead`; `heads.safetensors` with
    all of them, `weight` (H, C, D) and `bias` (H, C), of pairs `weight` (H, 1, D) alone;
    `curve.parquet` with the loss of each step in nats;
    `judged.parquet` with the `accuracy` of each head by the judge.

    The loss of a step is the sum over heads of the cross-entropy on a batch of labelled examples, plus
    `mutual` times the mean over pairs of heads of the mutual information of their predictions on a
    batch of target examples, plus `prior` times the sum over heads of KL(mean prediction on that batch ||
    share of each class among the labels).

    Of the target examples those on which heads differ most (mean over pairs of the L1 distance of
    their probabilities) are labelled by the judge; the head that agrees with most of these labels is kept.

    Attributes:
        labels: What the heads learn.
        target: States of other examples, from the same source.
        judge: Labels of those; the truth by name.
        recipe: Settings of the training.
        num_heads: H.
        mutual: Weight of the mutual information.
        prior: Weight of the divergence from the share of each class.
        queries: How many target examples the judge labels at most.

    Raises:
        ConfigError: A number is out of its range, the states are not of one model, or the recipe's optimizer
            takes no batches.

    Source:
        Lee et al. 2022, "Diversify and disambiguate: learning from underspecified data".
    """

    kind: ClassVar[str] = "diversify"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.train.diversify"

    labels: LabelStage
    target: Features
    judge: LabelStage | Literal["truth"]
    recipe: Recipe
    num_heads: int = 2
    mutual: float = 10.0
    prior: float = 10.0
    queries: int = 64

    def __post_init__(self) -> None:
        for name, most in (("num_heads", 64), ("queries", 100_000)):
            least, value = (2 if name == "num_heads" else 1), getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise ConfigError(f"{name}={value!r} must be a whole number from {least} to {most}")
        for name in ("mutual", "prior"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name}={getattr(self, name)!r} must be at least 0 and finite")
        if self.recipe.optimizer != "adamw":
            raise ConfigError(f"optimizer={self.recipe.optimizer} cannot train diverse heads; use adamw")
        if self.target.source != self.features.source:
            raise ConfigError(
                f"labelled and target examples need states of one model; these are {self.features.label} "
                f"and {self.target.label}"
            )

    @property
    def follows(self) -> tuple[Stage, ...]:
        """Both kinds of examples."""
        return (self.features.examples, self.target.examples)

    @property
    def teacher(self) -> str:
        """Whom it learned from."""
        return self.labels.teacher

    @property
    def label(self) -> str:
        """Whose heads, how many, and whom they learned from."""
        name = resolve(self.model).short_name
        return f"{name}-{self.num_heads}-heads-from-{self.teacher}-s{self.seed}"

    @property
    def truth_of(self) -> Stage | None:
        """The target examples, if the truth is the judge."""
        return truth_behind(self.target.examples) if isinstance(self.judge, str) else None

    def run(self, context: Context) -> dict[str, Any]:
        """Train the heads, and keep one."""
        from surpass.train.diversify import run_diversify

        return run_diversify(self, context)
