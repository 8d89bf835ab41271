"""Prompts and completions as tokens, and the rectangles that they are padded to.

Shape suffixes: N examples, T tokens (the longest row of a pass).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from surpass.errors import DataError
from surpass.models.tokens import Rows

MAX_NEW_TOKENS = 256
"""How many tokens a completion has at most, where the task does not say."""


@dataclass(frozen=True)
class PromptExamples:
    """The tokens of each prompt, at least one, and of its completion with the end token, where it is known.

    Attributes:
        tokens: Of the prompts.
        completions: Of the completions; None where they are asked for.
        max_new_tokens: How many tokens a completion has at most.
        truncated: How many examples lost tokens of the prompt or of the completion.
    """

    tokens: list[Rows]
    completions: list[Rows] | None
    max_new_tokens: int
    truncated: int

    def lengths_N(self, rows: Rows) -> Rows:
        """How many tokens these rows have, with their completions where those are known."""
        ends = self.completions
        return np.array(
            [len(self.tokens[row]) + (0 if ends is None else len(ends[row])) for row in rows.tolist()],
            np.int64,
        )


class Rectangle(NamedTuple):
    """Rows of one forward pass, int64 (N, T); what is padding, a mask says and no token."""

    tokens_NT: Tensor
    inside_NT: Tensor


def rectangle(rows: Sequence[Rows], *, left: bool = False, device: torch.device | str = "cpu") -> Rectangle:
    """Rows padded with token 0 to the length of the longest, on the left or on the right."""
    length_N = np.array([len(row) for row in rows], np.int64)
    place_T = np.arange(length_N.max())
    inside_NT = place_T >= length_N.max() - length_N[:, None] if left else place_T < length_N[:, None]
    tokens_NT = np.zeros(inside_NT.shape, np.int64)
    tokens_NT[inside_NT] = np.concatenate(rows)
    parts = (tokens_NT, inside_NT.astype(np.int64))
    return Rectangle(*(torch.from_numpy(part).to(device) for part in parts))


def max_new_tokens_of(inputs: pa.Table) -> int:
    """How many tokens the completions of these examples have at most, as their task says.

    Raises:
        DataError: They differ, or there is none.
    """
    if "max_new_tokens" not in inputs.column_names or not inputs.num_rows:
        return MAX_NEW_TOKENS
    limits = set(inputs["max_new_tokens"].to_pylist())
    limit = limits.pop()
    if limits or limit is None or limit < 1:
        raise DataError(
            f"max_new_tokens of the examples is {limit} and {len(limits)} others; make it one number above 0"
        )
    return int(limit)
