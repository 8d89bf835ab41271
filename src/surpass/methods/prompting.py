"""Methods for models that can answer, be prompted or generate before anybody fine-tunes them."""

from __future__ import annotations

from dataclasses import replace

from surpass.methods.setting import Arms, WeakToStrong
from surpass.stages import TRUTH, Adapt, Prompt


def zero_shot(w2s: WeakToStrong) -> str:
    """The strong model as pretrained, without any label (Burns et al. 2023, section 5.2.1)."""
    w2s.need("zero_shot")
    return w2s.strong_model


def few_shot_weak(w2s: WeakToStrong, *, shots: int = 5) -> Prompt:
    """The strong model as pretrained, shown examples with weak labels (Burns et al. 2023, section 5.2.1).

    Raises:
        NotApplicable: The model cannot be prompted.
    """
    w2s.need("prompt")
    return Prompt(
        model=w2s.strong_model,
        examples=w2s.student_examples,
        labels=w2s.weak_labels,
        num_shots=shots,
        seed=w2s.seed,
    )


def few_shot_truth(w2s: WeakToStrong, *, shots: int = 5) -> Prompt:
    """The same shown examples with the truth: oracle (Burns et al. 2023, section 5.2.1)."""
    w2s.need("prompt")
    return Prompt(
        model=w2s.strong_model, examples=w2s.student_examples, labels=TRUTH, num_shots=shots, seed=w2s.seed
    )


def generative(w2s: WeakToStrong, *, epochs: int = 1) -> Arms:
    """Generative fine-tuning on the student's texts first, ceiling too (Burns et al. 2023, section 5.2.2).

    The loss is that of language modelling, on all texts and without labels; the rest of the recipe is
    that of the fits. The head starts anew from the unembedding. The ceiling is the paper's adjusted one.

    Raises:
        NotApplicable: The model cannot generate.
    """
    w2s.need("generate")
    adapted = Adapt(
        model=w2s.strong_model,
        examples=w2s.student_examples,
        recipe=replace(w2s.recipe_of(w2s.strong_model), epochs=epochs),
        seed=w2s.seed,
    )
    return Arms(
        student=w2s.student(w2s.weak_labels, start=adapted),
        ceiling=w2s.fit(w2s.strong_model, TRUTH, start=adapted),
    )
