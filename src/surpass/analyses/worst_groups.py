"""Accuracy by group of a finished study: supervisor, student and ceiling side by side.

Read from a finished study and its store; nothing is computed that takes a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.analyses.finding import found
from surpass.grouping import grouped
from surpass.models.sources import resolve
from surpass.running.scoring import read_groups
from surpass.store import Store
from surpass.study import RowStages, Study


class GroupAccuracy(NamedTuple):
    """The test examples of one truth and attribute; accuracies are means over seeds.

    Attributes:
        truth: The class.
        attribute: The spurious attribute.
        num_examples: How many test examples there are.
        weak: Accuracy of the supervisor.
        student: Accuracy of the student.
        ceiling: Accuracy of the ceiling.
    """

    truth: int
    attribute: int | str
    num_examples: int
    weak: float
    student: float
    ceiling: float


class Grouped(NamedTuple):
    """The groups of one method on one pair; the worst of each model in each seed, mean over seeds."""

    weak_model: str
    strong_model: str
    method: str
    oracle: bool
    groups: tuple[GroupAccuracy, ...]
    weak_worst: float
    student_worst: float
    ceiling_worst: float


def by_group(study: Study, store: Store) -> list[Grouped]:
    """Of each pair and method; none where test examples have no attribute.

    Raises:
        StoreError: The study is not finished.
    """
    entries = []
    for (pair, method), rows in grouped(study.rows(), lambda row: (row.pair, row.method)).items():
        groups = read_groups(found(rows[0].student_score, store))
        if not groups:
            continue
        roles = [_accuracies(rows, role, store) for role in ("weak", "student", "ceiling")]
        worst = [float(accuracy.min(axis=1).mean()) for accuracy in roles]
        weak, strong = (resolve(model).short_name for model in pair)
        means = np.stack([accuracy.mean(axis=0) for accuracy in roles], axis=1).tolist()
        entries.append(
            Grouped(
                weak_model=weak,
                strong_model=strong,
                method=method,
                oracle=rows[0].oracle,
                groups=tuple(
                    GroupAccuracy(group.truth, group.attribute, group.num_examples, *mean)
                    for group, mean in zip(groups, means, strict=True)
                ),
                weak_worst=worst[0],
                student_worst=worst[1],
                ceiling_worst=worst[2],
            )
        )
    return entries


def _accuracies(rows: Sequence[RowStages], role: str, store: Store) -> npt.NDArray[np.float64]:
    """Of each seed and group."""
    scores = (getattr(row, f"{role}_score") for row in rows)
    return np.array([[group.accuracy for group in read_groups(found(score, store))] for score in scores])
