"""Slow twins of the methods: each told from beginning to end, as its paper tells it, over arrays.

A twin takes a `Lab` and settings, and returns the student's probabilities of the test examples (N, C). Rules
are their own twins, with every setting stated.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from reference import losses, probing, rules, rules_errors, rules_probes
from reference.laboratory import (
    HEAD,
    LOW_RANK,
    Lab,
    Labels,
    Part,
    below_the_head,
    fit,
    fold,
    handed_over,
    inputs_of,
    learned_by_student,
    out_of_sample,
    outside,
    peers,
    probs_of,
    right,
    ruled,
    said,
    soft_weak_labels,
    student,
    supervisor,
    tested,
    training,
    weak_labels,
)
from reference.rules import Plain, Result, likeliest
from reference.training import averaged, rate
from surpass.train.diversify import initial_heads

MEMBER, SECOND, EPOCH = 2_000_003, 1_000_003, 10_007
"""What is added to the seed: for another supervisor, the second student, and each epoch on its own."""


# Labels passed on


def named(loss: str) -> dict[str, Any]:
    """What a fit is told to learn with a loss that is cross-entropy towards targets."""

    def towards(logits: np.ndarray, labels: np.ndarray, progress: float) -> tuple[np.ndarray, np.ndarray]:
        target, weight = getattr(losses, loss)(logits.tolist(), labels.tolist(), progress)
        return np.array(target), np.array(weight)

    return {} if loss == "xent" else {"loss": towards}


def naive(lab: Lab, *, loss: str = "xent") -> np.ndarray:
    return tested(lab, student(lab, weak_labels(lab), **named(loss)))


def bootstrap(lab: Lab, *, fresh: bool = True) -> np.ndarray:
    """Two models between supervisor and student, three parts of examples."""
    first, second, own = (lab.fresh[1], lab.fresh[0], lab.student) if fresh else (lab.student,) * 3
    labels = weak_labels(lab, first)
    smaller = fit(lab.between[0], first, labels, lab.recipe, lab.seed)
    labels = handed_over(lab, said(smaller, second))
    larger = fit(lab.between[1], second, labels, lab.recipe, lab.seed)
    return learned_by_student(lab, handed_over(lab, said(larger, own)))


def strong_to_strong(lab: Lab, *, iterations: int = 2) -> np.ndarray:
    model = student(lab, weak_labels(lab))
    for _ in range(iterations):
        model = student(lab, handed_over(lab, said(model, lab.student)))
    return tested(lab, model)


def self_training(lab: Lab) -> np.ndarray:
    return learned_by_student(lab, handed_over(lab, peers(lab)))


# Training


def stopped(lab: Lab, judge: Labels) -> np.ndarray:
    """The first of ten states along the way that are right most often."""
    states = training(lab.strong_model, lab.student, weak_labels(lab), lab.recipe, lab.seed)
    best, best_hits = states[0], -1
    for tenth in range(1, 11):
        state = states[-(-tenth * len(states) // 10) - 1]
        answers = said(state, lab.validation)
        hits = sum(likeliest(answers[example][0]) == likeliest(row) for example, (row, _) in judge.items())
        if hits > best_hits:
            best, best_hits = state, hits
    return tested(lab, best)


def early_stop(lab: Lab) -> np.ndarray:
    return stopped(lab, weak_labels(lab, lab.validation))


def early_stop_truth(lab: Lab) -> np.ndarray:
    return stopped(lab, right(lab.validation))


def probe(lab: Lab) -> np.ndarray:
    return tested(lab, student(lab, weak_labels(lab), trained=HEAD))


def lp_ft(lab: Lab) -> np.ndarray:
    probed = student(lab, weak_labels(lab), trained=HEAD)
    return tested(lab, student(lab, weak_labels(lab), start=probed))


def lora(lab: Lab) -> np.ndarray:
    changed = lab.strong_model | lab.low_rank
    return tested(lab, student(lab, weak_labels(lab), start=changed, trained=HEAD + LOW_RANK))


def ema(lab: Lab, *, decay: float = 0.99) -> np.ndarray:
    states = training(lab.strong_model, lab.student, weak_labels(lab), lab.recipe, lab.seed)
    start = lab.strong_model
    return tested(
        lab, {name: averaged(start[name], [state[name] for state in states], decay) for name in start}
    )


def wise_ft(lab: Lab, *, share: float = 0.5) -> np.ndarray:
    before, after = lab.strong_model, student(lab, weak_labels(lab))
    return tested(lab, {name: (1 - share) * before[name] + share * after[name] for name in before})


def curriculum(lab: Lab, *, frac: float = 0.5) -> np.ndarray:
    sure = handed_over(lab, ruled(rules.top_confident, soft_weak_labels(lab), frac=frac))
    begun = student(lab, sure, epochs=2)
    half = lab.recipe.learning_rate / 2
    return tested(lab, student(lab, weak_labels(lab), start=begun, learning_rate=half))


def co_teaching(lab: Lab, *, forget: float = 0.2) -> np.ndarray:
    weak, epochs = weak_labels(lab), lab.recipe.epochs
    one, other = (student(lab, weak, epochs=1, seed=seed) for seed in (0, SECOND))
    for epoch in range(1, epochs):
        keep = 1 - forget * epoch / (epochs - 1)
        easy_for_one, easy_for_other = (
            ruled(rules.small_loss, weak, said(model, lab.student), keep=keep) for model in (one, other)
        )
        slower = {"epochs": 1, "learning_rate": lab.recipe.learning_rate * (1 - epoch / epochs)}
        one = student(lab, easy_for_other, start=one, seed=epoch * EPOCH, **slower)
        other = student(lab, easy_for_one, start=other, seed=SECOND + epoch * EPOCH, **slower)
    return tested(lab, one)


def with_hint(part: Part, labels: Labels) -> Part:
    shown = np.array([labels[example][0] for example in part.ids])
    return part._replace(seen=np.hstack([part.seen, shown]))


def imitation(lab: Lab, *, loss: str = "xent") -> np.ndarray:
    """The student, which must be linear, reads two numbers more."""
    wider = {**lab.strong_model, "head.weight": np.zeros((2, lab.strong_model["head.weight"].shape[1] + 2))}
    weak = weak_labels(lab)
    model = fit(wider, with_hint(lab.student, weak), weak, lab.recipe, lab.seed, **named(loss))
    return probs_of(model, with_hint(lab.test, weak_labels(lab, lab.test)).seen)


# Labels chosen, weighted and corrected


def top_confident(lab: Lab, *, frac: float = 0.1) -> np.ndarray:
    chosen = ruled(rules.top_confident, soft_weak_labels(lab), frac=frac)
    return learned_by_student(lab, handed_over(lab, chosen))


def as_pretrained(lab: Lab) -> Part:
    """The student's part with what the head of the untrained strong model reads as its features."""
    inputs = inputs_of(lab.strong_model, lab.student.seen)
    return lab.student._replace(seen=below_the_head(lab.strong_model, inputs))


