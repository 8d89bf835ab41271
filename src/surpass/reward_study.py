"""A study of reward models of reasoning, by what choosing the best of n is worth. Nothing is computed here.

Source: Lightman et al. 2023, sections 3 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from surpass.active import WRONG_SHARE
from surpass.errors import ConfigError
from surpass.identity import digest_of
from surpass.models.sources import resolve
from surpass.stages import (
    Chosen,
    Examples,
    Fit,
    Graded,
    Label,
    LabelStage,
    Outcomes,
    Rate,
    RollOuts,
    Sample,
    SolutionStage,
    Stage,
    Steps,
    Synthetic,
    Written,
)
from surpass.stages.solutions import AUTHORS, WORLD
from surpass.tasks import Task
from surpass.train.recipe import Recipe

IN_DISTRIBUTION = "all"


class Arm(NamedTuple):
    """A reward model of one seed.

    Attributes:
        name: "process", "outcome", ...: what differs between reward models.
        seed: Of the solutions that are labelled, and of the training.
        fit: The model.
        solutions: Those that it learned from.
        ratings: What it says of the samples that are tested, by the mix that problems are drawn from.
    """

    name: str
    seed: int
    fit: Fit
    solutions: SolutionStage
    ratings: dict[str, Rate]


class Selection(NamedTuple):
    """A process reward model that learned from so many solutions of each problem, chosen by a rule."""

    rule: str
    per_problem: int
    arm: Arm


@dataclass(frozen=True, kw_only=True)
class RewardStudy:
    """One generator, one kind of reward model, several sources of labels.

    Attributes:
        name: What it is called.
        task: Where problems come from: a task of completions.
        generator: Who solves: a causal language model by name, or "authors" of the offline world.
        model: What reward models begin as: a causal language model by name.
        grader: As in `stages.Graded`. Steps are rated by "world" alone; with others, process reward models
            learn from roll-outs.
        train_part: Part of the task whose solutions are labelled.
        test_part: Part whose solutions are chosen among.
        train_mix: How problems to learn from are drawn; one of the task's mixes.
        test_mixes: The same for tests; the first is what the rest is compared with.
        num_train: Problems to learn from.
        train_samples: Samples of each of them, among which those to be labelled are chosen.
        num_test: Problems of each test.
        test_samples: Samples of each of them: the largest n.
        per_problem: Labelled solutions of each problem, for outcome and process alike.
        outcome_per_problem: Of another outcome reward model, whose labels cost nothing; 0 for none.
        rollouts: Roll-outs for each step, of a process reward model that knows no ratings; 0 for none.
        synthetic: Whether models learn also from what the process reward model of the same seed says of
            solutions that it has not seen.
        budgets: Labelled solutions of each problem, uniformly and actively chosen; () for neither.
        rounds: How often the selecting model is trained; above 1, again on what it has chosen.
        wrong_share: Of what is actively chosen, the share kept for wrong answers.
        classes: 2 for wrong and correct steps, 3 for neutral ones too.
        temperature: Of all samples.
        recipe: Training of process reward models; a batch is one of steps.
        outcome_recipe: Training of outcome reward models; a batch is one of solutions.
        seeds: Each seed chooses its solutions and trains its models; samples are the same for all.

    Raises:
        ConfigError: A setting makes no sense.
    """

    name: str
    task: Task
    generator: str
    model: str
    grader: str = "prm800k"
    train_part: str = "student"
    test_part: str = "test"
    train_mix: str = IN_DISTRIBUTION
    test_mixes: tuple[str, ...] = (IN_DISTRIBUTION,)
    num_train: int = 400
    train_samples: int = 32
    num_test: int = 200
    test_samples: int = 64
    per_problem: int = 4
    outcome_per_problem: int = 0
    rollouts: int = 0
    synthetic: bool = False
    budgets: tuple[int, ...] = ()
    rounds: int = 1
    wrong_share: float = WRONG_SHARE
    classes: int = 3
    temperature: float = 1.0
    recipe: Recipe = field(default_factory=Recipe)
    outcome_recipe: Recipe = field(default_factory=Recipe)
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        for name in ("num_train", "train_samples", "num_test", "test_samples", "per_problem", "rounds"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)!r} must be a whole number of at least 1")
        most = max((self.per_problem, self.outcome_per_problem, *self.budgets))
        if most > self.train_samples:
            raise ConfigError(
                f"{most} solutions of each problem cannot be chosen among "
                f"train_samples={self.train_samples}; draw more"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds={self.seeds} must be one or more, each once")
        if self.num_test < 2:
            raise ConfigError(f"num_test={self.num_test} problems have no interval; take 2 or more")
        if self.generator == AUTHORS and (self.rollouts or self.temperature != 1):
            raise ConfigError("authors write whole solutions; roll-outs and a temperature need a model")
        if not self.has_ratings and (not self.rollouts or self.classes != 2):
            raise ConfigError(
                f"grader={self.grader} rates no steps, so process reward models learn from roll-outs: say "
                f"rollouts=8 and classes=2, got rollouts={self.rollouts} and classes={self.classes}"
            )
        if getattr(self.task, "checked_by", None) is None:
            raise ConfigError(f"task {self.task.name} has no prompts to be completed; name one of generation")

    @cached_property
    def pool(self) -> Graded:
        """Solutions of which some are labelled."""
        return self._graded(self.train_part, self.train_mix, self.num_train, self.train_samples, seed=0)

    def tested(self, mix: str) -> Graded:
        """Solutions that are chosen among."""
        return self._graded(self.test_part, mix, self.num_test, self.test_samples, seed=1)

    def _graded(self, part: str, mix: str, size: int, num_samples: int, *, seed: int) -> Graded:
        problems = Examples(task=self.task, part=part, size=size, seed=0, mix=mix)
        if self.generator == AUTHORS:
            written = Written(examples=problems, num_samples=num_samples, seed=seed)
            return Graded(samples=written, grader=self.grader)
        drawn = Sample(
            source=self.generator,
            examples=problems,
            num_samples=num_samples,
            temperature=self.temperature,
            seed=seed,
        )
        return Graded(samples=drawn, grader=self.grader)

    def uniform(self, per_problem: int, seed: int) -> Chosen:
        """Solutions of each problem as they come."""
        return Chosen(solutions=self.pool, per_problem=per_problem, seed=seed)

    def convincing(self, per_problem: int, seed: int) -> Chosen:
        """Solutions of each problem that a selecting model chooses."""
        learned = self.uniform(1, seed)
        everything = Steps(solutions=self.pool, whole=True, classes=self.classes)
        for _ in range(self.rounds):
            selector = self._process(learned, seed)
            learned = Chosen(
                solutions=self.pool,
                per_problem=per_problem,
                rule="convincing",
                labels=Label.of(selector, everything),
                wrong_share=self.wrong_share,
                seed=seed,
                over_all=True,
            )
        return learned

    @property
    def has_ratings(self) -> bool:
        """Whether the grader rates steps."""
        return self.grader == WORLD

    def _process(self, solutions: SolutionStage, seed: int) -> Fit:
        """A process reward model that knows the ratings of these solutions, or what roll-outs say."""
        if not self.has_ratings:
            return self._rolled_out(solutions, seed)
        steps = Steps(solutions=solutions, classes=self.classes)
        return Fit(model=self.model, examples=steps, labels="truth", recipe=self.recipe, seed=seed)

    def _outcome(self, solutions: SolutionStage, seed: int, labels: LabelStage | None = None) -> Fit:
        examples = Outcomes(solutions=solutions)
        return Fit(
            model=self.model,
            examples=examples,
            labels=labels or "truth",
            recipe=self.outcome_recipe,
            seed=seed,
        )

    def _arm(self, name: str, seed: int, fit: Fit, solutions: SolutionStage, mixes: tuple[str, ...]) -> Arm:
        ratings = {}
        for mix in mixes:
            tested = self.tested(mix)
            examples = (
                replace(fit.examples, solutions=tested, whole=True)
                if isinstance(fit.examples, Steps)
                else Outcomes(solutions=tested)
            )
            ratings[mix] = Rate(solutions=tested, labels=Label.of(fit, examples))
        return Arm(name, seed, fit, solutions, ratings)

    @cached_property
    def answers(self) -> dict[str, Rate]:
        """The samples that are tested, without scores."""
        return {mix: Rate(solutions=self.tested(mix)) for mix in self.test_mixes}

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """All reward models that are compared."""
        found = []
        for seed in self.seeds:
            labelled = self.uniform(self.per_problem, seed)
            process = self._process(labelled, seed)
            fits: dict[str, tuple[Fit, SolutionStage]] = {
                "process": (process, labelled),
                "outcome": (self._outcome(labelled, seed), labelled),
            }
            if self.outcome_per_problem:
                more = self.uniform(self.outcome_per_problem, seed)
                fits["outcome, more"] = (self._outcome(more, seed), more)
            if self.rollouts and self.has_ratings:
                fits["process, roll-outs"] = (self._rolled_out(labelled, seed), labelled)
            if self.synthetic:
                fits |= self._taught(process, seed)
            found += [
                self._arm(name, seed, fit, solutions, self.test_mixes)
                for name, (fit, solutions) in fits.items()
            ]
        return tuple(found)

    def _rolled_out(self, solutions: SolutionStage, seed: int) -> Fit:
        steps = Steps(solutions=solutions, whole=True)
        labels = RollOuts(
            source=self.generator,
            examples=steps,
            num_samples=self.rollouts,
            grader=self.grader,
            temperature=self.temperature,
            max_new_tokens=getattr(self.task, "max_new_tokens", 256),
            seed=2,
        )
        return Fit(model=self.model, examples=steps, labels=labels, recipe=self.recipe, seed=seed)

    def _taught(self, teacher: Fit, seed: int) -> dict[str, tuple[Fit, SolutionStage]]:
        """Reward models that know of other solutions what a process reward model says of them."""
        fresh = Chosen(solutions=self.pool, per_problem=self.per_problem, seed=seed + 1000)
        whole = Steps(solutions=fresh, whole=True, classes=self.classes)
        said = Label.of(teacher, whole)
        process = Fit(
            model=self.model,
            examples=whole,
            labels=Synthetic(labels=said, examples=whole),
            recipe=self.recipe,
            seed=seed,
        )
        outcomes = Synthetic(labels=said, examples=Outcomes(solutions=fresh))
        return {
            "process, taught": (process, fresh),
            "outcome, taught": (self._outcome(fresh, seed, outcomes), fresh),
        }

    @cached_property
    def selections(self) -> tuple[Selection, ...]:
        """Process reward models by how their solutions were chosen, tested on the first mix."""
        found = []
        for seed in self.seeds:
            for count in self.budgets:
                for rule, choose in (("uniform", self.uniform), ("convincing", self.convincing)):
                    solutions = choose(count, seed)
                    fit = self._process(solutions, seed)
                    arm = self._arm(rule, seed, fit, solutions, self.test_mixes[:1])
                    found.append(Selection(rule, count, arm))
        return tuple(found)

    @property
    def targets(self) -> list[Stage]:
        """What has to be computed."""
        arms = [*self.arms, *(selection.arm for selection in self.selections)]
        ratings = [rate for arm in arms for rate in arm.ratings.values()]
        return [*self.answers.values(), *ratings]

    @cached_property
    def id(self) -> str:
        """Digest of all ratings it consists of, 64 hex digits."""
        return digest_of(sorted(stage.id for stage in self.targets))

    @property
    def about(self) -> str:
        """Whose solutions, and what judges them."""
        solves = AUTHORS if self.generator == AUTHORS else resolve(self.generator).short_name
        return f"{solves} solve, {resolve(self.model).short_name} judges"
