"""Many heads at once: all that are trained on frozen states take each step together.

Heads of one model on equal batches are one matrix product, whatever their labels and losses; those on other
batches as long are one call with them. Heads with one loss are one call of it, whatever model they are of;
heads of one shape share an optimizer step. Each keeps its own batches, schedule and end, so that it comes out
as if trained alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import torch

from surpass.errors import Stopped, SurpassError
from surpass.train.full_batch import fit_full_batch
from surpass.train.lanes import Lane, Trained
from surpass.train.lockstep import Heads
from surpass.train.shares import shares_of
from surpass.train.side_by_side import side_by_side

_UNSTOPPED = 0.1
"""Seconds for which threads go on without waiting for each other."""


def fit_heads(lanes: Sequence[Lane]) -> list[Trained | SurpassError]:
    """Train all heads, each as if alone to rounding, in as many threads as torch has where that pays.

    Returns:
        For each head what it became, or why there is none: its training diverged, or its loss is none.

    Raises:
        Stopped: The first lane's `running.stop` said so; every head has saved where it is.
    """
    results: dict[int, Trained | SurpassError] = {}
    kinds: dict[tuple[object, ...], list[int]] = {}
    for place, lane in enumerate(lanes):
        alike = lane.shape if lane.recipe.optimizer == "lbfgs" else (lane.num_outputs,)
        kinds.setdefault((lane.recipe.optimizer, *alike), []).append(place)
    for (optimizer, *_), places in kinds.items():
        same = [lanes[place] for place in places]
        found: Sequence[Trained | SurpassError]
        found = fit_full_batch(same) if optimizer == "lbfgs" else _fit_in_steps(same)
        results |= zip(places, found, strict=True)
    return [results[place] for place in range(len(lanes))]


def _fit_in_steps(lanes: Sequence[Lane]) -> list[Trained | SurpassError]:
    """Train heads with as many outputs; only the steps themselves are in several threads."""
    shares = shares_of(lanes, torch.get_num_threads())
    several = [Heads([lanes[at] for at in share]) for share in shares]
    saved, most = time.monotonic(), max(heads.most for heads in several)
    running = lanes[0].running
    reports = {id(lane.running.report): lane.running.report for lane in lanes}
    with side_by_side(len(shares)) as run:
        step, length = 0, 1
        while step < most:
            began = time.monotonic()
            looks = [at + 1 for heads in several for at in heads.looks if at >= step]
            end = min([step + length, most, *looks])
            run([partial(heads.steps, step, end) for heads in several if step < heads.most])
            step, now = end, time.monotonic()
            for heads in several:
                heads.look(step - 1)
            stop = running.stop()
            if stop or now - saved > running.checkpoint_seconds:
                for heads in several:
                    heads.save(step)
                saved = now
            if stop:
                raise Stopped("stopped; run the same command again to go on from here")
            for report in reports.values():
                report(step / most)
            if len(several) > 1:  # to wait for each other takes as long as some steps
                length = 2 * length if now - began < _UNSTOPPED else max(1, length // 2)
    places = [at for share in shares for at in share]
    found = dict(zip(places, (each for heads in several for each in heads.results()), strict=True))
    return [found[at] for at in range(len(lanes))]
