"""Methods with several supervisors."""

from __future__ import annotations

from surpass.methods.setting import WeakToStrong
from surpass.stages import TRUTH, Fit, LabelStage, ModelStage, Relabel

NUM_MEMBERS = 3
# Apart from the seeds of experiments, which are small.
_MEMBER = 2_000_003


def members(w2s: WeakToStrong) -> tuple[LabelStage, ...]:
    """Probabilities of the supervisor and of two more fits that differ in the order of their examples."""
    w2s.need_fitted()
    fits = [
        w2s.fit(w2s.weak_model, TRUTH, examples=w2s.weak_examples, seed=w2s.seed + k * _MEMBER)
        for k in range(NUM_MEMBERS)
    ]
    return tuple(w2s.soft(fit, w2s.student_examples) for fit in fits)


def ensemble(w2s: WeakToStrong) -> Fit:
    """The mean of supervisors that differ in the order of training (Burns et al. 2023, related work).

    Three supervisors, whose probabilities are averaged. The paper remarks on averages of weights.
    """
    return w2s.student(w2s.handed_over(w2s.relabel("average", *members(w2s))))


def bayesian(w2s: WeakToStrong) -> Fit:
    """Bagged supervisors, weighted by how right they are where none has learned (after Cui et al. 2025).

    Each of three learns three fifths of the supervisor's half. On a fifth that none has seen their
    accuracies are measured; labels of one mind count more than labels in dispute.
    """
    w2s.need_fitted()
    truth = w2s.truth(w2s.weak_examples)
    seen = w2s.relabel("outside(keep=0, of=5)", truth)
    bags = [
        w2s.fit(w2s.weak_model, w2s.relabel(f"outside(keep={fold}, of=5)", seen), examples=w2s.weak_examples)
        for fold in range(1, NUM_MEMBERS + 1)
    ]
    held_out = tuple(
        w2s.relabel("fold(keep=0, of=5)", labels)
        for labels in (truth, *(w2s.soft(bag, w2s.weak_examples) for bag in bags))
    )
    said = (w2s.soft(bag, w2s.student_examples) for bag in bags)
    return w2s.student(w2s.handed_over(w2s.relabel("bayesian", *said, reference=held_out)))


def adaboost(w2s: WeakToStrong) -> Fit:
    """A committee of supervisors, each fitted with weight on what the last ones got wrong.

    Three rounds (EnsemW2S, Agrawal et al. 2024; its step as in AdaBoost, and with more than two candidates
    as in SAMME, Zhu et al. 2009, for which a learner need only beat chance).
    """
    w2s.need_fitted()
    many = f"multiclass={w2s.num_classes != 2}"
    truth = w2s.truth(w2s.weak_examples)
    learners: list[ModelStage | str] = [w2s.weak]
    known: list[LabelStage] = [w2s.soft(w2s.weak, w2s.weak_examples)]
    for _ in range(NUM_MEMBERS - 1):
        weighted = w2s.relabel(f"adaboost_weights({many})", truth, *known)
        learners.append(w2s.fit(w2s.weak_model, weighted, examples=w2s.weak_examples))
        known.append(w2s.soft(learners[-1], w2s.weak_examples))
    said = (w2s.soft(learner, w2s.student_examples) for learner in learners)
    voted = w2s.relabel(f"adaboost_vote({many})", *said, reference=(truth, *known))
    return w2s.student(w2s.handed_over(voted))


def co_supervised(w2s: WeakToStrong, *, rounds: int = 2) -> Fit:
    """Specialists for easy, middling and hard examples; each example goes to whom the student believes.

    Expectation-maximisation: assign with the current student, fit a fresh one (Liu and Alahi 2024,
    co-supervised learning). A tenth of the examples, on which no specialist is believed, is left out.
    """
    w2s.need_fitted()
    column = w2s.need_difficulty()
    truth = w2s.truth(w2s.weak_examples)
    bands = [(k / NUM_MEMBERS, (k + 1) / NUM_MEMBERS) for k in range(NUM_MEMBERS)]
    said = [
        w2s.soft(
            w2s.fit(w2s.weak_model, _band(w2s, truth, column, *band), examples=w2s.weak_examples),
            w2s.student_examples,
        )
        for band in bands
    ]
    student = w2s.student(w2s.handed_over(w2s.relabel("average", *said)))
    for _ in range(rounds):
        believed = w2s.soft(student, w2s.student_examples)
        student = w2s.student(w2s.handed_over(w2s.relabel("assign", believed, *said)))
    return student


def _band(w2s: WeakToStrong, truth: LabelStage, column: str, low: float, high: float) -> Relabel:
    rule = f"band(by={column}, low={round(low, 6)}, high={round(high, 6)})"
    return w2s.relabel(rule, truth, inputs=w2s.weak_examples)
