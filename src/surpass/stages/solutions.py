"""Stages of solutions: samples that are graded, some of them chosen, and examples of judging them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from surpass.active import RULES
from surpass.calls import code_digest
from surpass.errors import ConfigError
from surpass.identity import identity_field
from surpass.reasoning.reductions import REDUCTIONS
from surpass.stages.base import Context, ExampleStage, LabelStage, Stage
from surpass.stages.sampled import Sample
from surpass.tasks import Task
from surpass.tasks.judging import Judging
from surpass.tasks.process_table import CLASSES, NEUTRAL

WORLD = "world"
"""The grader that knows the offline world, and rates steps too."""


AUTHORS = "authors"
"""In place of a model: the authors of the offline world, from whose texts reasoners learn."""


@dataclass(frozen=True, kw_only=True)
class Written(Stage):
    """Solutions by authors of the offline world, who slip and believe wrong things; each by another one.

    File: `samples.parquet` as in `Sample`; characters count as tokens, and each solution ends by itself.

    Attributes:
        examples: Problems of the world.
        num_samples: Solutions of each.
        seed: Another seed is other authors.

    Raises:
        ConfigError: The number is below 1.
    """

    kind: ClassVar[str] = "written"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.running.solving"
    work: ClassVar[str] = "forward"

    examples: ExampleStage
    num_samples: int
    seed: int

    model: ClassVar[str] = AUTHORS

    def __post_init__(self) -> None:
        if type(self.num_samples) is not int or self.num_samples < 1:
            raise ConfigError(f"num_samples={self.num_samples!r} must be a whole number of at least 1")

    @cached_property
    def label(self) -> str:
        """How many of what."""
        return f"{AUTHORS}-{self.num_samples}-of-{self.examples.label}-s{self.seed}"

    def run(self, context: Context) -> dict[str, Any]:
        """Write."""
        from surpass.running.solving import run_written

        return run_written(self, context)


class SolutionStage(Stage):
    """Gives solutions: `solutions.parquet`, a row for each sample, columns as in `solution_table.SCHEMA`.

    `id` names the solution, by its problem and steps, so that equal samples have the same; it is null where a
    sample has no step. `ended` says whether it ended by itself; what was cut off has no answer and is not
    correct.
    """

    runs_in: ClassVar[str] = "surpass.running.solving"

    @property
    def problems(self) -> ExampleStage:
        """What was to be solved."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Graded(SolutionStage):
    """Samples as solutions: cut into steps, and graded by their final answer. File as in `SolutionStage`.

    Attributes:
        samples: The samples.
        grader: A name in `reasoning.graders.GRADERS`, or `module:function`; or "world" for problems of the
            offline world, whose steps are rated too.
    """

    kind: ClassVar[str] = "graded"
    version: ClassVar[int] = 1
    work: ClassVar[str] = "evaluation"

    samples: Sample | Written
    grader: str = "prm800k"

    def __post_init__(self) -> None:
        if self.grader != WORLD:
            from surpass.reasoning.graders import find_grader

            find_grader(self.grader)

    @cached_property
    def label(self) -> str:
        """Whose samples."""
        return self.samples.label

    @property
    def problems(self) -> ExampleStage:
        """What was to be solved."""
        return self.samples.examples

    @property
    def follows(self) -> tuple[Stage, ...]:
        """The problems with their answers."""
        return (self.samples.examples,)

    @property
    def truth_of(self) -> Stage | None:
        """The problems, whose answers it is given."""
        return self.samples.examples

    def outside(self) -> dict[str, str]:
        """The code of a grader from outside."""
        return code_digest(self.grader)

    def run(self, context: Context) -> dict[str, Any]:
        """Grade."""
        from surpass.running.solving import run_graded

        return run_graded(self, context)


