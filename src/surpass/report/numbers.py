"""The numbers of a report as plain data: intervals of accuracies, calibration, whose errors are the same.

Shape suffixes: S seeds, N test examples, M models.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from surpass.analyses.finding import found
from surpass.grouping import grouped
from surpass.models.sources import resolve
from surpass.running.scoring import read_correct
from surpass.stages import Score
from surpass.stats.gap import NUM_RESAMPLES
from surpass.stats.intervals import Inference
from surpass.stats.resample import panel_of
from surpass.store import Store
from surpass.study import RowStages

LEVEL = 0.95
ROLES = ("weak", "student", "ceiling")
_AT_ONCE = 12

Bools = npt.NDArray[np.bool_]
Interval = tuple[float, float]
Members = tuple[str, ...]
"""The scores of one model of a pair, by id, one for each seed."""


def plain(value: Any) -> Any:
    """A value as JSON has it: what is undefined is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


class Correctness:
    """The correctness of the scores of a study, each read once, (N,)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[str, Bools] = {}

    def of(self, score: Score) -> Bools:
        """Of one score.

        Raises:
            StoreError: It is not there.
        """
        if score.id not in self._held:
            self._held[score.id] = read_correct(found(score, self._store))
        return self._held[score.id]

    def all(self, scores: Iterable[Score]) -> Bools:
        """Of the scores of several seeds, (S, N)."""
        return np.stack([self.of(score) for score in scores])


def members(rows: Sequence[RowStages], role: str) -> Members:
    """The scores of one role in some rows."""
    return tuple(getattr(row, f"{role}_score").id for row in rows)


def accuracy_intervals(
    groups: Sequence[Sequence[RowStages]], correct: Correctness
) -> dict[Members, Interval]:
    """The interval of the mean accuracy of each model, to the digit that of `stats.mean_interval`.

    Many models are resampled together, as counting draws is what takes long.

    Args:
        groups: Rows of one method and pair each, one for each seed.
        correct: Of all their scores.
    """
    scores = {
        members(rows, role): [getattr(row, f"{role}_score") for row in rows]
        for rows in groups
        for role in ROLES
    }
    intervals: dict[Members, Interval] = {}
    for alike in grouped(scores, len).values():  # all studies have as many seeds for each method
        for start in range(0, len(alike), _AT_ONCE):
            some = alike[start : start + _AT_ONCE]
            panel = panel_of(**{str(place): correct.all(scores[one]) for place, one in enumerate(some)})
            inference = Inference.of(panel, level=LEVEL, num_resamples=NUM_RESAMPLES, rng_seed=0)
            for one, unit_R in zip(some, np.eye(len(some)), strict=True):
                mean = inference.test(unit_R)
                intervals[one] = mean.low, mean.high
    return intervals


def calibration(groups: Sequence[tuple[int, Sequence[RowStages]]], store: Store) -> list[dict[str, Any]]:
    """Bins of confidence of each model, all seeds pooled; supervisor and ceiling on the first of a pair.

    Args:
        groups: The place of a summary, and its rows.
        store: Where the scores are.
    """
    entries = []
    pairs: set[tuple[str, str]] = set()
    for summary, rows in groups:
        roles = ("student",) if rows[0].pair in pairs else ROLES
        pairs.add(rows[0].pair)
        for role in roles:
            bins = _pooled([getattr(row, f"{role}_score") for row in rows], store)
            if bins:
                entries.append({"summary": summary, "role": role, "bins": bins})
    return entries


def _pooled(scores: Sequence[Score], store: Store) -> list[dict[str, Any]]:
    counts: dict[tuple[float, float], int] = {}
    sums: dict[tuple[float, float], list[tuple[float, float]]] = {}
    for score in scores:
        file = pq.ParquetFile(found(score, store).file("calibration.parquet"))
        table = file.read(use_threads=False)
        for row in table.to_pylist():
            edges = row["low"], row["high"]
            counts[edges] = counts.get(edges, 0) + row["count"]
            weighted = row["count"] * row["confidence"], row["count"] * row["accuracy"]
            sums.setdefault(edges, []).append(weighted)
    return [
        {
            "low": low,
            "high": high,
            "confidence": math.fsum(own for own, _ in sums[low, high]) / count,
            "accuracy": math.fsum(own for _, own in sums[low, high]) / count,
            "count": count,
        }
        for (low, high), count in sorted(counts.items())
    ]


def overlap(rows: Sequence[RowStages], correct: Correctness) -> list[dict[str, Any]]:
    """Cohen's kappa of being right or wrong between the models of each pair, mean over seeds.

    A kappa is null where it is undefined in a seed: both models always right, or both always wrong.
    """
    entries = []
    for pair, own in grouped(rows, lambda row: row.pair).items():
        methods = grouped(own, lambda row: row.method)
        first = next(iter(methods.values()))
        columns = [[row.weak_score for row in first]]
        columns += [[row.student_score for row in group] for group in methods.values()]
        columns += [[row.ceiling_score for row in first]]
        kappas = [
            kappa(np.stack([correct.of(score) for score in seed])) for seed in zip(*columns, strict=True)
        ]
        weak, strong = (resolve(model).short_name for model in pair)
        names = ["weak", *methods, "ceiling"]
        mean = np.mean(kappas, axis=0)
        entries.append({"weak": weak, "strong": strong, "names": names, "kappa": plain(mean.tolist())})
    return entries


def kappa(correct_MN: Bools) -> npt.NDArray[np.float64]:
    """Cohen's kappa between all models, (M, M); NaN where it is undefined.

    Source:
        As `metrics.error_correlation`, for all pairs at once.
    """
    right_MN = correct_MN.astype(np.float64)
    both_MM = right_MN @ right_MN.T
    right_M = right_MN.sum(axis=1)
    wrong_M = right_MN.shape[1] - right_M
    neither_MM = right_MN.shape[1] - right_M[:, None] - right_M[None, :] + both_MM
    excess_MM = both_MM * neither_MM - (right_M[:, None] - both_MM) * (right_M[None, :] - both_MM)
    apart_MM = right_M[:, None] * wrong_M[None, :] + wrong_M[:, None] * right_M[None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(apart_MM > 0, 2 * excess_MM / apart_MM, np.nan)
