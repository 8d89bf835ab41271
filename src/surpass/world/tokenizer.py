"""The tokenizer of the reasoners: a token for each character of the world, and the end of a text."""

from __future__ import annotations

from typing import Any

from surpass.models.texts import transformers

END = "<end>"
PAD = "<pad>"
UNKNOWN = "<unknown>"
CHARACTERS = "\n #()*+-/0123456789;=xyabcdefghNBRQKO.?"
"""What the reasoners read and write, each a token of its own; steps end with the first."""

VOCABULARY = {PAD: 0, END: 1, UNKNOWN: 2} | {mark: place + 3 for place, mark in enumerate(CHARACTERS)}


def build_tokenizer(context: int = 512) -> Any:
    """The tokenizer, as a `PreTrainedTokenizerFast`; nothing is downloaded.

    Args:
        context: How many tokens the model reads.

    Raises:
        MissingExtraError: transformers is missing.
    """
    fast = transformers().PreTrainedTokenizerFast
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return fast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
