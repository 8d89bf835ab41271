"""The reasoners: small language models of the world, their shapes and how they are made.

A reasoner is pretrained on texts of many authors (`corpus`), right and wrong ones in several forms, and
then, as the generators of Lightman et al. 2023, tuned to the form of steps alone: shown a few worked
problems it writes solutions, those with the right answer are kept, and it learns them once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from surpass.errors import ConfigError
from surpass.identity import digest_of
from surpass.models.texts import transformers
from surpass.world.tokenizer import END, PAD, VOCABULARY

CONTEXT = 512
"""Tokens that a reasoner reads at most."""

WINDOW = 256
"""Tokens of the corpus that it reads at a time in pretraining."""

BATCH = 4
"""Such windows of a step."""

WARMUP_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Reasoner:
    """How a reasoner is made.

    Attributes:
        width: Of its states.
        layers: How many blocks.
        heads: Of attention, in each.
        hidden: Width inside the other half of a block.
        tokens: Of the corpus; texts that the end of a row cuts are read again.
        learning_rate: Its peak in pretraining, behind the warm-up; then down to zero in a line.
        tuning_problems: How many problems it writes a solution for, to learn those with the right answer.
        tuning_rate: Learning rate at the beginning of that; down to zero in a line.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    tokens: int
    learning_rate: float
    tuning_problems: int = 4000
    tuning_rate: float = 2e-3

    @property
    def num_steps(self) -> int:
        """Steps of pretraining."""
        return self.tokens // (WINDOW * BATCH)

    @property
    def parameters(self) -> int:
        """How many there are; the unembedding is the embedding."""
        block = 4 * self.width**2 + 3 * self.width * self.hidden + 2 * self.width
        return len(VOCABULARY) * self.width + self.layers * block + self.width

    @property
    def flops(self) -> float:
        """Floating-point operations of pretraining: six for each parameter and token."""
        return 6.0 * self.parameters * self.tokens

    def digest(self, seed: int) -> str:
        """Of all that decides what pretraining and tuning give."""
        return digest_of(
            {"recipe": asdict(self), "seed": seed, "window": WINDOW, "batch": BATCH, "learned": "solutions"}
        )


REASONERS = {
    "tiny": Reasoner(width=48, layers=3, heads=4, hidden=128, tokens=2_000_000, learning_rate=4e-3),
    "small": Reasoner(
        width=96,
        layers=4,
        heads=4,
        hidden=256,
        tokens=10_000_000,
        learning_rate=3e-3,
        tuning_problems=6000,
    ),
    "large": Reasoner(width=128, layers=5, heads=4, hidden=352, tokens=6_000_000, learning_rate=2e-3),
}


def find_reasoner(name: str) -> Reasoner:
    """The recipe of a reasoner.

    Raises:
        ConfigError: There is no such reasoner.
    """
    if name not in REASONERS:
        raise ConfigError(f"no reasoner {name!r}; there are: {', '.join(REASONERS)}")
    return REASONERS[name]


def build(reasoner: Reasoner, seed: int) -> Any:
    """A reasoner that has read nothing yet: a `LlamaForCausalLM` in float32, without dropout.

    Raises:
        MissingExtraError: transformers is missing.
    """
    import torch

    library = transformers()
    config = library.LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(VOCABULARY),
        hidden_size=reasoner.width,
        intermediate_size=reasoner.hidden,
        num_hidden_layers=reasoner.layers,
        num_attention_heads=reasoner.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=VOCABULARY[END],
        pad_token_id=VOCABULARY[PAD],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return library.LlamaForCausalLM(config)
