"""Examples as tokens, and the forward passes they are cut into.

Padding is on the right and known from lengths alone; no token stands for it.

Shape suffixes: N texts, T tokens (the longest row of a pass).
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surpass.models.depth import Below

TOKENS_AT_ONCE = 8192
"""Tokens of one forward pass without gradient, padding included; a longer text goes alone."""

Rows = npt.NDArray[np.int64]


class TokenExamples(NamedTuple):
    """Texts as tokens, at least one each; where an example has several texts, they follow each other.

    Attributes:
        tokens: Those of each text.
        lost_N: Whether each example lost some, bool; None where none did.
        below: What the lower layers of a model give for them, where that is known.
    """

    tokens: list[Rows]
    lost_N: npt.NDArray[np.bool_] | None = None
    below: Below | None = None

    @property
    def truncated(self) -> int:
        """How many examples lost tokens."""
        return 0 if self.lost_N is None else int(self.lost_N.sum())

    def lengths_N(self, rows: Rows) -> Rows:
        """How many tokens these texts have."""
        return np.array([len(self.tokens[row]) for row in rows.tolist()], np.int64)

    def digest(self) -> str:
        """The sha256 of all tokens and where texts end."""
        found = sha256(np.array([len(row) for row in self.tokens], np.int64).tobytes())
        for row in self.tokens:
            found.update(row.astype(np.int64, copy=False).tobytes())
        return found.hexdigest()


class Padded(NamedTuple):
    """Texts of one forward pass, int64 (N, T): tokens, 0 behind the end; 1 for tokens, 0 for padding."""

    tokens_NT: Tensor
    inside_NT: Tensor


def padded(examples: TokenExamples, rows: Rows, device: torch.device | str = "cpu") -> Padded:
    """Some texts as rectangles, padded on the right."""
    length_N = examples.lengths_N(rows)
    inside_NT = np.arange(length_N.max()) < length_N[:, None]
    tokens_NT = np.zeros(inside_NT.shape, np.int64)
    tokens_NT[inside_NT] = np.concatenate([examples.tokens[row] for row in rows.tolist()])
    return Padded(
        torch.from_numpy(tokens_NT).to(device), torch.from_numpy(inside_NT.astype(np.int64)).to(device)
    )


def by_length(length_N: Rows, max_tokens: int, max_rows: int | None = None) -> Iterator[Rows]:
    """Places, longest first, in pieces of so many tokens with padding, or of one row that is longer."""
    order = np.argsort(-length_N, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, max_tokens // int(length_N[order[start]]))
        size = size if max_rows is None else min(size, max_rows)
        yield order[start : start + size]
        start += size


def alike(length_N: Rows, pass_cost: int) -> list[Rows]:
    """Places, longest first, in the passes that cost least: their tokens with padding, and each `pass_cost`.

    Passes are stretches of the rows ordered by length; among those, the cheapest are found exactly.
    """
    order = np.argsort(-length_N, kind="stable")
    ordered_N = length_N[order]
    num_rows = len(order)
    place_N = np.arange(num_rows)
    # cost[end]: that of the first `end` rows; start[end]: where their last pass begins.
    cost, start = np.zeros(num_rows + 1), np.zeros(num_rows + 1, np.int64)
    for end in range(1, num_rows + 1):
        candidates = cost[:end] + pass_cost + ordered_N[:end] * (end - place_N[:end])
        start[end] = int(candidates.argmin())
        cost[end] = candidates[start[end]]
    passes, end = [], num_rows
    while end:
        passes.append(order[start[end] : end])
        end = int(start[end])
    return passes[::-1]
