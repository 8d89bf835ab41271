"""Fine-tuning of the last layers alone: states below them kept, against computed at every step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measured import Measured, Seconds, median, seconds

from surpass.engine.inline import run
from surpass.environment import KEEP_BELOW
from surpass.models.adapters import find_adapter
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.stages import Examples
from surpass.store import Store
from surpass.tasks import find_task
from surpass.train import below
from surpass.train.loop import Labels, fit, label
from surpass.train.recipe import Recipe

MODEL = "package:minilm-l6"
ADAPTER = "last(layers=2)"
LOSSES = ("xent", "confidence", "product", "gce", "adaptconf")
APART = 1e-5


class Students:
    """All losses one after the other on the same texts, and what each student says of them.

    Args:
        inputs: The texts.
        epochs: Of each fit.
        keep: What the process may keep, as `SURPASS_KEEP_BELOW` says it.
        losses: Of the students.
    """

    def __init__(self, inputs: pa.Table, epochs: int, keep: str, losses: Sequence[str] = LOSSES) -> None:
        self._inputs, self._keep, self._losses = inputs, keep, losses
        self._recipe = Recipe(epochs=epochs, batch_size=32, learning_rate=1e-4)
        rng = np.random.default_rng(0)
        first_N = rng.random(inputs.num_rows, dtype=np.float32)
        self._labels = Labels(list(np.stack([first_N, 1 - first_N], axis=1)), np.ones_like(first_N))
        self._models: list[Any] = []
        self.losses: list[np.ndarray] = []
        self.said: list[np.ndarray] = []

    def prepare(self) -> None:
        """Load the models, whose weights are no part of the comparison, and forget all states."""
        below.forget()
        self._models = []
        for _ in self._losses:
            torch.manual_seed(0)
            model = load_model(resolve(MODEL), self._inputs)
            find_adapter(ADAPTER)(model)
            model.origin_below = resolve(MODEL).digest
            self._models.append(model)

    def __call__(self) -> None:
        """Train and label."""
        self.losses, self.said = [], []
        os.environ[KEEP_BELOW] = self._keep
        try:
            for model, loss in zip(self._models, self._losses, strict=True):
                examples = model.encode(self._inputs)
                curve = fit(model, examples, self._labels, loss=loss, recipe=self._recipe, seed=0)
                self.losses.append(curve.numpy())
                known = below.with_below(model, examples, self._inputs.num_rows, passes=1)
                self.said.append(np.stack(label(model, known, [2] * self._inputs.num_rows)))
        finally:
            del os.environ[KEEP_BELOW]


class Setup(NamedTuple):
    """What is compared: so many losses, each for so many epochs."""

    num_losses: int
    epochs: int
    bound: float


SETUPS = (Setup(1, 1, 0.9), Setup(1, 3, 1.2), Setup(5, 3, 1.5))


def kept(
    folder: Path, num_texts: int, work: Path, rounds: int, clock: str, setups: Sequence[Setup] = SETUPS
) -> list[Measured]:
    """Students of texts of SST-2, with states kept over the same without, in turns.

    Raises:
        AssertionError: Curves or labels differ by more than 1e-5.
    """
    texts = Examples(task=find_task(f"sst2(source={folder})"), part="weak", size=num_texts, seed=0)
    store = Store(work / "texts-frozen")
    run([texts], store)
    artifact = store.find(texts.kind, texts.id)
    assert artifact is not None
    inputs = pq.read_table(artifact.file("inputs.parquet"))
    return [compared(inputs, rounds, clock, setup) for setup in setups]


def compared(inputs: pa.Table, rounds: int, clock: str, setup: Setup) -> Measured:
    """One line of the table: training and labelling the same texts."""
    one, other = (Students(inputs, setup.epochs, keep, LOSSES[: setup.num_losses]) for keep in ("", "0"))
    times: list[list[Seconds]] = []
    for _ in range(rounds + 1):
        one.prepare()
        ours = seconds(one)
        other.prepare()
        times.append([ours, seconds(other)])
    ours, theirs = (median(side) for side in zip(*times[1:], strict=True))  # the first is warm-up
    pairs = zip(one.losses + one.said, other.losses + other.said, strict=True)
    apart = max(float(np.abs(left - right).max()) for left, right in pairs)
    students = f"{setup.num_losses} student{'s' * (setup.num_losses > 1)}"
    epochs = f"{setup.epochs} epoch{'s' * (setup.epochs > 1)}"
    if apart > APART:
        raise AssertionError(f"{students}, {epochs}: curves or labels differ by {apart}")
    ratios = {"wall": theirs.wall / ours.wall, "cpu": theirs.cpu / ours.cpu}
    details = {
        "ratios": ratios,
        "seconds": {"kept": ours, "computed": theirs},
        "furthest_apart": apart,
        "texts": inputs.num_rows,
        "clock": clock,
    }
    what = f"{ADAPTER} of MiniLM-L6, {students} of {epochs}: times as fast with states kept as without"
    return Measured(what, ratios[clock], setup.bound, False, details)
