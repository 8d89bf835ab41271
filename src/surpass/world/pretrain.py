"""How a reasoner is made: pretraining on the corpus, then tuning to the form of steps.

Both are the same loop: AdamW, cross-entropy of the next token, a rate that falls in a line. Both go on after
a stop to the same bits.

Shape suffixes: N rows, T tokens.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.nn import functional

from surpass.disk import atomic_write, disk_errors
from surpass.errors import ConfigError, Stopped
from surpass.models.texts import BETWEEN_SHOTS
from surpass.train.checkpoint import load_checkpoint, save_checkpoint
from surpass.world import corpus
from surpass.world.authors import solve
from surpass.world.checker import solution_of
from surpass.world.problems import Problem, problems
from surpass.world.reasoners import BATCH, WARMUP_STEPS, WINDOW, Reasoner, build, find_reasoner
from surpass.world.tokenizer import END, VOCABULARY, build_tokenizer

NUM_SHOTS = 2
"""Worked problems that the pretrained model is shown."""

TUNING_BATCH = 8
MAX_NEW_TOKENS = 200
NOT_LEARNED = -100
_WEIGHT_DECAY = 0.01
_BETAS = (0.9, 0.99)
_REPORT_STEPS = 20


class Progress(NamedTuple):
    """Where the making of a reasoner stands; the loss is a mean of the last steps, in nats per token."""

    phase: str
    step: int
    num_steps: int
    loss: float
    tokens_per_second: float


class Batch(NamedTuple):
    """Tokens of rows, and which of them are learned: int64 (N, T), `NOT_LEARNED` elsewhere."""

    tokens_NT: Tensor
    wanted_NT: Tensor


class Running(NamedTuple):
    """How a training is carried out.

    Attributes:
        checkpoint: Where its state is kept.
        recipe: A digest of all that decides the result.
        save_seconds: How often it is saved.
        report: Called now and then.
        stop: Asked before every step.
    """

    checkpoint: Path
    recipe: str
    save_seconds: float
    report: Callable[[Progress], None]
    stop: Callable[[], bool]


def make_reasoner(
    name: str,
    folder: Path,
    *,
    reasoner: Reasoner | None = None,
    seed: int = 0,
    save_seconds: float = 60.0,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Make a reasoner, or go on with it: `NAME-base` as pretrained, and `NAME`, tuned, in the folder.

    Args:
        name: A key of `REASONERS`.
        folder: Where models and checkpoints go.
        reasoner: Another recipe than that of `REASONERS`.
        seed: Initial weights, texts and their order, problems and draws of the tuning.
        save_seconds: How often a checkpoint is saved.
        report: Called every 20 steps and after the last.
        stop: Asked before every step; when it says yes, a checkpoint is saved and training ends.

    Returns:
        The folder of the tuned model, as `save_pretrained` writes it, in float16, with `card.json`.

    Raises:
        ConfigError: There is no such reasoner, or the folder holds the checkpoint of another recipe.
        StoreError: The folder cannot be written.
        Stopped: `stop` said yes.
    """
    reasoner = reasoner or find_reasoner(name)
    base, tuned = folder / f"{name}-base", folder / name
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    running = Running(
        folder / f"{name}.checkpoint.safetensors", reasoner.digest(seed), save_seconds, report, stop
    )
    causal = build(reasoner, seed)
    card = {"name": name, "recipe": asdict(reasoner), "seed": seed, "parameters": reasoner.parameters}
    if not (base / "card.json").exists():
        loss = pretrain(causal, reasoner, seed, running)
        write_model(causal, base, card | {"flops": reasoner.flops, "last_loss": loss})
    else:
        _require_same(base, card)
        causal = _read(base)
    kept = few_shot_solutions(causal, reasoner.tuning_problems, seed)
    tuning = running._replace(
        checkpoint=folder / f"{name}.tuning.safetensors", recipe=running.recipe + "/tuning"
    )
    loss = tune(causal, kept, reasoner, seed, tuning)
    card |= {"tuned_on": len(kept), "flops": reasoner.flops, "last_loss": loss}
    write_model(causal, tuned, card)
    return tuned


