"""Label tables as padded arrays, and back.

Examples may have different numbers of candidates; behind the last one a row is filled with zeros.

Shape suffixes: M tables, N examples, C candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.errors import ConfigError, DataError
from surpass.labels import label_table, rows, weights
from surpass.rules.given import Given

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

TINY = 1e-12
"""Probabilities below count as this where their logarithm is taken."""


class Padded(NamedTuple):
    """Several label tables of the same examples.

    Attributes:
        ids: The examples.
        probs_MNC: Probabilities, float64, zero where there is no candidate.
        size_N: Numbers of candidates.
        weight_N: Weights of the first table, float64; None where it has none.
    """

    ids: list[str]
    probs_MNC: Floats
    size_N: Ints
    weight_N: Floats | None

    @property
    def real_NC(self) -> Bools:
        """Where there is a candidate."""
        real: Bools = np.arange(self.probs_MNC.shape[2]) < self.size_N[:, None]
        return real

    @property
    def best_MN(self) -> Ints:
        """The likeliest candidate, the first of equals."""
        best: Ints = self.probs_MNC.argmax(axis=2)
        return best

    def table(self, probs_NC: Floats, weight_N: Floats | None = None) -> pa.Table:
        """A label table of other probabilities, which are brought to sum to 1, and of weights."""
        scaled_NC = (probs_NC / probs_NC.sum(axis=1, keepdims=True)).astype(np.float32)
        ragged = [row[:size] for row, size in zip(scaled_NC, self.size_N.tolist(), strict=True)]
        return label_table(self.ids, ragged, None if weight_N is None else weight_N.astype(np.float32))

    def weighed(self, probs_NC: Floats, factor_N: Floats) -> pa.Table:
        """A label table whose weights are those of the first table times a factor, brought to a mean of 1.

        A mean of 1 keeps the scale of the loss. Where all weights are 0, all become 1.
        """
        weight_N = factor_N if self.weight_N is None else factor_N * self.weight_N
        mean = weight_N.mean()
        return self.table(probs_NC, weight_N / mean if mean > 0 else np.ones(len(weight_N)))


def padded(tables: Sequence[pa.Table]) -> Padded:
    """Label tables of the same examples as arrays.

    Raises:
        DataError: The tables differ in how many candidates an example has.
    """
    ids = tables[0]["id"].to_pylist()
    ragged = [rows(table) for table in tables]
    sizes_MN = np.array([[len(row) for row in table] for table in ragged], np.int64).reshape(len(tables), -1)
    if bad := np.flatnonzero((sizes_MN != sizes_MN[0]).any(axis=0)).tolist():
        found = sizes_MN[:, bad[0]].tolist()
        raise DataError(f"labels of {ids[bad[0]]!r} have {found} candidates; all tables must agree")
    widest = int(sizes_MN.max(initial=1))
    probs_MNC = np.zeros((len(tables), len(ids), widest))
    real_NC = np.arange(widest) < sizes_MN[0][:, None]
    for probs_NC, table in zip(probs_MNC, ragged, strict=True):
        if table:
            probs_NC[real_NC] = np.concatenate(table)
    weighted = "weight" in tables[0].column_names
    weight_N = weights(tables[0]).astype(np.float64) if weighted else None
    return Padded(ids, probs_MNC, sizes_MN[0], weight_N)


def padded_reference(given: Given, name: str, *, may_be_empty: bool = False) -> Padded:
    """The reference of a rule that needs the truth and then the labels of each label table's supervisor.

    Raises:
        ConfigError: It is not one table for the truth and one for each label table.
        DataError: It has no examples and may not be empty.
    """
    count = 1 + len(given.labels)
    if len(given.reference) != count:
        raise ConfigError(
            f"rule {name} needs a reference of {count} tables, the truth and then one for each label table, "
            f"where truth is known; it was given {len(given.reference)}"
        )
    if not (given.reference[0].num_rows or may_be_empty):
        raise DataError(f"the reference of rule {name} has no examples; it needs some to measure on")
    return padded(given.reference)


def one_hot(best_N: Ints, width: int) -> Floats:
    """Probability 1 on these candidates, float64 (N, width)."""
    probs_NC = np.zeros((len(best_N), width))
    probs_NC[np.arange(len(best_N)), best_N] = 1.0
    return probs_NC


def picked(values_NC: Floats, column_N: Ints) -> Floats:
    """One value of each row, float64 (N,)."""
    values_N: Floats = values_NC[np.arange(len(column_N)), column_N]
    return values_N


def margins(probs_NC: Floats) -> Floats:
    """The likeliest candidate's lead over the second, float64 (N,): |2 p - 1| of two; 1 of a single one."""
    if probs_NC.shape[1] == 1:
        return probs_NC[:, 0].copy()
    ordered_NC = np.sort(probs_NC, axis=1)
    lead_N: Floats = ordered_NC[:, -1] - ordered_NC[:, -2]
    return lead_N


def cross_entropies(target_NC: Floats, probs_NC: Floats) -> Floats:
    """Cross-entropy of each row of `probs` towards its target, float64 (N,), nats."""
    terms_NC = target_NC * np.log(np.maximum(probs_NC, TINY))
    return np.asarray(-terms_NC.sum(axis=1))


def entropies(probs_NC: Floats) -> Floats:
    """Entropy of each row, float64 (N,), nats."""
    return cross_entropies(probs_NC, probs_NC)


def whole_share(frac: float, count: int) -> int:
    """How many of `count` a share is, rounded up; what is whole but for rounding stays."""
    return math.ceil(frac * count - 1e-9)


def highest(score_N: Floats, count: int) -> Bools:
    """Where the highest scores are, bool (N,); of equal ones the first."""
    chosen_N = np.zeros(len(score_N), np.bool_)
    chosen_N[np.argsort(-score_N, kind="stable")[:count]] = True
    return chosen_N


def only(table: pa.Table, keep_N: Bools) -> pa.Table:
    """These rows of a table as they are."""
    return table.filter(pa.array(keep_N))
