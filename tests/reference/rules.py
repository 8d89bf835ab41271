"""Slow twins of the relabelling rules: plain Python, one example after the other.

A twin takes a `Plain` and settings, all of them, and returns (id, probabilities, weight) of each example
that it keeps, in order; the weight is None where the result has no weights. Among equals the lower mark
of the id comes first, as `surpass.hashing.unit` gives it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from surpass.hashing import unit

Row = Sequence[float]
Result = list[tuple[str, Row, float | None]]


class Plain(NamedTuple):
    """What a rule is given, as lists."""

    ids: list[str]
    tables: list[list[Row]]
    table_weights: list[list[float] | None]
    columns: dict[str, list[Any]]
    features: list[Row]
    reference: list[list[Row]]
    num_classes: int | None

    @property
    def weights(self) -> list[float] | None:
        return self.table_weights[0]


Twin = Callable[..., Result]


def likeliest(row: Row) -> int:
    return row.index(max(row))


def mark(example: str) -> float:
    return unit(example, seed=0, purpose="rule")


def portion(frac: float, count: int) -> int:
    return min(whole for whole in range(count + 1) if whole >= frac * count - 1e-9)


def as_they_are(given: Plain, kept: Callable[[int], bool]) -> Result:
    weights = given.weights or [None] * len(given.ids)
    return [
        (example, given.tables[0][row], weights[row]) for row, example in enumerate(given.ids) if kept(row)
    ]


def with_rows(given: Plain, rows: Sequence[Row], weights: Sequence[float] | None) -> Result:
    sums = [math.fsum(row) for row in rows]
    scaled = [[value / total for value in row] for row, total in zip(rows, sums, strict=True)]
    return list(zip(given.ids, scaled, weights or [None] * len(rows), strict=True))


def weighted(given: Plain, rows: Sequence[Row], factors: Sequence[float], *, own: bool) -> Result:
    products = [
        factor * (given.weights[row] if own and given.weights else 1.0) for row, factor in enumerate(factors)
    ]
    mean = math.fsum(products) / len(products)
    return with_rows(given, rows, [product / mean if mean > 0 else 1.0 for product in products])


def best_of(given: Plain, scores: Sequence[float], count: int, among: Sequence[int]) -> set[int]:
    ranked = sorted(among, key=lambda row: (-scores[row], mark(given.ids[row])))
    return set(ranked[:count])


def cross_entropy(target: Row, probs: Row) -> float:
    return -math.fsum(share * math.log(max(prob, 1e-12)) for share, prob in zip(target, probs, strict=True))


def hot(place: int, size: int) -> Row:
    return [float(candidate == place) for candidate in range(size)]


def harden(given: Plain) -> Result:
    return with_rows(given, [hot(likeliest(row), len(row)) for row in given.tables[0]], given.weights)


def soften(given: Plain, temperature: float) -> Result:
    rows = [[prob ** (1 / temperature) for prob in row] for row in given.tables[0]]
    return with_rows(given, rows, given.weights)


def top_confident(given: Plain, frac: float) -> Result:
    confidence = [max(row) for row in given.tables[0]]
    groups: dict[int, list[int]] = {}
    for number, row in enumerate(given.tables[0]):
        groups.setdefault(likeliest(row) if given.num_classes else 0, []).append(number)
    kept: set[int] = set()
    for members in groups.values():
        kept |= best_of(given, confidence, portion(frac, len(members)), members)
    return as_they_are(given, lambda row: row in kept)


def small_loss(given: Plain, keep: float) -> Result:
    loss = [cross_entropy(weak, peer) for weak, peer in zip(*given.tables, strict=True)]
    everyone = range(len(loss))
    kept = best_of(given, [-value for value in loss], portion(keep, len(loss)), everyone)
    return as_they_are(given, lambda row: row in kept)


def fold_of(example: str, of: int, seed: int) -> int:
    return math.floor(unit(example, seed=seed, purpose="fold") * of)


def fold(given: Plain, keep: int, of: int, seed: int) -> Result:
    return as_they_are(given, lambda row: fold_of(given.ids[row], of, seed) == keep)


def outside(given: Plain, keep: int, of: int, seed: int) -> Result:
    return as_they_are(given, lambda row: fold_of(given.ids[row], of, seed) != keep)


def stitch(given: Plain, of: int, seed: int) -> Result:
    places = [fold_of(example, of, seed) for example in given.ids]
    return [
        (example, given.tables[place][row], given.table_weights[place] and given.table_weights[place][row])
        for row, (example, place) in enumerate(zip(given.ids, places, strict=True))
    ]


def band(given: Plain, by: str, low: float, high: float) -> Result:
    values = given.columns[by]
    ranked = sorted(range(len(values)), key=lambda row: (values[row], mark(given.ids[row])))
    kept = set(ranked[portion(low, len(ranked)) : portion(high, len(ranked))])
    return as_they_are(given, lambda row: row in kept)


def easiest(given: Plain, frac: float, by: str) -> Result:
    return band(given, by, 0.0, frac)


def easiest_for_models(given: Plain, frac: float) -> Result:
    truth, *models = given.tables
    difficulty = []
    for row in range(len(given.ids)):
        right = [likeliest(model[row]) == likeliest(truth[row]) for model in models]
        difficulty.append(next(place for place in range(len(models) + 1) if all(right[place:])))
    ranked = sorted(range(len(difficulty)), key=lambda row: (difficulty[row], mark(given.ids[row])))
    kept = set(ranked[: portion(frac, len(ranked))])
    return as_they_are(given, lambda row: row in kept)


def trusts(given: Plain, trust: str) -> list[float]:
    if trust == "equal":
        return [1.0] * len(given.tables)
    truth, *supervisors = given.reference
    hits = [
        sum(likeliest(row) == likeliest(right) for row, right in zip(labels, truth, strict=True))
        for labels in supervisors
    ]
    return [float(hit) for hit in hits] if any(hits) else [1.0] * len(hits)


def mixed(given: Plain, tables: Sequence[Sequence[Row]], shares: Sequence[float]) -> list[Row]:
    return [
        [
            math.fsum(share * table[row][candidate] for share, table in zip(shares, tables, strict=True))
            / math.fsum(shares)
            for candidate in range(len(tables[0][row]))
        ]
        for row in range(len(given.ids))
    ]


def average(given: Plain, trust: str) -> Result:
    return with_rows(given, mixed(given, given.tables, trusts(given, trust)), None)


def ballots(tables: Sequence[Sequence[Row]]) -> list[list[Row]]:
    return [[hot(likeliest(row), len(row)) for row in table] for table in tables]


def vote(given: Plain, trust: str) -> Result:
    return with_rows(given, mixed(given, ballots(given.tables), trusts(given, trust)), None)


def log_average(given: Plain, trust: str) -> Result:
    logs = [[[math.log(max(prob, 1e-6)) for prob in row] for row in table] for table in given.tables]
    rows = [[math.exp(value) for value in row] for row in mixed(given, logs, trusts(given, trust))]
    return with_rows(given, rows, None)


def bayesian(given: Plain, prior: float) -> Result:
    truth, *supervisors = given.reference
    posterior = []
    for labels in supervisors:
        right = sum(likeliest(row) == likeliest(other) for row, other in zip(labels, truth, strict=True))
        alpha, beta = prior + right, prior + len(truth) - right
        posterior.append(alpha / (alpha + beta))
    shares = [value / math.fsum(posterior) for value in posterior]
    means = mixed(given, given.tables, shares)
    factors = []
    for row, mean in enumerate(means):
        variance = math.fsum(
            share * (table[row][candidate] - value) ** 2
            for share, table in zip(shares, given.tables, strict=True)
            for candidate, value in enumerate(mean)
        )
        if variance < 1e-15:
            factors.append(1.0)
            continue
        precision = math.fsum(value * (1 - value) for value in mean) / variance - 1
        factors.append(precision / (precision + len(mean)))
    return weighted(given, means, factors, own=False)


def assign(given: Plain, reject: float) -> Result:
    student, *specialists = given.tables
    chosen, losses = [], []
    for row, belief in enumerate(student):
        offers = [(cross_entropy(labels[row], belief), place) for place, labels in enumerate(specialists)]
        loss, place = min(offers)
        chosen.append(specialists[place][row])
        losses.append(-loss)
    kept = best_of(given, losses, portion(1 - reject, len(losses)), range(len(losses)))
    return [entry for row, entry in enumerate(with_rows(given, chosen, None)) if row in kept]


def adaboost(tables: Sequence[Sequence[Row]], multiclass: bool) -> tuple[list[float], list[float]]:
    """The say of each learner and the weights afterwards."""
    truth, *learners = tables
    count = len(truth)
    weights, say = [1 / count] * count, []
    harmonic = count / math.fsum(1 / len(row) for row in truth)
    for predictions in learners:
        wrong = [likeliest(row) != likeliest(right) for row, right in zip(predictions, truth, strict=True)]
        error = math.fsum(weight for weight, miss in zip(weights, wrong, strict=True) if miss)
        error = min(max(error, 0.5 / count), 1 - 0.5 / count)
        alpha = 0.5 * math.log((1 - error) / error)
        if multiclass and harmonic > 2:
            alpha += 0.5 * math.log(harmonic - 1)
        alpha = max(alpha, 0.0)
        say.append(alpha)
        weights = [
            weight * math.exp(alpha if miss else -alpha) for weight, miss in zip(weights, wrong, strict=True)
        ]
        total = math.fsum(weights)
        weights = [weight / total for weight in weights]
    return say, weights


def adaboost_weights(given: Plain, multiclass: bool) -> Result:
    _, weights = adaboost(given.tables, multiclass)
    return weighted(given, given.tables[0], weights, own=False)


def adaboost_vote(given: Plain, multiclass: bool, votes: str) -> Result:
    say, _ = adaboost(given.reference, multiclass)
    voices = given.tables if votes == "soft" else ballots(given.tables)
    return with_rows(given, mixed(given, voices, say if any(say) else [1.0] * len(say)), None)


def entropy(row: Row) -> float:
    return -math.fsum(prob * math.log(prob) for prob in row if prob > 0)


def reliability(given: Plain, use: str, keep: float, temperature: float) -> Result:
    means = mixed(given, given.tables, [1.0] * len(given.tables))
    answers = [Counter(likeliest(table[row]) for table in given.tables) for row in range(len(means))]
    shares = [{answer: count / len(given.tables) for answer, count in counted.items()} for counted in answers]
    if use == "filter":
        unreliable = [
            (round(entropy(list(share.values())), 9), entropy(mean), mark(example))
            for share, mean, example in zip(shares, means, given.ids, strict=True)
        ]
        kept = set(sorted(range(len(means)), key=unreliable.__getitem__)[: portion(keep, len(means))])
        return [entry for row, entry in enumerate(with_rows(given, means, None)) if row in kept]
    factors = []
    for share, mean in zip(shares, means, strict=True):
        best = likeliest(mean)
        share.setdefault(best, 0.0)
        total = math.fsum(math.exp(value / temperature) for value in share.values())
        factors.append(math.exp(share[best] / temperature) / total)
    return weighted(given, means, factors, own=False)


def em_posterior(given: Plain, rounds: int, bins: int, channel: str) -> Result:
    weak, prior = given.tables
    confidence = sorted(max(row) for row in weak)
    edges = [confidence[place * len(weak) // bins] for place in range(1, bins)]
    bin_of = [sum(edge <= max(row) for edge in edges) for row in weak]
    posterior = [list(row) for row in prior]
    for _ in range(rounds):
        before, posterior = posterior, []
        for row, belief in enumerate(prior):
            peers = [other for other in range(len(weak)) if bin_of[other] == bin_of[row]]
            hits = math.fsum(before[other][likeliest(weak[other])] for other in peers)
            accuracy = (hits + 1) / (len(peers) + 2)
            said, size = likeliest(weak[row]), len(belief)
            joint = []
            for candidate, prob in enumerate(belief):
                chance = accuracy if candidate == said else (1 - accuracy) / (size - 1)
                if channel == "confusion":
                    table = math.fsum(
                        before[other][candidate] for other in peers if likeliest(weak[other]) == said
                    )
                    total = math.fsum(before[other][candidate] for other in peers)
                    chance = (table + size * chance) / (total + size)
                joint.append(chance * prob)
            posterior.append([value / math.fsum(joint) for value in joint])
    return with_rows(given, posterior, given.weights)
