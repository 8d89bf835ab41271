"""Fine-tuning on the supervisor's labels, at once or passed on from model to model."""

from __future__ import annotations

from surpass.errors import ConfigError, NotApplicable
from surpass.methods.setting import WeakToStrong
from surpass.stages import Fit, LabelStage


def naive(w2s: WeakToStrong, *, loss: str = "xent") -> Fit:
    """Cross-entropy on weak labels (Burns et al. 2023, section 4.2).

    Args:
        w2s: The experiment.
        loss: Another loss; `naive(loss=gce(q=0.5))` is `gce(q=0.5)`. This is the way in for a
            loss of somebody else's, `naive(loss=their_module:function)`.
    """
    return w2s.student(w2s.weak_labels, loss=loss)


def bootstrap(w2s: WeakToStrong, *, fresh: bool = True, steps: int = 3) -> Fit:
    """Labels passed up a chain of growing models, each on fresh examples (Burns et al. 2023, section 4.3.1).

    Args:
        w2s: The experiment.
        fresh: Every model of the chain learns from examples that nobody has seen, as in the paper;
            else all learn from the student's own. The student does so in both cases.
        steps: Weak-to-strong steps; one less is the number of models between supervisor and student, which
            are spread evenly over those that there are.

    Raises:
        NotApplicable: There are fewer models between supervisor and student.
    """
    if steps < 2:
        raise ConfigError(f"bootstrap(steps={steps}) must have at least 2; one step is naive")
    missing = steps - 1 - len(w2s.between)
    if missing > 0:
        raise NotApplicable(
            f"{steps} steps need {steps - 1} models between supervisor and student; "
            f"there {'is' if len(w2s.between) == 1 else 'are'} {len(w2s.between)}"
        )
    labels = w2s.label(w2s.weak, w2s.fresh(steps - 1 if fresh else 0))
    chain = [w2s.between[round((k + 1) * (len(w2s.between) + 1) / steps) - 1] for k in range(steps - 1)]
    for number, model in enumerate(chain, 1):
        taught = w2s.fresh(steps - number if fresh else 0)
        teacher = w2s.fit(model, labels, examples=taught)
        labels = w2s.label(teacher, w2s.fresh(steps - 1 - number if fresh else 0))
    return w2s.student(labels)


def bootstrap_same(w2s: WeakToStrong) -> Fit:
    """Bootstrapping with the same examples at every step (Burns et al. 2023, section 4.3.1; variant)."""
    return bootstrap(w2s, fresh=False)


def strong_to_strong(w2s: WeakToStrong, *, iterations: int = 2) -> Fit:
    """A fresh student learns from the labels of the last one, again and again (EleutherAI 2024, `s2s`).

    Each student labels the examples that it has learned from itself, as in the code of EleutherAI/w2s.
    """
    if iterations < 1:
        raise ConfigError(f"strong_to_strong(iterations={iterations}) must be at least 1")
    student = naive(w2s)
    for _ in range(iterations):
        student = w2s.student(w2s.label(student, w2s.student_examples))
    return student


def self_training(w2s: WeakToStrong) -> Fit:
    """A fresh student learns from out-of-sample labels of students that learned half of the weak labels.

    As `strong_to_strong` with one iteration, but no student labels what it has learned from; so
    nothing is passed on that was merely memorised (cross-fitting; our variant, 2026).
    """
    return w2s.student(w2s.handed_over(out_of_sample(w2s)))


def out_of_sample(w2s: WeakToStrong) -> LabelStage:
    """What students say of examples whose weak labels they have not learned (two folds)."""
    return w2s.out_of_sample(w2s.strong_model, w2s.weak_labels, w2s.student_examples)
