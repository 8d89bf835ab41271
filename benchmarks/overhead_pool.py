"""Two workers against one process of two threads, for `overhead.py`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from measured import Measured

from surpass.engine.engines import find_engine
from surpass.engine.progress import Silent
from surpass.engine.work import Settings
from surpass.lineage import ancestry
from surpass.recipes.chess import chess
from surpass.stages import Examples, Fit, Stage
from surpass.store import Store
from surpass.study import Study, targets

THREADS = 2
_WARM_FITS = 4  # until then workers may still be importing


class Clock(Silent):
    """Notes when fits are finished."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__(stages)
        self.times: list[float] = []

    def finished(self, stage: Stage, seconds: float) -> None:
        """A stage is there."""
        super().finished(stage, seconds)
        if isinstance(stage, Fit):
            self.times.append(time.perf_counter())


def small_fits(seeds: int) -> Study:
    """Three small fits a seed: the lowest rung of the ladder supervises the next."""
    pairs = (("ladder:chess-1", "ladder:chess-2"),)
    study = chess().replace(
        pairs=pairs, methods=("naive",), seeds=tuple(range(seeds)), num_train=1000, num_test=300
    )
    return study.replace(recipe=replace(study.recipe, epochs=2))


def pool_against_inline(folder: Path, *, seeds: int, rounds: int) -> list[Measured]:
    """Throughput of two workers of one thread over that of one process of two threads, in turns.

    Examples are there before: drawing them is no fit, and the pool does all of that first.
    """
    study = small_fits(seeds)
    wanted = [stage for row in study.rows() for stage in targets(row)]
    examples = [
        stage for target in wanted for stage in ancestry(target).values() if isinstance(stage, Examples)
    ]
    whole: dict[str, list[float]] = {"inline": [], "pool": []}
    warm: dict[str, list[float]] = {"inline": [], "pool": []}
    for number in range(rounds):
        for engine in whole:
            store = Store(folder / f"{engine}-{number}")
            _run("inline", examples, store)
            began, clock = _run(engine, wanted, store)
            whole[engine].append(time.perf_counter() - began)
            later = clock.times[_WARM_FITS - 1 :]
            warm[engine].append((later[-1] - later[0]) / (len(later) - 1))
    details: dict[str, Any] = {"seconds": whole, "seconds per fit once warm": warm, "fits": 3 * seeds}
    ratio = {
        what: statistics.median(i / p for i, p in zip(times["inline"], times["pool"], strict=True))
        for what, times in (("with start", whole), ("once warm", warm))
    }
    details["ratio with the start of workers"] = ratio["with start"]
    return [Measured("pool of 2 over inline: throughput once warm", ratio["once warm"], 1.6, False, details)]


def _run(engine: str, wanted: Sequence[Stage], store: Store) -> tuple[float, Clock]:
    clocks: list[Clock] = []

    def display(stages: Sequence[Stage]) -> Clock:
        clocks.append(Clock(stages))
        return clocks[-1]

    settings = Settings(threads=THREADS, workers=2 if engine == "pool" else None)
    compute = find_engine(engine, settings)
    began = time.perf_counter()
    compute(wanted, store, settings=settings, display=display)
    return began, clocks[0]