def probed(lab: Lab, rule: Callable[..., Result], **settings: Any) -> np.ndarray:
    return learned_by_student(lab, ruled(rule, weak_labels(lab), part=as_pretrained(lab), **settings))


def knn(lab: Lab, *, use: str) -> np.ndarray:
    return probed(lab, rules_probes.knn, k=50, use=use, drop=0.1, sure=0.8)


def logistic_rule(given: Plain, use: str) -> Result:
    """Five folds; soft labels as every example once for each class, with its probability as a weight."""
    ranked = sorted(range(len(given.ids)), key=lambda row: rules.mark(given.ids[row]))
    features, weak = np.array(given.features), np.array(given.tables[0])
    opinion: list[Any] = [None] * len(ranked)
    for number in range(5):
        own, others = ranked[number::5], [row for place, row in enumerate(ranked) if place % 5 != number]
        scaled = (features - features[others].mean(axis=0)) / features[others].std(axis=0)
        fitted = LogisticRegression(C=1 / (2 * 1e-3 * len(others)), solver="newton-cholesky", tol=1e-10).fit(
            np.vstack([scaled[others]] * 2),
            [0] * len(others) + [1] * len(others),
            sample_weight=np.concatenate([weak[others, 0], weak[others, 1]]),
        )
        for row, probs in zip(own, fitted.predict_proba(scaled[own]).tolist(), strict=True):
            opinion[row] = probs
    return rules_probes.used(given, opinion, use, 0.1, 0.8)


