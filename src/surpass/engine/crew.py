"""What the driver needs of those who compute, wherever they are, and what each gets of a machine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from surpass.allocator import preloaded
from surpass.engine.graph import Graph
from surpass.engine.messages import Message
from surpass.engine.ordering import reads_model_of
from surpass.engine.work import Settings, never
from surpass.environment import DEVICE, THREAD_VARIABLES
from surpass.stages import Stage

_MODELS = 8


class Worker:
    """Whoever deals with one order at a time, and what it is at.

    Attributes:
        stages: What it was told to compute and has not finished, by id.
        occupied: Whether it has still to say how its last order ended.
        models: Ids of the stages whose models it gave or read last.
    """

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self.occupied = False
        self.models: deque[str] = deque(maxlen=_MODELS)

    def occupy(self, stages: Sequence[Stage]) -> None:
        """It was given an order."""
        self.stages = {stage.id: stage for stage in stages}
        self.occupied = True
        self.models += [(reads_model_of(stage) or stage).id for stage in stages[:_MODELS]]

    def has_loaded(self, stages: Sequence[Stage]) -> bool:
        """Whether the model that the first of these reads is likely to be in its memory."""
        model = reads_model_of(stages[0])
        return model is not None and model.id in self.models

    def relieve(self) -> dict[str, Stage]:
        """Its order has ended; what it has not finished."""
        stages, self.stages, self.occupied = self.stages, {}, False
        return stages


class Lost(NamedTuple):
    """A worker is gone.

    Attributes:
        fate: How it ended, for people: `died` and the like.
        blamed: Whether its stages may be the reason.
    """

    fate: str
    blamed: bool = True


News = tuple[Worker, Message | Lost]


class Crew(Protocol):
    """Workers of one kind: processes here, tasks of a Ray cluster, jobs of Slurm.

    Attributes:
        size: How many orders are dealt with at a time, at most.
        stages: All that may be asked for, and what these take from, each behind what it takes from.
    """

    size: int
    stages: list[Stage]

    @property
    def workers(self) -> list[Worker]:
        """Those that there are."""
        ...

    def free(self) -> int:
        """How many orders would be begun now."""
        ...

    def give(self, stages: Sequence[Stage]) -> None:
        """Let somebody who is free compute stages, together if they are several."""
        ...

    def news(self, seconds: float) -> Iterator[News]:
        """What workers say, in order; waits for the first of it, but no longer than that.

        Whoever says `Ended` or `Halted` or is `Lost` is at nothing any more, once it was relieved.
        """
        ...

    def halt(self) -> None:
        """Let all save what runs, and stop."""
        ...

    def close(self) -> None:
        """End all of them, now."""
        ...


def with_upstream(graph: Graph) -> list[Stage]:
    """All stages that running a graph may ask for, each behind what it takes from."""
    found: dict[str, Stage] = {}
    ahead = [(stage, False) for stage in reversed(graph.to_do)]
    while ahead:
        stage, seen = ahead.pop()
        if stage.id in found:
            continue
        if seen:
            found[stage.id] = stage
            continue
        ahead.append((stage, True))
        ahead += [(before, False) for before in (*stage.upstream, *graph.needs(stage))]
    return list(found.values())


def for_worker(settings: Settings, threads: int) -> Settings:
    """The settings of one worker, which has so many threads and is told otherwise when to stop."""
    return replace(settings, threads=threads, stop=never)


def total_threads(settings: Settings) -> int:
    """Threads that all workers on this machine may have together."""
    if settings.threads is not None:
        return settings.threads
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else len(os.sched_getaffinity(0))


def num_devices() -> int:
    """Accelerators of NVIDIA's or AMD's kind that can be used; torch is imported where there may be some."""
    if DEVICE in os.environ or not (Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists()):
        return 0
    import torch

    return torch.cuda.device_count()


def share_of(number: int, *, threads: int, devices: int) -> dict[str, str]:
    """The environment of a worker: its share of the threads, its allocator, and its device."""
    environment = dict.fromkeys(THREAD_VARIABLES, str(threads)) | preloaded()
    if devices:
        environment[DEVICE] = f"cuda:{number % devices}"
    return environment