def pretrain(causal: Any, reasoner: Reasoner, seed: int, running: Running) -> float:
    """Read the corpus once, in place; returns the loss of the last steps in nats per learned token."""
    read = corpus.rows(reasoner.num_steps * BATCH, WINDOW, seed)
    order_N = np.random.default_rng(seed).permutation(len(read.tokens_NT))

    def batch(step: int) -> Batch:
        chosen = order_N[step * BATCH : (step + 1) * BATCH]
        tokens_NT = read.tokens_NT[chosen].astype(np.int64)
        wanted_NT = np.where(read.learned_NT[chosen], tokens_NT, NOT_LEARNED)
        return Batch(torch.from_numpy(tokens_NT), torch.from_numpy(wanted_NT))

    def rate(step: int) -> float:
        left = (reasoner.num_steps - step) / reasoner.num_steps
        return reasoner.learning_rate * min(1.0, (step + 1) / WARMUP_STEPS, left)

    return _train(causal, batch, rate, reasoner.num_steps, "pretraining", running)


def few_shot_solutions(causal: Any, num_problems: int, seed: int) -> list[tuple[Problem, str]]:
    """Problems with solutions that the pretrained model wrote and whose answer is right.

    It is shown `NUM_SHOTS` worked problems, the same for all, and draws one solution of each at
    temperature 1.
    """
    import pyarrow as pa

    from surpass.models.generation import Generator
    from surpass.world.sampling import Draw, sample

    stream = problems("pretrain", seed=seed)
    shown = [next(stream) for _ in range(NUM_SHOTS)]
    asked = [next(stream) for _ in range(num_problems)]
    model = Generator(causal, build_tokenizer())
    model.prefix = "".join(
        "\n".join([problem.text, *solve(problem.text)]) + BETWEEN_SHOTS for problem in shown
    )
    inputs = pa.table(
        {
            "id": [problem.id for problem in asked],
            "prompt": [problem.text + "\n" for problem in asked],
            "max_new_tokens": pa.array([MAX_NEW_TOKENS] * len(asked), pa.int32()),
        }
    )
    prompts = model.encode(inputs).tokens
    draws = [Draw(place, 0) for place in range(len(asked))]
    said = sample(model, prompts, inputs["id"].to_pylist(), draws, max_new_tokens=MAX_NEW_TOKENS, seed=seed)
    kept = []
    for problem, found in zip(asked, said, strict=True):
        solution = solution_of(problem.id, problem.text, found.text) if found.ended else None
        if solution is not None and solution.correct:
            kept.append((problem, solution.text))
    return kept


