"""Slow twins of the metrics: plain Python, one example or one pair of examples after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

Ragged = Sequence[Sequence[float]]
NAN = math.nan


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else NAN


def accuracy(predictions: Sequence[int], truth: Sequence[int]) -> float:
    return mean([float(guess == right) for guess, right in zip(predictions, truth, strict=True)])


def log_loss(probs: Ragged, truth: Sequence[int]) -> float:
    return mean([-math.log(row[right]) for row, right in zip(probs, truth, strict=True)])


def brier(probs: Ragged, truth: Sequence[int]) -> float:
    return mean([squared_distance(row, one_hot(len(row), t)) for row, t in zip(probs, truth, strict=True)])


def one_hot(size: int, place: int) -> list[float]:
    return [float(candidate == place) for candidate in range(size)]


def squared_distance(left: Sequence[float], right: Sequence[float]) -> float:
    return math.fsum((a - b) ** 2 for a, b in zip(left, right, strict=True))


def area(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The share of pairs of a positive and a negative in the right order, ties counting half."""
    wins = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positive for n in negative]
    return mean(wins)


def auroc_one_vs_rest(probs: Ragged, truth: Sequence[int]) -> float:
    areas = []
    for label in range(len(probs[0])):
        inside = [row[label] for row, right in zip(probs, truth, strict=True) if right == label]
        outside = [row[label] for row, right in zip(probs, truth, strict=True) if right != label]
        areas.append(area(inside, outside))
    return mean(areas)


def auroc_pairwise(probs: Ragged, truth: Sequence[int]) -> float:
    areas = []
    for this in range(len(probs[0])):
        for other in range(len(probs[0])):
            if this != other:
                inside = [row[this] for row, right in zip(probs, truth, strict=True) if right == this]
                outside = [row[this] for row, right in zip(probs, truth, strict=True) if right == other]
                areas.append(area(inside, outside))
    return mean(areas)


def bins(
    confidence: Sequence[float], correct: Sequence[int], num_bins: int
) -> list[tuple[float, float, int, float, float]]:
    """Mean confidence, accuracy, count and edges of each bin (low, high] with examples; 0 is in the first."""
    found = []
    for place in range(num_bins):
        low, high = place / num_bins, (place + 1) / num_bins
        inside = [
            (sure, right)
            for sure, right in zip(confidence, correct, strict=True)
            if low < sure <= high or (place == 0 and sure == 0)
        ]
        if inside:
            surely, rightly = zip(*inside, strict=True)
            found.append((mean(surely), mean(rightly), len(inside), low, high))
    return found


def calibration_error(confidence: Sequence[float], correct: Sequence[int], num_bins: int) -> float:
    filled = bins(confidence, correct, num_bins)
    return math.fsum(count * abs(sure - right) for sure, right, count, _, _ in filled) / len(confidence)


def agreement_split(
    student: Sequence[int], weak: Sequence[int], truth: Sequence[int]
) -> tuple[float, float, float]:
    rows = list(zip(student, weak, truth, strict=True))
    return (
        mean([float(s == w) for s, w, _ in rows]),
        mean([float(s == w) for s, w, t in rows if w == t]),
        mean([float(s == w) for s, w, t in rows if w != t]),
    )


def error_transfer(student: Sequence[int], weak: Sequence[int], truth: Sequence[int]) -> tuple[float, ...]:
    inherited, changed, corrected, new = [], [], [], []
    for s, w, t in zip(student, weak, truth, strict=True):
        if w == t:
            new.append(float(s != t))
        else:
            inherited.append(float(s == w))
            corrected.append(float(s == t))
            changed.append(float(s != w and s != t))
    return mean(inherited), mean(changed), mean(corrected), mean(new), len(inherited), len(new)


