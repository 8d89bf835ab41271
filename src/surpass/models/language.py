"""What language models of all families have in common: from texts to tokens to a state to logits.

A text is cut from its front to the last `max_tokens` tokens; special tokens go around what is left. Padding
is on the right under an explicit mask; neither the tokenizer's setting nor the ids of tokens matter to it.

Shape suffixes: N examples or texts, C classes, T tokens (the longest row of a pass), D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from surpass.clock import spent
from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.models.depth_texts import CutTexts
from surpass.models.device import place
from surpass.models.embedding import can_add_in_place
from surpass.models.heads import Scored, logits_of
from surpass.models.layers import blocks_of, require_layer, states_of_layers
from surpass.models.names import ReadOut
from surpass.models.packing import PACKED_AT_ONCE, Packed, by_tokens, packed, reader_of
from surpass.models.packing import pooled as pooled_packed
from surpass.models.pooling import pooled
from surpass.models.recompute import SavesMemory
from surpass.models.texts import ASK, HINT, Frame, cut, texts_of, tokenised, transformers, unreadable
from surpass.models.tokens import TOKENS_AT_ONCE, Padded, Rows, TokenExamples, alike, by_length, padded

AT_ONCE = 512
"""Examples that are ordered into passes together."""


class Reading(NamedTuple):
    """How texts become states.

    Attributes:
        frame: Special tokens around every text.
        max_tokens: How many tokens of a text are read: its last. The prefix counts extra.
        room: How many the model can read beside the frame; None where it does not say. Where text and
            prefix exceed this, the end of the whole is read.
        pooling: How the states of tokens become one.
        layer: Behind which block states are read; None for the end of the model.
    """

    frame: Frame
    max_tokens: int
    room: int | None
    pooling: str
    layer: int | None = None

    @property
    def longest(self) -> int:
        """How many tokens of a text are read."""
        return self.max_tokens if self.room is None else min(self.max_tokens, self.room)


class LanguageModel(CutTexts, SavesMemory):
    """Scores classes of texts, or the texts of pairs, from one state of each text.

    `body` is the model below the head. There is no dropout, so that equal fits are equal.

    Attributes:
        prefix: Put before every text, such as examples with their answers.
    """

    asks: ClassVar[bool] = False
    """Whether the question of the task is put behind a text, to be answered by the next token."""

    def __init__(self, body: Any, tokenizer: Any, head: nn.Linear, scored: Scored, reading: Reading) -> None:
        """A layer that the body lacks raises `ConfigError`."""
        super().__init__()
        if reading.layer is not None:
            require_layer(f"a {type(body).__name__}", reading.layer, len(blocks_of(body)))
        self.body = body
        self.tokenizer = tokenizer
        self.head = head
        self.scored = scored
        self.reading = reading
        self.place = place()
        self.prefix = ""
        self._reads_packed = reader_of(body)
        can_add_in_place(body)

    def encode(self, inputs: pa.Table) -> TokenExamples:
        """Examples as tokens; columns as `texts_of` reads them.

        Raises:
            ConfigError: The question of the task alone is longer than what is read.
            DataError: A column is missing, or a text is empty.
        """
        longest, room, (before, behind) = self.reading.longest, self.reading.room, self.reading.frame
        self._require_room(inputs, longest)
        texts = texts_of(inputs, pairs=self.scored.pairs, asks=self.asks)
        rows = tokenised(self.tokenizer, texts)
        lost_N = np.array([len(row) > longest for row in rows], np.bool_)
        if self.prefix:
            texts = [self.prefix + text for text in cut(self.tokenizer, texts, longest)]
            rows = tokenised(self.tokenizer, texts)
            longest = max(map(len, rows), default=0) if room is None else room
            lost_N |= np.array([len(row) > longest for row in rows], np.bool_)
        each = 2 if self.scored.pairs else 1
        for number, row in enumerate(rows):
            if not len(row):
                name = inputs["id"][number // each].as_py()
                raise DataError(f"the text of {name!r} is empty; drop it or fill it")
        around = np.array(before, np.int64), np.array(behind, np.int64)
        tokens = [np.concatenate([around[0], row[-longest:], around[1]]) for row in rows]
        return TokenExamples(tokens, np.any(lost_N.reshape(-1, each), axis=1))

    def encoding(self) -> tuple[Any, ...]:
        """What decides, beside the inputs, what `encode` gives."""
        frame, max_tokens, room, *_ = self.reading
        reads = (frame, max_tokens, room, self.prefix, self.scored.pairs)
        return type(self), self.tokenizer, *reads

    def _require_room(self, inputs: pa.Table, longest: int) -> None:
        """Refuse a question that would lose its beginning, or leave nothing of the text."""
        if not (self.asks and ASK in inputs.column_names and inputs.num_rows) or self.scored.pairs:
            return
        behind = [name for name in (ASK, HINT) if name in inputs.column_names]
        alone = inputs.select(["id", *behind]).append_column("text", pa.array([""] * inputs.num_rows))
        most = max(map(len, tokenised(self.tokenizer, sorted(set(texts_of(alone, asks=True))))))
        if most >= longest:
            raise ConfigError(
                f"the task's question has {most} tokens and the model reads {longest}; name the model with "
                "more, as in dir:PATH(tokens=512), or take one with a longer context"
            )

    def forward(self, examples: TokenExamples, rows: Rows) -> Tensor:
        """Logits of the classes or of the two texts of some examples, float32 (N, C) on the CPU."""
        return self.from_states(self.states(examples, rows), examples, rows)

    def from_states(self, states: Tensor, examples: TokenExamples, rows: Rows) -> Tensor:
        """The same from what `states` has given for these examples."""
        return logits_of(self.head, states, self.scored).float().cpu()

    def embed(self, examples: TokenExamples, rows: Rows) -> Tensor:
        """The state of each example below the head, of a pair the first less the second; float32 (N, D)."""
        states = self.states(examples, rows)
        return (states[:, 0] - states[:, 1] if self.scored.pairs else states).cpu()

    def states(self, examples: TokenExamples, rows: Rows) -> Tensor:
        """What the head reads of some examples: float32 (N, D), or (N, 2, D) of pairs, where the model is."""
        return self.states_at(examples, rows, [ReadOut(self.reading.layer)])[0]

    def states_at(self, examples: TokenExamples, rows: Rows, read_outs: Sequence[ReadOut]) -> list[Tensor]:
        """The same, read at several places in one pass.

        Texts are read side by side or, where that does not pay, in passes of about equal length, with as
        little padding as pays.
        """
        texts = (rows[:, None] * 2 + np.arange(2)).ravel() if self.scored.pairs else rows
        length_N = examples.lengths_N(texts)
        packs = self.packs
        if packs:
            passes = by_tokens(length_N, 1 << 62 if torch.is_grad_enabled() else PACKED_AT_ONCE)
        else:
            pieces = [np.arange(len(texts))]
            if not (torch.is_grad_enabled() or self.place.one_pass):
                pieces = list(by_length(length_N, TOKENS_AT_ONCE))
            passes = [
                piece[places] for piece in pieces for places in alike(length_N[piece], self.place.pass_cost)
            ]
        read = self._pooled_packed if packs else self._pooled
        with self._weights_computed_once():
            parts = [read(examples, texts[places], read_outs) for places in passes]
        order = torch.from_numpy(np.argsort(np.concatenate(passes), kind="stable")).to(self.place.device)
        states = [torch.cat(of_one)[order] for of_one in zip(*parts, strict=True)]
        return [each.view(len(rows), 2, -1) if self.scored.pairs else each for each in states]

    def passes(self, examples: TokenExamples, num_examples: int) -> list[Rows]:
        """All examples, longest first, in the groups in which they are read fastest."""
        each = 2 if self.scored.pairs else 1
        length_N = examples.lengths_N(np.arange(num_examples * each)).reshape(num_examples, each).sum(axis=1)
        order = np.argsort(-length_N, kind="stable")
        return [order[start : start + AT_ONCE] for start in range(0, num_examples, AT_ONCE)]

    def initial_head(self) -> dict[str, Tensor] | None:
        """The head's weights where they are pretrained; None where they are drawn anew."""
        return None

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks of the body, by which `layer=` counts."""
        return blocks_of(self.body)

    def _pooled(self, examples: TokenExamples, texts: Rows, read_outs: Sequence[ReadOut]) -> list[Tensor]:
        batch = padded(examples, texts, self.place.device)
        with self._from_below(examples, texts, batch.inside_NT):
            seen = self._seen(batch, read_outs)
        return [
            pooled(seen[layer].float(), batch.inside_NT, pooling or self.reading.pooling)
            for layer, pooling in read_outs
        ]

    @property
    def packs(self) -> bool:
        """Whether texts are read side by side, without padding."""
        return self._reads_packed is not None and self.place.device.type == "cpu" and not self.place.one_pass

    def _pooled_packed(
        self, examples: TokenExamples, texts: Rows, read_outs: Sequence[ReadOut]
    ) -> list[Tensor]:
        with spent("data"):
            batch = packed(examples, texts, self.place.device)
        with self._from_below(examples, texts):
            seen = self._seen_packed(batch, read_outs)
        return [
            pooled_packed(seen[layer][0].float(), batch, pooling or self.reading.pooling)
            for layer, pooling in read_outs
        ]

    def _seen(self, batch: Padded, read_outs: Sequence[ReadOut]) -> dict[int | None, Tensor]:
        """The states of all tokens, (N, T, D), behind each layer that is read."""
        more = self._more(batch.tokens_NT)

        def run() -> Tensor:
            given = self.body(input_ids=batch.tokens_NT, attention_mask=batch.inside_NT, **more)
            states_NTD: Tensor = given.last_hidden_state
            return states_NTD

        return self._behind(read_outs, run)

    def _seen_packed(self, batch: Packed, read_outs: Sequence[ReadOut]) -> dict[int | None, Tensor]:
        """The same of texts side by side, (1, M, D)."""
        read = self._reads_packed
        assert read is not None
        more = {"position_ids": batch.place_1M} | self._more(batch.tokens_1M, batch.place_1M)
        return self._behind(read_outs, lambda: read(batch, **more))

    def _behind(self, read_outs: Sequence[ReadOut], run: Callable[[], Tensor]) -> dict[int | None, Tensor]:
        layers = {read_out.layer for read_out in read_outs}
        with self.place.fast():
            return states_of_layers(self.blocks if layers != {None} else [], layers, run)

    def _more(self, tokens_NT: Tensor, place_NT: Tensor | None = None) -> dict[str, Any]:
        """What else the body is given of tokens; without their places in texts, rows are texts."""
        return {}

    def head_parameters(self) -> list[nn.Parameter]:
        """What a linear probe trains."""
        return list(self.head.parameters())


def read_weights(loader: str, path: Path, *, pickled: bool = False, fresh: Sequence[str] = ()) -> Any:
    """The model of a folder, in float32 and without dropout; no code from there is run.

    Args:
        loader: The class of transformers that reads it, such as AutoModel.
        path: The folder.
        pickled: Whether weights are a pickle, of which only tensors are read.
        fresh: Beginnings of names of weights that are not used, and may be missing.

    Raises:
        DataError: It cannot be read, or lacks weights.
        MissingExtraError: A package is missing.
    """
    library = transformers()
    logging = library.utils.logging
    shown, loudness = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    # It would report weights that are not used.
    logging.set_verbosity_error()
    try:
        config = library.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        _drop_nothing(config)
        model, said = getattr(library, loader).from_pretrained(
            path,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=not pickled,
            output_loading_info=True,
            # Version 5 calls it otherwise.
            **{"torch_dtype" if library.__version__.startswith("4.") else "dtype": torch.float32},
        )
    except MissingExtraError:
        raise
    # Whatever a damaged or foreign file makes the library raise.
    except Exception as error:
        raise unreadable("language model", path, error) from error
    finally:
        logging.set_verbosity(loudness)
        if shown:
            logging.enable_progress_bar()
    missing = sorted(name for name in said["missing_keys"] if not name.startswith(tuple(fresh)))
    if missing:
        raise DataError(f"the language model in {path} has no weights for {missing[0]}; it cannot answer")
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return model


def context_of(model: Any) -> int | None:
    """How many tokens a model of transformers can read; None where it does not say."""
    config = model.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    length = getattr(config, "max_position_embeddings", None)
    return int(length) if isinstance(length, int) and length > 0 else None


def _drop_nothing(config: Any) -> None:
    """Set every share of dropout in a configuration, and in those inside it, to 0."""
    for name, value in list(vars(config).items()):
        if "drop" in name and type(value) in (int, float):
            setattr(config, name, 0.0)
        elif type(value).__name__.endswith("Config"):
            _drop_nothing(value)
