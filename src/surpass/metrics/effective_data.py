"""Effective data: how many examples with true labels would have made the student as good as it is.

The learning curve of the same model on true labels is measured at a few sizes, made monotone, and read
backwards at the student's accuracy, linear in the logarithm of size. Outside the sizes that were measured
the answer is "less than" or "more than", never an extrapolation.

Shape suffixes: K sizes, B resamples.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.errors import ConfigError, DataError
from surpass.metrics.checks import Floats, Ints, finite_column, whole_numbers

Relation = Literal["less", "equal", "more"]


class EffectiveData(NamedTuple):
    """A number of truth-labelled examples; a bound only where `relation` is not "equal"."""

    num_examples: float
    relation: Relation

    @property
    def text(self) -> str:
        """As one would write it, such as "more than 6,000"."""
        number = f"{self.num_examples:,.0f}"
        return number if self.relation == "equal" else f"{self.relation} than {number}"


class EffectiveDataInterval(NamedTuple):
    """Both ends of an interval."""

    low: EffectiveData
    high: EffectiveData


def isotonic(values_K: npt.ArrayLike) -> Floats:
    """Return the non-decreasing sequence closest to the values in squared distance, float64 (K,).

    Neighbours that fall are pooled to their mean until nothing falls. Sorted values stay bit for bit.

    Raises:
        DataError: Empty, or a value is not finite.

    Source:
        Ayer et al. 1955 (pool adjacent violators).
    """
    pools: list[tuple[float, int]] = []
    for value in finite_column(values_K, "values").tolist():
        mean, size = value, 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        pools.append((mean, size))
    means, sizes = zip(*pools, strict=True)
    return np.repeat(np.array(means, np.float64), sizes)


def effective_data(
    sizes_K: npt.ArrayLike, accuracy_K: npt.ArrayLike, student_accuracy: float
) -> EffectiveData:
    """Read the learning curve backwards: the smallest size at which it reaches the student's accuracy.

    Args:
        sizes_K: Numbers of truth-labelled examples, at least two, increasing, at least 1 each.
        accuracy_K: Accuracy of the same model trained on so many, (K,); average over seeds first.
        student_accuracy: Accuracy of the student on weak labels, on the same test examples.

    Raises:
        DataError: Sizes do not increase or are fewer than two, lengths differ, or a value is not finite.
    """
    sizes_K = _sizes(sizes_K)
    accuracy_K = finite_column(accuracy_K, "accuracy of the learning curve", len(sizes_K))
    student = finite_column([student_accuracy], "student accuracy")
    return _read_back(sizes_K, isotonic(accuracy_K), float(student[0]))


def effective_data_interval(
    sizes_K: npt.ArrayLike, accuracy_BK: npt.NDArray[Any], student_B: npt.ArrayLike, *, level: float = 0.95
) -> EffectiveDataInterval:
    """Percentile interval of `effective_data` over resamples of learning curve and student.

    Draw every resample for the curve and the student together, since they share test examples. Ends are
    values of single resamples, not interpolated between, so that a bound stays a bound.

    Args:
        sizes_K: As for `effective_data`.
        accuracy_BK: Accuracies of the learning curve in each resample, (B, K).
        student_B: Accuracy of the student in each resample, (B,).
        level: Coverage, in (0, 1).

    Raises:
        DataError: As for `effective_data`, or shapes differ.
        ConfigError: `level` is out of range.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}; use a number between 0 and 1, such as 0.95")
    sizes_K = _sizes(sizes_K)
    student_B = finite_column(student_B, "student accuracies")
    accuracy_BK = np.asarray(accuracy_BK)
    if accuracy_BK.shape != (len(student_B), len(sizes_K)):
        raise DataError(
            f"accuracies must be (resamples, sizes) = ({len(student_B)}, {len(sizes_K)}), "
            f"got {accuracy_BK.shape}"
        )
    found = sorted(
        (
            _read_back(sizes_K, isotonic(accuracy_K), student)
            for accuracy_K, student in zip(accuracy_BK, student_B.tolist(), strict=True)
        ),
        key=_place,
    )
    tail = math.floor(round((1 - level) / 2 * (len(found) - 1), 9))
    return EffectiveDataInterval(found[tail], found[len(found) - 1 - tail])


def _sizes(sizes: npt.ArrayLike) -> Ints:
    sizes_K = whole_numbers(sizes, "sizes")
    if len(sizes_K) < 2 or sizes_K[0] < 1 or (np.diff(sizes_K) <= 0).any():
        raise DataError(
            f"sizes of a learning curve must be at least two, increase and be at least 1, "
            f"got {sizes_K.tolist()[:10]}"
        )
    return sizes_K


def _read_back(sizes_K: Ints, rising_K: Floats, student: float) -> EffectiveData:
    if student < rising_K[0]:
        return EffectiveData(float(sizes_K[0]), "less")
    if student > rising_K[-1]:
        return EffectiveData(float(sizes_K[-1]), "more")
    above = int(np.searchsorted(rising_K, student, side="left"))
    size = float(sizes_K[above])
    if rising_K[above] > student:
        share = (rising_K[above] - student) / (rising_K[above] - rising_K[above - 1])
        size *= float(sizes_K[above - 1] / sizes_K[above]) ** float(share)
    return EffectiveData(size, "equal")


def _place(found: EffectiveData) -> tuple[int, float]:
    return ("less", "equal", "more").index(found.relation), found.num_examples
