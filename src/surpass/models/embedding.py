"""Tables of embeddings in training: of them, what is read; and gradients that are added to in place.

The gradient of a table is as large as the table, and zero in all rows but those of the tokens that were read.
Each backward pass would make one anew and add it to the last, and AdamW keep two moments of each row: of a
small model that is much of the memory and of the time. The rows that a training's examples never read learn
nothing; AdamW does no more to them than to let them decay.

Shape suffixes: U rows that are read, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from surpass.models.tokens import TokenExamples

_ROWS_AT_ONCE = 256
"""Of a table, so that they stay near the processor while they decay step by step."""
_asked: list[bool] = []
_used: dict[int, UsedRows] = {}
"""By the identity of their tables, while these train."""


@contextmanager
def added_in_place() -> Iterator[None]:
    """Let passes that begin inside add the gradients of embeddings to what is there, by `backward`."""
    _asked.append(True)
    try:
        yield
    finally:
        _asked.pop()


def can_add_in_place(body: Any) -> None:
    """Prepare the table of a model's tokens for it; a second time does nothing."""
    table = _table_of(body)
    if table is not None and not isinstance(table.forward, partial):
        table.forward = partial(_looked_up, table, table.forward)  # type: ignore[method-assign]


def _table_of(body: Any) -> nn.Embedding | None:
    """The table of tokens, unless it is of a class that makes something else of its rows."""
    find = getattr(body, "get_input_embeddings", None)
    table = find() if find is not None else None
    return table if type(table) is nn.Embedding else None


def _is_plain(table: nn.Embedding) -> bool:
    """Whether a row's gradient is the sum of what is given for it."""
    return table.max_norm is None and not table.scale_grad_by_freq and not table.sparse


def _looked_up(table: nn.Embedding, otherwise: Any, tokens: Tensor) -> Tensor:
    weight, left_out = table.weight, table.padding_idx
    used = _used.get(id(table))
    if used is not None:
        weight, left_out, tokens = used.weight, used.left_out, used.place_of[tokens]
    in_place = torch.is_grad_enabled() and weight.requires_grad and weight.is_leaf
    rows: Tensor
    if _asked and in_place and _is_plain(table):
        rows = _Rows.apply(weight, tokens, left_out)  # type: ignore[no-untyped-call]
    elif used is not None:
        rows = functional.embedding(tokens, weight, left_out)
    else:
        rows = otherwise(tokens)
    return rows


class UsedRows:
    """The rows of a table that some examples read, as a table that is trained in its place.

    Attributes:
        table: The whole; behind the training until it is `settled`.
        weight: The rows, (U, D).
        place_of: The place of each token among them; -1 of others, which are refused.
        left_out: The place that learns nothing, or None.
    """

    def __init__(self, table: nn.Embedding, token_U: Tensor) -> None:
        self.table, self._token_U = table, token_U
        self.weight = nn.Parameter(table.weight.detach()[token_U])
        self.place_of = torch.full((table.num_embeddings,), -1)
        self.place_of[token_U] = torch.arange(len(token_U))
        padding = table.padding_idx
        place = -1 if padding is None else int(self.place_of[padding])
        self.left_out = place if place >= 0 else None
        self._kept: list[float] = []

    def instead(self, parameters: list[nn.Parameter]) -> list[nn.Parameter]:
        """Parameters, with the rows in the place of the table."""
        return [self.weight if each is self.table.weight else each for each in parameters]

    def decay(self, share: float) -> None:
        """Take note that a step has taken this share of all other rows, too."""
        if share:
            self._kept.append(1 - share)

    @torch.no_grad()
    def settled(self) -> None:
        """Bring the table up to date: to the bit what it were, had all of it been trained."""
        for start in range(0, self.table.num_embeddings if self._kept else 0, _ROWS_AT_ONCE):
            some = self.table.weight[start : start + _ROWS_AT_ONCE]
            for kept in self._kept:
                some.mul_(kept)
        self._kept.clear()
        self.table.weight[self._token_U] = self.weight

    @torch.no_grad()
    def refreshed(self) -> None:
        """Take the rows from the table, in which others were put."""
        self.weight.copy_(self.table.weight[self._token_U])

    def widened(self, values_UD: Tensor) -> Tensor:
        """Something of each row as that of each row of the table, which was 0."""
        return torch.zeros_like(self.table.weight).index_copy_(0, self._token_U, values_UD)

    def narrowed(self, values: Tensor) -> Tensor:
        """The other way round."""
        return values[self._token_U]

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Let the model read any token for a while, as trained so far."""
        self.settled()
        del _used[id(self.table)]
        try:
            yield
        finally:
            _used[id(self.table)] = self


@contextmanager
def used_rows(model: Any, examples: Any) -> Iterator[UsedRows | None]:
    """Let a model in training read of its table what these examples need; None where that does not pay.

    Whoever trains has to take the rows for the table, and to say how these decay.
    """
    table = _table_of(model.body) if type(examples) is TokenExamples and hasattr(model, "body") else None
    found = None if table is None else _used_rows(model, table, examples)
    if found is None:
        yield None
        return
    key = id(table)
    _used[key] = found
    try:
        yield found
    finally:
        del _used[key]
        found.settled()


def _used_rows(model: nn.Module, table: nn.Embedding, examples: TokenExamples) -> UsedRows | None:
    weight = table.weight
    owners = [each for part in model.modules() for each in part._parameters.values() if each is weight]
    trained = weight.requires_grad and weight.is_leaf and len(owners) == 1
    prepared = isinstance(table.forward, partial) and _is_plain(table) and weight.device.type == "cpu"
    if not (examples.tokens and trained and prepared):
        return None
    # 0 stands behind the end of texts in rectangles.
    tokens = np.unique(np.concatenate([*examples.tokens, np.zeros(1, np.int64)]))
    if 2 * len(tokens) > table.num_embeddings or not 0 <= tokens[0] <= tokens[-1] < table.num_embeddings:
        return None
    return UsedRows(table, torch.from_numpy(tokens))


class _Rows(torch.autograd.Function):
    """Rows of a table, whose gradient goes to the table itself."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor, left_out: int | None) -> Tensor:
        """As of an embedding; the row `left_out` learns nothing."""
        ctx.save_for_backward(tokens)
        ctx.table, ctx.left_out = weight, left_out
        return functional.embedding(tokens, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        """Add to the gradient of the table."""
        (tokens,), weight = ctx.saved_tensors, ctx.table
        given = gradients[0]
        if ctx.left_out is not None:
            given = given.masked_fill((tokens == ctx.left_out)[..., None], 0.0)
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, tokens.flatten(), given.reshape(-1, given.shape[-1]).to(weight.dtype))
        return None, None, None