def tune(
    causal: Any, kept: list[tuple[Problem, str]], reasoner: Reasoner, seed: int, running: Running
) -> float:
    """Learn solutions, each once, with the end token behind them; returns the loss of the last steps.

    Raises:
        ConfigError: There is none.
    """
    if not kept:
        raise ConfigError("the pretrained model solved none of the problems; pretrain it for longer")
    num_steps = -(-len(kept) // TUNING_BATCH)
    order_N = np.random.default_rng(seed).permutation(len(kept))

    def batch(step: int) -> Batch:
        chosen = order_N[step * TUNING_BATCH : (step + 1) * TUNING_BATCH].tolist()
        return _padded([_row(*kept[place]) for place in chosen])

    def rate(step: int) -> float:
        return reasoner.tuning_rate * (num_steps - step) / num_steps

    return _train(causal, batch, rate, num_steps, "tuning", running)


def _row(problem: Problem, solution: str) -> tuple[npt.NDArray[np.int64], int]:
    """The tokens of a problem with its solution, and how many the problem has."""
    tokens = corpus.encode(f"{problem.text}\n{solution}").astype(np.int64)
    return np.append(tokens, VOCABULARY[END]), len(problem.text) + 1


def _padded(rows: list[tuple[npt.NDArray[np.int64], int]]) -> Batch:
    longest = max(len(tokens) for tokens, _ in rows)
    tokens_NT = np.zeros((len(rows), longest), np.int64)
    wanted_NT = np.full((len(rows), longest), NOT_LEARNED, np.int64)
    for number, (tokens, start) in enumerate(rows):
        tokens_NT[number, : len(tokens)] = tokens
        wanted_NT[number, start : len(tokens)] = tokens[start:]
    return Batch(torch.from_numpy(tokens_NT), torch.from_numpy(wanted_NT))


def _train(
    causal: Any,
    batch: Callable[[int], Batch],
    rate: Callable[[int], float],
    num_steps: int,
    phase: str,
    running: Running,
) -> float:
    """Make all steps that are left; returns the mean loss of the last ones."""
    # The body alone: its embedding is the unembedding too, and safetensors keeps no tensor twice.
    body = causal.base_model
    optimizer = torch.optim.AdamW(body.parameters(), weight_decay=_WEIGHT_DECAY, betas=_BETAS, fused=True)
    step, losses = 0, torch.zeros(num_steps)
    if running.checkpoint.exists():
        position, extra = load_checkpoint(running.checkpoint, body, optimizer)
        if position["recipe"] != running.recipe:
            raise ConfigError(f"{running.checkpoint} is of another recipe: delete it, or name another folder")
        step, losses = int(position["step"]), extra["losses"]
    save = partial(save_checkpoint, running.checkpoint, body, optimizer)
    body.train()
    began, saved, read = time.monotonic(), time.monotonic(), 0
    while step < num_steps:
        if running.stop():
            save({"step": step, "recipe": running.recipe}, {"losses": losses})
            raise Stopped(f"{phase} stopped after step {step} of {num_steps}; it can go on")
        optimizer.param_groups[0]["lr"] = rate(step)
        now = batch(step)
        losses[step] = _learn(causal, now, optimizer)
        step, read = step + 1, read + now.tokens_NT.numel()
        if step % _REPORT_STEPS == 0 or step == num_steps:
            recent = float(losses[max(step - _REPORT_STEPS, 0) : step].mean())
            speed = read / (time.monotonic() - began)
            running.report(Progress(phase, step, num_steps, recent, speed))
        if time.monotonic() - saved > running.save_seconds:
            save({"step": step, "recipe": running.recipe}, {"losses": losses})
            saved = time.monotonic()
    save({"step": step, "recipe": running.recipe}, {"losses": losses})
    body.eval()
    return float(losses[-5 * _REPORT_STEPS :].mean())


def _learn(causal: Any, batch: Batch, optimizer: torch.optim.Optimizer) -> Tensor:
    """One step; returns its loss in nats per token, without gradient."""
    states_NTD = causal.base_model(input_ids=batch.tokens_NT, use_cache=False).last_hidden_state
    logits_NTV = causal.get_output_embeddings()(states_NTD[:, :-1])
    loss = functional.cross_entropy(
        logits_NTV.flatten(0, 1), batch.wanted_NT[:, 1:].flatten(), ignore_index=NOT_LEARNED
    )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def write_model(causal: Any, folder: Path, card: dict[str, Any]) -> None:
    """Write a model in float16, its tokenizer, and last its card."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        causal.config.save_pretrained(folder)
        build_tokenizer(causal.config.max_position_embeddings).save_pretrained(folder)
    # Without the unembedding, which is the embedding.
    state = {f"model.{name}": value.half() for name, value in causal.base_model.state_dict().items()}
    atomic_write(folder / "model.safetensors", to_bytes(state, {"format": "pt"}))
    atomic_write(folder / "card.json", (json.dumps(card, indent=1, sort_keys=True) + "\n").encode())


def _read(folder: Path) -> Any:
    from surpass.models.causal import read_causal

    return read_causal(folder)


def _require_same(folder: Path, card: dict[str, Any]) -> None:
    found = json.loads((folder / "card.json").read_text())
    if {key: found.get(key) for key in card} != json.loads(json.dumps(card)):
        raise ConfigError(f"{folder} is of another recipe: delete it, or name another folder")
