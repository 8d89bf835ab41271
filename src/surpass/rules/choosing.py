"""Rules that keep some of the examples, with the labels they have.

Shape suffixes: N examples, C candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from surpass.errors import ConfigError
from surpass.rules.given import Given
from surpass.rules.padded import Bools, cross_entropies, highest, only, padded, picked, whole_share
from surpass.rules.rule import draws, rule, share


@rule()
def top_confident(given: Given, *, frac: float = 0.1) -> pa.Table:
    """The examples that the supervisor is surest of, the same share of each class.

    Args:
        given: One table of weak labels.
        frac: Share kept of those with the same likeliest class, rounded up; of all examples together
            where there are no fixed classes.

    Raises:
        ConfigError: `frac` is outside [0, 1].

    Source:
        Burns et al. 2023, appendix B (5 to 20 % per class).
    """
    share("frac", frac)
    weak = padded(given.labels)
    best_N = weak.best_MN[0]
    confidence_N = picked(weak.probs_MNC[0], best_N)
    class_N = best_N if given.num_classes is not None else np.zeros_like(best_N)
    keep_N = np.zeros(len(best_N), np.bool_)
    for label in np.unique(class_N):
        rows_M = np.flatnonzero(class_N == label)
        keep_N[rows_M] = highest(confidence_N[rows_M], whole_share(frac, len(rows_M)))
    return only(given.labels[0], keep_N)


@rule(tables=(2, 2))
def small_loss(given: Given, *, keep: float = 0.8) -> pa.Table:
    """The examples whose weak label a peer finds least surprising.

    Args:
        given: Weak labels, and a peer's predictions.
        keep: Share kept, rounded up: those with the lowest cross-entropy of the peer towards the label.

    Raises:
        ConfigError: `keep` is outside [0, 1].

    Source:
        Han et al. 2018, "Co-teaching", algorithm 1. Differs: peers exchange examples between rounds of
        training, not between batches, and the share is constant.
    """
    share("keep", keep)
    both = padded(given.labels)
    loss_N = cross_entropies(both.probs_MNC[0], both.probs_MNC[1])
    return only(given.labels[0], highest(-loss_N, whole_share(keep, len(loss_N))))


def _fold_of(ids: Sequence[str], of: int, seed: int) -> list[int]:
    if of < 1:
        raise ConfigError(f"of is {of}; use 1 fold or more")
    return [int(draw * of) for draw in draws(ids, seed=seed, purpose="fold").tolist()]


def _in_fold(given: Given, keep: int, of: int, seed: int) -> Bools:
    fold_N = np.array(_fold_of(given.labels[0]["id"].to_pylist(), of, seed))
    if not 0 <= keep < of:
        raise ConfigError(f"keep is {keep}; folds are numbered 0 to {of - 1}")
    inside: Bools = fold_N == keep
    return inside


@rule()
def fold(given: Given, *, keep: int = 0, of: int = 2, seed: int = 0) -> pa.Table:
    """The examples of one fold.

    The fold of an example follows from its id and the seed alone, so folds are of about equal size,
    not exactly, and an example changes its fold for no other.

    Args:
        given: One table of labels.
        keep: Number of the fold, from 0.
        of: How many folds there are.
        seed: Another seed is another division.

    Raises:
        ConfigError: There is no such fold.

    Source:
        Cross-fitting; Stone 1974, "Cross-validatory choice and assessment of statistical predictions".
    """
    return only(given.labels[0], _in_fold(given, keep, of, seed))


@rule()
def outside(given: Given, *, keep: int = 0, of: int = 2, seed: int = 0) -> pa.Table:
    """The examples of all folds but one: what the model that labels this fold learns from.

    Args:
        given: One table of labels.
        keep: Number of the fold that is left out, from 0.
        of: How many folds there are.
        seed: As for `fold`.

    Raises:
        ConfigError: There is no such fold.

    Source:
        As for `fold`.
    """
    return only(given.labels[0], ~_in_fold(given, keep, of, seed))


@rule(tables=(1, None))
def stitch(given: Given, *, of: int = 2, seed: int = 0) -> pa.Table:
    """Out-of-sample labels: each example's from the table whose model did not learn from it.

    Args:
        given: As many tables as folds; table k is by a model that learned from `outside(keep=k)`.
        of: How many folds there are.
        seed: As for `fold`.

    Raises:
        ConfigError: There are not as many tables as folds.

    Source:
        As for `fold`.
    """
    if len(given.labels) != of:
        raise ConfigError(
            f"stitch(of={of}) takes {of} label tables, one for each fold, not {len(given.labels)}"
        )
    num_rows = given.labels[0].num_rows
    rows_N = np.array(_fold_of(given.labels[0]["id"].to_pylist(), of, seed)) * num_rows + np.arange(num_rows)
    shared = [
        name
        for name in ("id", "probs", "completion", "weight")
        if all(name in table.column_names for table in given.labels)
    ]
    return pa.concat_tables([table.select(shared) for table in given.labels]).take(pa.array(rows_N))
