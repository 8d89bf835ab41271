"""Stages of labels of steps and outcomes that need no people, and of what reward models say of solutions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from surpass.errors import ConfigError
from surpass.identity import execution_field
from surpass.models.sources import resolve
from surpass.stages.base import Context, ExampleStage, LabelStage, ModelStage, Stage
from surpass.stages.solutions import Outcomes, SolutionStage, Steps

TARGETS = ("soft", "hard")


@dataclass(frozen=True, kw_only=True)
class RollOuts(LabelStage):
    """Labels of steps by what comes of them: from each on, solutions are drawn to their end and graded.

    File as in `Label`. A step is labelled with the share of its roll-outs that end in a right answer
    ("soft"), or as correct if any does ("hard"). The last step of a solution is labelled with the solution's
    own answer.

    Attributes:
        source: Who goes on: a stage that gives a language model, or the name of a pretrained one.
        examples: Steps with two classes.
        num_samples: Roll-outs from behind each step.
        target: "soft" or "hard".
        grader: As in `Graded`.
        temperature: As in `Sample`.
        max_new_tokens: Of a roll-out at most.
        seed: Another seed draws others.
        prefixes_per_shard: After how many steps work is saved.

    Raises:
        ConfigError: A setting is out of its range.

    Source:
        Wang et al. 2024, "Math-Shepherd", equations 3 and 4.
    """

    kind: ClassVar[str] = "rollouts"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.running.rollouts"
    work: ClassVar[str] = "forward"

    source: ModelStage | str
    examples: Steps
    num_samples: int = 8
    target: str = "soft"
    grader: str = "prm800k"
    temperature: float = 1.0
    max_new_tokens: int = 256
    seed: int
    prefixes_per_shard: int = execution_field(400)

    def __post_init__(self) -> None:
        for name in ("num_samples", "max_new_tokens", "prefixes_per_shard"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)!r} must be a whole number of at least 1")
        if self.target not in TARGETS:
            raise ConfigError(f"target={self.target!r} must be one of {', '.join(TARGETS)}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"temperature={self.temperature!r} must be a number of at least 0")
        if self.examples.classes != 2:
            raise ConfigError("roll-outs tell right from wrong and nothing between; use classes=2")

    @property
    def model(self) -> str:
        """The pretrained model behind it."""
        return self.source.model if isinstance(self.source, ModelStage) else self.source

    @cached_property
    def teacher(self) -> str:
        """Whose roll-outs."""
        return f"{self.num_samples}-{self.target}-rollouts-of-{resolve(self.model).short_name}"

    @cached_property
    def label(self) -> str:
        """Whose roll-outs from where."""
        return f"{self.teacher}-{self.examples.label}-s{self.seed}"

    @property
    def cost(self) -> float:
        """A forward pass for each."""
        return resolve(self.model).flops * 1000 * self.num_samples

    @property
    def truth_of(self) -> Stage | None:
        """The problems, whose answers it is given."""
        return self.examples.solutions.problems

    @property
    def follows(self) -> tuple[Stage, ...]:
        """The solutions with what answers are right."""
        return (self.examples.solutions,)

    def outside(self) -> dict[str, str]:
        """The weights of a pretrained source."""
        return {} if isinstance(self.source, ModelStage) else {"model": resolve(self.source).digest}

    def on(self, examples: ExampleStage) -> RollOuts:
        """Roll-outs from other steps."""
        if not isinstance(examples, Steps):
            raise ConfigError(f"{examples.label} are no steps, from which solutions could go on")
        return replace(self, examples=examples)

    def run(self, context: Context) -> dict[str, Any]:
        """Draw and grade."""
        from surpass.running.rollouts import run_rollouts

        return run_rollouts(self, context)


@dataclass(frozen=True, kw_only=True)
class Synthetic(LabelStage):
    """Labels that follow from what a larger process reward model says of steps; file as in `Label`.

    A step is wrong if its probability to be wrong is above the threshold. Steps are labelled up to the first
    wrong one; a whole solution is right if no step is wrong, whatever its answer.

    Attributes:
        labels: Of all steps of the solutions (`Steps` with `whole`).
        examples: The steps that are to be labelled, or the solutions.
        threshold: Of the probability of class 0, in [0, 1].

    Source:
        Lightman et al. 2023, section 4.1 and appendix H: 20 %.
    """

    kind: ClassVar[str] = "synthetic"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.running.solving"
    work: ClassVar[str] = "data"

    labels: LabelStage
    examples: Steps | Outcomes
    threshold: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold={self.threshold!r} must be in [0, 1]")

    @cached_property
    def teacher(self) -> str:
        """Whose judgement it is."""
        return self.labels.teacher

    @cached_property
    def label(self) -> str:
        """Whose judgement of what."""
        return f"{self.teacher}-above-{self.threshold:g}-{self.examples.label}"

    def on(self, examples: ExampleStage) -> Synthetic:
        """The same of other steps or solutions."""
        if not isinstance(examples, Steps | Outcomes):
            raise ConfigError(f"{examples.label} are neither steps nor outcomes of solutions")
        whole = replace(examples, whole=True) if isinstance(examples, Steps) else None
        labels = self.labels.on(whole or Steps(solutions=examples.solutions, whole=True))
        return replace(self, examples=examples, labels=labels)

    def run(self, context: Context) -> dict[str, Any]:
        """Decide."""
        from surpass.running.solving import run_synthetic

        return run_synthetic(self, context)


@dataclass(frozen=True, kw_only=True)
class Rate(Stage):
    """What a reward model says of each solution, or of each the answer alone.

    File: `ratings.parquet`, a row for each sample in the order of the solutions: `problem_id`, `sample`,
    `id`, `answer`, `correct`, `eligible` (it ended by itself and has an answer), `num_steps`, `family` and
    `level` where problems have them; and scores, null for what is not eligible: of an outcome reward model
    `last`, the probability that the answer is right; of a process reward model one for each name in
    `reductions.REDUCTIONS`, and with three classes also `..._neutral_wrong`, where a neutral step counts as
    wrong.

    Attributes:
        solutions: The solutions.
        labels: Of all their steps (`Steps` with `whole`), or of `Outcomes`; None for none.
    """

    kind: ClassVar[str] = "rate"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.running.solving"
    work: ClassVar[str] = "evaluation"

    solutions: SolutionStage
    labels: LabelStage | None = None

    @cached_property
    def label(self) -> str:
        """Whose judgement of what."""
        return f"{self.labels.label if self.labels is not None else 'answers'}-of-{self.solutions.label}"

    def run(self, context: Context) -> dict[str, Any]:
        """Reduce."""
        from surpass.running.solving import run_rate

        return run_rate(self, context)
