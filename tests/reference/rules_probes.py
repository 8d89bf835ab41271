"""Slow twins of the rules that use features, a reference of confidences, or out-of-sample predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reference.rules import (
    Plain,
    Result,
    Row,
    as_they_are,
    best_of,
    likeliest,
    mark,
    portion,
    weighted,
    with_rows,
)


def distance(left: Row, right: Row) -> float:
    return math.fsum((a - b) ** 2 for a, b in zip(left, right, strict=True))


def nearest(given: Plain, row: int, pool: Sequence[int], k: int) -> list[int]:
    others = [other for other in pool if other != row]
    return sorted(others, key=lambda other: distance(given.features[row], given.features[other]))[:k]


def neighbours_label(given: Plain, row: int, pool: Sequence[int], k: int) -> Row:
    near = nearest(given, row, pool, k)
    if not near:
        return given.tables[0][row]
    return [
        math.fsum(given.tables[0][other][label] for other in near) / len(near)
        for label in range(len(given.tables[0][row]))
    ]


def apart(left: Row, right: Row) -> float:
    return math.fsum(abs(a - b) for a, b in zip(left, right, strict=True)) / 2


def used(given: Plain, probe: Sequence[Row], use: str, drop: float, sure: float) -> Result:
    weak = given.tables[0]
    if use == "predict":
        return with_rows(given, probe, given.weights)
    if use == "relabel":
        rows = [
            new if likeliest(new) != likeliest(old) and max(new) >= sure else old
            for new, old in zip(probe, weak, strict=True)
        ]
        return with_rows(given, rows, given.weights)
    scores = [-apart(new, old) for new, old in zip(probe, weak, strict=True)]
    kept = best_of(given, scores, portion(1 - drop, len(weak)), range(len(weak)))
    return as_they_are(given, lambda row: row in kept)


def knn(given: Plain, k: int, use: str, drop: float, sure: float) -> Result:
    everyone = range(len(given.ids))
    return used(given, [neighbours_label(given, row, everyone, k) for row in everyone], use, drop, sure)


def hearts(given: Plain, k: int) -> set[int]:
    everyone = range(len(given.ids))
    label = [likeliest(row) for row in given.tables[0]]
    edges = {
        row: [other for other in nearest(given, row, everyone, k) if label[other] == label[row]]
        for row in everyone
    }

    def reached(start: int) -> set[int]:
        seen, front = {start}, [start]
        while front:
            fresh = [other for other in edges[front.pop()] if other not in seen]
            seen.update(fresh)
            front.extend(fresh)
        return seen

    reach = [reached(row) for row in everyone]
    parts = [{other for other in reach[row] if row in reach[other]} for row in everyone]
    inside: set[int] = set()
    for value in set(label):
        members = sorted(
            (row for row in everyone if label[row] == value), key=lambda row: mark(given.ids[row])
        )
        inside |= max((parts[row] for row in members), key=len)
    return inside


def topological(given: Plain, k: int, use: str, drop: float, sure: float) -> Result:
    inside = hearts(given, k)
    probe = [neighbours_label(given, row, sorted(inside), k) for row in range(len(given.ids))]
    if use != "filter":
        return used(given, probe, use, drop, sure)
    scores = [-apart(new, old) for new, old in zip(probe, given.tables[0], strict=True)]
    wanted = min(portion(1 - drop, len(scores)), len(inside))
    kept = best_of(given, scores, wanted, sorted(inside))
    return as_they_are(given, lambda row: row in kept)


def standardised(fitted: Sequence[Row], new: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    columns = list(zip(*fitted, strict=True))
    means = [math.fsum(column) / len(column) for column in columns]
    spreads = [
        math.sqrt(math.fsum((value - mean) ** 2 for value in column) / len(column)) or 1.0
        for column, mean in zip(columns, means, strict=True)
    ]
    first, second = (
        [[(value - m) / s for value, m, s in zip(row, means, spreads, strict=True)] for row in rows]
        for rows in (fitted, new)
    )
    return first, second


def softmax(scores: Row) -> list[float]:
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / math.fsum(powers) for power in powers]


def solved(matrix: Sequence[Row], right: Row) -> list[float]:
    """Gaussian elimination with pivots."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for place in range(size):
        best = max(range(place, size), key=lambda row: abs(rows[row][place]))
        rows[place], rows[best] = rows[best], rows[place]
        for row in range(size):
            if row != place:
                factor = rows[row][place] / rows[place][place]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[place], strict=True)]
    return [row[-1] / row[place] for place, row in enumerate(rows)]


def minimised(features: Sequence[Row], targets: Sequence[Row], l2: float) -> list[list[float]]:
    """Weights of each class, the intercept last, by Newton's method."""
    inputs = [[*row, 1.0] for row in features]
    width, count = len(inputs[0]), len(inputs)
    places = [(k, d) for k in range(len(targets[0])) for d in range(width)]
    penalty = {place: 4 * l2 if place[1] < width - 1 else 0.0 for place in places}
    weights = dict.fromkeys(places, 0.0)
    for _ in range(30):
        probs = [
            softmax([sum(weights[k, d] * row[d] for d in range(width)) for k in range(len(targets[0]))])
            for row in inputs
        ]
        slope = [
            penalty[k, d] * weights[k, d]
            + sum((p[k] - t[k]) * x[d] for p, t, x in zip(probs, targets, inputs, strict=True)) / count
            for k, d in places
        ]
        pairs = list(zip(probs, inputs, strict=True))
        # A common shift of the intercepts changes nothing; 1e-9 keeps it where it is.
        curve = [
            [
                sum(p[k] * ((k == j) - p[j]) * x[d] * x[e] for p, x in pairs) / count
                + (penalty[k, d] + 1e-9 if (k, d) == (j, e) else 0.0)
                for j, e in places
            ]
            for k, d in places
        ]
        for place, step in zip(places, solved(curve, slope), strict=True):
            weights[place] -= step
        if max(abs(value) for value in slope) < 1e-10:
            break
    return [[weights[k, d] for d in range(width)] for k in range(len(targets[0]))]


