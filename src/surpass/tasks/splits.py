"""Splits and subsamples that depend on each key alone, never on which other keys are there.

A key is hashed with the seed to a number in [0, 1). Adding, dropping or reordering examples
therefore moves no other example to another part, and a smaller sample is a prefix of a larger.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

import pyarrow as pa

from surpass.errors import ConfigError
from surpass.hashing import units


def assign(keys: Sequence[str], proportions: Mapping[str, float], seed: int) -> list[str]:
    """The part of each key; equal keys have equal parts.

    Args:
        keys: What must stay together, such as the game that a puzzle comes from.
        proportions: Share of each part, in [0, 1], summing to 1. Their order counts.
        seed: Another seed is another, independent split.

    Raises:
        ConfigError: The proportions are no shares of a whole.
    """
    shares = list(proportions.values())
    if not shares or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ConfigError(f"proportions {dict(proportions)} must be at least 0 and sum to 1")
    names = [name for name, share in proportions.items() if share > 0]
    bounds = list(accumulate(share for share in shares if share > 0))[:-1]
    return [names[bisect_right(bounds, mark)] for mark in units(keys, seed=seed, purpose="split")]


def group_keys(puzzles: pa.Table) -> list[str]:
    """The key by which puzzles stay together: the game they come from, else their position.

    Args:
        puzzles: Has the columns `game` (string, null where unknown) and `fen` (string).
    """
    columns = (puzzles[name].to_pylist() for name in ("game", "fen"))
    return [game or fen for game, fen in zip(*columns, strict=True)]


def subsample(ids: Sequence[str], size: int | None, seed: int) -> list[int]:
    """The rows of a random sample without replacement, in random order; all of them for None.

    A smaller size gives a prefix of a larger one.

    Raises:
        ConfigError: `size` is negative, or larger than the number of ids.
    """
    if size is not None and not 0 <= size <= len(ids):
        raise ConfigError(f"{size} examples asked for and {len(ids)} there; ask for at most {len(ids)}")
    marks = units(ids, seed=seed, purpose="order")
    return sorted(range(len(ids)), key=marks.__getitem__)[:size]
