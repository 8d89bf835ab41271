"""Slow twins of the rules that put errors in the place of a supervisor's."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reference.rules import Plain, Result, hot, likeliest, portion, with_rows
from surpass.hashing import unit


def hard(given: Plain, labels: Sequence[int]) -> Result:
    return with_rows(given, [hot(k, len(row)) for k, row in zip(labels, given.tables[0], strict=True)], None)


def wrong_candidates(given: Plain, row: int) -> list[int]:
    right = likeliest(given.tables[0][row])
    return [candidate for candidate in range(len(given.tables[0][row])) if candidate != right]


def any_wrong(given: Plain, row: int, seed: int) -> int:
    choices = wrong_candidates(given, row)
    return choices[math.floor(unit(given.ids[row], seed=seed, purpose="wrong") * len(choices))]


def num_errors(given: Plain, table: int = 1) -> int:
    pairs = zip(given.tables[0], given.tables[table], strict=True)
    return sum(likeliest(a) != likeliest(b) for a, b in pairs)


def first(given: Plain, scores: Sequence[float], count: int, seed: int) -> list[int]:
    able = [row for row, probs in enumerate(given.tables[0]) if len(probs) > 1]
    chance = [unit(example, seed=seed, purpose="errors") for example in given.ids]
    return sorted(able, key=lambda row: (-scores[row], chance[row]))[:count]


def simulate(given: Plain, by: str, seed: int) -> Result:
    truth = [likeliest(row) for row in given.tables[0]]
    if by == "labels":
        return hard(given, [likeliest(row) for row in given.tables[1]])
    scores = [0.0] * len(truth)
    if by in ("longest", "shortest"):
        scores = [value if by == "longest" else -value for value in given.columns["length"]]
    if by in ("unconfident", "confident"):
        belief = [row[right] for row, right in zip(given.tables[2], truth, strict=True)]
        sees = [likeliest(row) == right for row, right in zip(given.tables[2], truth, strict=True)]
        surest = [value + knows for value, knows in zip(belief, sees, strict=True)]
        scores = surest if by == "confident" else [-value for value in belief]
    labels = list(truth)
    for row in first(given, scores, num_errors(given), seed):
        if by in ("unconfident", "confident"):
            labels[row] = max(wrong_candidates(given, row), key=lambda k: given.tables[2][row][k])
        else:
            labels[row] = any_wrong(given, row, seed)
    return hard(given, labels)


def class_noise(given: Plain, seed: int) -> Result:
    truth, weak = ([likeliest(row) for row in table] for table in given.tables)
    labels = list(truth)
    for value in set(truth):
        members = [row for row, right in enumerate(truth) if right == value]
        errors = sorted(weak[row] for row in members if weak[row] != value)
        members.sort(key=lambda row: unit(given.ids[row], seed=seed, purpose="errors"))
        for row, label in zip(members, errors, strict=False):
            labels[row] = label
    return hard(given, labels)


def inclusion(doubts: Sequence[float], count: int) -> list[float]:
    """min(1, scale x doubt) that sum to count; the scale by bisection."""
    low, high = 0.0, count / min(doubt for doubt in doubts if doubt > 0) + 1
    for _ in range(300):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if math.fsum(min(1.0, middle * d) for d in doubts) < count else (low, middle)
        )
    return [min(1.0, low * doubt) for doubt in doubts]


def noise(given: Plain, kind: str, seed: int) -> Result:
    truth, weak = given.tables
    if kind == "class":
        return class_noise(given, seed)
    if kind == "uniform":
        return simulate(given, "random", seed)
    doubts = [max(1 - max(row), 1e-6) if len(row) > 1 else 0.0 for row in weak]
    shares = inclusion(doubts, num_errors(given))
    offset = unit("", seed=seed, purpose="first error")
    labels = [likeliest(row) for row in truth]
    reached = 0.0
    for row in sorted(range(len(truth)), key=lambda row: unit(given.ids[row], seed=seed, purpose="errors")):
        before, reached = reached, reached + shares[row]
        if math.floor(before - offset) == math.floor(reached - offset):
            continue
        left = unit(given.ids[row], seed=seed, purpose="wrong")
        choices = wrong_candidates(given, row)
        left *= math.fsum(max(weak[row][k], 1e-6) for k in choices)
        for choice in choices:
            left -= max(weak[row][choice], 1e-6)
            if left < 0:
                labels[row] = choice
                break
    return hard(given, labels)


def match(given: Plain, seed: int) -> Result:
    truth, model = ([likeliest(row) for row in given.tables[place]] for place in (0, 2))
    missing = num_errors(given, 1) - num_errors(given, 2)
    right = [float(a == b) for a, b in zip(truth, model, strict=True)]
    labels = list(model)
    for row in first(given, right if missing > 0 else [-value for value in right], abs(missing), seed):
        labels[row] = any_wrong(given, row, seed) if missing > 0 else truth[row]
    return hard(given, labels)


def mix_truth(given: Plain, frac: float, pick: str, seed: int) -> Result:
    weak, truth = given.tables
    chance = [unit(example, seed=seed, purpose="truth") for example in given.ids]
    ranked = sorted(
        range(len(weak)),
        key=lambda row: (pick == "errors" and likeliest(weak[row]) == likeliest(truth[row]), chance[row]),
    )
    replaced = set(ranked[: portion(frac, len(ranked))])
    rows = [truth[row] if row in replaced else weak[row] for row in range(len(weak))]
    return with_rows(given, rows, given.weights)