@dataclass(frozen=True, kw_only=True)
class Chosen(SolutionStage):
    """Some solutions of each problem: those that are to be labelled, say. File as in `SolutionStage`.

    Of equal solutions only one is chosen, and none that was cut off or has no answer. "uniform" takes them as
    they come, in an order that the seed decides. "convincing" takes the wrong answers that a reward model
    scores highest, and fills up with the highest scores of what remains.

    Attributes:
        solutions: Among which.
        per_problem: How many of each problem; fewer where it has not so many.
        rule: "uniform" or "convincing".
        labels: Of the steps of all the solutions, by which "convincing" goes.
        reduction: How these become the score of a solution: a name in `reductions.REDUCTIONS`.
        wrong_share: Of `per_problem`, the share that is kept for wrong answers.
        seed: Of the order.
        over_all: Whether the share of wrong answers holds over all problems, each of which rounds up or down
            by a draw of its own; else each takes the nearest number, which of 1 or 2 solutions leaves no
            right one.

    Raises:
        ConfigError: A setting is out of its range, or labels are missing.

    Source:
        Lightman et al. 2023, section 4.2 and appendix: 80 % convincing wrong answers.
    """

    kind: ClassVar[str] = "chosen"
    version: ClassVar[int] = 1
    work: ClassVar[str] = "data"

    solutions: SolutionStage
    per_problem: int
    rule: str = "uniform"
    labels: LabelStage | None = None
    reduction: str = "product"
    wrong_share: float = 0.8
    seed: int = 0
    over_all: bool = identity_field(False, since_default=True)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"rule={self.rule!r} must be one of {', '.join(RULES)}")
        if self.reduction not in REDUCTIONS:
            raise ConfigError(f"reduction={self.reduction!r} must be one of {', '.join(REDUCTIONS)}")
        if type(self.per_problem) is not int or self.per_problem < 1:
            raise ConfigError(f"per_problem={self.per_problem!r} must be a whole number of at least 1")
        if not 0 <= self.wrong_share <= 1:
            raise ConfigError(f"wrong_share={self.wrong_share!r} must be in [0, 1]")
        if (self.rule == "convincing") != (self.labels is not None):
            raise ConfigError(
                f"rule={self.rule} and labels={'given' if self.labels else 'none'} do not go together: "
                "convincing goes by labels of steps, and uniform by none"
            )

    @cached_property
    def label(self) -> str:
        """How many, and how they are chosen."""
        return f"{self.per_problem}-{self.rule}-s{self.seed}-{self.solutions.label}"

    @property
    def problems(self) -> ExampleStage:
        """What was to be solved."""
        return self.solutions.problems

    def run(self, context: Context) -> dict[str, Any]:
        """Choose."""
        from surpass.running.solving import run_chosen

        return run_chosen(self, context)


@dataclass(frozen=True, kw_only=True)
class Steps(ExampleStage):
    """The steps of solutions as examples; the question is whether they are correct.

    Files as in `Examples`, columns as in `tasks.process_table.step_tables`.
    Solutions come once each, without those that were cut off. Unless `whole`, steps without a rating are no
    examples; else every step is one, to be labelled, and what has no rating has no truth (0 in the file).

    Attributes:
        solutions: The solutions.
        whole: Whether every step is an example.
        classes: 2 (wrong, correct) or 3 (wrong, neutral, correct).
        neutral: What a neutral step counts as with two classes.
    """

    kind: ClassVar[str] = "steps"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.running.solving"
    work: ClassVar[str] = "data"

    solutions: SolutionStage
    whole: bool = False
    classes: int = 2
    neutral: str = NEUTRAL[0]

    def __post_init__(self) -> None:
        if self.classes not in CLASSES or self.neutral not in NEUTRAL:
            raise ConfigError(
                f"classes={self.classes!r} must be 2 or 3, and neutral={self.neutral!r} one of "
                f"{', '.join(NEUTRAL)}"
            )

    @property
    def task(self) -> Task:  # type: ignore[override]
        """Whether a step is correct."""
        return Judging("steps", self.classes, True)

    @property
    def size(self) -> int | None:  # type: ignore[override]
        """Nobody knows before they are there."""
        return None

    @cached_property
    def label(self) -> str:
        """Whose steps."""
        kinds = "" if self.classes == 2 else f"-{self.classes}"
        return f"{'all-' if self.whole else ''}steps{kinds}-of-{self.solutions.label}"

    def run(self, context: Context) -> dict[str, Any]:
        """Write them."""
        from surpass.running.solving import run_steps

        return run_steps(self, context)


@dataclass(frozen=True, kw_only=True)
class Outcomes(ExampleStage):
    """Whole solutions as examples, once each; the question is whether the answer is right.

    Files as in `Examples`, columns `id`, `problem`, `steps` list<string>, `candidates` [0, 1]; the truth is 1
    for a right answer.

    Attributes:
        solutions: The solutions.
    """

    kind: ClassVar[str] = "outcomes"
    version: ClassVar[int] = 1
    runs_in: ClassVar[str] = "surpass.running.solving"
    work: ClassVar[str] = "data"

    solutions: SolutionStage

    @property
    def task(self) -> Task:  # type: ignore[override]
        """Whether an answer is right."""
        return Judging("outcomes", 2, False)

    @property
    def size(self) -> int | None:  # type: ignore[override]
        """Nobody knows before they are there."""
        return None

    @cached_property
    def label(self) -> str:
        """Whose solutions."""
        return f"outcomes-of-{self.solutions.label}"

    def run(self, context: Context) -> dict[str, Any]:
        """Write them."""
        from surpass.running.solving import run_outcomes

        return run_outcomes(self, context)
