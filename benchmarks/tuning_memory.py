"""The memory of fine-tuning: its peak against weights, gradients, optimizer and activations of a micro-batch.

    python benchmarks/tuning_memory.py MODEL BATCH MICRO_BATCH TOKENS EXAMPLES THREADS

runs in a process of its own, reads the examples twice and prints its peak.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from measured import Measured

from surpass.memory import highest, resident
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.models.tokens import TokenExamples
from surpass.train.loop import Labels, Running, fit
from surpass.train.recipe import Recipe

BOUND = 1.1
SMALL, LARGE, TOKENS = 8, 256, 32
_WARM = 2


def probe(name: str, batch: int, micro_batch: int, num_tokens: int, num_examples: int) -> dict[str, float]:
    """Two epochs of texts of one length; bytes of this process, and what of them is accounted for."""
    candidates = pa.array([[0, 1]] * num_examples, pa.list_(pa.uint16()))
    ids = [f"e{number}" for number in range(num_examples)]
    inputs = pa.table({"id": ids, "text": ["a"] * num_examples, "candidates": candidates})
    model = load_model(resolve(name), inputs)
    random = np.random.default_rng(0)
    words = model.body.config.vocab_size
    examples = TokenExamples([random.integers(words // 2, words, num_tokens) for _ in range(num_examples)])
    _load_libraries(model, examples)
    before = resident() or 0
    weights = sum(parameter.nbytes for parameter in model.parameters())
    probs_NC = np.eye(2, dtype=np.float32)[np.arange(num_examples) % 2]
    labels = Labels(list(probs_NC), np.ones(num_examples, np.float32))
    fit(
        model,
        examples,
        labels,
        loss="xent",
        recipe=Recipe(epochs=2, batch_size=batch, learning_rate=1e-6),
        seed=0,
        running=Running(micro_batch=micro_batch),
    )
    peak = highest()
    for parameter in model.parameters():
        parameter.grad = None
    kept = activations(model, examples, np.arange(micro_batch))
    return {
        "peak": float(peak),
        "before": float(before),
        "weights": float(weights),
        "gradients": float(weights),
        "optimizer": 2.0 * weights,
        "activations": kept,
    }


def _load_libraries(model: Any, examples: TokenExamples) -> None:
    """Whatever is imported or made at the first pass and the first step, but nothing of the model's size."""
    with torch.no_grad():
        model(examples, np.arange(_WARM))
    small = torch.nn.Linear(_WARM, _WARM)
    optimizer = torch.optim.AdamW(small.parameters(), fused=True)
    small(torch.ones(_WARM, _WARM)).sum().backward()
    optimizer.step()


def activations(model: Any, examples: Any, rows: Any) -> float:
    """Bytes that a forward pass keeps for the backward pass, weights not counted, each storage once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        logits_NC = model(examples, rows)
        found = float(sum(kept.values()))
    del logits_NC
    return found


def peaks(models: Sequence[str], threads: int) -> list[Measured]:
    """A small batch of each against what it must take; of the first a large one in as small pieces, too.

    Either size of batch reads the same texts, as many as are in a large one: what a fit keeps of the table of
    embeddings depends on them.
    """
    found = []
    for place, model in enumerate(models):
        said = {batch: _run(model, batch, threads) for batch in ((SMALL,) if place else (SMALL, LARGE))}
        name = resolve(model).short_name
        for batch, each in said.items():
            parts = sum(each[part] for part in ("weights", "gradients", "optimizer", "activations"))
            # What the process holds beside the model before training, such as libraries, is not the fit's.
            above = each["peak"] - (each["before"] - each["weights"])
            what = f"{name}, batch {batch} by {SMALL}: memory over what a fit needs"
            found.append(Measured(what, above / parts, BOUND, True, each))
        if not place:
            what = f"{name}: memory of batch {LARGE} over batch {SMALL}, both by {SMALL}"
            ratio = said[LARGE]["peak"] / said[SMALL]["peak"]
            found.append(Measured(what, ratio, BOUND, True, {"batches": [LARGE, SMALL]}))
    return found


def _run(model: str, batch: int, threads: int) -> dict[str, float]:
    numbers = map(str, (batch, SMALL, TOKENS, LARGE, threads))
    command = [sys.executable, str(Path(__file__)), model, *numbers]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(said)
    return found


if __name__ == "__main__":
    *of_probe, threads = map(int, sys.argv[2:])
    torch.set_num_threads(threads)
    print(json.dumps(probe(sys.argv[1], *of_probe)))
