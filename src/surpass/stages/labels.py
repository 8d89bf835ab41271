"""Stages that give labels or hold them against the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from surpass.calls import code_digest, parse
from surpass.identity import identity_field
from surpass.models.sources import resolve
from surpass.rules import find_rule
from surpass.stages.base import Context, ExampleStage, LabelStage, ModelStage, Stage, completes
from surpass.stages.examples import Examples
from surpass.stages.features import GIVE_STATES, Features, Pass


@dataclass(frozen=True, kw_only=True)
class Label(Pass, LabelStage):
    """A model's probabilities over the candidates of each example, or its greedy completion of each prompt.

    File: `labels.parquet`, columns as in `labels.SCHEMA` or `labels.COMPLETIONS`. The source is a stage that
    gives a model, or the name of a pretrained model, which then labels as it is (zero-shot).
    """

    kind: ClassVar[str] = "label"
    version: ClassVar[int] = 1

    @cached_property
    def teacher(self) -> str:
        """The model that labels."""
        return resolve(self.model).short_name

    @cached_property
    def features(self) -> Features | None:
        """The states that a head reads here, where nothing below it was trained."""
        if completes(self.examples):
            return None
        if isinstance(self.source, ModelStage):
            source = self.source.features_source
            return None if source is None else Features(source=source, examples=self.examples)
        found = resolve(self.source)
        reads = found.family in GIVE_STATES and found.path is not None
        return Features(source=self.source, examples=self.examples) if reads else None

    @property
    def follows(self) -> tuple[Stage, ...]:
        """Those states."""
        return () if self.features is None else (self.features,)

    def run(self, context: Context) -> dict[str, Any]:
        """Label."""
        from surpass.train.label import run_label

        return run_label(self, context)


@dataclass(frozen=True, kw_only=True)
class Relabel(LabelStage):
    """Labels made from labels by a rule; file as in `Label`.

    Attributes:
        labels: Labels of the same examples; all are put into the order of the first.
        rule: A name in `RULES`, with its settings.
        examples: Their inputs, where the rule looks at them.
        features: Their hidden states, where the rule looks at them.
        reference: Labels of other examples, from which the rule learns whom to trust.
        num_classes: The task's, where all examples have the same candidates.
    """

    kind: ClassVar[str] = "relabel"
    version: ClassVar[int] = 2
    runs_in: ClassVar[str] = "surpass.running.relabelling"
    work: ClassVar[str] = "data"

    labels: tuple[LabelStage, ...]
    rule: str
    examples: Examples | None = None
    features: Features | None = None
    reference: tuple[LabelStage, ...] = ()
    num_classes: int | None = identity_field(None)

    def __post_init__(self) -> None:
        find_rule(self.rule)

    @cached_property
    def label(self) -> str:
        """Rule and origin."""
        return f"{self.rule}-{self.labels[0].label}"

    @cached_property
    def teacher(self) -> str:
        """The rule and whom it judges; hardening goes without saying."""
        name = parse(self.rule).name
        return self.labels[0].teacher if name == "harden" else f"{self.labels[0].teacher}-{name}"

    def outside(self) -> dict[str, str]:
        """The code of a rule from outside."""
        return code_digest(self.rule)

    def on(self, examples: ExampleStage) -> Relabel:
        """The same rule on labels of other examples."""
        return replace(
            self,
            labels=tuple(labels.on(examples) for labels in self.labels),
            examples=examples if self.examples is not None and isinstance(examples, Examples) else None,
            features=self.features.on(examples) if self.features is not None else None,
        )

    def run(self, context: Context) -> dict[str, Any]:
        """Apply the rule."""
        from surpass.running.relabelling import run_relabel

        return run_relabel(self, context)


@dataclass(frozen=True, kw_only=True)
class Score(Stage):
    """Labels held against the truth.

    Files: `score.json` (without log loss where a truth has probability 0), `calibration.parquet` with
    `low`, `high`, `confidence`, `accuracy` and `count` of each bin, and `examples.parquet` with
    `id`, `prediction` int16, `correct` bool, `truth_prob` and `confidence` float32 per example, in the
    order of the examples.

    Completions are right by the checker of their task. They have no probabilities: what needs those is null
    in `score.json`, there are no bins, and per example the completion (`prediction` string) and `correct`.
    """

    kind: ClassVar[str] = "score"
    version: ClassVar[int] = 2
    runs_in: ClassVar[str] = "surpass.running.scoring"
    work: ClassVar[str] = "evaluation"

    labels: LabelStage
    examples: Examples

    @cached_property
    def label(self) -> str:
        """Whose labels."""
        return self.labels.label

    def run(self, context: Context) -> dict[str, Any]:
        """Compute the metrics."""
        from surpass.running.scoring import run_score

        return run_score(self, context)


@dataclass(frozen=True, kw_only=True)
class Compare(Stage):
    """A student's labels held against its supervisor's and the truth.

    File: `comparison.json`: agreement, inherited, corrected and new errors, their correlation,
    similarity beyond chance, misfit and gain (`docs/metrics.md`); null where a number is undefined.
    Completions agree where the checker of their task finds that they say the same.
    """

    kind: ClassVar[str] = "compare"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.running.scoring"
    work: ClassVar[str] = "evaluation"

    student: LabelStage
    weak: LabelStage
    examples: Examples

    @cached_property
    def label(self) -> str:
        """Who with whom."""
        return f"{self.student.label}-with-{self.weak.teacher}"

    def run(self, context: Context) -> dict[str, Any]:
        """Compute the metrics."""
        from surpass.running.scoring import run_compare

        return run_compare(self, context)
