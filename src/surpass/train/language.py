"""What `Prompt` and `Adapt` run: shots chosen and written, and training to predict the next token."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from surpass import labels as lb
from surpass.errors import ConfigError, DataError, Stopped
from surpass.hashing import unit
from surpass.models.families import load_model
from surpass.models.language import LanguageChoice, Rows, TokenExamples, by_length
from surpass.models.sources import resolve
from surpass.models.texts import MAX_TOKENS, answers, cut, num_classes_of, read_tokenizer, shots, texts_of
from surpass.train.checkpoint import load_checkpoint, save_checkpoint
from surpass.train.loop import Running, batches
from surpass.train.recipe import Recipe
from surpass.train.run import Inputs, read_labels, save_weights

if TYPE_CHECKING:
    from surpass.stages import Adapt, Context, Prompt

LOGITS_AT_ONCE = 2048
"""Tokens of one training pass, padding included, each with logits of the whole vocabulary."""


def run_prompt(stage: Prompt, context: Context) -> dict[str, Any]:
    """Choose examples, and write them with their answers."""
    source = _language(stage.model)
    examples = context.find(stage.examples)
    inputs = Inputs.read(examples)
    labels = read_labels(stage, examples, inputs, context)
    chosen = {
        name: int(row.argmax()) for name, row in zip(labels["id"].to_pylist(), lb.rows(labels), strict=True)
    }
    ids = pick_shots(chosen, stage.num_shots, stage.seed)
    tokenizer = read_tokenizer(source)
    words = answers(tokenizer, num_classes_of(inputs.table))
    place = {name: row for row, name in enumerate(inputs.ids)}
    shown = inputs.table.take([place[name] for name in ids])
    prefix = shots(cut(tokenizer, texts_of(shown, words), MAX_TOKENS), [chosen[name] for name in ids], words)
    said = {"prefix": prefix, "ids": ids, "answers": [chosen[name] for name in ids]}
    (context.out / "prompt.json").write_text(json.dumps(said, indent=1) + "\n")
    return {"model": stage.model, "num_shots": len(ids)}


def pick_shots(classes: dict[str, int], num_shots: int, seed: int) -> list[str]:
    """Ids of examples, as evenly over the classes as there are examples of each; see `Prompt`.

    Args:
        classes: The class of each id.
        num_shots: How many to choose.
        seed: Another seed is another choice.

    Raises:
        DataError: There are fewer.
    """
    if len(classes) < num_shots:
        raise DataError(
            f"{num_shots} shots asked for and {len(classes)} examples have a label; ask for fewer"
        )
    ahead: dict[int, list[str]] = {}
    for name in sorted(classes, key=lambda name: unit(name, seed=seed, purpose="shot"), reverse=True):
        ahead.setdefault(classes[name], []).append(name)
    turns = sorted(ahead, key=lambda number: unit(str(number), seed=seed, purpose="shot class"))
    chosen: list[str] = []
    while len(chosen) < num_shots:
        chosen += [ahead[number].pop() for number in turns if ahead[number]][: num_shots - len(chosen)]
    return sorted(chosen, key=lambda name: unit(name, seed=seed, purpose="shot place"))


def _language(name: str) -> Any:
    source = resolve(name)
    if source.family != "language":
        raise ConfigError(f"{name} is no language model; prompts and texts are for those")
    return source.path


def run_adapt(stage: Adapt, context: Context) -> dict[str, Any]:
    """Train on the texts of the examples, and let the head follow."""
    _language(stage.model)
    inputs = Inputs.read(context.find(stage.examples))
    torch.manual_seed(stage.seed)
    model: LanguageChoice = load_model(resolve(stage.model), inputs.table)
    running = Running(
        checkpoint=context.work / "checkpoint.safetensors",
        checkpoint_seconds=context.checkpoint_seconds,
        micro_batch=context.micro_batch,
        report=context.report,
        stop=context.stop,
    )
    losses = adapt(model, model.encode(inputs.table), recipe=stage.recipe, seed=stage.seed, running=running)
    if not losses.isfinite().all():
        raise DataError(
            f"training diverged at step {int(losses.isfinite().int().argmin()) + 1} of {len(losses)}; "
            f"lower learning_rate={stage.recipe.learning_rate:g}"
        )
    model.reset_head()
    save_weights(model.state_dict(), context.out / "model.safetensors")
    pq.write_table(pa.table({"loss": losses.numpy()}), context.out / "curve.parquet")
    return {
        "model": stage.model,
        "num_examples": len(inputs.ids),
        "num_steps": len(losses),
        "last_loss": float(losses[-1]),
    }


def adapt(
    model: LanguageChoice,
    examples: TokenExamples,
    *,
    recipe: Recipe,
    seed: int,
    running: Running = Running(),  # noqa: B008
) -> Tensor:
    """Train a language model in place to predict the next token of texts; its head is left as it is.

    Args:
        model: The model.
        examples: The texts.
        recipe: The settings.
        seed: Order of the texts.
        running: How to carry it out; a batch is cut into passes of bounded size in any case.

    Returns:
        The loss of each step in nats per token, float32.

    Raises:
        DataError: No text has two tokens.
        Stopped: `running.stop` said so.
    """
    if max(map(len, examples.tokens), default=0) < 2:
        raise DataError("no text has two tokens, so there is none to predict; give it longer texts")
    num_examples = len(examples.tokens)
    num_steps = recipe.num_steps(num_examples)
    head = {id(parameter) for parameter in model.head_parameters()}
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if id(parameter) not in head],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    losses, start = _resumed(running, model, optimizer, num_steps)
    model.train()
    saved = time.monotonic()
    for step, rows in enumerate(batches(num_examples, recipe, seed, start), start):
        optimizer.param_groups[0]["lr"] = recipe.rate(step, num_steps)
        optimizer.zero_grad(set_to_none=True)
        losses[step] = accumulate_next_token(model, examples, rows, running.micro_batch)
        optimizer.step()
        running.report((step + 1) / num_steps)
        stop = running.stop()
        due = time.monotonic() - saved > running.checkpoint_seconds
        if running.checkpoint is not None and (due or stop):
            save_checkpoint(running.checkpoint, model, optimizer, {"step": step + 1}, {"losses": losses})
            saved = time.monotonic()
        if stop:
            raise Stopped("stopped; run the same command again to go on from here")
    return losses


def accumulate_next_token(
    model: LanguageChoice, examples: TokenExamples, rows: Rows, micro_batch: int | None
) -> Tensor:
    """Add the gradient of the mean loss per token of a batch, and return that loss (nats, no gradient)."""
    length_N = examples.lengths_N(rows)
    num_predicted = max(int((length_N - 1).sum()), 1)
    total = torch.zeros(())
    for places in by_length(length_N, LOGITS_AT_ONCE, micro_batch):
        if length_N[places[0]] < 2:
            break
        mean = model.next_token_loss(examples, rows[places]) / num_predicted
        mean.backward()  # type: ignore[no-untyped-call]
        total += mean.detach()
    return total


def _resumed(
    running: Running, model: LanguageChoice, optimizer: torch.optim.Optimizer, num_steps: int
) -> tuple[Tensor, int]:
    """The losses so far, and the step to go on with."""
    if running.checkpoint is not None and running.checkpoint.exists():
        with suppress(DataError):  # a damaged one costs time, nothing else
            position, extra = load_checkpoint(running.checkpoint, model, optimizer)
            return extra["losses"], int(position["step"])
    return torch.zeros(num_steps), 0