def regressed(features: Sequence[Row], targets: Sequence[Row], new: Sequence[Row], l2: float) -> list[Row]:
    fitted, asked = standardised(features, new)
    weights = minimised(fitted, targets, l2)
    return [
        softmax([sum(a * b for a, b in zip([*row, 1.0], weight, strict=True)) for weight in weights])
        for row in asked
    ]


def logistic(given: Plain, l2: float, folds: int, use: str, drop: float, sure: float) -> Result:
    ranked = sorted(range(len(given.ids)), key=lambda row: mark(given.ids[row]))
    probe = [list(row) for row in given.tables[0]]
    for fold in range(folds):
        own = ranked[fold::folds]
        others = [row for row in ranked if row not in own]
        if own and others:
            features, targets = (
                [source[row] for row in others] for source in (given.features, given.tables[0])
            )
            found = regressed(features, targets, [given.features[row] for row in own], l2)
            for row, probs in zip(own, found, strict=True):
                probe[row] = list(probs)
    return used(given, probe, use, drop, sure)


def calibrated(given: Plain, l2: float) -> Result:
    truth, weak = given.reference
    right = [float(likeliest(row) == likeliest(other)) for row, other in zip(truth, weak, strict=True)]
    targets = [[1 - hit, hit] for hit in right]
    asked = [[max(row)] for row in given.tables[0]]
    found = regressed([[max(row)] for row in weak], targets, asked, l2)
    return weighted(given, given.tables[0], [probs[1] for probs in found], own=True)


def cut(values: Sequence[float]) -> float | None:
    """The least value of the upper part, or None where all are equal."""
    best: tuple[float, float] | None = None
    for value in sorted(set(values))[1:]:
        parts = [[v for v in values if v < value], [v for v in values if v >= value]]
        cost = 0.0
        for part in parts:
            mean = math.fsum(part) / len(part)
            cost += math.fsum((v - mean) ** 2 for v in part)
        if best is None or cost < best[0]:
            best = (cost, value)
    return best and best[1]


def cosine(left: Row, right: Row) -> float:
    product = math.fsum(a * b for a, b in zip(left, right, strict=True))
    return product / math.sqrt(math.fsum(a * a for a in left) * math.fsum(b * b for b in right))


def lead_of(row: Row) -> float:
    *_, second, first = [0.0, *sorted(row)]
    return first - second


def overlap_density(given: Plain, keep: float) -> Result:
    leads = [lead_of(row) for row in given.tables[0]]
    bound = cut(leads)
    hard = [row for row, lead in enumerate(leads) if bound is not None and lead < bound]
    rest = [row for row in range(len(leads)) if row not in hard]
    order = sorted(rest, key=lambda row: (-leads[row], mark(given.ids[row])))
    points: list[int] = []
    if hard:
        score = {
            row: max(abs(cosine(given.features[row], given.features[other])) for other in hard)
            for row in rest
        }
        order = sorted(rest, key=lambda row: (-score[row], mark(given.ids[row])))
        edge = cut(list(score.values()))
        points = [row for row in rest if edge is not None and score[row] >= edge]
    order += sorted(hard, key=lambda row: (-leads[row], mark(given.ids[row])))
    kept = set(order[: max(portion(keep, len(leads)), len(points))])
    return as_they_are(given, lambda row: row in kept)


def rounded(row: Sequence[float]) -> list[int]:
    """Whole numbers of the same sum; those that rounding moved furthest are moved back."""
    whole = [round(value) for value in row]
    while (missing := round(math.fsum(row)) - sum(whole)) != 0:
        sign = 1 if missing > 0 else -1
        place = max(range(len(row)), key=lambda column: sign * (row[column] - whole[column]))
        whole[place] += sign
    return whole


def confident_learning(given: Plain, use: str) -> Result:
    weak, predicted = given.tables
    label = [likeliest(row) for row in weak]
    classes = range(len(weak[0]))
    if use == "weight":
        return weighted(
            given, weak, [row[said] for row, said in zip(predicted, label, strict=True)], own=True
        )
    members = {k: [row for row, said in enumerate(label) if said == k] for k in classes}
    threshold = [math.fsum(predicted[row][k] for row in members[k]) / len(members[k]) for k in classes]
    joint = [[0.0] * len(classes) for _ in classes]
    for row, said in enumerate(label):
        above = [k for k in classes if predicted[row][k] >= threshold[k] - 1e-6]
        if above:
            joint[said][max(above, key=lambda k: predicted[row][k])] += 1
    for k in classes:
        joint[k][k] = max(joint[k][k], 1.0)
    counts = [rounded([value / math.fsum(joint[k]) * len(members[k]) for value in joint[k]]) for k in classes]
    errors: set[int] = set()
    for k in classes:
        for j in classes:
            if j != k:
                ranked = sorted(members[k], key=lambda row: predicted[row][k] - predicted[row][j])
                errors.update(ranked[: counts[k][j]])
    errors = {row for row in errors if likeliest(predicted[row]) != label[row]}
    return as_they_are(given, lambda row: row not in errors)
