"""Slow twins of last-layer retraining and of diversified heads: loops and formulas, no torch."""

from __future__ import annotations

import math
from hashlib import sha256

import numpy as np


def entropy(probs: list[float]) -> float:
    return -sum(prob * math.log(prob) for prob in probs if prob > 0)


def mutual_information(one: list[list[float]], other: list[list[float]]) -> float:
    """Of two heads' probabilities: what is known of one's answer by the other's, both drawn at random."""
    many, classes = len(one), len(one[0])
    joint = [
        [sum(a[i] * b[j] for a, b in zip(one, other, strict=True)) / many for j in range(classes)]
        for i in range(classes)
    ]
    mean_one = [sum(row[i] for row in one) / many for i in range(classes)]
    mean_other = [sum(row[j] for row in other) / many for j in range(classes)]
    return entropy(mean_one) + entropy(mean_other) - entropy([prob for row in joint for prob in row])


def divergence(probs: list[float], prior: list[float]) -> float:
    return sum(p * math.log(p / q) for p, q in zip(probs, prior, strict=True) if p > 0)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def objective(
    logits: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    target: np.ndarray,
    prior: np.ndarray,
    *,
    mutual: float,
    weight_of_prior: float,
) -> float:
    """The loss of a step, heads one after another."""
    total, said = 0.0, [softmax(head).tolist() for head in target]
    for head in logits:
        for row, label, weight in zip(softmax(head).tolist(), labels.tolist(), weights.tolist(), strict=True):
            total -= weight * sum(q * math.log(p) for p, q in zip(row, label, strict=True)) / len(labels)
    pairs = [(i, j) for j in range(len(said)) for i in range(j)]
    total += mutual * sum(mutual_information(said[i], said[j]) for i, j in pairs) / len(pairs)
    for head in said:
        mean = [sum(row[c] for row in head) / len(head) for c in range(len(prior))]
        total += weight_of_prior * divergence(mean, prior.tolist())
    return total


def slopes(
    logits: np.ndarray,
    labels: np.ndarray,
    target: np.ndarray,
    prior: np.ndarray,
    *,
    mutual: float,
    weight_of_prior: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of that loss by both kinds of logits, worked out by hand; weights are 1."""
    by_logits = (softmax(logits) - labels) / logits.shape[1]
    said = softmax(target)
    heads, many, _ = said.shape
    mean = said.mean(axis=1)
    by_probs = np.zeros_like(said)
    for one in range(heads):
        by_probs[one] += weight_of_prior * (np.log(mean[one] / prior) + 1) / many
        for other in range(heads):
            if other != one:
                joint = said[one].T @ said[other] / many
                # Of the entropies of mean and joint; what is the same for all classes falls out below.
                slope = said[other] @ np.log(joint).T - np.log(mean[one])
                by_probs[one] += mutual * slope / many / (heads * (heads - 1) / 2)
    inner = (by_probs * said).sum(axis=2, keepdims=True)
    return by_logits, said * (by_probs - inner)


def unit(key: str, seed: int, purpose: str) -> float:
    return (int.from_bytes(sha256(f"{purpose}/{seed}/{key}".encode()).digest()[:8], "big") >> 11) / 2**53


def order(ids: list[str], rows: list[int], group: int, draw: str) -> list[int]:
    return sorted(rows, key=lambda row: unit(ids[row], group, f"retrain/{draw}"))


def regression(states: np.ndarray, positive: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """Least |w| + |b| + strength * sum of log losses, by accelerated steps that shrink towards zero."""
    inputs = np.hstack([states, np.ones((len(states), 1))])
    sign = np.where(positive, 1.0, -1.0)
    step = 4 / (strength * np.linalg.norm(inputs, 2) ** 2)
    weights = ahead = np.zeros(inputs.shape[1])
    momentum = 1.0
    for _ in range(20_000):
        slope = -strength * inputs.T @ (sign / (1 + np.exp(sign * (inputs @ ahead))))
        moved = ahead - step * slope
        new = np.sign(moved) * np.maximum(np.abs(moved) - step, 0)
        if (ahead - new) @ (new - weights) > 0:
            momentum = 1.0
        faster = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / faster * (new - weights)
        if np.abs(new - weights).max() < 1e-13:
            break
        weights, momentum = new, faster
    return weights[:-1], float(weights[-1])


def retrained(
    ids: list[str], states: np.ndarray, labels: list[int], groups: list[int], seed: int
) -> tuple[np.ndarray, float]:
    """Weights and intercept for class 1 of two, on raw states."""
    mean, spread = states.mean(axis=0), states.std(axis=0)
    scaled, label = (states - mean) / spread, np.array(labels)
    of = {group: [row for row, own in enumerate(groups) if own == group] for group in sorted(set(groups))}

    def fitted(members: dict[int, list[int]], draw: str, strength: float) -> tuple[np.ndarray, float]:
        least = min(len(rows) for rows in members.values())
        chosen = [row for group, rows in members.items() for row in order(ids, rows, group, draw)[:least]]
        return regression(scaled[chosen], label[chosen] == 1, strength)

    first, second = {}, {}
    for group, rows in of.items():
        mixed = order(ids, rows, group, f"half/{seed}")
        first[group], second[group] = mixed[: (len(mixed) + 1) // 2], mixed[(len(mixed) + 1) // 2 :]
    best, best_worst = 0.0, -1.0
    for strength in (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01):
        weights, bias = fitted(first, f"-1/{seed}", strength)
        right = ((scaled @ weights + bias) > 0) == (label == 1)
        worst = min(right[rows].mean() for rows in second.values())
        if worst > best_worst:
            best, best_worst = strength, worst
    heads = [fitted(of, f"{number}/{seed}", best) for number in range(20)]
    weights = np.mean([head[0] for head in heads], axis=0) / spread
    return weights, float(np.mean([head[1] for head in heads]) - weights @ mean)
