"""What makes a result believable, beyond PGR: errors taken over, overfitting, what labels are worth, power.

Read from a finished study and its store; nothing is computed that takes a model.

Shape suffixes: S seeds, N test examples, T snapshots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from surpass.analyses.finding import found
from surpass.calls import parse
from surpass.grouping import grouped
from surpass.metrics import EffectiveData, Overfitting, effective_data, overfitting
from surpass.models.sources import resolve
from surpass.running.scoring import read_correct
from surpass.stages import Stage, Stop
from surpass.stats.power import SeedsNeeded, difference_variance, seeds_needed, smallest_difference
from surpass.store import Store
from surpass.study import Pair, RowStages, Study

BASELINE = "naive"
LEARNING_CURVE = "truth_part"
POINT = 0.01


class Curve(NamedTuple):
    """Overfitting to weak labels of one pair and seed: accuracy at each snapshot, and three points of it."""

    weak_model: str
    strong_model: str
    seed: int
    steps: tuple[int, ...]
    accuracy: tuple[float, ...]
    weak_agreement: tuple[float, ...]
    points: Overfitting


class Worth(NamedTuple):
    """How many truth labels would have given the student's accuracy, mean over seeds."""

    weak_model: str
    strong_model: str
    method: str
    num_labels: int
    effective: EffectiveData


class Visible(NamedTuple):
    """What difference to naive fine-tuning a pair shows, and how many seeds one point of accuracy takes.

    `smallest` is the difference, in points of accuracy, that is seen with 80 % power by the seeds of
    the study; its median over methods. `seeds` likewise, None where even a thousand are not enough.
    """

    weak_model: str
    strong_model: str
    num_seeds: int
    num_methods: int
    smallest: float
    seeds: int | None


def curves(study: Study, store: Store) -> list[Curve]:
    """Overfitting curves, where a study has both kinds of early stopping (`early_stop`, `early_stop_truth`).

    Accuracy and agreement are those on validation examples.

    Raises:
        StoreError: The study is not finished.

    Source:
        Burns et al. 2023, section 5.1.1, figures 7 and 13.
    """
    stops: dict[tuple[str, int], dict[bool, tuple[RowStages, Stop]]] = {}
    for row in study.rows():
        if isinstance(row.student, Stop):
            by_truth = isinstance(row.student.labels, str)
            stops.setdefault((row.student.fit.id, row.seed), {})[by_truth] = (row, row.student)
    curves = []
    for (_, seed), both in stops.items():
        if len(both) < 2:
            continue
        row = both[False][0]
        weak, truth = (_table(both[by_truth][1], store) for by_truth in (False, True))
        # In a short training several snapshots are of one step, and the same.
        steps, first = np.unique(truth["step"].to_numpy(), return_index=True)
        accuracy, agreement = (table["accuracy"].to_numpy()[first] for table in (truth, weak))
        points = overfitting(accuracy, agreement, progress_T=steps / steps[-1])
        told = [tuple(values.tolist()) for values in (steps, accuracy, agreement)]
        curves.append(Curve(*_names(row.pair), seed, told[0], told[1], told[2], points))
    return curves


def worths(study: Study, store: Store) -> list[Worth]:
    """What each method's labels are worth in truth labels, where a study has two or more `truth_part`s.

    The learning curve is that of the strong model on parts of the truth, up to the ceiling.

    Raises:
        StoreError: The study is not finished.
    """
    worths = []
    for pair, rows in grouped(study.rows(), lambda row: row.pair).items():
        by_method = grouped(rows, lambda row: row.method)
        parts = {
            _num_labels(group, store): _mean(group, store)
            for method, group in by_method.items()
            if parse(method).name == LEARNING_CURVE
        }
        if len(parts) < 2:
            continue
        ceiling = np.mean([_correct(row.ceiling_score, store).mean() for row in by_method[rows[0].method]])
        learned = study.setting(pair, rows[0].seed).student_examples
        num_train = int(found(learned, store).manifest["said"]["num_examples"])
        parts[num_train] = float(ceiling)
        sizes = sorted(parts)
        for method, group in by_method.items():
            if not group[0].oracle:
                reached = effective_data(sizes, [parts[size] for size in sizes], _mean(group, store))
                worths.append(Worth(*_names(pair), method, num_train, reached))
    return worths


def visible(study: Study, store: Store, *, difference: float = POINT) -> list[Visible]:
    """How small a difference to naive fine-tuning the study can show, pair by pair.

    Args:
        study: With two seeds or more, and naive among its methods.
        store: Where its artifacts are.
        difference: Of accuracy, as a fraction, for which the seeds are counted.

    Raises:
        StoreError: The study is not finished.
    """
    if len(study.seeds) < 2:
        return []
    entries = []
    for pair, rows in grouped(study.rows(), lambda row: row.pair).items():
        correct = {
            method: np.stack([_correct(row.student_score, store) for row in group])
            for method, group in grouped(rows, lambda row: row.method).items()
        }
        if BASELINE not in correct:
            continue
        num_seeds, num_examples = correct[BASELINE].shape
        smallest, needed = [], []
        for correct_SN in correct.values():
            if np.array_equal(correct_SN, correct[BASELINE]):
                continue
            variance = difference_variance(correct_SN, correct[BASELINE])
            smallest.append(smallest_difference(variance, num_seeds=num_seeds, num_examples=num_examples))
            needed.append(seeds_needed(variance, difference, num_examples=num_examples))
        if smallest:
            entries.append(
                Visible(*_names(pair), num_seeds, len(smallest), float(np.median(smallest)), _median(needed))
            )
    return entries


def _median(needed: Sequence[SeedsNeeded]) -> int | None:
    """The middle number of seeds; None where for most even a thousand are not enough."""
    counts = sorted(math.inf if one.num_seeds is None else one.num_seeds for one in needed)
    middle = counts[len(counts) // 2]
    return None if math.isinf(middle) else int(middle)


def _num_labels(rows: Sequence[RowStages], store: Store) -> int:
    """How many labels the students of some rows have learned, mean over seeds."""
    fits = [row.student for row in rows if isinstance(row.student, Stage)]
    return round(float(np.mean([found(fit, store).manifest["said"]["num_examples"] for fit in fits])))


def _mean(rows: Sequence[RowStages], store: Store) -> float:
    return float(np.mean([_correct(row.student_score, store).mean() for row in rows]))


def _correct(score: Stage, store: Store) -> npt.NDArray[np.bool_]:
    return read_correct(found(score, store))


def _table(stop: Stop, store: Store) -> Any:
    return pq.read_table(found(stop, store).file("curve.parquet"))


def _names(pair: Pair) -> tuple[str, str]:
    return resolve(pair[0]).short_name, resolve(pair[1]).short_name
