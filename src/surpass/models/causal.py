"""Causal language models: the state of the last token, and a head that begins as the unembedding.

The head is the unembedding of the answers' tokens, so that an untrained model answers as its next token
would; for pairs it is that of the first answer, which is as arbitrary as any. Where states are read at a
layer, or pooled, the unembedding does not know them, and the head is a new one of small weights.

Source: Burns et al. 2023, appendices A.1 and A.3.

Shape suffixes: N texts, D features, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa
from torch import Tensor, nn
from torch.nn import functional

from surpass.models.heads import Scored, new_weights, scored_of, set_rows
from surpass.models.language import LanguageModel, Reading, context_of, read_weights
from surpass.models.names import MAX_TOKENS, ReadOut
from surpass.models.sources import ModelSource
from surpass.models.texts import Frame, answers, begins_with, read_tokenizer
from surpass.models.tokens import Rows, TokenExamples, padded

_ANSWER = 1
"""Tokens that are left free for the answer."""


class CausalChoice(LanguageModel):
    """Scores with a causal language model.

    The unembedding is a parameter of its own where it is not the embedding; only generative fine-tuning
    trains it.
    """

    asks: ClassVar[bool] = True

    def __init__(
        self,
        causal: Any,
        tokenizer: Any,
        scored: Scored,
        max_tokens: int = MAX_TOKENS,
        read_out: ReadOut = ReadOut(),  # noqa: B008
    ) -> None:
        output = causal.get_output_embeddings()
        tied = output.weight is causal.get_input_embeddings().weight
        bias = getattr(output, "bias", None)
        before, context = begins_with(tokenizer), context_of(causal)
        room = None if context is None else max(context - _ANSWER - len(before), 1)
        super().__init__(
            causal.base_model,
            tokenizer,
            nn.Linear(output.weight.shape[1], scored.num_outputs, bias=bias is not None and not scored.pairs),
            scored,
            Reading(Frame(before, ()), max_tokens, room, read_out.pooling or "last", read_out.layer),
        )
        self.answers = answers(tokenizer, scored.num_classes)
        # In a list, so that what it shares with `body` is registered once.
        self._causal = [causal]
        self.unembedding_VD = None if tied else output.weight
        self.unembedding_V = bias
        self.reset_head()
        causal.to(self.place.device)
        self.to(self.place.device)

    @classmethod
    def load(cls, source: ModelSource, inputs: pa.Table) -> Self:
        """The pretrained model of a folder, with as many classes as these examples have.

        Raises:
            ConfigError: The tokenizer has no token for each class.
            DataError: The model cannot be read, or the examples differ in the number of classes.
            MissingExtraError: A package is missing.
        """
        assert source.path is not None
        causal = read_causal(source.path, pickled=source.pickled)
        return cls(causal, read_tokenizer(source.path), scored_of(inputs), source.max_tokens, source.read_out)

    @property
    def _unembeds(self) -> bool:
        return self.reading.layer is None and self.reading.pooling == "last"

    def reset_head(self) -> None:
        """Let the head be the unembedding of the answers' tokens, as it is now, or a new one."""
        if self._unembeds:
            set_rows(self.head, self._causal[0].get_output_embeddings(), self.answers.tokens)
        else:
            new_weights(self.head)

    def initial_head(self) -> dict[str, Tensor] | None:
        """The head's weights where they are the unembedding's; None where they are drawn anew."""
        return dict(self.head.state_dict()) if self._unembeds else None

    def _more(self, tokens_NT: Tensor, place_NT: Tensor | None = None) -> dict[str, Any]:
        return {"use_cache": False}

    def next_token_loss(self, examples: TokenExamples, texts: Rows) -> Tensor:
        """The sum of the losses of all tokens but the first of each of these texts, in nats, on the CPU."""
        batch = padded(examples, texts, self.place.device)
        with self.place.fast(), self._weights_computed_once():
            logits_NTV = self._causal[0](
                input_ids=batch.tokens_NT, attention_mask=batch.inside_NT, use_cache=False
            ).logits
        wanted_NT = batch.tokens_NT.masked_fill(batch.inside_NT == 0, -100)[:, 1:]
        return functional.cross_entropy(
            logits_NTV[:, :-1].flatten(0, 1).float(), wanted_NT.flatten(), ignore_index=-100, reduction="sum"
        ).cpu()


def read_causal(path: Path, *, pickled: bool = False) -> Any:
    """The causal language model of a folder, in float32 and without dropout; no code from there is run.

    Args:
        path: The folder.
        pickled: Whether weights are a pickle, of which only tensors are read.

    Raises:
        DataError: It cannot be read, or lacks weights.
        MissingExtraError: A package is missing.
    """
    return read_weights("AutoModelForCausalLM", path, pickled=pickled)
