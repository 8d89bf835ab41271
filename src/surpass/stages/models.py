"""Stages that give a model: fine-tuning, and choosing among its snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from surpass.calls import code_digest, parse
from surpass.errors import ConfigError
from surpass.identity import execution_field, identity_field
from surpass.losses import find_loss
from surpass.models.adapters import find_adapter
from surpass.models.sources import resolve
from surpass.stages.base import TRUTH, Context, ExampleStage, LabelStage, ModelStage, Stage, completes, only
from surpass.stages.examples import Examples, Hint
from surpass.stages.features import GIVE_STATES, Features
from surpass.train.recipe import Recipe

_BACKWARD = 3.0


@dataclass(frozen=True, kw_only=True)
class Fit(ModelStage):
    """A pretrained model fine-tuned on labels, or, by name, on the truth.

    Files: `model.safetensors` with all weights or, where an adapter trains some, with those, and
    `curve.parquet` with the loss of each step in nats.

    Attributes:
        model: The pretrained model.
        examples: What it sees.
        labels: What it learns; where they have no label for an example, it is left out.
        loss: A name in `LOSSES`, with its settings.
        recipe: Settings of the training.
        seed: Order of the examples, and whatever else is random.
        start: Begin with the weights of this model, which has the same shape, instead.
        adapter: What is trained: a name in `ADAPTERS`, with its settings.
        ema: Decay of the average of the weights over the steps that is kept in place of the last
            weights; 0 for none.

    Raises:
        ConfigError: There is no such loss or adapter, or a number is out of its range.
    """

    kind: ClassVar[str] = "fit"
    version: ClassVar[int] = 2
    runs_in: ClassVar[str] = "surpass.train.run"

    model: str = execution_field()
    examples: ExampleStage
    labels: LabelStage | Literal["truth"]
    loss: str = "xent"
    recipe: Recipe
    seed: int
    start: ModelStage | None = identity_field(None, since_default=True)
    adapter: str = identity_field("full", since_default=True)
    ema: float = identity_field(0.0, since_default=True)

    def __post_init__(self) -> None:
        loss = find_loss(self.loss)
        find_adapter(self.adapter)
        if self.recipe.optimizer == "lbfgs":
            if not loss.labels_only:
                raise ConfigError(
                    f"loss {self.loss} changes with what the head says, so there is no minimum for lbfgs to "
                    "find; take xent, or optimizer=adamw"
                )
            if self.features_source is None:
                raise ConfigError(
                    "lbfgs is for heads on frozen states; say adapter=frozen, or optimizer=adamw"
                )
        if self.start is not None and not self.start.has_weights:
            raise ConfigError(f"{self.start.kind} {self.start.label} has no weights to begin with")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema={self.ema} must be at least 0 and below 1")

    @cached_property
    def teacher(self) -> str:
        """Whom it learned from."""
        return TRUTH if isinstance(self.labels, str) else self.labels.teacher

    @property
    def origin(self) -> str | None:
        """The pretrained weights, if the head alone is trained on them."""
        return resolve(self.model).digest if self.trains_head and self.keeps_changes else None

    @property
    def trains_head(self) -> bool:
        """Whether the head alone is trained."""
        return parse(self.adapter).name == "frozen"

    @cached_property
    def features_source(self) -> ModelStage | str | None:
        """The model whose states the head reads, if the head alone is trained and they are worth keeping."""
        source = resolve(self.model)
        if not self.trains_head or source.family not in GIVE_STATES or source.path is None:
            return None
        if completes(self.examples):
            return None
        if self.start is None:
            return self.model
        return self.start if self.start.features_source is None else self.start.features_source

    @cached_property
    def features(self) -> Features | None:
        """The states that it learns from, where it trains a head on them."""
        source = self.features_source
        return None if source is None else Features(source=source, examples=self.examples)

    @property
    def follows(self) -> tuple[Stage, ...]:
        """Those states."""
        return () if self.features is None else (self.features,)

    @property
    def together(self) -> str | None:
        """Heads on states are trained many at once."""
        return None if self.features is None else "heads"

    @property
    def revision(self) -> int:
        """Heads on states begin with weights of their own, whatever else loading the body has drawn.

        Those by L-BFGS are one further: they are nearer to the minimum than before.
        """
        if self.features is None:
            return self.version
        return self.version + (2 if self.recipe.optimizer == "lbfgs" else 1)

    @property
    def keeps_changes(self) -> bool:
        """Whether only what the adapter trains is written: the rest is in the pretrained model's files."""
        if self.features_source is not None:
            return True
        return self.adapter != "full" and self.start is None and resolve(self.model).path is not None

    @cached_property
    def label(self) -> str:
        """Model, whom it learns from, loss, seed."""
        adapter = "" if self.adapter == "full" else f"-{self.adapter}"
        teacher = self.teacher if self.teacher == TRUTH else f"from-{self.teacher}"
        return f"{resolve(self.model).short_name}{adapter}-{teacher}-{self.loss}-s{self.seed}"

    @property
    def cost(self) -> float:
        """Forward and backward passes."""
        passes = self.recipe.epochs * (self.examples.size or 10_000)
        return _BACKWARD * resolve(self.model).flops * passes

    @property
    def truth_of(self) -> Stage | None:
        """Its examples, if it learns the truth."""
        if not isinstance(self.labels, str):
            return None
        return self.examples.examples if isinstance(self.examples, Hint) else self.examples

    def sees(self, examples: ExampleStage) -> ExampleStage:
        """Examples in the form that it learned from."""
        if isinstance(self.examples, Hint) and isinstance(examples, Examples):
            return self.examples.like(examples)
        return examples

    def outside(self) -> dict[str, str]:
        """The pretrained weights, by their bytes, and the code of a loss from outside."""
        return {"model": resolve(self.model).digest} | code_digest(self.loss)

    def load_into(self, model: Any, context: Context) -> None:
        """Make of the pretrained model what this fit made of it, in place."""
        from surpass.train.run import load_fitted

        if self.start is not None and self.features_source is not None:
            self.start.load_into(model, context)
        load_fitted(model, self.adapter, context.find(self).file("model.safetensors"))

    def run(self, context: Context) -> dict[str, Any]:
        """Fine-tune."""
        from surpass.train.run import run_fit

        return run_fit(self, context) if self.together is None else only(self.run_all([self], [context]))

    @staticmethod
    def run_all(stages: Sequence[Any], contexts: Sequence[Context]) -> list[Any]:
        """Train many heads at once."""
        from surpass.train.many import run_all

        return run_all(stages, contexts)