def topological_filter(lab: Lab) -> np.ndarray:
    return probed(lab, rules_probes.topological, k=50, use="filter", drop=0.1, sure=0.8)


def confident_learning(lab: Lab) -> np.ndarray:
    kept = ruled(rules_probes.confident_learning, weak_labels(lab), peers(lab), use="filter")
    return learned_by_student(lab, kept)


def small_loss_filter(lab: Lab, *, keep: float = 0.8) -> np.ndarray:
    return learned_by_student(lab, ruled(rules.small_loss, weak_labels(lab), peers(lab), keep=keep))


def variants(lab: Lab) -> list[Labels]:
    return [said(supervisor(lab, seed=number * MEMBER), lab.student) for number in range(3)]


def reliability(lab: Lab, *, use: str, keep: float = 0.8) -> np.ndarray:
    judged = ruled(rules.reliability, *variants(lab), use=use, keep=keep, temperature=0.2)
    return learned_by_student(lab, handed_over(lab, judged))


def calibrated_weight(lab: Lab) -> np.ndarray:
    truth = right(lab.weak)
    unseen = out_of_sample(truth, lab.weak, lambda labels: supervisor(lab, labels=labels), folds=3)
    weighted = ruled(rules_probes.calibrated, soft_weak_labels(lab), reference=(truth, unseen), l2=1e-3)
    return learned_by_student(lab, handed_over(lab, weighted))


def overlap_density(lab: Lab) -> np.ndarray:
    chosen = ruled(rules_probes.overlap_density, soft_weak_labels(lab), part=as_pretrained(lab), keep=0.5)
    return learned_by_student(lab, handed_over(lab, chosen))


def em_posterior(lab: Lab) -> np.ndarray:
    tables = soft_weak_labels(lab), peers(lab)
    posterior = ruled(rules.em_posterior, *tables, rounds=2, bins=10, channel="accuracy")
    return learned_by_student(lab, handed_over(lab, posterior))


# Several supervisors


def ensemble(lab: Lab) -> np.ndarray:
    return learned_by_student(lab, handed_over(lab, ruled(rules.average, *variants(lab), trust="equal")))


def bayesian(lab: Lab) -> np.ndarray:
    """One fifth is for measuring; each of three supervisors misses another one, too."""
    truth = right(lab.weak)
    seen = outside(truth, 0, of=5)
    bags = [supervisor(lab, labels=outside(seen, missed, of=5)) for missed in (1, 2, 3)]
    opinions = [said(bag, lab.weak) for bag in bags]
    measured = [fold(labels, 0, of=5) for labels in (truth, *opinions)]
    tables = [said(bag, lab.student) for bag in bags]
    combined = ruled(rules.bayesian, *tables, reference=measured, prior=1.0)
    return learned_by_student(lab, handed_over(lab, combined))


def adaboost(lab: Lab) -> np.ndarray:
    truth = right(lab.weak)
    first = supervisor(lab)
    known = [said(first, lab.weak)]
    second = supervisor(lab, labels=ruled(rules.adaboost_weights, truth, *known, multiclass=False))
    known.append(said(second, lab.weak))
    third = supervisor(lab, labels=ruled(rules.adaboost_weights, truth, *known, multiclass=False))
    known.append(said(third, lab.weak))
    tables = [said(learner, lab.student) for learner in (first, second, third)]
    voted = ruled(rules.adaboost_vote, *tables, reference=(truth, *known), multiclass=False, votes="soft")
    return learned_by_student(lab, handed_over(lab, voted))


