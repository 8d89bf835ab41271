"""What a study of reward models has shown: curves of best-of-n, their differences, and data efficiency.

Accuracy at n is the share of problems that are solved by whatever a ranker chooses among n samples. Of
several seeds the mean over reward models is taken problem by problem; intervals are over problems.

Shape suffixes: P problems, M samples of a problem, N sizes of subsets (1, ..., M).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from surpass.analyses.finding import known
from surpass.errors import DataError, StoreError
from surpass.reasoning.best_of_n import NO_ANSWER, Bools, Floats, Ints, all_sizes, answer_classes, best_of_n
from surpass.reasoning.best_of_n import oracle as pass_at_n
from surpass.reasoning.curves import Curve, curve, curves_by_group, difference, quantiles_of_difficulty
from surpass.reasoning.efficiency import LearningCurve, data_efficiency
from surpass.reasoning.voting import majority_exactly, voting
from surpass.reward_study import RewardStudy
from surpass.stages import Rate, Stage
from surpass.store import Store

MAJORITY, ORACLE, DRAWN = "majority", "any of n", "one at random"
MAIN = "product"
"""How scores of steps become one, unless said otherwise."""

_NUM_GROUPS = 5
_WEIGHED = "vote weighed by "


class Rated(NamedTuple):
    """Samples of one test, as arrays of a row for each problem.

    Attributes:
        answers_PM: Which answer of its problem each gives; `NO_ANSWER` for what cannot be chosen.
        correct_PM: Whether it is right.
        scores: What a reward model says, by reduction; NaN for what cannot be chosen.
        kinds: Family and level of each problem, such as "algebra 2"; empty where problems have none.
    """

    answers_PM: Ints
    correct_PM: Bools
    scores: dict[str, Floats]
    kinds: list[str]


def gather(study: RewardStudy, store: Store) -> dict[str, Any]:
    """All results of a study that is computed, as plain data for JSON.

    Raises:
        StoreError: Some of it is not.
    """
    store.expect((stage.kind, stage.id) for stage in study.targets)
    found: dict[str, Any] = {
        "study": study.name,
        "id": study.id,
        "about": study.about,
        "seeds": list(study.seeds),
        "num_train": study.num_train,
        "per_problem": study.per_problem,
        "outcome_per_problem": study.outcome_per_problem,
        "tests": {mix: _test(study, mix, store) for mix in study.test_mixes},
        "learned": _learned(study, store),
    }
    if study.budgets:
        found["selection"] = _selection(study, store)
    return found


def _said(stage: Stage, store: Store) -> dict[str, Any]:
    artifact = known(stage, store)
    if artifact is None:
        raise StoreError(f"{stage.kind} {stage.label} is not in {store.where}: run the study first")
    said: dict[str, Any] = artifact.manifest["said"]
    return said


def _learned(study: RewardStudy, store: Store) -> dict[str, Any]:
    """From how many solutions and steps each reward model learned, a mean over seeds."""
    rows: dict[str, list[tuple[float, ...]]] = {}
    for arm in study.arms:
        solutions, fit = _said(arm.solutions, store), _said(arm.fit, store)
        rows.setdefault(arm.name, []).append(
            (solutions["num_solutions"], solutions["correct"], fit["num_examples"])
        )
    names = ("solutions", "correct", "examples")
    return {arm: dict(zip(names, np.mean(each, 0).tolist(), strict=True)) for arm, each in rows.items()}


def read_ratings(rate: Rate, store: Store) -> Rated:
    """What a stage of ratings says, a row for each problem.

    Raises:
        StoreError: It is not computed.
        DataError: Problems have different numbers of samples.
    """
    artifact = store.find(rate.kind, rate.id, label=rate.label)
    if artifact is None:
        raise StoreError(f"{rate.kind} {rate.label} is not in {store.where}: run the study first")
    table = pq.read_table(artifact.file("ratings.parquet"))
    problems: list[str] = table["problem_id"].to_pylist()
    num_problems = len(dict.fromkeys(problems))
    num_samples, rest = divmod(len(problems), max(num_problems, 1))
    if rest or any(problems[row] != problems[row - row % num_samples] for row in range(len(problems))):
        raise DataError(f"samples of {rate.label} do not lie side by side, as many of each problem")
    eligible = np.asarray(table["eligible"].to_pylist(), bool).reshape(num_problems, num_samples)
    said = [
        answer if fits else None
        for answer, fits in zip(table["answer"].to_pylist(), eligible.ravel().tolist(), strict=True)
    ]
    answers = answer_classes(
        [said[row : row + num_samples] for row in range(0, len(said), num_samples)]
    ).reshape(num_problems, num_samples)
    correct = np.asarray(table["correct"].to_pylist(), bool).reshape(num_problems, num_samples) & eligible
    families, levels = table["family"].to_pylist(), table["level"].to_pylist()
    scores = {
        name: np.asarray(
            [np.nan if value is None else value for value in table[name].to_pylist()], np.float64
        ).reshape(num_problems, num_samples)
        for name in artifact.manifest["said"]["scores"]
    }
    kinds = [f"{families[row]} {levels[row]}" for row in range(0, len(problems), num_samples)]
    return Rated(answers, correct, scores, kinds if families and families[0] is not None else [])


@dataclass(frozen=True)
class Rankers:
    """Values of each ranker for each problem and size, each float64 (P, N)."""

    values: dict[str, Floats]
    sizes_N: Ints
    per_seed: dict[str, list[Floats]]
    alone: dict[str, list[float]]


def alone(scores_PM: Floats, rated: Rated) -> float:
    """Of the wrong answers with the highest score, the share that no other sample of the problem gives.

    NaN where no problem's highest score is wrong.
    """
    best_P = np.where(np.isnan(scores_PM), -np.inf, scores_PM).argmax(1)
    rows_P = np.arange(len(best_P))
    answer_P = rated.answers_PM[rows_P, best_P]
    wrong_P = ~rated.correct_PM[rows_P, best_P] & (answer_P != NO_ANSWER)
    votes_P = (rated.answers_PM == answer_P[:, None]).sum(1)
    return float((votes_P[wrong_P] == 1).mean()) if wrong_P.any() else math.nan


def _rankers(study: RewardStudy, mix: str, store: Store) -> tuple[Rankers, Rated, dict[str, Floats]]:
    """All rankers on one test, the answers, and other reductions of steps at the largest n."""
    answers = read_ratings(study.answers[mix], store)
    sizes_N = all_sizes(answers.correct_PM.shape[1])
    values = {
        MAJORITY: majority_exactly(answers.answers_PM, answers.correct_PM),
        ORACLE: pass_at_n(answers.correct_PM),
    }
    per_seed: dict[str, list[Floats]] = {}
    others: dict[str, list[Floats]] = {}
    lonely: dict[str, list[float]] = {}
    for arm in study.arms:
        rated = read_ratings(arm.ratings[mix], store)
        main = MAIN if MAIN in rated.scores else "last"
        scores_PM = rated.scores[main]
        per_seed.setdefault(arm.name, []).append(best_of_n(scores_PM, rated.correct_PM))
        lonely.setdefault(arm.name, []).append(alone(scores_PM, rated))
        if arm.name in ("process", "outcome"):
            weighed = voting(rated.answers_PM, rated.correct_PM, weights_PM=scores_PM, seed=arm.seed)
            per_seed.setdefault(f"{_WEIGHED}{arm.name}", []).append(weighed.values_PN)
        if arm.name == "process":
            for name, scores in rated.scores.items():
                others.setdefault(name, []).append(best_of_n(scores, rated.correct_PM, sizes_N[-1:]))
    values |= {name: np.mean(each, 0) for name, each in per_seed.items()}
    reductions = {name: np.mean(each, 0) for name, each in others.items()}
    return Rankers(values, sizes_N, per_seed, lonely), answers, reductions


def _test(study: RewardStudy, mix: str, store: Store) -> dict[str, Any]:
    """Curves, differences and groups of one test."""
    rankers, answers, reductions = _rankers(study, mix, store)
    sizes_N, most = rankers.sizes_N, rankers.sizes_N[-1:]
    rates_P = answers.correct_PM.mean(1)
    groups = {"by_difficulty": quantiles_of_difficulty(rates_P, _NUM_GROUPS)} if _enough(rates_P) else {}
    pairs = [("process", "outcome"), ("outcome", MAJORITY), ("process", MAJORITY)]
    votes = [f"{_WEIGHED}{name}" for name in ("process", "outcome")]
    pairs += [(votes[0], MAJORITY), (votes[1], MAJORITY), (votes[0], votes[1])]
    pairs += [("process", "outcome, more")] if "outcome, more" in rankers.values else []
    eligible = answers.answers_PM != NO_ANSWER
    found = {
        "num_problems": len(rates_P),
        "num_samples": len(sizes_N),
        "eligible": float(eligible.mean()),
        "pass_1": float(rates_P.mean()),
        "curves": {name: _plain(curve(values, sizes_N)) for name, values in rankers.values.items()},
        "seeds": {
            name: [float(values[:, -1].mean()) for values in each] for name, each in rankers.per_seed.items()
        },
        "differences": {
            f"{first} - {second}": _plain(difference(rankers.values[first], rankers.values[second], sizes_N))
            for first, second in pairs
        },
        "wrong_and_alone": _without_nan({name: float(np.mean(each)) for name, each in rankers.alone.items()}),
        "reductions": {name: _plain(curve(values, most)) for name, values in reductions.items()},
    }
    for title, groups_P in groups.items():
        found[title] = _grouped(rankers, groups_P)
    if answers.kinds:
        found["by_kind"] = _means_of(rankers, answers.kinds, rates_P)
    return found


def _enough(rates_P: Floats) -> bool:
    return len(rates_P) >= 2 * _NUM_GROUPS


def _grouped(rankers: Rankers, groups_P: Ints) -> dict[str, Any]:
    """Curves of each fifth of the problems, the easiest first."""
    return {
        name: {
            str(group): _plain(found)
            for group, found in curves_by_group(values, rankers.sizes_N, groups_P).items()
        }
        for name, values in rankers.values.items()
        if not name.startswith(_WEIGHED)
    }


def _means_of(rankers: Rankers, kinds: Sequence[str], rates_P: Floats) -> dict[str, Any]:
    """At the largest n, by family and level."""
    kinds_P = np.asarray(kinds)
    return {
        kind: {"num_problems": int((kinds_P == kind).sum()), "pass_1": float(rates_P[kinds_P == kind].mean())}
        | {
            name: float(values[kinds_P == kind, -1].mean())
            for name, values in rankers.values.items()
            if not name.startswith(_WEIGHED)
        }
        for kind in sorted(set(kinds))
    }


def _plain(found: Curve) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in asdict(found).items()
    }


def _selection(study: RewardStudy, store: Store) -> dict[str, Any]:
    """Accuracy at the largest n against labelled solutions, for both ways of choosing them."""
    values: dict[tuple[str, int], list[Floats]] = {}
    costs: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for selection in study.selections:
        (rate,) = selection.arm.ratings.values()
        rated = read_ratings(rate, store)
        key = selection.rule, selection.per_problem
        size = rated.correct_PM.shape[1]
        best = best_of_n(rated.scores[MAIN], rated.correct_PM, [size])[:, 0]
        values.setdefault(key, []).append(best)
        said = _said(selection.arm.solutions, store)
        costs.setdefault(key, []).append((said["num_solutions"], said["num_rated_steps"]))
    found: dict[str, Any] = {"size": size, "points": {}}
    for (rule, count), each in values.items():
        solutions, steps = np.mean(costs[rule, count], 0).tolist()
        found["points"].setdefault(rule, []).append(
            {
                "per_problem": count,
                "solutions": solutions,
                "steps": steps,
                "accuracy": [float(one.mean()) for one in each],
            }
        )
    if len(study.budgets) > 1:
        selector = np.mean([costs["uniform", 1][0][0]]) if ("uniform", 1) in costs else study.num_train
        found["efficiency"] = {
            "selector's labels not counted": _efficiency(found["points"], 0.0),
            "selector's labels counted": _efficiency(found["points"], float(selector) * study.rounds),
        }
    return found


def _efficiency(points: Mapping[str, list[dict[str, Any]]], more: float) -> dict[str, Any]:
    """How much less data active choice needs, where it costs so many labels more."""

    def learned(rule: str, extra: float) -> LearningCurve:
        rows = points[rule]
        by_seed = tuple(zip(*(row["accuracy"] for row in rows), strict=True))
        return LearningCurve(sizes=tuple(row["solutions"] + extra for row in rows), accuracies=by_seed)

    try:
        found = data_efficiency(learned("uniform", 0.0), learned("convincing", more))
        said: dict[str, Any] = _without_nan(asdict(found))
        return said
    except DataError as error:
        return {"reason": str(error)}


def _without_nan(found: Any) -> Any:
    """The same with None for what is undefined, as JSON has no NaN."""
    if isinstance(found, dict):
        return {name: _without_nan(value) for name, value in found.items()}
    return None if isinstance(found, float) and not math.isfinite(found) else found
