"""Which examples each step of a training sees, as a function of the seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from surpass.train.recipe import Recipe

Rows = npt.NDArray[np.int64]


def order_of(num_examples: int, seed: int, epoch: int) -> Rows:
    """The order in which an epoch, from 0, sees the examples, (N,)."""
    return np.random.default_rng((seed, epoch)).permutation(num_examples)


def batches(
    num_examples: int, recipe: Recipe, seed: int, start: int = 0, group_N: Rows | None = None
) -> Iterator[Rows]:
    """Rows of each step from step `start` on; a function of seed and step alone.

    With groups, numbered from 0, such as the steps of a solution that are read together, each batch has whole
    ones, as many as any other or one more; it has about `batch_size` examples on average only.
    """
    per_epoch = batches_per_epoch(num_examples, recipe, group_N)
    for epoch in range(start // per_epoch, recipe.epochs):
        if group_N is None:
            order = order_of(num_examples, seed, epoch)
            cut = [order[at : at + recipe.batch_size] for at in range(0, num_examples, recipe.batch_size)]
        else:
            turn_N = order_of(int(group_N.max()) + 1, seed, epoch)[group_N]
            order = np.argsort(turn_N, kind="stable")
            first = [part[0] for part in np.array_split(np.unique(turn_N), per_epoch)]
            cut = np.split(order, np.searchsorted(turn_N[order], first[1:]))
        yield from cut[max(start - epoch * per_epoch, 0) :]


def batches_per_epoch(num_examples: int, recipe: Recipe, group_N: Rows | None) -> int:
    """How many batches there are: one for each `batch_size` examples, and none without a whole group."""
    needed = -(-num_examples // recipe.batch_size)
    return needed if group_N is None else min(needed, len(np.unique(group_N)))


def groups_of(examples: Any) -> Rows | None:
    """The group of each encoded example, where it is faster to read those of one together; else None."""
    groups: Rows | None = getattr(examples, "group_N", None)
    return groups