def co_supervised(lab: Lab, *, rounds: int = 2) -> np.ndarray:
    truth = right(lab.weak)
    thirds = ((0, 0.333333), (0.333333, 0.666667), (0.666667, 1))
    specialists = [
        supervisor(lab, labels=ruled(rules.band, truth, part=lab.weak, by="difficulty", low=low, high=high))
        for low, high in thirds
    ]
    tables = [said(specialist, lab.student) for specialist in specialists]
    model = student(lab, handed_over(lab, ruled(rules.average, *tables, trust="equal")))
    for _ in range(rounds):
        assigned = ruled(rules.assign, said(model, lab.student), *tables, reject=0.1)
        model = student(lab, handed_over(lab, assigned))
    return tested(lab, model)


# Students that learn from truth that no supervisor has


def mix_truth(lab: Lab, *, frac: float = 0.1, pick: str = "random") -> np.ndarray:
    tables = weak_labels(lab), right(lab.student)
    return learned_by_student(
        lab, ruled(rules_errors.mix_truth, *tables, frac=frac, pick=pick, seed=lab.seed)
    )


def truth_part(lab: Lab, *, of: int = 10) -> np.ndarray:
    return learned_by_student(lab, fold(right(lab.student), 0, of=of, seed=lab.seed))


def easy_to_hard(lab: Lab, *, frac: float = 0.5) -> np.ndarray:
    easy = ruled(rules.easiest, right(lab.student), part=lab.student, frac=frac, by="difficulty")
    return learned_by_student(lab, easy)


def probe_truth(lab: Lab) -> np.ndarray:
    return tested(lab, student(lab, right(lab.student), trained=HEAD))


def saliency(lab: Lab) -> np.ndarray:
    tuned = student(lab, weak_labels(lab))
    return tested(lab, student(lab, right(lab.student), start=tuned, trained=HEAD))


def fit_truth(lab: Lab) -> np.ndarray:
    return learned_by_student(lab, right(lab.student))


# Heads on frozen states


def retrained(lab: Lab, labels: Labels) -> np.ndarray:
    """The naive student with another last layer; the task has no attribute, so that groups are classes."""
    model, part = student(lab, weak_labels(lab)), lab.validation
    chosen = [likeliest(labels[example][0]) for example in part.ids]
    states = below_the_head(model, inputs_of(model, part.seen))
    # Groups are numbered in the order of their names.
    weights, bias = probing.retrained(part.ids, states, chosen, chosen, lab.seed)
    head = {"head.weight": np.stack([-weights, weights]) / 2, "head.bias": np.array([-bias, bias]) / 2}
    return tested(lab, model | head)


def dfr(lab: Lab) -> np.ndarray:
    return retrained(lab, right(lab.validation))


def dfr_weak(lab: Lab) -> np.ndarray:
    return retrained(lab, weak_labels(lab, lab.validation))


