"""Slow twins of the planted problem and of models of feature vectors: plain loops, from the formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reference.training import rate
from surpass.train.recipe import Recipe

Row = Sequence[float]


class Gaussians(NamedTuple):
    """Classes that are Gaussian in the features, with one covariance."""

    means: list[list[float]]
    inverse: list[list[float]]
    prior: list[float]


def gaussians(concepts, weights, prior, num_leading: int | None = None) -> Gaussians:
    """The classes as the leading features see them: noise of variance 1 and what a concept adds to it."""
    axes, features = range(len(weights)), range(num_leading or len(weights[0]))
    means = [[sum(place[axis] * weights[axis][f] for axis in axes) for f in features] for place in concepts]
    covariance = [
        [(f == g) + sum(weights[axis][f] * weights[axis][g] for axis in axes) for g in features]
        for f in features
    ]
    return Gaussians(means, np.linalg.inv(covariance).tolist(), list(prior))


def squared_length(vector: Row, inverse: Sequence[Row]) -> float:
    return math.fsum(
        left * value * right
        for left, row in zip(vector, inverse, strict=True)
        for value, right in zip(row, vector, strict=True)
    )


def log_posteriors(example: Row, classes: Gaussians) -> list[float]:
    """Up to a constant: log prior less half the squared distance from the mean."""
    found = []
    for mean, share in zip(classes.means, classes.prior, strict=True):
        away = [value - middle for value, middle in zip(example, mean, strict=True)]
        found.append(math.log(share) - squared_length(away, classes.inverse) / 2)
    return found


def boundary_distance(example: Row, classes: Gaussians) -> float:
    """Of an example to the nearest plane on which two classes are equally probable, in whitened space."""
    scores = log_posteriors(example, classes)
    best = scores.index(max(scores))
    distances = []
    for other, mean in enumerate(classes.means):
        if other != best:
            between = [here - there for here, there in zip(classes.means[best], mean, strict=True)]
            distances.append(
                (scores[best] - scores[other]) / math.sqrt(squared_length(between, classes.inverse))
            )
    return min(distances)


def normal_cdf(value: float) -> float:
    return math.erfc(-value / math.sqrt(2)) / 2


def two_class_accuracy(distance: float, shares: tuple[float, float]) -> float:
    """Of the best rule for two Gaussians of variance 1 that far apart: the threshold in closed form."""
    lean = math.log(shares[0] / shares[1]) / distance
    first, second = shares
    return first * normal_cdf(distance / 2 + lean) + second * normal_cdf(distance / 2 - lean)


class Softmax(NamedTuple):
    """A trained softmax regression."""

    losses: list[float]
    weight: np.ndarray
    bias: np.ndarray


def softmax(scores: Row) -> list[float]:
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / math.fsum(powers) for power in powers]


def train_softmax(examples: Sequence[Row], labels: Sequence[Row], recipe: Recipe, seed: int) -> Softmax:
    """Softmax regression from zero by AdamW, in float64, one example after the other."""
    num_classes, num_features = len(labels[0]), len(examples[0])
    values = np.zeros((num_classes, num_features + 1))
    first, second, losses = np.zeros_like(values), np.zeros_like(values), []
    per_epoch = math.ceil(len(examples) / recipe.batch_size)
    for epoch in range(recipe.epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(examples))
        for place in range(per_epoch):
            chosen = order[place * recipe.batch_size : (place + 1) * recipe.batch_size]
            gradient, loss = np.zeros_like(values), 0.0
            for row in chosen:
                seen = np.array([*examples[row], 1.0])
                probs = softmax([float(line @ seen) for line in values])
                for number, (prob, wanted) in enumerate(zip(probs, labels[row], strict=True)):
                    loss -= wanted * math.log(prob) / len(chosen)
                    gradient[number] += (prob - wanted) * seen / len(chosen)
            step, num_steps = len(losses), recipe.epochs * per_epoch
            lr = rate(recipe, step, num_steps)
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            scale = np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8
            values = values * (1 - lr * recipe.weight_decay)
            values = values - lr * first / (1 - 0.9 ** (step + 1)) / scale
            losses.append(loss)
    return Softmax(losses, values[:, :-1], values[:, -1])


def layer(seen: Row, weight, bias) -> list[float]:
    return [
        math.fsum([*(value * weight_ for value, weight_ in zip(seen, line, strict=True)), start])
        for line, start in zip(weight, bias, strict=True)
    ]


def mlp_logits(seen: Row, state: dict[str, list]) -> list[float]:
    """One hidden layer of rectified units."""
    hidden = [max(value, 0.0) for value in layer(seen, state["body.weight"], state["body.bias"])]
    return layer(hidden, state["head.weight"], state["head.bias"])


def standardised(rows: Sequence[Row], like: Sequence[int]) -> list[list[float]]:
    """Rows less the mean and divided by the deviation of some of them; constant features become 0."""
    columns = []
    for column in zip(*rows, strict=True):
        some = [column[row] for row in like]
        mean = math.fsum(some) / len(some)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in some) / len(some))
        columns.append([(value - mean) / (deviation if deviation > 1e-9 else 1) for value in column])
    return [list(row) for row in zip(*columns, strict=True)]
