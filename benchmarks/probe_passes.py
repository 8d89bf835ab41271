"""Passes over examples as `Features` makes them, against the forward passes of the same model alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measured import Measured, in_turns, seconds
from torch import Tensor

from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.stages import Context, Examples, Features
from surpass.store import Store
from surpass.tasks import Task
from surpass.train.one_pass import run_features

SIZES = (4, 8, 16, 32, 64, 128)
_ENOUGH_SECONDS = 2.0


def against_forward(
    model: str, task: Task, store: Store, num_examples: int, work: Path, rounds: int
) -> Measured:
    """Examples a second of `Features`, from loading the model to files, over those of the model's body.

    Texts count by their tokens, special ones included, padding not; the body sees texts that all have the
    mean number of tokens. Images count one each; the body sees them decoded and normalised.

    Args:
        model: A name.
        task: Where examples are from.
        store: Where they are, or are put.
        num_examples: How many.
        work: A folder.
        rounds: How often either is measured, in turns.
    """
    examples = Examples(task=task, part="student", size=num_examples, seed=0)
    artifact = store.find(examples.kind, examples.id) or _made(examples, store)
    inputs = pq.read_table(artifact.file("inputs.parquet"))
    stage = Features(source=model, examples=examples)
    number = count()

    def read() -> None:
        out, work_folder = work / f"pass-{next(number)}", work / "pass-work"
        out.mkdir()
        work_folder.mkdir()
        run_features(stage, Context(find=lambda _: artifact, out=out, work=work_folder))
        shutil.rmtree(out)
        shutil.rmtree(work_folder)

    loaded = load_model(resolve(model), inputs).eval()
    units, batch = _forward(loaded, inputs)
    best, size = max((_rate(loaded, batch(size), size), size) for size in SIZES)
    images = batch(size)
    calls = max(1, int(_ENOUGH_SECONDS * best / size))
    read()
    ours, theirs = in_turns([read, lambda: _call(loaded, images, calls)], rounds)
    each = units / num_examples
    rates = {"features": num_examples / ours.wall, "forward": calls * size / theirs.wall}
    details = {
        "examples": num_examples,
        "tokens of an example": each,
        "a second": rates,
        "batch": size,
        "batches": {"examples": size, "calls": calls},
        "ratio of processor time": num_examples / ours.cpu / (calls * size / theirs.cpu),
    }
    share = rates["features"] * each / (rates["forward"] * round(each))
    return Measured(f"{resolve(model).short_name}: pass over forward", share, 0.85, False, details)


def _made(examples: Examples, store: Store) -> Any:
    from surpass.engine.inline import run

    run([examples], store)
    return store.find(examples.kind, examples.id)


def _forward(model: Any, inputs: pa.Table) -> tuple[int, Callable[[int], dict[str, Tensor]]]:
    """How many tokens, or images, there are; and batches for the body."""
    encoded = model.encode(inputs)
    if not hasattr(encoded, "tokens"):
        rows = np.arange(max(SIZES)) % inputs.num_rows
        (pixels,) = encoded.in_turn([rows])
        images_NCHW = _normalised(model, pixels)
        return inputs.num_rows, lambda size: {"x": images_NCHW[:size]}
    total = int(sum(map(len, encoded.tokens)))
    length = round(total / inputs.num_rows)
    flat = np.concatenate(encoded.tokens)
    need = max(SIZES) * length
    tokens_NT = torch.from_numpy(np.resize(flat, need).reshape(-1, length))
    return total, lambda size: {"input_ids": tokens_NT[:size]}


def _normalised(model: Any, images_NHWC: Tensor) -> Tensor:
    preparation = model._reader[0].preparation
    images_NCHW = images_NHWC.permute(0, 3, 1, 2).float() * preparation.scale
    mean, std = (images_NCHW.new_tensor(each)[:, None, None] for each in (preparation.mean, preparation.std))
    return ((images_NCHW - mean) / std).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _call(model: Any, batch: dict[str, Tensor], times: int) -> None:
    if "input_ids" not in batch:
        for _ in range(times):
            model.body(batch["x"])
        return
    for _ in range(times):
        model.body(**batch)


def _rate(model: Any, batch: dict[str, Tensor], size: int) -> float:
    """Examples a second, the best of three tries behind one that warms up."""
    _call(model, batch, 1)
    calls = max(1, 64 // size)
    return max(calls * size / seconds(lambda: _call(model, batch, calls)).wall for _ in range(3))