def phi(student_correct: Sequence[int], weak_correct: Sequence[int]) -> float:
    """Pearson's correlation from its definition."""
    student_mean, weak_mean = mean(student_correct), mean(weak_correct)
    pairs = list(zip(student_correct, weak_correct, strict=True))
    covariance = mean([(s - student_mean) * (w - weak_mean) for s, w in pairs])
    variances = student_mean * (1 - student_mean) * weak_mean * (1 - weak_mean)
    return covariance / math.sqrt(variances) if variances > 0 else NAN


def kappa(student_correct: Sequence[int], weak_correct: Sequence[int]) -> float:
    """Cohen's kappa from agreement observed and expected."""
    a, b = mean(student_correct), mean(weak_correct)
    observed = mean([float(s == w) for s, w in zip(student_correct, weak_correct, strict=True)])
    expected = a * b + (1 - a) * (1 - b)
    return (observed - expected) / (1 - expected) if expected < 1 else NAN


def capa(student: Ragged, weak: Ragged, truth: Sequence[int]) -> tuple[float, float, float]:
    """Similarity, agreement observed and expected, over the examples with a choice."""
    same, student_right, weak_right, shares = [], [], [], []
    for s, w, t in zip(student, weak, truth, strict=True):
        if len(s) > 1:
            same.append(math.fsum(p * q for p, q in zip(s, w, strict=True)))
            student_right.append(s[t])
            weak_right.append(w[t])
            shares.append(1 / (len(s) - 1))
    a, b = mean(student_right), mean(weak_right)
    observed, expected = mean(same), a * b + (1 - a) * (1 - b) * mean(shares)
    return (observed - expected) / (1 - expected), observed, expected


def kl(left: Sequence[float], right: Sequence[float]) -> float:
    total = 0.0
    for p, q in zip(left, right, strict=True):
        if p > 0:
            total += p * math.log(p / q) if q > 0 else math.inf
    return total


def squared_misfit(student: Ragged, weak: Ragged, truth: Sequence[int]) -> tuple[float, float]:
    distance = mean([squared_distance(s, w) for s, w in zip(student, weak, strict=True)])
    return distance, brier(weak, truth) - brier(student, truth)


def kl_misfit(student: Ragged, weak: Ragged, truth: Sequence[int]) -> tuple[float, float]:
    distance = mean([kl(s, w) for s, w in zip(student, weak, strict=True)])
    return distance, log_loss(weak, truth) - log_loss(student, truth)


def overfitting_places(accuracy: Sequence[float], weak_agreement: Sequence[float]) -> tuple[int, int, int]:
    """Places of the best, the last and the weak-stopped snapshot."""
    best = weak_stopped = 0
    for place in range(len(accuracy)):
        if accuracy[place] > accuracy[best]:
            best = place
        if weak_agreement[place] > weak_agreement[weak_stopped]:
            weak_stopped = place
    return best, len(accuracy) - 1, weak_stopped


def isotonic(values: Sequence[float]) -> list[float]:
    """The max-min formula: of all means of stretches around a place, the highest of the lowest."""
    places = range(len(values))
    return [
        max(min(mean(values[low : high + 1]) for high in places[place:]) for low in range(place + 1))
        for place in places
    ]


def effective_data(
    sizes: Sequence[int], accuracy: Sequence[float], student: float
) -> tuple[float | None, str]:
    """The size found by halving the range of log size, or None with the side on which it lies."""
    rising = isotonic(accuracy)

    def fitted(log_size: float) -> float:
        for place in range(1, len(sizes)):
            low, high = math.log(sizes[place - 1]), math.log(sizes[place])
            if log_size <= high:
                share = (log_size - low) / (high - low)
                return rising[place - 1] + share * (rising[place] - rising[place - 1])
        return rising[-1]

    if student < rising[0]:
        return None, "less"
    if student > rising[-1]:
        return None, "more"
    below, above = math.log(sizes[0]), math.log(sizes[-1])
    for _ in range(200):
        middle = (below + above) / 2
        if fitted(middle) >= student:
            above = middle
        else:
            below = middle
    return math.exp(above), "equal"
