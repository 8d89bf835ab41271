"""Chess policies: their steps against the convolution library's, and the quick study as a user types it.

A step of a fit or of pretraining needs three forward passes of the policy (`PolicyConfig.flops`). Its rate is
held against that of the same policy's convolutions alone, forward and backward on the same batch, in turns:
what the library reaches with nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measured import Measured, Seconds, seconds, table
from torch import Tensor, nn

import surpass
from surpass import labels as lb
from surpass.allocator import keep_freed
from surpass.engine import auto, inline
from surpass.engine.work import Settings
from surpass.ladder.games import Positions
from surpass.ladder.pretrain import BATCH, RUNGS, _batch, _Training
from surpass.models.families import load_model
from surpass.models.planes import NUM_PLANES
from surpass.models.policy import PolicyConfig
from surpass.models.sources import resolve
from surpass.recipes.chess import FINE_TUNING, chess
from surpass.store import Store
from surpass.study import targets
from surpass.tasks.chess import ChessTask
from surpass.train.loop import Labels, fit
from surpass.train.recipe import Recipe

_FORWARD_AND_BACKWARD = 3
SHARES = {("fit", "chess-3"): 0.5, ("fit", "chess-5"): 0.65, ("pretraining", "chess-5"): 0.65}
"""Of the library's rate, at least; by what and rung."""


class Convolutions:
    """The convolutions of a policy on one batch, one after the other, each on random features."""

    def __init__(self, config: PolicyConfig, batch: int) -> None:
        widths = [NUM_PLANES, *[config.channels] * (2 * config.blocks)]
        self.layers = [nn.Conv2d(width, config.channels, 3, padding=1) for width in widths]
        self.seen = [_features(batch, width) for width in widths]
        for seen, layer in zip(self.seen, self.layers, strict=True):
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            seen.requires_grad_(seen is not self.seen[0])
        self.slope = _features(batch, config.channels)
        trunk = 9 * sum(width * config.channels for width in widths) * 64 * 2
        # No gradient of the planes is needed, here as in a fit.
        self.flops = float(batch * (3 * trunk - 9 * NUM_PLANES * config.channels * 64 * 2))

    def __call__(self) -> None:
        """Forward and backward."""
        for seen, layer in zip(self.seen, self.layers, strict=True):
            layer(seen).backward(self.slope)
            layer.zero_grad()
            seen.grad = None


def _features(batch: int, width: int) -> Tensor:
    random = torch.Generator().manual_seed(width)
    return torch.randn(batch, 8, 8, width, generator=random).permute(0, 3, 1, 2)


def fitting(name: str, num_examples: int) -> tuple[Callable[[], object], int]:
    """Fine-tuning a rung on puzzles, an epoch; and how many steps that is."""
    tables = ChessTask().examples(part="student", size=num_examples, seed=0, mix="source")
    model = load_model(resolve(f"ladder:{name}"), tables.inputs)
    truth = lb.truth_labels(tables.truth, lb.num_candidates_of(tables.inputs))
    labels = Labels(lb.rows(truth), lb.weights(truth))
    recipe = Recipe(epochs=1, batch_size=FINE_TUNING.batch_size, learning_rate=1e-6)
    examples = model.encode(tables.inputs)
    return lambda: fit(model, examples, labels, loss="xent", recipe=recipe, seed=0), num_examples // 32


def pretraining(name: str, num_steps: int) -> tuple[Callable[[], object], int]:
    """Steps of pretraining a rung, on puzzles in place of games; and how many."""
    tables = ChessTask().examples(part="student", size=2048, seed=0)
    packed = b"".join(tables.inputs["board"].to_pylist())
    candidates, places = tables.inputs["candidates"].to_pylist(), tables.truth["truth"].to_pylist()
    played = [moves[place] for moves, place in zip(candidates, places, strict=True)]
    positions = Positions(np.frombuffer(packed, np.uint8).reshape(-1, 34), np.array(played, np.uint16))
    keep_freed()  # as `pretrain` does
    training = _Training(RUNGS[name], 0)
    training.policy.train()

    def steps() -> None:
        for step in range(num_steps):
            rows = np.arange(BATCH) + step * BATCH % len(positions)
            training.update(*_batch(positions, rows))

    return steps, num_steps


