"""The rate of fine-tuning and of labelling, in needed arithmetic, against a matrix product of the same run.

What is needed is counted from the model's shapes: for each token of a text, the products of its layers, and
attention within the text; embeddings, norms, activations, padding and the optimizer count nothing. A step of
training needs three times a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from measured import Measured, Seconds, median, seconds

from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.train.loop import Labels, fit, label
from surpass.train.recipe import Recipe

SIDE = 1024
_PASSES = 3
TUNING, LABELLING = 0.6, 0.7


def needed(model: Any, examples: Any, num_examples: int) -> float:
    """Floating-point operations of a forward pass over these texts."""
    config = model.body.config
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    length_N = examples.lengths_N(np.arange(num_examples)).astype(np.float64)
    each_N = length_N * 2 * (4 * width**2 + 2 * width * inner) + 4 * length_N**2 * width
    return float(layers * each_N.sum())


def product() -> Callable[[], object]:
    """A matrix product, of `product_flops()` operations."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIDE, SIDE, generator=generator) for _ in range(2))
    return lambda: left @ right


def product_flops() -> float:
    """Of one product."""
    return 2.0 * SIDE**3


def rates(name: str, inputs: pa.Table, rounds: int, batch: int, clock: str) -> list[Measured]:
    """Fine-tuning and labelling of some texts, each in turns with matrix products before and behind.

    Args:
        name: A model.
        inputs: Texts of two classes.
        rounds: How often.
        batch: Examples of an optimizer step.
        clock: "wall" or "cpu".
    """
    torch.manual_seed(0)
    model = load_model(resolve(name), inputs)
    examples, count = model.encode(inputs), inputs.num_rows
    probs = list(np.eye(2, dtype=np.float32)[np.arange(count) % 2])
    labels = Labels(probs, np.ones(count, np.float32))
    recipe = Recipe(epochs=1, batch_size=batch, learning_rate=1e-6)
    work = needed(model, examples, count)
    runs = {
        "fine-tuning": (
            3 * work,
            TUNING,
            lambda: fit(model, examples, labels, loss="xent", recipe=recipe, seed=0),
        ),
        "labelling": (work, LABELLING, lambda: label(model, examples, [2] * count)),
    }
    multiply = product()
    times = max(1, int(work / 4 / product_flops()))
    found = []
    for what, (flops, bound, run) in runs.items():
        run()
        shares, taken = [], []
        for _ in range(rounds):
            before = seconds(lambda: [multiply() for _ in range(times)])
            taken.append(seconds(run))
            behind = seconds(lambda: [multiply() for _ in range(times)])
            rate = 2 * times * product_flops() / (_time(before, clock) + _time(behind, clock))
            shares.append(flops / _time(taken[-1], clock) / rate)
        details = {
            "shares": shares,
            "seconds": median(taken),
            "needed GFLOP": flops / 1e9,
            "GFLOP a second": flops / 1e9 / _time(median(taken), clock),
            "examples": count,
            "tokens": int(examples.lengths_N(np.arange(count)).sum()),
            "batch": batch,
            "clock": clock,
        }
        value = float(np.median(shares))
        short = resolve(name).short_name
        found.append(Measured(f"{short}: {what}, share of the matrix rate", value, bound, False, details))
    return found


def _time(taken: Seconds, clock: str) -> float:
    return taken.wall if clock == "wall" else taken.cpu
