"""Many heads at once: all that are trained on frozen states take each step together.

Heads of one model on equal batches are one matrix product, whatever their labels and losses; those on other
batches as long are one call with them. Heads with one loss are one call of it, whatever model they are of;
heads of one shape share an optimizer step. Each keeps its own batches, schedule and end, so that it comes out
as if trained alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from surpass.errors import Stopped, SurpassError
from surpass.train.full_batch import fit_full_batch
from surpass.train.lanes import Lane, Trained
from surpass.train.lockstep import Heads


def fit_heads(lanes: Sequence[Lane]) -> list[Trained | SurpassError]:
    """Train all heads, each as if alone to rounding.

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
    """Train heads with as many outputs."""
    heads, running, saved = Heads(lanes), lanes[0].running, time.monotonic()
    reports = {id(lane.running.report): lane.running.report for lane in lanes}
    for step in range(heads.most):
        heads.step(step)
        heads.look(step)
        stop, now = running.stop(), time.monotonic()
        if stop or now - saved > running.checkpoint_seconds:
            heads.save(step + 1)
            saved = now
        if stop:
            raise Stopped("stopped; run the same command again to go on from here")
        for report in reports.values():
            report((step + 1) / heads.most)
    return heads.results()