def share(what: str, name: str, *, rounds: int, size: int) -> Measured:
    """Of the convolution library's rate, in turns; processor time."""
    batch = FINE_TUNING.batch_size if what == "fit" else BATCH
    run, num_steps = fitting(name, 32 * size) if what == "fit" else pretraining(name, max(2, size // 8))
    convolutions, config = Convolutions(RUNGS[name].config, batch), RUNGS[name].config
    run()
    convolutions()
    shares, taken = [], []
    for _ in range(rounds):
        plain = seconds(lambda: [convolutions() for _ in range(num_steps)])
        taken.append(seconds(run))
        behind = seconds(lambda: [convolutions() for _ in range(num_steps)])
        rate = 2 * num_steps * convolutions.flops / (plain.cpu + behind.cpu)
        needed = convolutions.flops + _FORWARD_AND_BACKWARD * batch * _head(config)
        shares.append(num_steps * needed / taken[-1].cpu / rate)
    cpu = statistics.median(each.cpu for each in taken) / num_steps
    details = {"shares": shares, "milliseconds a step": 1000 * cpu, "batch": batch, "steps": num_steps}
    label = f"{name}: {what}, share of the convolution library's rate"
    return Measured(label, statistics.median(shares), SHARES[what, name], False, details)


def _head(config: PolicyConfig) -> float:
    """Operations of the head's keys for one position; their products with each other are left out."""
    return 2.0 * 64 * 2 * config.channels * config.key_dim


def quick_study(folder: Path, rounds: int) -> list[Measured]:
    """The quick study of chess as the command computes it, over one process, in turns."""
    times: dict[str, list[Seconds]] = {"auto": [], "inline": []}
    for number in range(rounds):
        for name, engine in (("inline", inline.run), ("auto", auto.run)):
            wanted = [stage for row in chess().rows() for stage in targets(row)]
            store = Store(folder / f"{name}-{number}")
            times[name].append(seconds(lambda: engine(wanted, store, settings=Settings())))  # noqa: B023
    wall = {name: statistics.median(each.wall for each in taken) for name, taken in times.items()}
    details = {name: [each.wall for each in taken] for name, taken in times.items()}
    faster = wall["inline"] / wall["auto"]
    return [Measured("chess, quick study: one process over the default", faster, 1.3, False, details)]


def against_before(before: Path, folder: Path, rounds: int) -> Measured:
    """The quick study as a user types it, over the same of an earlier source tree, in turns."""
    took: dict[str, list[float]] = {"before": [], "now": []}
    sources = {"before": before.resolve(), "now": Path(surpass.__file__).parents[1]}
    for number in range(rounds):
        for name, source in sources.items():
            store, environment = str(folder / f"{name}-{number}"), os.environ | {"PYTHONPATH": str(source)}
            command = [sys.executable, "-m", "surpass", "run", "chess", "--store", store]
            run = partial(subprocess.run, command, cwd=folder, check=True, capture_output=True)
            took[name].append(seconds(partial(run, env=environment)).wall)
    ratio = statistics.median(took["now"]) / statistics.median(took["before"])
    return Measured("chess, quick study: over that of commit 67fa2e3", ratio, 0.5, True, took)


def main(arguments: Sequence[str] | None = None) -> list[Measured]:
    """Measure everything; rates with one thread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=60, help="Steps of a fit in each turn.")
    parser.add_argument("--only", choices=("rates", "study"))
    parser.add_argument("--before", type=Path, help="The folder src of a checkout of commit 67fa2e3.")
    options = parser.parse_args(arguments)
    found = []
    before = torch.get_num_threads()
    if options.only != "study":
        torch.set_num_threads(1)
        found += [share(*each, rounds=options.rounds, size=options.size) for each in SHARES]
        torch.set_num_threads(before)
    if options.only != "rates":
        with tempfile.TemporaryDirectory() as folder:
            found += quick_study(Path(folder), max(1, options.rounds // 5))
            if options.before is not None:
                found.append(against_before(options.before, Path(folder), (options.rounds + 1) // 2))
    print(table(found))
    return found


if __name__ == "__main__":
    main()
