"""Accuracy by group: the examples of one truth and one spurious attribute.

A model that goes by the attribute is right where the two agree, and wrong in the groups where they do not;
the mean over examples hides that where such groups are small.

Shape suffixes: N examples, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.errors import DataError
from surpass.metrics.checks import Ints, column

Attribute = int | str


class Groups(NamedTuple):
    """Groups by truth, then attribute, each with examples.

    Attributes:
        truth_G: The class of each group.
        attribute_G: Its attribute.
        count_G: Its number of examples, at least 1.
        accuracy_G: The share of them that is right.
        worst: The least of these.
        mean: Their mean: every group counts the same, however many examples it has.
        empty: The pairs of a truth and an attribute that both occur, and never together. They are no groups.
    """

    truth_G: list[int]
    attribute_G: list[Attribute]
    count_G: list[int]
    accuracy_G: list[float]
    worst: float
    mean: float
    empty: list[tuple[int, Attribute]]


def group_accuracy(
    truth_N: npt.ArrayLike, attribute: Sequence[Attribute], correct_N: npt.ArrayLike
) -> Groups:
    """Accuracy of each group, the worst of them, and their mean.

    Args:
        truth_N: The right class.
        attribute: Whole numbers, or strings.
        correct_N: Whether each example was answered correctly, 0 or 1.

    Raises:
        DataError: Nothing is there, lengths differ, or a number is NaN.

    Source:
        Sagawa et al. 2020, "Distributionally robust neural networks for group shifts" (worst-group accuracy).
    """
    truth_N = column(truth_N, "truth").astype(np.int64)
    correct_N = column(correct_N, "correct", len(truth_N))
    if len(attribute) != len(truth_N):
        raise DataError(f"{len(attribute)} attributes and {len(truth_N)} truths; give one for each example")
    attributes = sorted(set(attribute), key=lambda value: (isinstance(value, str), value))
    place_of = {value: place for place, value in enumerate(attributes)}
    attribute_N = np.array([place_of[value] for value in attribute], np.int64)
    classes, class_N = np.unique(truth_N, return_inverse=True)
    group_N: Ints = class_N * len(attributes) + attribute_N
    num_groups = len(classes) * len(attributes)
    count_G = np.bincount(group_N, minlength=num_groups)
    right_G = np.bincount(group_N, weights=correct_N.astype(np.float64), minlength=num_groups)
    names = [(int(truth), value) for truth in classes for value in attributes]
    filled = np.flatnonzero(count_G).tolist()
    accuracy_G = [float(right_G[group] / count_G[group]) for group in filled]
    return Groups(
        truth_G=[names[group][0] for group in filled],
        attribute_G=[names[group][1] for group in filled],
        count_G=[int(count_G[group]) for group in filled],
        accuracy_G=accuracy_G,
        worst=min(accuracy_G),
        mean=sum(accuracy_G) / len(accuracy_G),
        empty=[name for name, count in zip(names, count_G.tolist(), strict=True) if not count],
    )
