"""Gradients of embeddings that are added to in place, where a step has several passes.

The gradient of a table of embeddings is as large as the table, and zero in all rows but those of the tokens
that were read. Each backward pass would make one anew and add it to the last: of a small model that is much
of the memory and of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_asked: list[bool] = []


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
    find = getattr(body, "get_input_embeddings", None)
    table = find() if find is not None else None
    # Not of a class that makes something else of its rows.
    if type(table) is nn.Embedding and not isinstance(table.forward, partial):
        table.forward = partial(_looked_up, table, table.forward)  # type: ignore[method-assign]


def _looked_up(table: nn.Embedding, otherwise: Any, tokens: Tensor) -> Tensor:
    weight = table.weight
    plain = table.max_norm is None and not table.scale_grad_by_freq and not table.sparse
    if _asked and plain and torch.is_grad_enabled() and weight.requires_grad and weight.is_leaf:
        rows: Tensor = _Rows.apply(weight, tokens, table.padding_idx)  # type: ignore[no-untyped-call]
        return rows
    rows = otherwise(tokens)
    return rows


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
