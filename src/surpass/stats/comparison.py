"""Are methods better than a baseline: paired tests over tasks, seeds and examples, and corrections for many.

Which test answers what:

* `compare_methods`: would the mean difference over *these* tasks stay with other seeds and other
  test examples? It works with few tasks, since it takes its certainty from seeds and examples.
* `wilcoxon_signed_rank`, `sign_test`, `sign_flip_test`: does the method win on *tasks like these*? The unit
  is a task, and with few tasks no p value can be small: with n tasks at least 2^(1 - n), 0.125 for four.
* `mcnemar`: do two sets of predictions on the same examples differ? It knows nothing of seeds.

Shape suffixes: S seeds, N examples, M methods, T tasks (pairs of models), U units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from surpass.errors import ConfigError, DataError
from surpass.stats.paired import Correction, adjusted, sign_test, wilcoxon_signed_rank
from surpass.stats.resample import Floats, check_level
from surpass.stats.student_t import t_quantile, t_tail
from surpass.stats.variance import Parts, crossed_spread, degrees_of_freedom

Bits = npt.NDArray[Any]
Design = Literal["shared", "separate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodComparison:
    """One method against the baseline; accuracies as fractions, differences method minus baseline.

    `p_value` and the interval belong to the mean difference over these tasks; `adjusted_p` is corrected
    for the number of methods. `wilcoxon_p` and `sign_p` take the tasks as a sample, and are not
    corrected. A task is a win where the mean over its seeds and examples is above the baseline's.
    """

    method: str
    baseline: str
    accuracy: float
    baseline_accuracy: float
    difference: float
    low: float
    high: float
    level: float
    p_value: float
    adjusted_p: float
    correction: Correction
    wilcoxon_p: float
    sign_p: float
    wins: int
    ties: int
    losses: int
    num_tasks: int
    num_seeds: int
    num_examples: int


def compare_methods(
    correct: Mapping[str, Sequence[Bits]],
    *,
    baseline: str,
    level: float = 0.95,
    correction: Correction = "holm",
    examples: Design = "separate",
) -> list[MethodComparison]:
    """Compare methods with a baseline, paired by task, seed and example; in the order of `correct`.

    The variance of the mean difference has two parts (see `variance`). What seeds share by their test
    examples is estimated within the tasks. All else comes from the spread of the seeds' means over tasks, so
    that seeds which share something across tasks (the supervisor, the draw of training examples)
    are not counted as independent; if they share nothing, this is merely less sharp. One seed: the
    examples only.

    Args:
        correct: For each method one array (S, N) for each task, 0 or 1; tasks in the same order for all
            methods, seeds and examples in the same order for all methods of a task; N may differ
            between tasks.
        baseline: The method that the others are compared with.
        level: Coverage of the intervals, which are not corrected for the number of methods.
        correction: "holm" (chance of any false find), "benjamini-hochberg" (share of false finds) or "none".
        examples: "shared" where all tasks have the same test examples in the same order (pairs of models
            scored on one test set), "separate" where each has its own. Calling shared examples
            separate gives intervals that are too narrow.

    Raises:
        ConfigError: The baseline is missing, nothing is left to compare, or a setting is unknown.
        DataError: Shapes differ, nothing is there, or a value is not 0 or 1.
    """
    check_level(level)
    if examples not in ("shared", "separate"):
        raise ConfigError(f"examples is {examples!r}; use 'shared' or 'separate'")
    if baseline not in correct:
        raise ConfigError(f"baseline {baseline!r} is none of the methods {sorted(correct)}; name one of them")
    names = [name for name in correct if name != baseline]
    if not names:
        raise ConfigError(f"only the baseline {baseline!r} is there; pass at least one more method")
    arrays = {name: _checked(name, tasks) for name, tasks in correct.items()}
    _check_alike(arrays, baseline, examples)
    found = [_mean_difference(arrays[name], arrays[baseline], examples) for name in names]
    p_values = [_p_value(value, parts, _num_examples(arrays[baseline])) for value, parts in found]
    corrected = adjusted(p_values, correction)
    return [
        MethodComparison(
            **_against(arrays, name, baseline),
            difference=value,
            low=value - t_quantile((1 + level) / 2, parts.df) * parts.std_error,
            high=value + t_quantile((1 + level) / 2, parts.df) * parts.std_error,
            level=level,
            p_value=p_value,
            adjusted_p=adjusted_p,
            correction=correction,
        )
        for name, (value, parts), p_value, adjusted_p in zip(names, found, p_values, corrected, strict=True)
    ]


def _checked(name: str, tasks: Sequence[Bits]) -> list[Bits]:
    arrays = [np.atleast_2d(task) for task in tasks]
    for place, array in enumerate(arrays):
        if array.ndim != 2 or array.size == 0:
            raise DataError(f"{name}, task {place}: correctness must be (seeds, examples), got {array.shape}")
        if not ((array == 0) | (array == 1)).all():
            raise DataError(f"{name}, task {place}: correctness must be 0 or 1 for each example")
    return [array.astype(np.int64) for array in arrays]


def _check_alike(arrays: Mapping[str, list[Bits]], baseline: str, examples: Design) -> None:
    shapes = [array.shape for array in arrays[baseline]]
    if not shapes:
        raise DataError(f"{baseline} has no tasks; pass one array (seeds, examples) for each task")
    for name, tasks in arrays.items():
        if [array.shape for array in tasks] != shapes:
            raise DataError(
                f"tasks of {name} are {[array.shape for array in tasks]}, those of {baseline} {shapes}: "
                "comparisons are paired, give every method the same tasks, seeds and examples"
            )
    if len({num_seeds for num_seeds, _ in shapes}) > 1:
        raise DataError(f"tasks have {[s for s, _ in shapes]} seeds; keep the seeds that all tasks have")
    if examples == "shared" and len(set(shapes)) > 1:
        raise DataError(f"tasks of shapes {shapes} cannot share test examples; use examples='separate'")


def _num_examples(tasks: Sequence[Bits]) -> int:
    return min(int(array.shape[1]) for array in tasks)


def _mean_difference(method: list[Bits], baseline: list[Bits], examples: Design) -> tuple[float, Parts]:
    """Return the mean over tasks of the mean difference, and its variance."""
    differences = [(a - b).astype(np.float64) for a, b in zip(method, baseline, strict=True)]
    num_tasks, num_seeds = len(differences), len(differences[0])
    # Sums over tasks are whole numbers; the division by their number comes last.
    blocks = [sum(differences)] if examples == "shared" else differences
    spreads = [crossed_spread(np.asarray(block).T[:, :, None]) for block in blocks]
    per_seed_S = np.sum([block.mean(axis=1) for block in differences], axis=0) / num_tasks
    from_seeds = float(per_seed_S.var(ddof=1)) / num_seeds if num_seeds > 1 else 0.0
    common = sum(max(float((s.examples_RR - s.rest_RR)[0, 0]), 0.0) for s in spreads) / num_tasks**2
    total = from_seeds + common
    share = from_seeds / total if total else 0.0
    df = degrees_of_freedom(share, num_seeds, _num_examples(baseline))
    return float(per_seed_S.mean()), Parts(from_seeds, common, df)


def _p_value(value: float, parts: Parts, num_examples: int) -> float:
    if value == 0:
        return 1.0
    if parts.std_error == 0:  # the same difference everywhere: all signs alike, as in a sign test
        return min(1.0, 2.0 ** (1 - num_examples))
    return 2 * t_tail(abs(value) / parts.std_error, parts.df)


def _against(arrays: Mapping[str, list[Bits]], method: str, baseline: str) -> dict[str, Any]:
    """Return what does not depend on the variance: accuracies, and tests with tasks as units."""
    pairs = list(zip(arrays[method], arrays[baseline], strict=True))
    hits_T: Floats = np.array([float((a - b).sum()) / a.size for a, b in pairs])
    wins, losses = int((hits_T > 0).sum()), int((hits_T < 0).sum())
    return {
        "method": method,
        "baseline": baseline,
        "accuracy": float(np.mean([a.mean() for a, _ in pairs])),
        "baseline_accuracy": float(np.mean([b.mean() for _, b in pairs])),
        "wilcoxon_p": wilcoxon_signed_rank(hits_T),
        "sign_p": sign_test(wins, losses),
        "wins": wins,
        "ties": len(pairs) - wins - losses,
        "losses": losses,
        "num_tasks": len(pairs),
        "num_seeds": len(pairs[0][0]),
        "num_examples": sum(a.shape[1] for a, _ in pairs),
    }