@dataclass(frozen=True, kw_only=True)
class Stop(ModelStage):
    """Early stopping: a fit as it was when it agreed best with labels of examples it does not learn from.

    It is trained here, and only the best weights are kept: the snapshots of a large model fill disks.

    Files: `model.safetensors` as in `Fit`, and `curve.parquet` with `step` and `accuracy` against the
    labels at each snapshot; of equally good ones the first is taken.

    Attributes:
        fit: What is trained.
        examples: On which it is judged.
        labels: Held against its choices there; the truth by name.
        snapshots: How often it is judged, evenly spaced over the steps; the last time is at the end.

    Raises:
        ConfigError: The number is out of its range.

    Source:
        Burns et al. 2023, section 5.1.1 and appendix A.1.
    """

    kind: ClassVar[str] = "stop"
    version: ClassVar[int] = 2
    runs_in: ClassVar[str] = "surpass.train.run"

    fit: Fit
    examples: ExampleStage
    labels: LabelStage | Literal["truth"]
    snapshots: int = 10

    def __post_init__(self) -> None:
        if self.fit.recipe.optimizer == "lbfgs":
            raise ConfigError(
                "lbfgs goes to the minimum at once, so there is nowhere to stop; leave that out"
            )
        if not 1 <= self.snapshots <= 100:
            raise ConfigError(f"snapshots={self.snapshots} must be from 1 to 100")

    @cached_property
    def upstream(self) -> tuple[Stage, ...]:
        """What the fit takes from, and what it is judged by."""
        judges = (self.examples,) if isinstance(self.labels, str) else (self.examples, self.labels)
        return (*self.fit.upstream, *judges, *self.follows)

    @cached_property
    def features(self) -> Features | None:
        """The states of the examples on which it is judged, where the fit trains a head on states."""
        source = self.features_source
        return None if source is None else Features(source=source, examples=self.examples)

    @property
    def follows(self) -> tuple[Stage, ...]:
        """Those states."""
        return () if self.features is None else (self.features,)

    @property
    def features_source(self) -> ModelStage | str | None:
        """That of the fit."""
        return self.fit.features_source

    @property
    def together(self) -> str | None:
        """As the fit."""
        return self.fit.together

    @property
    def revision(self) -> int:
        """As the fit's."""
        return self.version + self.fit.revision - self.fit.version

    @property
    def model(self) -> str:  # type: ignore[override]
        """The fitted model."""
        return self.fit.model

    @cached_property
    def teacher(self) -> str:
        """Whom it learned from."""
        return self.fit.teacher

    @property
    def origin(self) -> str | None:
        """That of the fit."""
        return self.fit.origin

    @cached_property
    def label(self) -> str:
        """What is stopped, and by whom."""
        judge = TRUTH if isinstance(self.labels, str) else self.labels.teacher
        return f"{self.fit.label}-stopped-by-{judge}"

    @property
    def cost(self) -> float:
        """The fit, and forward passes at each snapshot."""
        return self.fit.cost + resolve(self.model).flops * self.snapshots * (self.examples.size or 3_000)

    @property
    def truth_of(self) -> Stage | None:
        """The examples that it learns or is judged by the truth of, if any."""
        if not isinstance(self.labels, str):
            return self.fit.truth_of
        return self.examples.examples if isinstance(self.examples, Hint) else self.examples

    def sees(self, examples: ExampleStage) -> ExampleStage:
        """Examples in the form that it learned from."""
        return self.fit.sees(examples)

    def outside(self) -> dict[str, str]:
        """What the fit depends on."""
        return self.fit.outside()

    def load_into(self, model: Any, context: Context) -> None:
        """Make of the pretrained model what the best snapshot was, in place."""
        from surpass.train.run import load_fitted

        if self.fit.start is not None and self.features_source is not None:
            self.fit.start.load_into(model, context)
        load_fitted(model, self.fit.adapter, context.find(self).file("model.safetensors"))

    def run(self, context: Context) -> dict[str, Any]:
        """Fine-tune."""
        from surpass.train.run import run_stop

        return run_stop(self, context) if self.together is None else only(self.run_all([self], [context]))

    run_all = staticmethod(Fit.run_all)
