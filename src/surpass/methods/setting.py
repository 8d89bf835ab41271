"""What a method is given: two models, the student's examples, the supervisor's labels, and the verbs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from surpass.calls import parse
from surpass.errors import NotApplicable
from surpass.losses import find_loss
from surpass.models.sources import SKILLS, resolve
from surpass.stages import (
    TRUTH,
    Blend,
    Examples,
    Features,
    Fit,
    Hint,
    Label,
    LabelStage,
    ModelStage,
    Relabel,
    Truth,
)
from surpass.train.recipe import Recipe

CHOOSING = ("band", "easiest", "fold", "outside", "stitch")
"""Rules that choose among examples, or among labels, and look at no probability: completions have none."""


@dataclass(frozen=True, kw_only=True)
class WeakToStrong:
    """The experiment of Burns et al. 2023, section 3, for one pair of models and one seed.

    The supervisor learns the truth of its own half. It labels the student's half, which it has not
    seen. Student and ceiling learn from the same examples: only the labels differ.

    Attributes:
        weak_model: The supervisor's pretrained model.
        strong_model: The pretrained model of student and ceiling.
        between: Pretrained models between the two, weakest first.
        weak_examples: The half that the supervisor learns from.
        student_examples: The half that student and ceiling learn from.
        validation: Examples to choose by, which nobody learns from.
        hard: Whether the supervisor's labels are hardened (greedy) before anybody learns from them.
        recipe: Settings of every fit.
        learning_rates: Models that have a peak of their own, with it.
        adapter: What of a model is trained where a method does not say.
        adapters: Models that have another, with it.
        pretrained_weak: Whether the supervisor labels as it is, and learns nothing (appendix D.1).
        seed: Order of the examples in every fit.
    """

    weak_model: str
    strong_model: str
    between: tuple[str, ...] = ()
    weak_examples: Examples
    student_examples: Examples
    validation: Examples
    hard: bool
    recipe: Recipe
    learning_rates: tuple[tuple[str, float], ...] = ()
    adapter: str = "full"
    adapters: tuple[tuple[str, str], ...] = ()
    pretrained_weak: bool = False
    seed: int

    @cached_property
    def weak(self) -> Fit | str:
        """The supervisor, or its name where it labels as it is."""
        if self.pretrained_weak:
            return self.weak_model
        return self.fit(self.weak_model, TRUTH, examples=self.weak_examples)

    @cached_property
    def ceiling(self) -> Fit:
        """What the strong model reaches when it learns the truth of the student's examples."""
        return self.fit(self.strong_model, TRUTH)

    @cached_property
    def weak_labels(self) -> LabelStage:
        """The supervisor's labels of the student's examples."""
        return self.label(self.weak, self.student_examples)

    @cached_property
    def soft_weak_labels(self) -> Label:
        """Its probabilities, for rules that go by its confidence; what they choose is to be handed over.

        Raises:
            NotApplicable: Its labels are completions.
        """
        self._need_probabilities("confidence in its labels is asked for")
        return self.soft(self.weak, self.student_examples)

    @property
    def num_classes(self) -> int | None:
        """The task's number of classes, None where candidates differ."""
        return self.student_examples.task.num_classes

    @cached_property
    def features(self) -> Features:
        """Hidden states of the strong model, as pretrained, of the student's examples.

        Raises:
            NotApplicable: Labels are completions.
        """
        self._need_probabilities("features are for classes")
        return Features(source=self.strong_model, examples=self.student_examples)

    def fresh(self, number: int) -> Examples:
        """Examples of the student's part that nobody has seen; with 0 they are the student's own.

        Raises:
            NotApplicable: The student's are all there are.
        """
        size = self.student_examples.size
        if number and size is None:
            raise NotApplicable("the student has all examples, so none are fresh; say num_train=...")
        return replace(self.student_examples, skip=number * (size or 0))

    def fit(
        self,
        model: str,
        labels: LabelStage | str,
        *,
        loss: str = "xent",
        examples: Examples | Hint | None = None,
        seed: int | None = None,
        epochs: int | None = None,
        rate_factor: float = 1.0,
        **settings: Any,
    ) -> Fit:
        """A pretrained model fine-tuned on labels of the student's examples, or of others.

        Args:
            model: Which one.
            labels: What it learns; the truth by name.
            loss: How.
            examples: What it sees; the student's by default.
            seed: Another order than that of the experiment.
            epochs: Another number than the recipe's.
            rate_factor: Of the peak learning rate.
            settings: Further fields of `Fit`: start, adapter, ema.

        Raises:
            NotApplicable: Labels are completions, and the loss is for probabilities, or a head alone is
                trained.
        """
        settings = {"adapter": dict(self.adapters).get(model, self.adapter)} | settings
        if loss != "xent":
            self._need_probabilities(f"loss {parse(loss).name} is for those")
        if parse(settings["adapter"]).name == "frozen":
            self._need_probabilities("a head that scores them is to be trained")
        recipe = self.recipe_of(model)
        if recipe.optimizer == "lbfgs" and not find_loss(loss).labels_only:
            raise NotApplicable(f"loss {parse(loss).name} has no minimum that L-BFGS could find")
        return Fit(
            model=model,
            examples=examples or self.student_examples,
            labels=labels,  # type: ignore[arg-type]
            loss=loss,
            recipe=replace(
                recipe,
                epochs=recipe.epochs if epochs is None else epochs,
                learning_rate=recipe.learning_rate * rate_factor,
            ),
            seed=self.seed if seed is None else seed,
            **settings,
        )

    def recipe_of(self, model: str) -> Recipe:
        """The recipe with a model's own learning rate."""
        rates = dict(self.learning_rates)
        return replace(self.recipe, learning_rate=rates.get(model, self.recipe.learning_rate))

    def student(self, labels: LabelStage, **settings: Any) -> Fit:
        """The strong model fine-tuned on labels of the student's examples."""
        return self.fit(self.strong_model, labels, **settings)

    def soft(self, source: ModelStage | str, examples: Examples) -> Label:
        """A model's probabilities."""
        return Label.of(source, examples)

    def label(self, source: ModelStage | str, examples: Examples) -> LabelStage:
        """Labels of a model, soft or hard as the experiment has them."""
        return self.handed_over(self.soft(source, examples))

    def handed_over(self, labels: LabelStage) -> LabelStage:
        """Labels as a student gets them: soft, or hard where the experiment has hard ones, or completions."""
        return self.relabel("harden", labels) if self.hard and not self.completes else labels

    def relabel(
        self,
        rule: str,
        *labels: LabelStage,
        inputs: Examples | None = None,
        features: Features | None = None,
        reference: tuple[LabelStage, ...] = (),
    ) -> Relabel:
        """Labels made from labels by a rule; what the rule looks at beside them is named.

        Raises:
            NotApplicable: Labels are completions, and the rule is for probabilities.
        """
        if parse(rule).name not in CHOOSING:
            self._need_probabilities(f"rule {parse(rule).name} is for those")
        return Relabel(
            labels=labels,
            rule=rule,
            examples=inputs,
            features=features,
            reference=reference,
            num_classes=self.num_classes,
        )

    def out_of_sample(self, model: str, labels: LabelStage, examples: Examples, *, folds: int = 2) -> Relabel:
        """What a model says of examples whose labels it has not learned: each fold by a fit on the others."""
        parts = [
            self.fit(model, self.relabel(f"outside(keep={fold}, of={folds})", labels), examples=examples)
            for fold in range(folds)
        ]
        return self.relabel(f"stitch(of={folds})", *(self.soft(part, examples) for part in parts))

    def truth(self, examples: Examples) -> Truth:
        """The truth as labels. A student that learns from any but the supervisor's is an oracle."""
        return Truth(examples=examples)

    def blend(self, fit: ModelStage, share: float) -> Blend:
        """Weights between the pretrained strong model (share 0) and what it became (share 1)."""
        return Blend(
            model=fit.model,
            examples=self.student_examples,
            fits=(fit,),
            weights=(1.0 - share, share),
        )

    def need_classes(self) -> None:
        """Leave the method out where candidates differ from example to example.

        Raises:
            NotApplicable: They do.
        """
        self._need_probabilities("classes are needed")
        if self.num_classes is None:
            raise NotApplicable(
                f"it needs classes that all examples share, and in task {self.task_name} "
                "each has candidates of its own"
            )

    def need_difficulty(self) -> str:
        """The column that tells how hard an example is.

        Raises:
            NotApplicable: The task has none.
        """
        column = self.student_examples.task.difficulty
        if column is None:
            raise NotApplicable(f"task {self.task_name} does not say how hard its examples are")
        return column

    def need_fitted(self) -> None:
        """Leave the method out where the supervisor is one model as it is.

        Raises:
            NotApplicable: It is.
        """
        if self.pretrained_weak:
            raise NotApplicable("the supervisor labels as it is, so there are no others like it to be fitted")

    def need(self, skill: str) -> None:
        """Leave the method out where the strong model lacks a skill, a key of `SKILLS`.

        Raises:
            NotApplicable: It does.
        """
        strong = resolve(self.strong_model)
        if skill == "hint":
            self._need_probabilities("a label that is shown is one of some classes")
        reads_steps = getattr(self.student_examples.task, "reads_steps", False)
        if reads_steps and skill in ("hint", "prompt", "generate"):
            raise NotApplicable(f"steps of task {self.task_name} are read without prompts and hints")
        if skill not in strong.skills:
            raise NotApplicable(f"{strong.short_name} cannot {SKILLS[skill]}")

    @property
    def completes(self) -> bool:
        """Whether labels are completions of prompts: the task then names the checker of those."""
        return getattr(self.student_examples.task, "checked_by", None) is not None

    def _need_probabilities(self, why: str) -> None:
        """Leave the method out where labels are completions; called wherever something else is needed.

        Raises:
            NotApplicable: They are.
        """
        if self.completes:
            raise NotApplicable(
                f"labels of task {self.task_name} are completions, which have no probabilities: {why}"
            )

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self.student_examples.task.name


class Arms(NamedTuple):
    """A student with a ceiling of its own, where the method changes what the strong model is."""

    student: ModelStage | str
    ceiling: ModelStage


Student = ModelStage | str | Arms
Method = Callable[..., Student]
"""A method composes stages and returns the student (or a pretrained model's name, or `Arms`); it computes
nothing itself. It raises `NotApplicable` with a reason where it makes no sense."""
