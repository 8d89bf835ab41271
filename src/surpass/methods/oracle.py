"""Students that learn from truth that no supervisor has: bounds and controls, marked as oracle."""

from __future__ import annotations

from surpass.errors import ConfigError
from surpass.methods.naive import naive
from surpass.methods.setting import WeakToStrong
from surpass.methods.training import probed
from surpass.stages import TRUTH, Fit, LabelStage


def mix_truth(w2s: WeakToStrong, *, frac: float = 0.1, pick: str = "random") -> Fit:
    """Weak labels, of which a share is replaced by truth (label budgets of weak-to-strong forks, 2026).

    Args:
        w2s: The experiment.
        frac: The share.
        pick: "random", or "errors": where the supervisor is wrong first.
    """
    truth = w2s.truth(w2s.student_examples)
    rule = f"mix_truth(frac={frac}, pick={pick}, seed={w2s.seed})"
    return w2s.student(w2s.relabel(rule, w2s.weak_labels, truth))


def mix_truth_errors(w2s: WeakToStrong) -> Fit:
    """The same share of truth, spent where the supervisor is wrong (weak-to-strong forks, 2026)."""
    return mix_truth(w2s, pick="errors")


def easy_to_hard(w2s: WeakToStrong, *, frac: float = 0.5, by: str = "task") -> Fit:
    """The truth of the easiest examples alone (Burns et al. 2023, appendix C).

    Args:
        w2s: The experiment.
        frac: Share of the examples.
        by: What says how hard they are: the "task", such as the rating of a puzzle, where it does; or
            "models": the smallest from which all larger ones are right, of supervisor, student and those
            between, each fitted on the truth of the supervisor's half.
    """
    if by not in ("task", "models"):
        raise ConfigError(f"easy_to_hard(by={by}) must be task or models")
    examples = w2s.student_examples
    truth = w2s.truth(examples)
    if by == "task" and examples.task.difficulty is not None:
        rule = f"easiest(frac={frac}, by={examples.task.difficulty})"
        return w2s.student(w2s.relabel(rule, truth, inputs=examples))
    models = (w2s.weak_model, *w2s.between, w2s.strong_model)
    fits = (w2s.fit(model, TRUTH, examples=w2s.weak_examples) for model in models)
    said = (w2s.soft(fit, examples) for fit in fits)
    return w2s.student(w2s.relabel(f"easiest_for_models(frac={frac})", truth, *said))


def probe_truth(w2s: WeakToStrong, *, rate_factor: float = 1.0, epochs: int = 0) -> Fit:
    """The head alone, on truth (Burns et al. 2023, section 5.2.3: lp(gt)).

    Args:
        w2s: The experiment.
        rate_factor: As for `probe`.
        epochs: As for `probe`.
    """
    return probed(w2s, w2s.truth(w2s.student_examples), rate_factor=rate_factor, epochs=epochs)


def saliency(w2s: WeakToStrong, *, rate_factor: float = 1.0, epochs: int = 0) -> Fit:
    """A probe on truth after fine-tuning on weak labels (Burns et al. 2023, section 5.2.3).

    Args:
        w2s: The experiment.
        rate_factor: Of the probe, as for `probe`.
        epochs: Of the probe, as for `probe`.
    """
    truth = w2s.truth(w2s.student_examples)
    return probed(w2s, truth, rate_factor=rate_factor, epochs=epochs, start=naive(w2s))


def fit_truth(w2s: WeakToStrong) -> Fit:
    """The ceiling as a method: everything, on truth (Burns et al. 2023, section 5.2.3: ft(gt))."""
    return w2s.ceiling


def _simulated(w2s: WeakToStrong, rule: str, *more: LabelStage) -> Fit:
    labels = w2s.relabel(
        rule, w2s.truth(w2s.student_examples), w2s.weak_labels, *more, inputs=w2s.student_examples
    )
    return w2s.student(labels)


def simulate(w2s: WeakToStrong, *, by: str = "random") -> Fit:
    """Errors of another structure at the same accuracy (Burns et al. 2023, appendix E.2).

    Args:
        w2s: The experiment.
        by: Which examples it gets wrong: "random", "longest" or "shortest"; or those on which the
            strong ceiling is "unconfident", or "confident" and right.
    """
    strong = (w2s.soft(w2s.ceiling, w2s.student_examples),) if by in ("unconfident", "confident") else ()
    return _simulated(w2s, f"simulate(by={by}, seed={w2s.seed})", *strong)


def simulate_longest(w2s: WeakToStrong) -> Fit:
    """Errors on the longest inputs (Burns et al. 2023, appendix E.2)."""
    return simulate(w2s, by="longest")


def simulate_shortest(w2s: WeakToStrong) -> Fit:
    """Errors on the shortest inputs (Burns et al. 2023, appendix E.2)."""
    return simulate(w2s, by="shortest")


def simulate_unconfident(w2s: WeakToStrong) -> Fit:
    """Errors where the ceiling is least sure of the truth (Burns et al. 2023, appendix E.2)."""
    return simulate(w2s, by="unconfident")


def simulate_confident(w2s: WeakToStrong) -> Fit:
    """Errors where the ceiling is surest of the truth (Burns et al. 2023, appendix E.2)."""
    return simulate(w2s, by="confident")


def simulatable(w2s: WeakToStrong) -> Fit:
    """Errors that the strong model can imitate perfectly (Burns et al. 2023, appendix E.1).

    The labels are those of a strong model that has learned the supervisor's labels of fresh
    examples, with random ones changed until they are as accurate as the supervisor's.
    """
    taught = w2s.fresh(1)
    imitator = w2s.fit(w2s.strong_model, w2s.label(w2s.weak, taught), examples=taught)
    return _simulated(w2s, f"match(seed={w2s.seed})", w2s.soft(imitator, w2s.student_examples))


def noise_class(w2s: WeakToStrong) -> Fit:
    """The supervisor's confusions of classes, at random examples (related work, noisy labels)."""
    w2s.need_classes()
    return _simulated(w2s, f"noise(kind=class, seed={w2s.seed})")


def noise_instance(w2s: WeakToStrong) -> Fit:
    """Errors as likely as the supervisor's confidence says (related work, noisy labels)."""
    return _simulated(w2s, f"noise(kind=instance, seed={w2s.seed})")


def truth_part(w2s: WeakToStrong, *, of: int = 10) -> Fit:
    """The truth of one example in `of`: what weak labels are worth (related work, effective data)."""
    part = w2s.relabel(f"fold(of={of}, seed={w2s.seed})", w2s.truth(w2s.student_examples))
    return w2s.student(part)
