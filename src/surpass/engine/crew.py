"""The processes of the pool: how they start, what each has of the machine, and how they end.

They are new interpreters, not forks, and know nothing of the script that started them: it needs no
`if __name__ == "__main__"`, and a notebook will do.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from surpass.engine.graph import Graph
from surpass.engine.messages import Message, Order, Setup, cannot_be_sent
from surpass.engine.work import Settings, never
from surpass.stages import Stage
from surpass.store import Store

DEVICE = "SURPASS_DEVICE"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from surpass.engine.worker import main; main(int(sys.argv[1]))"
)
_PATIENCE_SECONDS = 5.0


class Worker:
    """A process, and what it is at.

    Attributes:
        number: From 0; decides on its device.
        stages: What it was told to compute and has not finished, by id.
        occupied: Whether it has still to say how its last order ended.
        ready: Whether it has understood its setup.
    """

    def __init__(self, number: int, environment: dict[str, str]) -> None:
        self.number = number
        self.stages: dict[str, Stage] = {}
        self.occupied = False
        self.ready = False
        ours, theirs = socket.socketpair()
        with theirs:
            warnings = [f"-W{option}" for option in sys.warnoptions]
            command = [sys.executable, *warnings, "-c", _START, str(theirs.fileno()), json.dumps(sys.path)]
            self.process = subprocess.Popen(
                command,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,  # a Ctrl-C in the terminal is for the driver
            )
        self.link: Connection[Any, Message] = Connection(ours.detach())

    def send(self, message: object) -> None:
        """Tell it something; that it is dead is noticed when it is listened to."""
        with suppress(OSError):
            self.link.send(message)

    def order(self, stages: Sequence[Stage]) -> None:
        """Let it compute stages, as soon as it is set up."""
        self.stages = {stage.id: stage for stage in stages}
        self.occupied = True
        if self.ready:
            self.send(Order(list(self.stages)))

    def relieve(self) -> dict[str, Stage]:
        """Its order has ended; what it has not finished."""
        stages, self.stages, self.occupied = self.stages, {}, False
        return stages

    def end(self) -> None:
        """Let it end, by force if it does not; `close` comes before, for all."""
        try:
            self.process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """Hang up: it drops what it is at, and ends."""
        self.link.close()

    def fate(self) -> str:
        """How it ended, for people."""
        self.close()
        self.end()
        code = self.process.returncode
        if code >= 0:
            return f"ended with code {code}"
        with suppress(ValueError):
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"was killed by {name}{hint}"
        return f"was killed by signal {-code}"


class Crew:
    """The workers, started when there is something for them to do.

    Attributes:
        store: Where artifacts are.
        size: How many there may be.
        stages: All that they may be asked for, and what these take from.
        workers: Those that live.
        stillborn: How many have died one after another before they could be set up.
    """

    def __init__(self, store: Store, settings: Settings, graph: Graph) -> None:
        self.store, self.settings, self.instead = store, settings, graph.instead
        self.devices = num_devices()
        threads = total_threads(settings)
        self.size = min(settings.workers or self.devices or threads, len(graph.to_do))
        self.threads = max(1, threads // (settings.workers or self.devices or threads))
        self.stages = with_upstream(graph)
        self.workers: list[Worker] = []
        self.stillborn = 0

    def busy(self) -> set[str]:
        """Ids of the stages that are given out."""
        return {id for worker in self.workers for id in worker.stages}

    def free(self) -> int:
        """How many workers have nothing to do, or could be started."""
        return self.size - sum(worker.occupied for worker in self.workers)

    def take(self) -> Worker:
        """A worker that has nothing to do, if need be a new one; there is one while `free`."""
        for worker in self.workers:
            if not worker.occupied:
                return worker
        number = next(n for n in count() if all(n != worker.number for worker in self.workers))
        worker = Worker(number, share_of(number, threads=self.threads, devices=self.devices))
        self.workers.append(worker)
        return worker

    def set_up(self, worker: Worker) -> None:
        """Tell a new worker what it needs to know, and what it was ordered meanwhile.

        Raises:
            SurpassError: It cannot be told.
        """
        self.stillborn = 0
        settings = replace(self.settings, threads=self.threads, stop=never)
        level, root = logging.getLogger().level, str(self.store.root)
        try:
            worker.send(Setup(os.getpid(), root, settings, self.stages, self.instead, level))
        except Exception as error:  # whatever an object says that is made for one process
            raise cannot_be_sent(error) from error
        worker.ready = True
        if worker.occupied:
            worker.order(list(worker.stages.values()))

    def bury(self, worker: Worker) -> str:
        """Forget a worker that died; how that was, for people."""
        self.workers.remove(worker)
        self.stillborn += not worker.ready
        return worker.fate()

    def close(self) -> None:
        """End all of them, now."""
        for worker in self.workers:
            worker.close()
        for worker in self.workers:
            worker.end()


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


def total_threads(settings: Settings) -> int:
    """Threads that all workers may have together."""
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
    """The environment of a worker: its share of the threads, and its device."""
    environment = dict.fromkeys(_THREADS, str(threads))
    if devices:
        environment[DEVICE] = f"cuda:{number % devices}"
    return environment
