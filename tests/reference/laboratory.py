"""A tiny laboratory for the twins of methods: examples as arrays, softmax regressions, training by formula.

After these come the steps that methods have in common: supervisor, weak labels, student.

A model is a dict of arrays: the matrix and bias of its head, and those of a body of rectified units where it
has one. It reads as many leading features as it has inputs; what lies behind them is the hint. Labels are a
dict from id to (probabilities, weight); an example that is not in it has no label.

Shape suffixes: N examples, C classes, D features, H hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from reference.rules import Plain, Row, fold_of
from reference.training import rate
from surpass.train.recipe import Recipe

Model = dict[str, np.ndarray]
Labels = dict[str, tuple[Row, float]]

HEAD = ("head.weight", "head.bias")
BODY = ("body.weight", "body.bias")
LOW_RANK = ("up", "down")
ALPHA = 16.0
NUM_CLASSES = 2


class Part(NamedTuple):
    """Examples: ids, features (N, D), the right class of each, and their columns of numbers."""

    ids: list[str]
    seen: np.ndarray
    truth: list[int]
    columns: dict[str, list[float]]


class Lab(NamedTuple):
    """What an experiment consists of.

    `fresh` are parts as large as the student's that nobody has seen. The models are untrained, and
    `low_rank` is where a change of low rank of the strong one's body begins. `hard` says that the
    supervisor's labels, and those passed on, are greedy.
    """

    weak: Part
    student: Part
    fresh: list[Part]
    validation: Part
    test: Part
    weak_model: Model
    between: list[Model]
    strong_model: Model
    low_rank: Model
    recipe: Recipe
    seed: int
    hard: bool


def linear(width: int) -> Model:
    """An untrained softmax regression."""
    return {"head.weight": np.zeros((NUM_CLASSES, width)), "head.bias": np.zeros(NUM_CLASSES)}


def body_of(model: Model) -> np.ndarray:
    """The matrix below the hidden units, with its change of low rank where there is one."""
    if "up" not in model:
        return model["body.weight"]
    return model["body.weight"] + ALPHA / len(model["down"]) * (model["up"] @ model["down"])


def inputs_of(model: Model, seen: np.ndarray) -> np.ndarray:
    """The leading features, as many as the model reads."""
    return seen[:, : model.get("body.weight", model["head.weight"]).shape[1]]


def below_the_head(model: Model, inputs: np.ndarray) -> np.ndarray:
    """What the head reads of each example."""
    if "body.weight" not in model:
        return inputs
    return np.maximum(inputs @ body_of(model).T + model["body.bias"], 0)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def logits_of(model: Model, inputs: np.ndarray) -> np.ndarray:
    return below_the_head(model, inputs) @ model["head.weight"].T + model["head.bias"]


def probs_of(model: Model, seen: np.ndarray) -> np.ndarray:
    """A model's probabilities (N, C) of examples with these features."""
    return softmax(logits_of(model, inputs_of(model, seen)))


def gradient(model: Model, inputs: np.ndarray, error: np.ndarray) -> Model:
    """By each array of a model, given the gradient by the logits (N, C)."""
    hidden = below_the_head(model, inputs)
    found = {"head.weight": error.T @ hidden, "head.bias": error.sum(axis=0)}
    if "body.weight" in model:
        passed_on = (error @ model["head.weight"]) * (hidden > 0)
        found |= {"body.weight": passed_on.T @ inputs, "body.bias": passed_on.sum(axis=0)}
    if "up" in model:
        scale = ALPHA / len(model["down"])
        found["up"] = scale * found["body.weight"] @ model["down"].T
        found["down"] = scale * model["up"].T @ found["body.weight"]
    return found


def cross_entropy(logits: np.ndarray, labels: np.ndarray, progress: float) -> tuple[np.ndarray, np.ndarray]:
    """The target and weight of each example in a loss that is cross-entropy towards targets."""
    return labels, np.ones(len(labels))


