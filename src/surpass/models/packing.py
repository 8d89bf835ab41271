"""Texts of a pass side by side in one row, without padding, and attention within each of them.

All of a layer but its attention looks at one token at a time: there, texts side by side are one long row, and
matrix products are as large as they can be; attention is within each (`packed_attention`). So a step reads
and writes the table of embeddings once, however lengths differ.

This is for CPUs, where small products cost little more than their arithmetic, and for the families below;
others read rectangles (`tokens.padded`).

Shape suffixes: M tokens of all texts, N texts, T tokens of a text, H heads, D features, E of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from surpass.models.packed_attention import Span, spans_of, within
from surpass.models.tokens import Rows, TokenExamples

PACKED_AT_ONCE = 1024
"""Tokens of a packed pass without gradient: few, to stay near the processor; a longer text goes alone."""

_NAME = "surpass_packed"
_OLD = "4."
FAMILIES = ("bert", "roberta", "xlm-roberta", "gpt2", "gpt_neox", "llama", "qwen2")
"""Of transformers, whose attention looks at nothing but queries, keys and values of its own layer."""


class Packed(NamedTuple):
    """Texts side by side, longest first.

    Attributes:
        tokens_1M: All tokens.
        place_1M: The place of each in its text, from 0.
        groups: Texts of equal length: how many, and how long.
        spans: Texts whose attention is computed together.
    """

    tokens_1M: Tensor
    place_1M: Tensor
    groups: tuple[tuple[int, int], ...]
    spans: tuple[Span, ...]

    def split(self, values_M: Tensor) -> list[Tensor]:
        """Something of each token by groups: (N, T, ...) of each."""
        parts = torch.split(values_M, [count * length for count, length in self.groups])
        return [part.view(*group, *part.shape[1:]) for part, group in zip(parts, self.groups, strict=True)]


def packed(examples: TokenExamples, rows: Rows, device: torch.device | str = "cpu") -> Packed:
    """Some texts, which come longest first, side by side."""
    lengths = examples.lengths_N(rows).tolist()
    tokens_M = np.concatenate([examples.tokens[row] for row in rows.tolist()])
    place_M = np.concatenate([np.arange(length) for length in lengths])
    groups = tuple((len(list(same)), length) for length, same in groupby(lengths))
    tokens_1M, place_1M = (torch.from_numpy(each)[None].to(device) for each in (tokens_M, place_M))
    return Packed(tokens_1M, place_1M, groups, spans_of(lengths, device))


def by_tokens(length_N: Rows, max_tokens: int) -> list[Rows]:
    """Places, longest first, in pieces of so many tokens, or of one text that is longer."""
    order = np.argsort(-length_N, kind="stable")
    pieces: list[list[int]] = []
    room = 0
    for place in order.tolist():
        if not pieces or room < length_N[place]:
            pieces.append([])
            room = max_tokens
        pieces[-1].append(place)
        room -= int(length_N[place])
    return [np.array(piece, np.int64) for piece in pieces]


def pooled(states_MD: Tensor, texts: Packed, how: str) -> Tensor:
    """The state of each text, (N, D), out of those of its tokens: the first, the last, or their mean."""
    parts = texts.split(states_MD)
    if how == "mean":
        return torch.cat([part.mean(1) for part in parts])
    return torch.cat([part[:, 0 if how == "first" else -1] for part in parts])


def reader_of(body: Any) -> Callable[..., Tensor] | None:
    """What reads packed texts with a body: states (1, M, D) of `Packed`, and of what else the body is given.

    None where its family is not known to be fit for it. The body is prepared for it, and otherwise unchanged.
    """
    config: Any = getattr(body, "config", None)
    kind = getattr(config, "model_type", None)
    if kind == "mpnet":
        return _reads_mpnet(body)
    if kind not in FAMILIES or not _is_plain(config) or not _register():
        return None
    if config._attn_implementation not in ("sdpa", _NAME):
        return None
    config._attn_implementation = _NAME
    return partial(_read, body)


def _is_plain(config: Any) -> bool:
    """Whether all tokens of a text see each other, or all behind them."""
    layers = getattr(config, "layer_types", None) or []
    sliding = getattr(config, "use_sliding_window", False)
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    return not sliding and positions == "absolute" and set(layers) <= {"full_attention"}


def _register() -> bool:
    """Let transformers know the attention; False where it is too old for that."""
    import transformers

    if transformers.__version__.startswith(_OLD):
        return False
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def mask(*, attention_mask: Tensor | None = None, **named: Any) -> Any:
        return None if attention_mask is None else sdpa_mask(attention_mask=attention_mask, **named)

    ALL_ATTENTION_FUNCTIONS.register(_NAME, partial(_attention, ALL_ATTENTION_FUNCTIONS["sdpa"]))
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, mask)
    return True


def _read(body: Any, texts: Packed, **more: Any) -> Tensor:
    states_1MD: Tensor = body(input_ids=texts.tokens_1M, packed_texts=texts, **more).last_hidden_state
    return states_1MD


def _attention(
    otherwise: Callable[..., Any],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    packed_texts: Packed | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it, with (1, H, M, E): attention within each text; of rectangles as ever."""
    if packed_texts is None:
        given: tuple[Tensor, None] = otherwise(
            module, query, key, value, attention_mask, scaling=scaling, **more
        )
        return given
    causal = bool(more.get("is_causal") if more.get("is_causal") is not None else module.is_causal)
    repeats = query.shape[1] // key.shape[1]
    states = [query, *(each.repeat_interleave(repeats, 1) if repeats > 1 else each for each in (key, value))]
    parts = (each[0].transpose(0, 1) for each in states)
    return within(packed_texts.spans, *parts, scaling=scaling, causal=causal)[None], None


class _Bias(NamedTuple):
    """What MPNet adds to the scores of all its layers, of the longest text, and the texts."""

    bias_HTT: Tensor
    texts: Packed


def _reads_mpnet(body: Any) -> Callable[..., Tensor]:
    for layer in body.encoder.layer:
        attention = layer.attention.attn
        if not isinstance(attention.forward, partial):
            attention.forward = partial(_mpnet_attention, attention, attention.forward)
    return partial(_read_mpnet, body)


def _read_mpnet(body: Any, texts: Packed, position_ids: Tensor) -> Tensor:
    states: Tensor = body.embeddings(input_ids=texts.tokens_1M, position_ids=position_ids)
    longest = texts.groups[0][1]
    bias_HTT = body.encoder.compute_position_bias(states[:, :longest])[0]
    for layer in body.encoder.layer:
        states = layer(states, None, _Bias(bias_HTT, texts))[0]
    return states


def _mpnet_attention(
    module: Any, otherwise: Callable[..., Any], hidden_states: Tensor, *given: Any, **named: Any
) -> Any:
    """As MPNet's own, which it is for rectangles."""
    biases: Sequence[Any] = [each for each in (*given, *named.values()) if isinstance(each, _Bias)]
    if not biases:
        return otherwise(hidden_states, *given, **named)
    shape = hidden_states.shape[1], -1, module.attention_head_size
    parts = (part(hidden_states).view(shape) for part in (module.q, module.k, module.v))
    bias_HTT, texts = biases[0]
    seen_MHE = within(texts.spans, *parts, scaling=None, bias_HTT=bias_HTT)
    return (module.o(seen_MHE.flatten(1)[None]),)
