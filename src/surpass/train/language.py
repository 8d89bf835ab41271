"""What `Prompt` and `Adapt` run: shots chosen and written, and training to predict the next token."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from surpass import labels as lb
from surpass.clock import spent
from surpass.errors import ConfigError, DataError, Stopped
from surpass.hashing import unit
from surpass.models.families import load_model
from surpass.models.sources import ModelSource, resolve
from surpass.models.texts import ASK, HINT, answers, cut, num_classes_of, read_tokenizer, shots, texts_of
from surpass.models.tokens import Rows, by_length
from surpass.train.checkpoint import load_checkpoint, save_checkpoint
from surpass.train.completions import completion_shots
from surpass.train.loop import Running
from surpass.train.order import batches
from surpass.train.recipe import Recipe
from surpass.train.run import Inputs, read_labels, save_weights, truncation

if TYPE_CHECKING:
    from surpass.stages import Adapt, Context, Prompt

LOGITS_AT_ONCE = 2048
"""Tokens of one training pass, padding included, each with logits of the whole vocabulary."""


def run_prompt(stage: Prompt, context: Context) -> dict[str, Any]:
    """Choose examples, and write them with their answers."""
    source = _causal(stage.model)
    examples = context.find(stage.examples)
    inputs = Inputs.read(examples)
    labels = read_labels(stage, examples, inputs, context)
    write = _written_completions if "prompt" in inputs.table.column_names else _written_classes
    classes, written = write(source, inputs.table, labels)
    ids = pick_shots(classes, stage.num_shots, stage.seed)
    prefix, shown = written(ids)
    said = {"prefix": prefix, "ids": ids, "answers": shown}
    (context.out / "prompt.json").write_text(json.dumps(said, indent=1) + "\n")
    return {"model": stage.model, "num_shots": len(ids)}


def _written_classes(source: ModelSource, inputs: pa.Table, labels: pa.Table) -> _Written:
    if "text" not in inputs.column_names:
        raise ConfigError(
            "examples shown in a prompt are texts with an answer; a pair of texts is judged one by one, and "
            "has no place for them: leave prompts out for preferences"
        )
    names = labels["id"].to_pylist()
    classes = {name: int(row.argmax()) for name, row in zip(names, lb.rows(labels), strict=True)}

    def written(ids: Sequence[str]) -> tuple[str, list[Any]]:
        tokenizer = _tokenizer(source)
        words, chosen = answers(tokenizer, num_classes_of(inputs)), [classes[name] for name in ids]
        texts = cut(tokenizer, texts_of(_taken(inputs, ids), asks=True), source.max_tokens)
        return shots(texts, chosen, words), chosen

    return _Written(classes, written)


def _written_completions(source: ModelSource, inputs: pa.Table, labels: pa.Table) -> _Written:
    answer = dict(zip(labels["id"].to_pylist(), lb.completions(labels), strict=True))

    def written(ids: Sequence[str]) -> tuple[str, list[Any]]:
        chosen = [answer[name] for name in ids]
        prompts = _taken(inputs, ids)["prompt"].to_pylist()
        return completion_shots(_tokenizer(source), prompts, chosen, max_tokens=source.max_tokens), chosen

    return _Written(dict.fromkeys(answer, 0), written)


class _Written(NamedTuple):
    """The class of each labelled example, and what writes some of them: the text, and their answers."""

    classes: dict[str, int]
    write: Callable[[Sequence[str]], tuple[str, list[Any]]]


def _taken(inputs: pa.Table, ids: Sequence[str]) -> pa.Table:
    place = {name: row for row, name in enumerate(inputs["id"].to_pylist())}
    return inputs.take([place[name] for name in ids])


def _tokenizer(source: ModelSource) -> Any:
    assert source.path is not None
    return read_tokenizer(source.path)


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


def _causal(name: str) -> ModelSource:
    source = resolve(name)
    if source.family != "causal":
        raise ConfigError(f"{name} is no causal language model; prompts and texts are for those")
    return source


def run_adapt(stage: Adapt, context: Context) -> dict[str, Any]:
    """Train on the texts of the examples, both of a pair, and let the head follow.

    Of the task's question and of hints, which come from labels, nothing is read.
    """
    source = _causal(stage.model)
    with spent("input/output"):
        inputs = Inputs.read(context.find(stage.examples))
        texts = inputs.table.drop_columns([name for name in (ASK, HINT) if name in inputs.table.column_names])
        torch.manual_seed(stage.seed)
        model = load_model(source, texts)
    if context.save_memory:
        model.save_memory()
    with spent("data"):
        examples = model.encode(texts)
    running = Running(
        checkpoint=context.work / "checkpoint.safetensors",
        checkpoint_seconds=context.checkpoint_seconds,
        micro_batch=context.micro_batch,
        report=context.report,
        stop=context.stop,
    )
    losses = adapt(model, examples, recipe=stage.recipe, seed=stage.seed, running=running)
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
    } | truncation(examples)


def adapt(
    model: Any,
    examples: Any,
    *,
    recipe: Recipe,
    seed: int,
    running: Running = Running(),  # noqa: B008
) -> Tensor:
    """Train a language model in place to predict the next token of texts; its head is left as it is.

    Args:
        model: A causal language model.
        examples: The texts, as its `encode` gave them.
        recipe: The settings; a batch is one of texts.
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
        with spent("optimizer"):
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


def accumulate_next_token(model: Any, examples: Any, rows: Rows, micro_batch: int | None) -> Tensor:
    """Add the gradient of the mean loss per token of a batch, and return that loss (nats, no gradient)."""
    length_N = examples.lengths_N(rows)
    num_predicted = max(int((length_N - 1).sum()), 1)
    total = torch.zeros(())
    for places in by_length(length_N, LOGITS_AT_ONCE, micro_batch):
        if length_N[places[0]] < 2:
            break
        with spent("forward"):
            mean = model.next_token_loss(examples, rows[places]) / num_predicted
        with spent("backward"):
            mean.backward()
        total += mean.detach()
    return total


def _resumed(
    running: Running, model: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int
) -> tuple[Tensor, int]:
    """The losses so far, and the step to go on with."""
    if running.checkpoint is not None and running.checkpoint.exists():
        with suppress(DataError):  # a damaged one costs time, nothing else
            position, extra = load_checkpoint(running.checkpoint, model, optimizer)
            return extra["losses"], int(position["step"])
    return torch.zeros(num_steps), 0