def training(
    model: Model,
    part: Part,
    labels: Labels,
    recipe: Recipe,
    seed: int,
    *,
    trained: Sequence[str] = HEAD + BODY,
    loss: Callable[..., Any] = cross_entropy,
) -> list[Model]:
    """The model after every step of AdamW on the examples that have a label; the last is the result."""
    rows = [row for row, example in enumerate(part.ids) if example in labels]
    inputs = inputs_of(model, part.seen[rows])
    wanted = np.array([labels[part.ids[row]][0] for row in rows])
    counts = np.array([labels[part.ids[row]][1] for row in rows])
    names = [name for name in model if name in trained]
    first, second = ({name: np.zeros_like(model[name]) for name in names} for _ in range(2))
    states: list[Model] = []
    per_epoch = math.ceil(len(rows) / recipe.batch_size)
    num_steps = recipe.epochs * per_epoch
    for epoch in range(recipe.epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(rows))
        for place in range(per_epoch):
            batch = order[place * recipe.batch_size : (place + 1) * recipe.batch_size]
            step = len(states)
            logits = logits_of(model, inputs[batch])
            target, weight = loss(logits, wanted[batch], step / num_steps)
            share = (weight * counts[batch] / len(batch))[:, None]
            slopes = gradient(model, inputs[batch], share * (softmax(logits) - target))
            model, speed = dict(model), rate(recipe, step, num_steps)
            for name in names:
                first[name] = 0.9 * first[name] + 0.1 * slopes[name]
                second[name] = 0.999 * second[name] + 0.001 * slopes[name] ** 2
                spread = np.sqrt(second[name] / (1 - 0.999 ** (step + 1))) + 1e-8
                model[name] = model[name] * (1 - speed * recipe.weight_decay)
                model[name] = model[name] - speed * first[name] / (1 - 0.9 ** (step + 1)) / spread
            states.append(model)
    return states


def fit(model: Model, part: Part, labels: Labels, recipe: Recipe, seed: int, **settings: Any) -> Model:
    """A model that has learned labels of a part."""
    return training(model, part, labels, recipe, seed, **settings)[-1]


def right(part: Part) -> Labels:
    """The truth as labels."""
    return {
        example: (np.eye(NUM_CLASSES)[truth].tolist(), 1.0)
        for example, truth in zip(part.ids, part.truth, strict=True)
    }


def said(model: Model, part: Part) -> Labels:
    """A model's probabilities as labels."""
    return {
        example: (row, 1.0)
        for example, row in zip(part.ids, probs_of(model, part.seen).tolist(), strict=True)
    }


def greedy(labels: Labels) -> Labels:
    """Certain of what was likeliest."""
    return {
        example: (np.eye(len(row))[int(np.argmax(row))].tolist(), weight)
        for example, (row, weight) in labels.items()
    }


def ruled(
    rule: Callable[..., Any],
    *tables: Labels,
    reference: Sequence[Labels] = (),
    part: Part | None = None,
    **settings: Any,
) -> Labels:
    """What the twin of a rule makes of labels; if their part is given, it may look at inputs and features."""
    ids, known = list(tables[0]), list(reference[0]) if reference else []
    given = Plain(
        ids=ids,
        tables=[[table[example][0] for example in ids] for table in tables],
        table_weights=[None for _ in tables],
        columns={} if part is None else part.columns,
        features=[] if part is None else part.seen.tolist(),
        reference=[[table[example][0] for example in known] for table in reference],
        num_classes=NUM_CLASSES,
    )
    return {
        example: (row, 1.0 if weight is None else weight) for example, row, weight in rule(given, **settings)
    }


def supervisor(lab: Lab, *, labels: Labels | None = None, seed: int = 0) -> Model:
    return fit(lab.weak_model, lab.weak, labels or right(lab.weak), lab.recipe, lab.seed + seed)


def handed_over(lab: Lab, labels: Labels) -> Labels:
    return greedy(labels) if lab.hard else labels


def weak_labels(lab: Lab, part: Part | None = None, *, seed: int = 0) -> Labels:
    return handed_over(lab, said(supervisor(lab, seed=seed), part or lab.student))


def soft_weak_labels(lab: Lab) -> Labels:
    return said(supervisor(lab), lab.student)


def student(lab: Lab, labels: Labels, *, start: Model | None = None, seed: int = 0, **settings: Any) -> Model:
    changes = {name: settings.pop(name) for name in ("epochs", "learning_rate") if name in settings}
    recipe = replace(lab.recipe, **changes)
    return fit(start or lab.strong_model, lab.student, labels, recipe, lab.seed + seed, **settings)


def tested(lab: Lab, model: Model) -> np.ndarray:
    return probs_of(model, lab.test.seen)


def learned_by_student(lab: Lab, labels: Labels) -> np.ndarray:
    return tested(lab, student(lab, labels))


def fold(labels: Labels, number: int, *, of: int, seed: int = 0) -> Labels:
    return {example: label for example, label in labels.items() if fold_of(example, of, seed) == number}


def outside(labels: Labels, number: int, *, of: int) -> Labels:
    return {example: label for example, label in labels.items() if fold_of(example, of, 0) != number}


def out_of_sample(
    labels: Labels, part: Part, learned: Callable[[Labels], Model], *, folds: int = 2
) -> Labels:
    """What is said of each fold by who has learned the others."""
    models = [learned(outside(labels, number, of=folds)) for number in range(folds)]
    opinions = [said(model, part) for model in models]
    return {example: opinions[fold_of(example, folds, 0)][example] for example in part.ids}


def peers(lab: Lab) -> Labels:
    """What students say of examples whose weak labels they have not learned."""
    return out_of_sample(weak_labels(lab), lab.student, partial(student, lab))
