"""Slow twins of the losses: plain Python, one example after the other, no padding.

Rows are ragged lists. A twin of a target function returns targets and weights, a twin of a per-example
function the loss of each example in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

Row = Sequence[float]
Ragged = Sequence[Row]
Targets = tuple[Ragged, Sequence[float]]


def log_softmax(logits: Row) -> list[float]:
    highest = max(logits)
    log_sum = math.log(math.fsum(math.exp(logit - highest) for logit in logits))
    return [logit - highest - log_sum for logit in logits]


def softmax(logits: Row) -> list[float]:
    return [math.exp(log_prob) for log_prob in log_softmax(logits)]


def soft_cross_entropy(logits: Row, target: Row, weight: float) -> float:
    pairs = zip(target, log_softmax(logits), strict=True)
    return -weight * math.fsum(share * log_prob for share, log_prob in pairs if share > 0)


def best_guess(values: Row) -> list[float]:
    equals = [value == max(values) for value in values]
    return [float(equal) / sum(equals) for equal in equals]


def warmed_up(progress: float, frac: float) -> float:
    return 1.0 if progress >= frac else progress / frac


def ones(rows: Ragged) -> list[float]:
    return [1.0] * len(rows)


def mixture(alpha: float, weak: Row, own: Row) -> list[float]:
    return [(1 - alpha) * label + alpha * self for label, self in zip(weak, own, strict=True)]


def hand_out(mass: float, values: Row) -> list[float]:
    """Give 1 to each of the largest values until the mass is used up; equal values share what is left."""
    parts, left = [0.0] * len(values), mass
    for value in sorted(set(values), reverse=True):
        places = [place for place, other in enumerate(values) if other == value]
        for place in places:
            parts[place] = min(1.0, max(0.0, left) / len(places))
        left -= len(places)
    return parts


def margin(probs: Row) -> float:
    best, second = sorted([*probs, 0.0], reverse=True)[:2]
    return best - second


# Targets


def cross_entropy(logits: Ragged, weak_probs: Ragged, progress: float) -> Targets:
    return weak_probs, ones(weak_probs)


def are_classes(rows: Ragged) -> bool:
    return all(len(row) == 2 for row in rows)


def confidence(
    logits: Ragged,
    weak_probs: Ragged,
    progress: float,
    *,
    alpha: float = 0.5,
    warmup_frac: float = 0.2,
    prior: str = "half",
) -> Targets:
    own = [best_guess(row) for row in logits]
    if prior != "none" and are_classes(logits):
        mass = len(logits) / 2 if prior == "half" else math.fsum(row[1] for row in weak_probs)
        second = hand_out(mass, [row[1] - row[0] for row in logits])
        own = [[1 - share, share] for share in second]
    share = alpha * warmed_up(progress, warmup_frac)
    return [mixture(share, *pair) for pair in zip(weak_probs, own, strict=True)], ones(logits)


def quantile(values: Row, share: float) -> float:
    """Linear interpolation between the two order statistics that share * (n - 1) lies between."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = min(math.floor(place), len(values) - 1)
    high = min(low + 1, len(values) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def confidence_openai(
    logits: Ragged, weak_probs: Ragged, progress: float, *, alpha: float = 0.5, warmup_frac: float = 0.1
) -> Targets:
    """From the description alone: coefficient, class prior, quantile, hard label, mixture."""
    coefficient = alpha * (1.0 if progress > warmup_frac else progress)
    own = [best_guess(row) for row in logits]
    if are_classes(logits):
        prior = math.fsum(row[1] for row in weak_probs) / len(weak_probs)
        first = [softmax(row)[0] for row in logits]
        threshold = quantile(first, prior)
        own = [[1.0, 0.0] if prob >= threshold else [0.0, 1.0] for prob in first]
    return [mixture(coefficient, *pair) for pair in zip(weak_probs, own, strict=True)], ones(logits)


def powers(logits: Row, weak: Row, weak_power: float, own_power: float) -> list[float]:
    """Proportional to weak^weak_power * student^own_power, from logarithms; 0^0 is 1."""
    logs = [
        -math.inf if not label and weak_power else weak_power * math.log(label or 1) + own_power * log_prob
        for label, log_prob in zip(weak, log_softmax(logits), strict=True)
    ]
    return softmax(logs)


def product(
    logits: Ragged, weak_probs: Ragged, progress: float, *, beta: float = 1.0, warmup_frac: float = 0.0
) -> Targets:
    power = beta * warmed_up(progress, warmup_frac)
    pairs = zip(logits, weak_probs, strict=True)
    return [powers(row, weak, 1.0, power) for row, weak in pairs], ones(logits)


def product_openai(
    logits: Ragged, weak_probs: Ragged, progress: float, *, alpha: float = 1.0, beta: float = 1.0
) -> Targets:
    """From the description alone: probabilities to their powers, multiplied, divided by their sum."""
    targets = []
    for row, weak in zip(logits, weak_probs, strict=True):
        terms = [own**beta * label**alpha for own, label in zip(softmax(row), weak, strict=True)]
        total = math.fsum(terms)
        targets.append([term / total for term in terms] if total else powers(row, weak, alpha, beta))
    return targets, ones(logits)


def geometric_mean(
    logits: Ragged, weak_probs: Ragged, progress: float, *, alpha: float = 0.5, warmup_frac: float = 0.0
) -> Targets:
    share = alpha * warmed_up(progress, warmup_frac)
    pairs = zip(logits, weak_probs, strict=True)
    return [powers(row, weak, 1 - share, share) for row, weak in pairs], ones(logits)


def adaptconf(
    logits: Ragged,
    weak_probs: Ragged,
    progress: float,
    *,
    alpha: float = 1.0,
    temperature: float = 0.5,
    warmup_frac: float = 0.0,
) -> Targets:
    targets = []
    for row, weak in zip(logits, weak_probs, strict=True):
        own = best_guess(row)
        to_own = soft_cross_entropy(row, own, 1.0) / temperature
        to_weak = soft_cross_entropy(row, best_guess(weak), 1.0) / temperature
        highest = max(to_own, to_weak)
        share = math.exp(to_own - highest) / (math.exp(to_own - highest) + math.exp(to_weak - highest))
        targets.append(mixture(alpha * warmed_up(progress, warmup_frac) * share, weak, own))
    return targets, ones(logits)


def bootstrap_hard(logits: Ragged, weak_probs: Ragged, progress: float, *, beta: float = 0.8) -> Targets:
    pairs = zip(logits, weak_probs, strict=True)
    return [mixture(1 - beta, weak, best_guess(row)) for row, weak in pairs], ones(logits)


# Weights


def window(
    logits: Ragged,
    weak_probs: Ragged,
    progress: float,
    *,
    radius: float | str = 0.15,
    of: str = "student",
) -> Targets:
    if isinstance(radius, str):
        halves = sorted(margin(row) / 2 for row in weak_probs)
        middle = len(halves) // 2
        radius = halves[middle] if len(halves) % 2 else (halves[middle - 1] + halves[middle]) / 2
    whose = weak_probs if of == "weak" else [softmax(row) for row in logits]
    return weak_probs, [1.0 if margin(row) / 2 < radius else 0.0 for row in whose]


def weak_confidence(logits: Ragged, weak_probs: Ragged, progress: float, *, power: float = 1.0) -> Targets:
    return weak_probs, [margin(row) ** power for row in weak_probs]


def reliability(
    logits: Ragged, weak_probs: Ragged, progress: float, *, slope: float = 1.0, intercept: float = 0.0
) -> Targets:
    weights = []
    for row in weak_probs:
        confidence = min(max(*row, 0.0), 1 - 1e-6)
        log_odds = slope * math.log(confidence / (1 - confidence)) + intercept
        weights.append(1 / (1 + math.exp(-log_odds)))
    return weak_probs, weights


def small_loss(
    logits: Ragged, weak_probs: Ragged, progress: float, *, forget: float = 0.2, ramp_frac: float = 0.05
) -> Targets:
    losses = [soft_cross_entropy(row, weak, 1.0) for row, weak in zip(logits, weak_probs, strict=True)]
    kept = len(logits) * (1 - forget * warmed_up(progress, ramp_frac))
    return weak_probs, [part * len(logits) / kept for part in hand_out(kept, [-loss for loss in losses])]


# Per example


def each(form: Callable[..., float]) -> Callable[..., list[float]]:
    """A twin from the form of one example: its label, log probabilities, progress, settings."""

    def twin(logits: Ragged, weak_probs: Ragged, progress: float, **settings: Any) -> list[float]:
        pairs = zip(logits, weak_probs, strict=True)
        return [form(weak, log_softmax(row), progress, **settings) for row, weak in pairs]

    return twin


def expected(weak: Row, values: Row) -> float:
    return math.fsum(label * value for label, value in zip(weak, values, strict=True) if label > 0)


def entropy_of(logs: Row) -> float:
    return -math.fsum(math.exp(log) * log for log in logs)


def kl(weak: Row, logs: Row, progress: float) -> float:
    return expected(weak, [math.log(label or 1) - log for label, log in zip(weak, logs, strict=True)])


def reverse_kl(weak: Row, logs: Row, progress: float, *, alpha: float = 1.0, floor: float = 1e-6) -> float:
    pairs = zip(weak, logs, strict=True)
    reverse = math.fsum(math.exp(log) * (log - math.log(max(label, floor))) for label, log in pairs)
    return -(1 - alpha) * expected(weak, logs) + alpha * reverse


def entropy(weak: Row, logs: Row, progress: float, *, alpha: float = 0.5, warmup_frac: float = 0.2) -> float:
    share = alpha * warmed_up(progress, warmup_frac)
    return -(1 - share) * expected(weak, logs) + share * entropy_of(logs)


def squared_confidence(
    weak: Row, logs: Row, progress: float, *, alpha: float = 0.5, warmup_frac: float = 0.2
) -> float:
    share = alpha * warmed_up(progress, warmup_frac)
    distance = math.fsum((math.exp(log) - 1 / len(logs)) ** 2 for log in logs)
    return -(1 - share) * expected(weak, logs) - share * distance / 2


def bootstrap_soft(weak: Row, logs: Row, progress: float, *, beta: float = 0.95) -> float:
    target = mixture(1 - beta, weak, [math.exp(log) for log in logs])
    return -math.fsum(share * log for share, log in zip(target, logs, strict=True))


def gce(weak: Row, logs: Row, progress: float, *, q: float = 0.7) -> float:
    return expected(weak, [(1 - math.exp(q * log)) / q if q else -log for log in logs])


def truncated_gce(
    weak: Row, logs: Row, progress: float, *, q: float = 0.7, k: float = 0.5, start_frac: float = 1 / 3
) -> float:
    cut = progress >= start_frac and k > 0
    return gce(weak, [max(log, math.log(k)) if cut else log for log in logs], progress, q=q)


def sce(
    weak: Row,
    logs: Row,
    progress: float,
    *,
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = -4.0,
) -> float:
    label_logs = [max(math.log(label), log_zero) if label > 0 else log_zero for label in weak]
    reverse = -expected([math.exp(log) for log in logs], label_logs)
    return -alpha * expected(weak, logs) + beta * reverse


def elr(
    logits: Ragged,
    weak_probs: Ragged,
    progress: float,
    *,
    memory: list[list[float]],
    lam: float = 3.0,
    beta: float = 0.7,
    clamp: float = 1e-4,
) -> list[float]:
    """Changes the memory, a ragged list like the others."""
    losses = []
    for row, weak, kept in zip(logits, weak_probs, memory, strict=True):
        held = [min(max(prob, clamp), 1 - clamp) for prob in softmax(row)]
        kept[:] = [beta * old + (1 - beta) * prob / sum(held) for old, prob in zip(kept, held, strict=True)]
        agreed = math.fsum(old * prob for old, prob in zip(kept, held, strict=True))
        losses.append(-expected(weak, log_softmax(row)) + lam * math.log(1 - agreed))
    return losses


def transition(count: int, noise: float) -> list[list[float]]:
    if count == 1:
        return [[1.0]]
    wrong = noise / (count - 1)
    return [[1 - noise if true == seen else wrong for seen in range(count)] for true in range(count)]


def forward_correction(weak: Row, logs: Row, progress: float, *, noise: float = 0.2) -> float:
    matrix, places = transition(len(logs), noise), range(len(logs))
    seen = [math.fsum(matrix[true][label] * math.exp(logs[true]) for true in places) for label in places]
    return -expected(weak, [math.log(prob) if noise else log for prob, log in zip(seen, logs, strict=True)])


def solve(matrix: Sequence[Row], right: Row) -> list[float]:
    """Gauss-Jordan elimination with the largest pivot."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(len(rows)):
        pivot = max(range(column, len(rows)), key=lambda place: abs(rows[place][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for place in range(len(rows)):
            if place != column:
                factor = rows[place][column]
                rows[place] = [a - factor * b for a, b in zip(rows[place], rows[column], strict=True)]
    return [row[-1] for row in rows]


def backward_correction(weak: Row, logs: Row, progress: float, *, noise: float = 0.2) -> float:
    return expected(weak, solve(transition(len(logs), noise), [-log for log in logs]))


def label_smoothing(weak: Row, logs: Row, progress: float, *, epsilon: float = 0.1) -> float:
    return -expected(mixture(epsilon, weak, [1 / len(logs)] * len(logs)), logs)


TWINS: dict[str, Callable[..., Targets]] = {
    "adaptconf": adaptconf,
    "bootstrap_hard": bootstrap_hard,
    "confidence": confidence,
    "confidence_openai": confidence_openai,
    "geometric_mean": geometric_mean,
    "product": product,
    "product_openai": product_openai,
    "reliability": reliability,
    "small_loss": small_loss,
    "weak_confidence": weak_confidence,
    "window": window,
    "xent": cross_entropy,
}
"""Logits and weak probabilities of a whole batch, and progress, to targets and weights."""

EXAMPLE_TWINS: dict[str, Callable[..., list[float]]] = {
    "backward_correction": each(backward_correction),
    "bootstrap_soft": each(bootstrap_soft),
    "elr": elr,
    "entropy": each(entropy),
    "forward_correction": each(forward_correction),
    "gce": each(gce),
    "kl": each(kl),
    "label_smoothing": each(label_smoothing),
    "reverse_kl": each(reverse_kl),
    "sce": each(sce),
    "squared_confidence": each(squared_confidence),
    "truncated_gce": each(truncated_gce),
}
"""The same to the loss of each example."""
