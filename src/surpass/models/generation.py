"""Causal language models that complete prompts.

A completion ends with the tokenizer's end token, which the model learns to write too. Prompt and completion
are always tokenised apart, so that a model is asked for exactly the tokens that it was taught.

Source: Burns et al. 2023, section 4.1 and appendix A.2 (greedy completions as labels).

Shape suffixes: N examples, T tokens (the longest row of the batch), K places whose logits are wanted,
M tokens of all completions of the batch, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional

from surpass.errors import ConfigError, DataError
from surpass.models.causal import read_causal
from surpass.models.device import place
from surpass.models.language import context_of
from surpass.models.layers import blocks_of
from surpass.models.names import MAX_TOKENS
from surpass.models.prompts import PromptExamples, Rectangle, max_new_tokens_of, rectangle
from surpass.models.recompute import SavesMemory
from surpass.models.sources import ModelSource
from surpass.models.texts import BETWEEN_SHOTS, begins_with, cut, read_tokenizer, tokenised
from surpass.models.tokens import Rows, alike


class Generator(SavesMemory):
    """Completes prompts with a causal language model.

    `body` is the model below its unembedding; the unembedding is a parameter of its own where it is not the
    embedding. There is no dropout, so that equal fits are equal, and no head.

    Attributes:
        prefix: Put before every prompt, such as prompts with their completions; a completion then ends
            where the next of those would begin, too.
        max_tokens: How many tokens of a prompt are read: its last. The prefix counts extra. Where both
            leave no room for a completion in the model's context, the end of the whole is read.
    """

    def __init__(self, causal: Any, tokenizer: Any, max_tokens: int = MAX_TOKENS) -> None:
        super().__init__()
        if tokenizer.eos_token_id is None:
            raise ConfigError(
                f"the tokenizer of {tokenizer.name_or_path} has no end token, so completions would not end; "
                "set its eos_token and save it again"
            )
        self.tokenizer = tokenizer
        self.end = int(tokenizer.eos_token_id)
        self.prefix = ""
        self.max_tokens = max_tokens
        # In a list, so that what it shares with `body` is registered once.
        self._causal = [causal]
        self.body = causal.base_model
        output = causal.get_output_embeddings()
        tied = output.weight is causal.get_input_embeddings().weight
        self.unembedding_VD = None if tied else output.weight
        self.unembedding_V = output.bias if getattr(output, "bias", None) is not None else None
        self._takes = frozenset(inspect.signature(causal.forward).parameters)
        self.place = place()
        causal.to(self.place.device)
        self.to(self.place.device)

    @classmethod
    def load(cls, source: ModelSource, inputs: pa.Table) -> Self:
        """The pretrained model of a folder.

        Raises:
            ConfigError: The tokenizer has no end token.
            DataError: The model cannot be read.
            MissingExtraError: A package is missing.
        """
        assert source.path is not None
        causal = read_causal(source.path, pickled=source.pickled)
        return cls(causal, read_tokenizer(source.path), source.max_tokens)

    def head_parameters(self) -> list[nn.Parameter]:
        """What a linear probe would train: nothing, for there is no head."""
        return []

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks of the body."""
        return blocks_of(self.body)

    def tried(self) -> Tensor:
        """Logits behind a prompt of two tokens that says nothing."""
        ones_NT = torch.ones(1, 2, dtype=torch.int64, device=self.place.device)
        return self._logits(Rectangle(0 * ones_NT, ones_NT), keep=1)

    def reset_head(self) -> None:
        """There is none that could follow the unembedding."""

    def encode(self, inputs: pa.Table, completions: Sequence[str] | None = None) -> PromptExamples:
        """Examples as tokens; column `prompt`, and `max_new_tokens` where they have it.

        Args:
            inputs: The examples.
            completions: How each goes on, where that is to be learned.

        Raises:
            ConfigError: The model's context has no room for a prompt and a completion.
            DataError: A column is missing, or a prompt is empty.
        """
        max_new = max_new_tokens_of(inputs)
        prompts, lost_N = self._prompts(inputs, max_new)
        ends = None
        if completions is not None:
            rows = tokenised(self.tokenizer, completions)
            lost_N |= np.array([len(row) >= max_new for row in rows], np.bool_)
            ends = [np.append(row, self.end)[:max_new] for row in rows]
        return PromptExamples(prompts, ends, max_new, int(lost_N.sum()))

    def _prompts(self, inputs: pa.Table, max_new: int) -> tuple[list[Rows], npt.NDArray[np.bool_]]:
        if "prompt" not in inputs.column_names:
            raise DataError(
                "examples have no column 'prompt', which a model could complete; they have "
                f"{', '.join(inputs.column_names)}"
            )
        texts: list[str] = inputs["prompt"].to_pylist()
        before = np.array(begins_with(self.tokenizer), np.int64)
        context = context_of(self._causal[0])
        room = None if context is None else context - max_new - len(before)
        if room is not None and room < 1 and texts:
            raise ConfigError(
                f"the model reads {context} tokens, which leaves no room for a prompt beside a "
                f"completion of {max_new}; set the task's max_new_tokens lower"
            )
        longest = self.max_tokens if room is None else min(self.max_tokens, room)
        rows = tokenised(self.tokenizer, texts)
        lost_N = np.array([len(row) > longest for row in rows], np.bool_)
        if self.prefix:
            texts = [self.prefix + text for text in cut(self.tokenizer, texts, longest)]
            rows, longest = tokenised(self.tokenizer, texts), room if room is not None else 1 << 62
            lost_N |= np.array([len(row) > longest for row in rows], np.bool_)
        prompts = [np.concatenate([before, row[-longest:]]) for row in rows]
        for number, row in enumerate(prompts):
            if not len(row):
                raise DataError(
                    f"the prompt of {inputs['id'][number].as_py()!r} is empty; drop it or fill it"
                )
        return prompts, lost_N

    def forward(self, examples: PromptExamples, rows: Rows) -> Tensor:
        """The log-likelihood of each completion with its end token, in nats, float32 (N, 1) on the CPU."""
        passes = alike(examples.lengths_N(rows), self.place.pass_cost)
        with self._weights_computed_once():
            parts = [self._likelihoods_N(examples, rows[places]) for places in passes]
        order = torch.from_numpy(np.argsort(np.concatenate(passes), kind="stable"))
        return torch.cat(parts)[order, None]

    def _likelihoods_N(self, examples: PromptExamples, rows: Rows) -> Tensor:
        assert examples.completions is not None
        ends = [examples.completions[row] for row in rows.tolist()]
        starts = [examples.tokens[row] for row in rows.tolist()]
        whole = [np.concatenate(pair) for pair in zip(starts, ends, strict=True)]
        batch = rectangle(whole, device=self.place.device)
        start_N = torch.tensor([len(row) for row in starts], device=self.place.device)
        # The token at a place is predicted by the one before it.
        first = int(start_N.min())
        place_K = torch.arange(first, batch.tokens_NT.shape[1], device=self.place.device)
        learned_NK = (place_K >= start_N[:, None]) & batch.inside_NT[:, first:].bool()
        logits_NKV = self._logits(batch, keep=len(place_K) + 1)[:, :-1]
        wanted_M = batch.tokens_NT[:, first:][learned_NK]
        loss_M = functional.cross_entropy(logits_NKV[learned_NK].float(), wanted_M, reduction="none")
        likelihood_N = torch.zeros(len(rows), device=self.place.device)
        return likelihood_N.index_add(0, learned_NK.nonzero()[:, 0], -loss_M).cpu()

    def _logits(self, batch: Rectangle, *, keep: int) -> Tensor:
        """Logits at the last `keep` places, (N, K, V)."""
        kept = {"logits_to_keep": keep} if "logits_to_keep" in self._takes else {}
        with self.place.fast():
            logits_NTV: Tensor = self._causal[0](
                input_ids=batch.tokens_NT, attention_mask=batch.inside_NT, use_cache=False, **kept
            ).logits
        return logits_NTV[:, -keep:]

    def next_token_loss(self, examples: PromptExamples, rows: Rows) -> Tensor:
        """The sum of the losses of all tokens but the first of each of these prompts, in nats."""
        batch = rectangle([examples.tokens[row] for row in rows.tolist()], device=self.place.device)
        logits_NTV = self._logits(batch, keep=batch.tokens_NT.shape[1])
        wanted_NT = batch.tokens_NT.masked_fill(batch.inside_NT == 0, -100)[:, 1:]
        total = functional.cross_entropy(
            logits_NTV[:, :-1].flatten(0, 1).float(), wanted_NT.flatten(), ignore_index=-100, reduction="sum"
        )
        return total.cpu()

    @torch.no_grad()
    def complete(self, examples: PromptExamples, rows: Rows) -> list[str]:
        """The greedy completions of these prompts: at every place the most probable token.

        They are decoded together, with padding on the left that nothing attends to; of equally probable
        tokens the first is taken.
        """
        prompts = [examples.tokens[row] for row in rows.tolist()]
        with self._weights_computed_once():
            said = self._decode(prompts, examples.max_new_tokens)
        return [self._text(prompt, row) for prompt, row in zip(prompts, said, strict=True)]

    def _decode(self, prompts: Sequence[Rows], max_new_tokens: int) -> list[list[int]]:
        """The tokens of each completion, without the end token."""
        tokens_NT, inside_NT = rectangle(prompts, left=True, device=self.place.device)
        said: list[list[int]] = [[] for _ in prompts]
        live, cache = list(range(len(prompts))), None
        ended = [False] * len(prompts)
        for step in range(max_new_tokens):
            logits_NV, cache = self.step(tokens_NT, inside_NT, cache)
            next_N = logits_NV.argmax(dim=1)
            for number, token in zip(live, next_N.tolist(), strict=True):
                if not ended[number]:
                    ended[number] = token == self.end
                    said[number] += [] if ended[number] else [token]
                    ended[number] |= self._next_shot(prompts[number], said[number])
            going = [row for row, number in enumerate(live) if not ended[number]]
            if not going or step + 1 == max_new_tokens:
                break
            if 2 * len(going) <= len(live):
                kept_N = torch.tensor(going, device=self.place.device)
                cache.batch_select_indices(kept_N)
                next_N, inside_NT, live = next_N[kept_N], inside_NT[kept_N], [live[row] for row in going]
            tokens_NT = next_N[:, None]
            inside_NT = torch.cat([inside_NT, inside_NT.new_ones(len(live), 1)], dim=1)
        return said

    def step(self, tokens_NT: Tensor, inside_NT: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Read on: logits of the next token of each row, float32 (N, V), and keys and values of all so far.

        Args:
            tokens_NT: What is new, int64; at first the prompts, padded on the left.
            inside_NT: Which of all tokens so far are no padding, int64 of 0 and 1.
            cache: Keys and values of what was read before; None for the model's own kind.
        """
        # Later versions of transformers call it otherwise.
        kept = "cache" if "cache" in self._takes else "past_key_values"
        more = {kept: cache} | ({"logits_to_keep": 1} if "logits_to_keep" in self._takes else {})
        if "position_ids" in self._takes:
            place_NT = (inside_NT.cumsum(dim=1) - 1).clamp(min=0)
            more["position_ids"] = place_NT[:, -tokens_NT.shape[1] :]
        with self.place.fast():
            found = self._causal[0](input_ids=tokens_NT, attention_mask=inside_NT, use_cache=True, **more)
        return found.logits[:, -1].float(), getattr(found, kept)

    def _next_shot(self, prompt: Rows, said: list[int]) -> bool:
        """Whether the next of the examples shown would begin behind what was said."""
        if not self.prefix or not said or "\n" not in self._decoded(said[-1:]):
            return False
        return BETWEEN_SHOTS in self._continued(prompt, said)

    def _text(self, prompt: Rows, said: list[int]) -> str:
        text = self._continued(prompt, said)
        return text.partition(BETWEEN_SHOTS)[0] if self.prefix else text

    def _continued(self, prompt: Rows, said: list[int]) -> str:
        """What was said, as it stands behind its prompt: some tokenizers drop a space at the beginning."""
        last = prompt[-1:].tolist()
        before, whole = self._decoded(last), self._decoded(last + said)
        return whole.removeprefix(before) if whole.startswith(before) else self._decoded(said)

    def _decoded(self, tokens: list[int]) -> str:
        text: str = self.tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
