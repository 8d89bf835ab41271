"""Learning completions, completing prompts, and examples with completions to be shown.

A model learns a completion by the loss -log p(completion and end token | prompt), summed over its tokens: the
cross-entropy towards the one right sequence, as on choice tasks it is that towards the one right candidate.
A step's loss is the mean over its examples, in nats per completion. Tokens of prompts are not learned.

Shape suffixes: N examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from surpass import labels as lb
from surpass.errors import ConfigError
from surpass.losses import per_example
from surpass.models.names import MAX_TOKENS
from surpass.models.texts import BETWEEN_SHOTS, cut
from surpass.models.tokens import TOKENS_AT_ONCE, by_length
from surpass.train.loop import Labels, Running, fit
from surpass.train.recipe import Recipe

if TYPE_CHECKING:
    from surpass.models.generation import Generator
    from surpass.models.prompts import PromptExamples

TOKENS_LEARNED_AT_ONCE = 2048
"""Tokens of one training pass at most, padding included; a longer example goes alone."""


@per_example
def surprise(likelihood_N1: Tensor, known_N1: Tensor, progress: float) -> Tensor:
    """The loss of each completion in nats, (N,), for the training loop."""
    return -likelihood_N1[:, 0]


_SURPRISE = f"{surprise.__module__}:{surprise.__name__}"


def encoded_completions(
    model: Generator, inputs: pa.Table, labels: pa.Table
) -> tuple[PromptExamples, Labels]:
    """Examples with the completions that their labels say, row for row, and what each counts."""
    examples = model.encode(inputs, lb.completions(labels))
    sure = np.ones(1, np.float32)
    return examples, Labels([sure] * labels.num_rows, lb.weights(labels))


def fit_completions(
    model: Generator,
    examples: PromptExamples,
    labels: Labels,
    *,
    loss: str = "xent",
    recipe: Recipe,
    seed: int,
    ema: float = 0.0,
    running: Running = Running(),  # noqa: B008
) -> Tensor:
    """Fine-tune a model in place on completions, by the training loop of all models.

    Args:
        model: The model.
        examples: Prompts with completions.
        labels: What each counts.
        loss: "xent".
        recipe: The settings.
        seed: Order of the examples.
        ema: As in `loop.fit`.
        running: How to carry it out; a batch is cut into passes of bounded size in any case.

    Returns:
        The loss of each step in nats per completion, float32.

    Raises:
        ConfigError: Another loss: those are for probabilities.
        Stopped: `running.stop` said so.
    """
    if loss != "xent":
        raise ConfigError(f"loss {loss} is for probabilities; completions are learned with xent")
    rows = np.arange(len(examples.tokens))
    longest = int(examples.lengths_N(rows).max(initial=1))
    size = max(1, TOKENS_LEARNED_AT_ONCE // longest)
    bounded = replace(running, micro_batch=min(size, running.micro_batch or size))
    return fit(model, examples, labels, loss=_SURPRISE, recipe=recipe, seed=seed, ema=ema, running=bounded)


def label_completions(
    model: Generator,
    examples: PromptExamples,
    inputs: pa.Table,
    *,
    micro_batch: int | None = None,
    report: Callable[[float], None] = lambda _: None,
) -> pa.Table:
    """Greedy completions of prompts as labels, in the order of the examples.

    Prompts of about equal length are completed together, the longest first.
    """
    model.eval()
    ids = inputs["id"].to_pylist()
    room_N = examples.lengths_N(np.arange(len(ids))) + examples.max_new_tokens
    texts = [""] * len(ids)
    done = 0
    for rows in by_length(room_N, TOKENS_AT_ONCE, micro_batch):
        for row, text in zip(rows.tolist(), model.complete(examples, rows), strict=True):
            texts[row] = text
        done += len(rows)
        report(done / len(ids))
    return lb.completion_table(ids, texts)


def completion_shots(
    tokenizer: Any, prompts: Sequence[str], completions: Sequence[str], *, max_tokens: int = MAX_TOKENS
) -> str:
    """Prompts, of longer ones the end, with their completions: a text to be put before another prompt."""
    pairs = zip(cut(tokenizer, prompts, max_tokens), completions, strict=True)
    return "".join(prompt + completion + BETWEEN_SHOTS for prompt, completion in pairs)
