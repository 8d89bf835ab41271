"""Causal language models as models that choose among classes.

A class is chosen by a linear map of the last token's hidden state. It begins as the unembedding of the
answers' tokens, so that an untrained model answers as its next token would.

Source: Burns et al. 2023, appendix A.1.

Shape suffixes: N examples, C classes, T tokens (the longest row of the batch), D features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional

from surpass.errors import DataError, MissingExtraError
from surpass.models.sources import ModelSource
from surpass.models.texts import (
    MAX_TOKENS,
    answers,
    begins_with,
    cut,
    num_classes_of,
    read_tokenizer,
    texts_of,
    tokenised,
    transformers,
    unreadable,
)

TOKENS_AT_ONCE = 8192
"""Tokens of one forward pass without gradient, padding included; a longer text goes alone."""

_MARGIN = 1

Rows = npt.NDArray[np.int64]


class TokenExamples(NamedTuple):
    """The tokens of each example, at least one."""

    tokens: list[Rows]

    def lengths_N(self, rows: Rows) -> Rows:
        """How many tokens these rows have."""
        return np.array([len(self.tokens[row]) for row in rows.tolist()], np.int64)


class LanguageChoice(nn.Module):
    """Scores classes with a causal language model.

    `body` is the model below its unembedding, `head` what chooses. The unembedding is a parameter of its
    own where it is not the embedding; only generative fine-tuning trains it. There is no dropout, so that
    equal fits are equal.

    Attributes:
        prefix: Put before every text, such as examples with their answers.
        max_tokens: How many tokens of a text are read: its last. The prefix counts extra. Where both
            exceed the model's context, the end of the whole is read.
    """

    def __init__(self, causal: Any, tokenizer: Any, num_classes: int, max_tokens: int = MAX_TOKENS) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.prefix = ""
        self.max_tokens = max_tokens
        self.answers = answers(tokenizer, num_classes)
        # In a list, so that what it shares with `body` is registered once.
        self._causal = [causal]
        self.body = causal.base_model
        output = causal.get_output_embeddings()
        tied = output.weight is causal.get_input_embeddings().weight
        self.unembedding_VD = None if tied else output.weight
        self.unembedding_V = output.bias if getattr(output, "bias", None) is not None else None
        self.head = nn.Linear(output.weight.shape[1], num_classes, bias=self.unembedding_V is not None)
        self.reset_head()

    @classmethod
    def load(cls, source: ModelSource, inputs: pa.Table) -> Self:
        """The pretrained model of a folder, in float32, with as many classes as these examples have.

        Raises:
            ConfigError: The tokenizer has no token for each class.
            DataError: The model cannot be read, or the examples differ in the number of classes.
            MissingExtraError: A package is missing.
        """
        assert source.path is not None
        return cls(read_causal(source.path), read_tokenizer(source.path), num_classes_of(inputs))

    @torch.no_grad()
    def reset_head(self) -> None:
        """Let the head be the unembedding of the answers' tokens, as it is now."""
        output = self._causal[0].get_output_embeddings()
        tokens = list(self.answers.tokens)
        self.head.weight.copy_(output.weight[tokens])
        if self.unembedding_V is not None:
            self.head.bias.copy_(output.bias[tokens])

    @property
    def context(self) -> int | None:
        """How many tokens the model can read; None where it does not say."""
        length = getattr(self._causal[0].config, "max_position_embeddings", None)
        return int(length) if isinstance(length, int) and length > 0 else None

    def encode(self, inputs: pa.Table) -> TokenExamples:
        """Examples as tokens; column `text`, and `hint` where they have it.

        Raises:
            DataError: A column is missing, or a text is empty.
        """
        before = np.array(begins_with(self.tokenizer), np.int64)
        room = None if self.context is None else max(self.context - _MARGIN - len(before), 1)
        longest = self.max_tokens if room is None else min(self.max_tokens, room)
        texts = texts_of(inputs, self.answers)
        if self.prefix:
            texts = [self.prefix + text for text in cut(self.tokenizer, texts, longest)]
        kept = longest if not self.prefix else room
        rows = tokenised(self.tokenizer, texts)
        tokens = [np.concatenate([before, row if kept is None else row[-kept:]]) for row in rows]
        for place, row in enumerate(tokens):
            if not len(row):
                raise DataError(f"the text of {inputs['id'][place].as_py()!r} is empty; drop it or fill it")
        return TokenExamples(tokens)

    def forward(self, examples: TokenExamples, rows: Rows) -> Tensor:
        """Logits of the classes of some examples, float32 (N, C)."""
        logits_NC: Tensor = self.head(self.embed(examples, rows))
        return logits_NC

    def embed(self, examples: TokenExamples, rows: Rows) -> Tensor:
        """The hidden state of each example's last token, below the head, float32 (N, D)."""
        if torch.is_grad_enabled():
            return self._last_ND(examples, rows)
        parts, order = [], []
        for places in by_length(examples.lengths_N(rows), TOKENS_AT_ONCE):
            parts.append(self._last_ND(examples, rows[places]))
            order.append(places)
        states_ND = torch.cat(parts)
        return states_ND[torch.from_numpy(np.argsort(np.concatenate(order)))]

    def _last_ND(self, examples: TokenExamples, rows: Rows) -> Tensor:
        batch = padded(examples, rows)
        states_NTD = self.body(
            input_ids=batch.tokens_NT, attention_mask=batch.inside_NT, use_cache=False
        ).last_hidden_state
        last_N = batch.inside_NT.sum(dim=1) - 1
        last_ND: Tensor = states_NTD[torch.arange(len(rows)), last_N]
        return last_ND

    def next_token_loss(self, examples: TokenExamples, rows: Rows) -> Tensor:
        """The sum of the losses of all tokens but the first of each of these texts, in nats."""
        batch = padded(examples, rows)
        logits_NTV = self._causal[0](
            input_ids=batch.tokens_NT, attention_mask=batch.inside_NT, use_cache=False
        ).logits
        wanted_NT = batch.tokens_NT.masked_fill(batch.inside_NT == 0, -100)[:, 1:]
        return functional.cross_entropy(
            logits_NTV[:, :-1].flatten(0, 1), wanted_NT.flatten(), ignore_index=-100, reduction="sum"
        )

    def head_parameters(self) -> list[nn.Parameter]:
        """What a linear probe trains."""
        return list(self.head.parameters())


