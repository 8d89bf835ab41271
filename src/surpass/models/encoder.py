"""Encoders: BERT and its kind, which see a text from both sides.

Shape suffixes: N texts, T tokens (the longest row of a pass).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import torch
from torch import Tensor, nn

from surpass.errors import ConfigError
from surpass.models.heads import Scored, new_head, scored_of
from surpass.models.language import LanguageModel, Reading, context_of, read_weights
from surpass.models.names import MAX_TOKENS
from surpass.models.pooling import pooling_of
from surpass.models.sources import ModelSource
from surpass.models.texts import frame_of, read_tokenizer

_POOLER = "pooler"


class EncoderChoice(LanguageModel):
    """Scores with an encoder and a new head of small weights, drawn from torch's generator.

    Positions are counted here: RoBERTa and MPNet would infer padding from the ids of tokens.
    """

    def __init__(
        self,
        body: Any,
        tokenizer: Any,
        scored: Scored,
        *,
        pooling: str,
        max_tokens: int = MAX_TOKENS,
        layer: int | None = None,
    ) -> None:
        frame, first = frame_of(tokenizer), _first_position(body)
        context = context_of(body)
        room = None
        if context is not None:
            room = max(context - (first or 0) - len(frame.before) - len(frame.behind), 1)
        head = new_head(int(body.config.hidden_size), scored)
        super().__init__(body, tokenizer, head, scored, Reading(frame, max_tokens, room, pooling, layer))
        self._first_position = first
        self.to(self.place.device)

    @classmethod
    def load(cls, source: ModelSource, inputs: pa.Table) -> Self:
        """The pretrained model of a folder, with as many classes as these examples have.

        Raises:
            ConfigError: The model also decodes.
            DataError: The model cannot be read, or the examples differ in the number of classes.
            MissingExtraError: A package is missing.
        """
        assert source.path is not None
        layer, pooling = source.read_out
        pooling, scored = pooling or pooling_of(source.path), scored_of(inputs)
        body = read_encoder(source.path, pickled=source.pickled)
        tokenizer = read_tokenizer(source.path)
        return cls(body, tokenizer, scored, pooling=pooling, max_tokens=source.max_tokens, layer=layer)

    def _more(self, tokens_NT: Tensor, place_NT: Tensor | None = None) -> dict[str, Any]:
        if self._first_position is None:
            return {}
        if place_NT is None:
            place_NT = torch.arange(tokens_NT.shape[1], device=tokens_NT.device).expand_as(tokens_NT)
        return {"position_ids": self._first_position + place_NT}


def read_encoder(path: Path, *, pickled: bool = False) -> Any:
    """The encoder of a folder, in float32, without dropout and without a pooler, which may be missing.

    Args:
        path: The folder.
        pickled: Whether weights are a pickle, of which only tensors are read.

    Raises:
        ConfigError: The model also decodes.
        DataError: It cannot be read, or lacks weights.
        MissingExtraError: A package is missing.
    """
    body = read_weights("AutoModel", path, pickled=pickled, fresh=(f"{_POOLER}.",))
    if getattr(body.config, "is_encoder_decoder", False):
        raise ConfigError(
            f"the model in {path} reads and writes ({body.config.model_type}); name an encoder such as BERT, "
            "or a causal language model"
        )
    if isinstance(getattr(body, _POOLER, None), nn.Module):
        setattr(body, _POOLER, nn.Identity())
    return body


def _first_position(body: nn.Module) -> int | None:
    """The position of the first token, where the model would infer it from the ids of tokens."""
    for name, part in body.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            return None if part.padding_idx is None else part.padding_idx + 1
    return None
