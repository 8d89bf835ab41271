"""Slow twins of how data sets are cut into balanced parts: plain loops, from the description."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

Row = tuple[str, int, str, str]
"""Text, label, group, question."""

WITH_TEST = [("weak", 0.45), ("student", 0.9), ("validation", 1.0)]
ALONE = [("weak", 0.4), ("student", 0.8), ("validation", 0.85), ("test", 1.0)]
"""Parts, and where each ends on the line from 0 to 1."""


def number(text: str, seed: int, purpose: str) -> float:
    """The first 53 bits of a hash, as a number in [0, 1)."""
    bits = hashlib.sha256(f"{purpose}/{seed}/{text}".encode()).hexdigest()[:16]
    return int(bits, 16) // 2**11 / 2**53


def once(rows: Sequence[Row]) -> list[Row]:
    """Rows whose text has one label, once each, with the first of their groups."""
    kept: list[Row] = []
    for row in rows:
        same = [other for other in rows if other[0] == row[0]]
        if all(other[1] == row[1] for other in same) and row == min(same) and row not in kept:
            kept.append(row)
    return kept


def matched(rows: Sequence[Row], seed: int) -> list[Row]:
    """As many right as wrong rows of each question: those with the smallest numbers."""
    kept = [row for row in rows if row[3] == ""]
    for question in {row[3] for row in rows if row[3] != ""}:
        wrong = [row for row in rows if row[3] == question and row[1] == 0]
        right = [row for row in rows if row[3] == question and row[1] == 1]
        for candidates in (wrong, right):
            candidates.sort(key=lambda row: number(row[0], seed, "candidate"))
            kept.extend(candidates[: min(len(wrong), len(right))])
    return kept


def cut(train: Sequence[Row], test: Sequence[Row], seed: int) -> dict[str, list[Row]]:
    """The rows of each part, in no particular order."""
    learned = [row for row in once(train) if row[0] not in [other[0] for other in test]]
    parts: dict[str, list[Row]] = {"weak": [], "student": [], "validation": [], "test": []}
    for row in matched(learned, seed):
        for part, end in WITH_TEST if test else ALONE:
            if number(row[2], seed, "split") < end:
                parts[part].append(row)
                break
    parts["test"].extend(matched(once(test), seed))
    return parts


def balanced(parts: dict[str, list[Row]], num_classes: int, seed: int) -> dict[str, list[Row]]:
    """The test with equal classes; the others too where one class has more than 1.1 times its share."""
    learned = [row for part, rows in parts.items() if part != "test" for row in rows]
    counts = [sum(row[1] == label for row in learned) for label in range(num_classes)]
    uneven = any(count * num_classes * 100 > 110 * len(learned) for count in counts)
    result = {}
    for part, rows in parts.items():
        if part != "test" and not uneven:
            result[part] = list(rows)
            continue
        classes = [[row for row in rows if row[1] == label] for label in range(num_classes)]
        least = min(len(of_class) for of_class in classes)
        result[part] = []
        for of_class in classes:
            of_class.sort(key=lambda row: number(row[0], seed, "balance"))
            result[part].extend(of_class[:least])
    return result


def in_turn(rows: Sequence[tuple[str, int]], seed: int) -> list[str]:
    """Ids in rounds: each round takes the next of every class, and within it they go by their numbers."""
    waiting = sorted(rows, key=lambda row: number(row[0], seed, "order"))
    order = []
    while waiting:
        this_round: list[tuple[str, int]] = []
        for row in waiting:
            if row[1] not in [label for _, label in this_round]:
                this_round.append(row)
        this_round.sort(key=lambda row: number(row[0], seed, "turn"))
        order.extend(name for name, _ in this_round)
        waiting = [row for row in waiting if row not in this_round]
    return order


def first_or_second(keys: Sequence[str], seed: int) -> list[int]:
    """Of the pairs of one part: the smaller half of numbers has its preferred one first (0)."""
    return [
        int(
            sum(number(other, seed, "position") < number(key, seed, "position") for other in keys) * 2
            >= len(keys) + len(keys) % 2
        )
        for key in keys
    ]