class Padded(NamedTuple):
    """Texts of one forward pass, padded on the right; what is padding, a mask says and no token."""

    tokens_NT: Tensor
    inside_NT: Tensor


def padded(examples: TokenExamples, rows: Rows) -> Padded:
    """Some examples as rectangles, int64 (N, T): tokens, 0 behind the end; 1 for tokens, 0 for padding."""
    length_N = examples.lengths_N(rows)
    inside_NT = np.arange(length_N.max()) < length_N[:, None]
    tokens_NT = np.zeros(inside_NT.shape, np.int64)
    tokens_NT[inside_NT] = np.concatenate([examples.tokens[row] for row in rows.tolist()])
    return Padded(torch.from_numpy(tokens_NT), torch.from_numpy(inside_NT.astype(np.int64)))


def by_length(length_N: Rows, max_tokens: int, max_rows: int | None = None) -> Iterator[Rows]:
    """Places, longest first, in pieces of so many tokens with padding, or of one row that is longer."""
    order = np.argsort(-length_N, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, max_tokens // int(length_N[order[start]]))
        size = size if max_rows is None else min(size, max_rows)
        yield order[start : start + size]
        start += size


def read_causal(path: Path) -> Any:
    """The language model of a folder, in float32 and without dropout; no code from there is run.

    Raises:
        DataError: It cannot be read, or lacks weights.
        MissingExtraError: A package is missing.
    """
    library = transformers()
    shown = library.utils.logging.is_progress_bar_enabled()
    library.utils.logging.disable_progress_bar()
    try:
        config = library.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        _drop_nothing(config)
        causal, said = library.AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
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
        if shown:
            library.utils.logging.enable_progress_bar()
    if said["missing_keys"]:
        missing = sorted(said["missing_keys"])[0]
        raise DataError(f"the language model in {path} has no weights for {missing}; it cannot answer")
    for layer in causal.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return causal


def _drop_nothing(config: Any) -> None:
    """Set every share of dropout in a configuration, and in those inside it, to 0."""
    for name, value in list(vars(config).items()):
        if "drop" in name and type(value) in (int, float):
            setattr(config, name, 0.0)
        elif type(value).__name__.endswith("Config"):
            _drop_nothing(value)