def divdis(
    lab: Lab,
    *,
    judge: Labels | None = None,
    heads: int = 2,
    mutual: float = 10.0,
    prior: float = 10.0,
    queries: int = 64,
) -> np.ndarray:
    """Linear heads by AdamW, with slopes by hand."""
    learned, own, others = weak_labels(lab), as_pretrained(lab).seen, lab.validation.seen
    judge = judge or weak_labels(lab, lab.validation)
    wanted = np.array([learned[example][0] for example in lab.student.ids])
    begun = initial_heads(heads, 2, (own.shape[1],), lab.seed)
    values = [tensor.double().numpy().copy() for tensor in begun]
    first, second = ([np.zeros_like(value) for value in values] for _ in range(2))
    per_epoch, size = -(-len(own) // lab.recipe.batch_size), min(lab.recipe.batch_size, len(others))
    per_pass = len(others) // size

    def logits(states: np.ndarray) -> np.ndarray:
        return np.stack([states @ weight.T + bias for weight, bias in zip(*values, strict=True)])

    for step in range(lab.recipe.epochs * per_epoch):
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng((lab.seed, epoch)).permutation(len(own))
        rows = order[place * lab.recipe.batch_size : (place + 1) * lab.recipe.batch_size]
        number, place = divmod(step, per_pass)
        order = np.random.default_rng((lab.seed, 2**32 + 2, number)).permutation(len(others))
        seen = order[place * size : (place + 1) * size]
        by_own, by_others = probing.slopes(
            logits(own[rows]),
            wanted[rows],
            logits(others[seen]),
            wanted.mean(axis=0),
            mutual=mutual,
            weight_of_prior=prior,
        )
        slopes = [
            np.stack([a.T @ own[rows] + b.T @ others[seen] for a, b in zip(by_own, by_others, strict=True)]),
            by_own.sum(axis=1) + by_others.sum(axis=1),
        ]
        speed = rate(lab.recipe, step, lab.recipe.epochs * per_epoch)
        for at, slope in enumerate(slopes):
            first[at] = 0.9 * first[at] + 0.1 * slope
            second[at] = 0.999 * second[at] + 0.001 * slope**2
            spread = np.sqrt(second[at] / (1 - 0.999 ** (step + 1))) + 1e-8
            values[at] = values[at] * (1 - speed * lab.recipe.weight_decay)
            values[at] = values[at] - speed * first[at] / (1 - 0.9 ** (step + 1)) / spread
    said = probing.softmax(logits(others))
    pairs = [(i, j) for j in range(heads) for i in range(j)]
    apart = np.mean([np.abs(said[i] - said[j]).sum(axis=1) for i, j in pairs], axis=0)
    disputed = sorted(range(len(others)), key=lambda row: -apart[row])[:queries]
    answers = {row: likeliest(judge[lab.validation.ids[row]][0]) for row in disputed}
    hits = [sum(likeliest(head[row].tolist()) == answer for row, answer in answers.items()) for head in said]
    kept = hits.index(max(hits))
    return probing.softmax(logits(lab.test.seen))[kept]


def divdis_truth(lab: Lab, **settings: Any) -> np.ndarray:
    return divdis(lab, judge=right(lab.validation), **settings)


def with_errors(lab: Lab, rule: Callable[..., Result], *more: Labels, **settings: Any) -> np.ndarray:
    tables = right(lab.student), weak_labels(lab), *more
    return learned_by_student(lab, ruled(rule, *tables, part=lab.student, seed=lab.seed, **settings))


def simulate(lab: Lab, *, by: str) -> np.ndarray:
    ceiling = student(lab, right(lab.student))
    return with_errors(lab, rules_errors.simulate, said(ceiling, lab.student), by=by)


def simulatable(lab: Lab) -> np.ndarray:
    taught = lab.fresh[0]
    imitator = fit(lab.strong_model, taught, weak_labels(lab, taught), lab.recipe, lab.seed)
    return with_errors(lab, rules_errors.match, said(imitator, lab.student))


def noise(lab: Lab, *, kind: str) -> np.ndarray:
    return with_errors(lab, rules_errors.noise, kind=kind)


TWINS: dict[str, Callable[..., np.ndarray]] = {
    twin.__name__: twin
    for twin in (
        *(naive, bootstrap, strong_to_strong, self_training),
        *(early_stop, early_stop_truth, probe, lp_ft, lora, ema, wise_ft, curriculum, co_teaching),
        imitation,
        *(top_confident, topological_filter, confident_learning, small_loss_filter),
        *(calibrated_weight, overlap_density, em_posterior),
        *(ensemble, bayesian, adaboost, co_supervised),
        *(mix_truth, truth_part, easy_to_hard, probe_truth, saliency, fit_truth, simulatable),
        *(dfr, dfr_weak, divdis, divdis_truth),
    )
} | {
    "imitation_confidence": partial(imitation, loss="confidence"),
    "bootstrap_same": partial(bootstrap, fresh=False),
    "knn_filter": partial(knn, use="filter"),
    "knn_relabel": partial(knn, use="relabel"),
    "logistic_filter": partial(probed, rule=logistic_rule, use="filter"),
    "logistic_relabel": partial(probed, rule=logistic_rule, use="relabel"),
    "reliability_filter": partial(reliability, use="filter"),
    "reliability_weight": partial(reliability, use="weight"),
    "mix_truth_errors": partial(mix_truth, pick="errors"),
    **{
        f"simulate_{by}": partial(simulate, by=by)
        for by in ("random", "longest", "shortest", "unconfident", "confident")
    },
    **{f"noise_{kind}": partial(noise, kind=kind) for kind in ("class", "instance")},
}
"""The twin of each method that has one."""
