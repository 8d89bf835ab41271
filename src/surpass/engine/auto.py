"""The auto engine: a pool where that is faster than this process alone, else inline.

Small models leave a second thread little to do: on two cores, two processes with one thread each take the
quick study of chess in two thirds of the time of one process with two. So a pool it is where several stages
can run at a time for long enough, all models are small, and each worker's copy of everything has room.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler

from surpass.engine import inline, pool
from surpass.engine.agenda import Agenda
from surpass.engine.crew import num_devices, total_threads, with_upstream
from surpass.engine.graph import Graph, outstanding
from surpass.engine.ordering import OVERHEAD, urgency
from surpass.engine.progress import Display, Estimate, Silent
from surpass.engine.work import Settings
from surpass.errors import SurpassError
from surpass.memory import available
from surpass.models.sources import resolve
from surpass.stages import Stage
from surpass.store import Store

WORTH_SECONDS = 30.0
"""Work, by its estimate, for which it is worth to start workers."""

_SMALL_FLOPS = 2e8
_SMALL_PARAMETERS = 3_000_000
_WORKER_BYTES = 700e6
_MEMORY_SHARE = 0.5
_SIDE_BY_SIDE = 1.5
_MOST_STAGES = 10_000


def run(
    targets: Sequence[Stage],
    store: Store,
    *,
    settings: Settings = Settings(),  # noqa: B008
    display: Callable[[Sequence[Stage]], Display] = lambda _: Silent(),
) -> int:
    """Compute whatever is missing for the targets, each stage once, by the engine that is faster here.

    Args:
        targets: Stages whose artifacts are wanted.
        store: Where artifacts are.
        settings: How to carry it out; `workers` counts for nothing.
        display: Makes what shows the progress of the stages to do.

    Returns:
        How many stages were computed.

    Raises:
        SurpassError: A stage failed; the message names it. What was published stays.
    """
    workers = workers_for(targets, store, settings)
    if workers is None:
        return inline.run(targets, store, settings=settings, display=display)
    return pool.run(targets, store, settings=replace(settings, workers=workers), display=display)


def workers_for(targets: Sequence[Stage], store: Store, settings: Settings) -> int | None:
    """How many workers compute the targets faster than this process; None where it is better alone."""
    threads = total_threads(settings)
    if settings.threads is not None or settings.mesh is not None or threads < 2 or not store.is_shared:
        return None
    if len(targets) > _MOST_STAGES or num_devices():
        return None
    graph = outstanding(targets, lambda stage: store.contains(stage.kind, stage.id))
    workers = min(threads, side_by_side(graph), _room())
    if workers < 2 or Estimate(graph.to_do).seconds() < WORTH_SECONDS:
        return None
    if not all(is_small(stage) for stage in graph.to_do) or not crosses(graph):
        return None
    return workers


def side_by_side(graph: Graph) -> int:
    """How many stages can run at a time, on average over the run at its shortest."""
    if not graph.to_do:
        return 0
    longest = max(urgency(Agenda(graph), graph).values())
    ratio = sum(stage.cost + OVERHEAD for stage in graph.to_do) / longest
    return math.floor(ratio) if ratio >= 2 else 2 if ratio >= _SIDE_BY_SIDE else 1


def is_small(stage: Stage) -> bool:
    """Whether one thread does nearly as well as several: no model, or a small one that runs by itself.

    What runs together is large products, in which several threads pay.
    """
    model = getattr(stage, "model", None)
    if stage.together is not None:
        return False
    if not isinstance(model, str):
        return True
    try:
        source = resolve(model)
    except SurpassError:  # whoever computes it says what is wrong
        return False
    return source.flops <= _SMALL_FLOPS and source.parameters <= _SMALL_PARAMETERS


def crosses(graph: Graph) -> bool:
    """Whether the stages can be told to other processes: nothing in them belongs to this one alone."""
    try:
        told = ForkingPickler.dumps((with_upstream(graph), graph.instead))
    except Exception:  # whatever an object says that is made for one process
        return False
    return b"__main__" not in bytes(told)


def _room() -> int:
    """How many workers half of the memory holds."""
    return int(_MEMORY_SHARE * (available() or 0) / _WORKER_BYTES)
