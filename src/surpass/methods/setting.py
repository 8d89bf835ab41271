"""What a method is given: the two models, the student's examples, and the supervisor's labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from surpass.stages import TRUTH, Examples, Fit, Label, Relabel
from surpass.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class WeakToStrong:
    """The experiment of Burns et al. 2023, section 3, for one pair of models and one seed.

    The supervisor learns the truth of its own half. It labels the student's half, which it has not
    seen. Student and ceiling learn from the same examples: only the labels differ.

    Attributes:
        weak_model: The supervisor's pretrained model.
        strong_model: The pretrained model of student and ceiling.
        weak_examples: The half that the supervisor learns from.
        student_examples: The half that student and ceiling learn from.
        hard: Whether the supervisor's labels are hardened (greedy) before anybody learns from them.
        recipe: Settings of every fit.
        seed: Order of the examples in every fit.
    """

    weak_model: str
    strong_model: str
    weak_examples: Examples
    student_examples: Examples
    hard: bool
    recipe: Recipe
    seed: int

    @property
    def weak(self) -> Fit:
        """The supervisor."""
        return self._fit_on_truth(self.weak_model, self.weak_examples)

    @property
    def ceiling(self) -> Fit:
        """What the strong model reaches when it learns the truth of the student's examples."""
        return self._fit_on_truth(self.strong_model, self.student_examples)

    @property
    def weak_labels(self) -> Label | Relabel:
        """The supervisor's labels of the student's examples."""
        return self.label(self.weak, self.student_examples)

    def label(self, source: Fit, examples: Examples) -> Label | Relabel:
        """Labels of a fitted model, soft or hard as the experiment has them."""
        labels = Label(source=source, examples=examples)
        return Relabel(labels=labels, rule="harden") if self.hard else labels

    def fit(self, model: str, labels: Label | Relabel, *, loss: str = "xent") -> Fit:
        """A pretrained model fine-tuned on labels of the student's examples."""
        return Fit(
            model=model,
            examples=self.student_examples,
            labels=labels,
            loss=loss,
            recipe=self.recipe,
            seed=self.seed,
        )

    def _fit_on_truth(self, model: str, examples: Examples) -> Fit:
        return Fit(model=model, examples=examples, labels=TRUTH, recipe=self.recipe, seed=self.seed)


Method = Callable[[WeakToStrong], Fit]
"""A method composes stages and returns the student's fit; it computes nothing itself."""
