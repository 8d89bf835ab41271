"""Attention within each of many short texts that lie side by side: few batched products, without waste.

torch's fused attention takes a call for texts of each length, and for short ones most of its time is not
arithmetic: of 32 texts of 3 to 39 tokens with 12 heads of 32 it took 20 ms forward and backward in one thread
and 18 in two, where this takes 15 and 9. So short texts of about equal length
are padded, to go together, and what is padding is hidden; long ones go to torch's, a length at a time, whose
memory does not grow with the square of the length.

Shape suffixes: M tokens of a span, N texts of it, T tokens of the longest, P = N T places, H heads, D
features, E of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

SHORT = 48
"""Tokens of a text that are few enough for batched products."""

_PADDED = 4000
"""Pairs of tokens, one of them padding, that cost about as much as another span."""


class Places(NamedTuple):
    """Where the tokens of texts are when these are padded.

    Attributes:
        token_P: The token at each place; any at those of padding.
        place_M: The place of each token.
        padding: Which places have none.
        hidden_N1T: What is added to scores: -inf for keys that are padding.
    """

    token_P: Tensor
    place_M: Tensor
    padding: Tensor
    hidden_N1T: Tensor


class Span(NamedTuple):
    """Texts behind each other whose attention is computed together.

    Attributes:
        num_tokens: Of all of them.
        num_texts: How many.
        length: Tokens of the longest.
        places: Where they are; None where all are as long.
    """

    num_tokens: int
    num_texts: int
    length: int
    places: Places | None


def spans_of(lengths: Sequence[int], device: torch.device | str = "cpu") -> tuple[Span, ...]:
    """Texts, longest first, in spans: long ones of one length, short ones of about one."""
    return tuple(_span(own, device) for own in _divided(lengths))


def _divided(lengths: Sequence[int]) -> Iterator[list[int]]:
    num_long = sum(length > SHORT for length in lengths)
    for _, same in groupby(lengths[:num_long]):
        yield list(same)
    span: list[int] = []
    padded = 0
    for length in lengths[num_long:]:
        padded += span[0] ** 2 - length**2 if span else 0
        if padded > _PADDED:
            yield span
            span, padded = [], 0
        span.append(length)
    if span:
        yield span


def _span(lengths: Sequence[int], device: torch.device | str) -> Span:
    longest, num_tokens = lengths[0], sum(lengths)
    if lengths[-1] == longest:
        return Span(num_tokens, len(lengths), longest, None)
    length_N1 = np.array(lengths)[:, None]
    place_T = np.arange(longest)
    inside_NT = place_T < length_N1
    token_NT = np.where(inside_NT, length_N1.cumsum()[:, None] - length_N1 + place_T, 0)
    (place_M,), (padding,) = np.nonzero(inside_NT.ravel()), np.nonzero(~inside_NT.ravel())
    hidden_NT = np.where(inside_NT, np.float32(0), np.float32(-np.inf))
    found = token_NT.ravel(), place_M, padding, hidden_NT[:, None]
    return Span(
        num_tokens, len(lengths), longest, Places(*(torch.from_numpy(each).to(device) for each in found))
    )


def within(
    spans: Sequence[Span],
    query_MHE: Tensor,
    key_MHE: Tensor,
    value_MHE: Tensor,
    *,
    scaling: float | None,
    causal: bool = False,
    bias_HTT: Tensor | None = None,
) -> Tensor:
    """Attention within each text, (M, H, E) of all spans.

    Args:
        spans: The texts, side by side.
        query_MHE: Of all tokens, as are keys and values.
        key_MHE: As many heads as there are of queries.
        value_MHE: As many.
        scaling: What scores are multiplied with; None for the root of 1 / E.
        causal: Whether a token sees only those before it and itself.
        bias_HTT: Added to scores, of at least as many tokens as the longest text has.
    """
    scale = query_MHE.shape[-1] ** -0.5 if scaling is None else scaling
    sizes = [span.num_tokens for span in spans]
    parts = zip(*(torch.split(each, sizes) for each in (query_MHE, key_MHE, value_MHE)), strict=True)
    out = []
    for span, part in zip(spans, parts, strict=True):
        bias = None if bias_HTT is None else bias_HTT[:, : span.length, : span.length]
        if span.length > SHORT:
            out.append(_by_torch(part, bias, span, scale, causal))
        else:
            out.append(_by_products(part, bias, span, scale, causal))
    return (torch.cat(out) if len(out) > 1 else out[0]).to(value_MHE.dtype)


def _by_torch(
    part: Sequence[Tensor], bias_HTT: Tensor | None, span: Span, scale: float, causal: bool
) -> Tensor:
    """Of texts that are equally long, (M, H, E)."""
    shape = span.num_texts, span.length, *part[0].shape[1:]
    query, key, value = (each.view(shape).transpose(1, 2) for each in part)
    seen_NHTE = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias_HTT, is_causal=causal, scale=scale
    )
    return seen_NHTE.transpose(1, 2).flatten(0, 1)


def _by_products(
    part: Sequence[Tensor], bias_HTT: Tensor | None, span: Span, scale: float, causal: bool
) -> Tensor:
    """Of short texts, (M, H, E) in float32, gradients too, which autocast would not see."""
    floats = (None if each is None else each.float() for each in (*part, bias_HTT))
    with torch.autocast(part[0].device.type, enabled=False):
        return _Short.apply(*floats, span, scale, causal)  # type: ignore[no-untyped-call, no-any-return]


class _Short(torch.autograd.Function):
    """Attention within the texts of a span by batched products, one for each text and head."""

    @staticmethod
    def forward(
        ctx: Any,
        query_MHE: Tensor,
        key_MHE: Tensor,
        value_MHE: Tensor,
        bias_HTT: Tensor | None,
        span: Span,
        scale: float,
        causal: bool,
    ) -> Tensor:
        query, key, value = (_padded(each, span) for each in (query_MHE, key_MHE, value_MHE))
        added = _added(span, query_MHE.shape[1], bias_HTT, causal, query.device)
        scores = _product(query, key.transpose(1, 2), scale, added)
        shares = scores.softmax(2)
        ctx.save_for_backward(query, key, value, shares)
        ctx.span, ctx.scale, ctx.biased = span, scale, bias_HTT is not None
        return _packed(torch.bmm(shares, value), span)

    @staticmethod
    def backward(ctx: Any, slope_MHE: Tensor) -> Any:
        query, key, value, shares = ctx.saved_tensors
        span: Span = ctx.span
        slope = _padded(slope_MHE, span, hidden=True)
        of_value = torch.bmm(shares.transpose(1, 2), slope)
        of_shares = torch.bmm(slope, value.transpose(1, 2))
        of_scores = torch._softmax_backward_data(of_shares, shares, 2, shares.dtype)
        of_query = _product(of_scores, key, ctx.scale)
        of_key = _product(of_scores.transpose(1, 2), query, ctx.scale)
        of_bias = of_scores.view(span.num_texts, -1, *of_scores.shape[1:]).sum(0) if ctx.biased else None
        given = (_packed(each, span) for each in (of_query, of_key, of_value))
        return *given, of_bias, None, None, None


def _product(left: Tensor, right: Tensor, scale: float, added: Tensor | None = None) -> Tensor:
    """Batched products, times a number, plus something."""
    if added is None:
        return torch.baddbmm(left.new_empty(1), left, right, beta=0, alpha=scale)
    return torch.baddbmm(added, left, right, alpha=scale)


def _padded(values_MHE: Tensor, span: Span, *, hidden: bool = False) -> Tensor:
    """By text and head, (N H, T, E); what is in places of padding counts for nothing, and is 0 if hidden."""
    if span.places is not None:
        values_MHE = (
            values_MHE.flatten(1).index_select(0, span.places.token_P).view(-1, *values_MHE.shape[1:])
        )
        if hidden:
            values_MHE.index_fill_(0, span.places.padding, 0.0)
    shape = span.num_texts, span.length, *values_MHE.shape[1:]
    return values_MHE.view(shape).transpose(1, 2).flatten(0, 1)


def _packed(values: Tensor, span: Span) -> Tensor:
    """By token, (M, H, E), of what `_padded` gives."""
    values_PHE = values.view(span.num_texts, -1, *values.shape[1:]).transpose(1, 2).flatten(0, 1)
    return values_PHE if span.places is None else values_PHE.index_select(0, span.places.place_M)


def _added(
    span: Span, num_heads: int, bias_HTT: Tensor | None, causal: bool, device: torch.device
) -> Tensor | None:
    """What is added to scores, for each text and head or for all of them; None where nothing is."""
    parts = [] if bias_HTT is None else [bias_HTT[None]]
    if causal:  # of a token no padding is before it
        ones_TT = torch.ones(span.length, span.length, dtype=torch.bool, device=device)
        parts.append(torch.zeros_like(ones_TT, dtype=torch.float32).masked_fill(ones_TT.triu(1), -torch.inf))
    elif span.places is not None:
        parts.append(span.places.hidden_N1T[:, None])
    if not parts:
        return None
    added = sum(parts[1:], parts[0])
    return added if added.dim() == 2 else added.expand(span.num_texts, num_heads, -1, -1).flatten(0, 1)
