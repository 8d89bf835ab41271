"""A linear choice model, and a slow twin of its training: gradient and AdamW written out in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from surpass.train.recipe import Recipe

NUM_FEATURES = 4


class LinearChoice(nn.Module):
    """Scores a candidate by its features; `examples` is a list of arrays (candidates, features)."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, NUM_FEATURES, dtype=dtype))
        self.calls: list[int] = []

    def forward(self, examples: Sequence[np.ndarray], rows: np.ndarray) -> Tensor:
        self.calls.append(len(rows))
        chosen = [torch.from_numpy(examples[row]).to(self.weight.dtype) @ self.weight for row in rows]
        return nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=-torch.inf)


def problem(num_examples: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Ragged features (1 to 5 candidates) and label probabilities of some examples."""
    rng = np.random.default_rng(seed)
    sizes = [1 + (3 * number) % 5 for number in range(num_examples)]
    examples = [rng.standard_normal((size, NUM_FEATURES)) for size in sizes]
    return examples, [rng.dirichlet(np.ones(size)).astype(np.float32) for size in sizes]


def rate(recipe: Recipe, step: int, num_steps: int) -> float:
    warmup = recipe.warmup_frac * num_steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    gone = 1.0 if num_steps - warmup < 1 else 1 - (num_steps - step) / (num_steps - warmup)
    course = {"constant": 1.0, "linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2}
    return recipe.learning_rate * course[recipe.schedule]


class Trained(NamedTuple):
    """Losses of all steps, weights at the end, and their weights after every step."""

    losses: list[float]
    weight: np.ndarray
    weights: list[np.ndarray]


def train_on_labels(
    examples: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    recipe: Recipe,
    seed: int,
    counts: Sequence[float] | None = None,
) -> Trained:
    """What `loop.fit` does to a `LinearChoice` with the loss "xent"; each example counts as often as told."""
    weight, weights = np.linspace(-1, 1, NUM_FEATURES), []
    first, second, losses = np.zeros(NUM_FEATURES), np.zeros(NUM_FEATURES), []
    per_epoch = math.ceil(len(examples) / recipe.batch_size)
    for epoch in range(recipe.epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(examples))
        for place in range(per_epoch):
            chosen = order[place * recipe.batch_size : (place + 1) * recipe.batch_size]
            loss, gradient = 0.0, np.zeros(NUM_FEATURES)
            for row in chosen:
                logits = examples[row] @ weight
                log_probs = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
                share = (1.0 if counts is None else counts[row]) / len(chosen)
                loss -= share * (labels[row] @ log_probs)
                gradient += share * ((np.exp(log_probs) - labels[row]) @ examples[row])
            step = len(losses)
            lr = rate(recipe, step, recipe.epochs * per_epoch)
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            corrected = np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8
            weight = weight * (1 - lr * recipe.weight_decay)
            weight = weight - lr * first / (1 - 0.9 ** (step + 1)) / corrected
            losses.append(float(loss))
            weights.append(weight)
    return Trained(losses, weight, weights)


def averaged(start: np.ndarray, weights: Sequence[np.ndarray], decay: float) -> np.ndarray:
    """Moving average over the steps, with less decay in the first ones."""
    mean = start
    for step, weight in enumerate(weights):
        kept = min(decay, (1 + step) / (10 + step))
        mean = kept * mean + (1 - kept) * weight
    return mean
