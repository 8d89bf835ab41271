"""The pool engine: worker processes on this machine, which share its threads and its devices.

Stages cross to a worker once, when it starts, through the pipe of `multiprocessing`, so that ids, digests
and what tasks have read need not be made again; then they are named by ids. Workers are new interpreters,
not forks, and know nothing of the script that started them: it needs no `if __name__ == "__main__"`, and a
notebook will do.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import count
from multiprocessing.connection import Connection, wait
from typing import Any

from surpass.disk import disk_errors
from surpass.engine.crew import (
    Lost,
    News,
    Worker,
    for_worker,
    num_devices,
    share_of,
    total_threads,
    with_upstream,
)
from surpass.engine.driver import TRIES, drive
from surpass.engine.graph import Graph
from surpass.engine.messages import Broken, Failure, Halt, Halted, Hello, Order, Setup, cannot_be_sent
from surpass.engine.progress import Display, Silent
from surpass.engine.work import Settings
from surpass.stages import Stage
from surpass.store import Store
from surpass.store.batch import sync_file_system

_START = (
    "import atexit, gc, json, os, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "gc.disable(); from surpass.engine.worker import main; gc.enable(); main(int(sys.argv[1])); "
    "atexit._run_exitfuncs(); sys.stdout.flush(); sys.stderr.flush(); os._exit(0)"
    # Taking the interpreter apart would last half a second.
)
_PATIENCE_SECONDS = 5.0


def run(
    targets: Sequence[Stage],
    store: Store,
    *,
    settings: Settings = Settings(),  # noqa: B008
    display: Callable[[Sequence[Stage]], Display] = lambda _: Silent(),
) -> int:
    """Compute whatever is missing for the targets, each stage once, in several processes; see `drive`.

    Args:
        targets: Stages whose artifacts are wanted.
        store: Where artifacts are.
        settings: How to carry it out: `workers` processes share `threads` threads.
        display: Makes what shows the progress of the stages to do.

    Returns:
        How many stages the workers computed.

    Raises:
        ConfigError: The number of workers makes no sense.
        SurpassError: A stage failed; the message names it. What was published stays.
    """
    computed = drive(
        targets, store, lambda graph: Pool(store, settings, graph), settings=settings, display=display
    )
    if computed:  # by workers, which settle what they published unless they ended in haste
        with disk_errors(store.root):
            sync_file_system(store.root)
    return computed


class Process(Worker):
    """A worker that is a process of its own.

    Attributes:
        number: From 0; decides on its device.
        ready: Whether it has understood its setup.
        leaving: Whether it takes no further order, as it was asked to end.
    """

    def __init__(self, number: int, environment: dict[str, str]) -> None:
        super().__init__()
        self.number = number
        self.ready = False
        self.leaving = False
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
        self.link: Connection[Any, Any] = Connection(ours.detach())

    def send(self, message: object) -> None:
        """Tell it something; that it is dead is noticed when it is listened to."""
        with suppress(OSError):
            self.link.send(message)

    def end(self) -> None:
        """Let it end, by force if it does not; `close` comes before, for all."""
        self.close()
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


class Pool:
    """The worker processes, started when there is something for them to do; a `Crew`.

    Attributes:
        stillborn: How many have died one after another before they could be set up.
    """

    def __init__(self, store: Store, settings: Settings, graph: Graph) -> None:
        self.store, self.settings, self.instead = store, settings, graph.instead
        self.devices = num_devices()
        threads = total_threads(settings)
        self.size = min(settings.workers or self.devices or threads, len(graph.to_do))
        self.threads = max(1, threads // (settings.workers or self.devices or threads))
        self.stages = with_upstream(graph)
        self.processes: list[Process] = []
        self.stillborn = 0
        self._halted = False

    @property
    def workers(self) -> list[Worker]:
        """Those that live."""
        return list(self.processes)

    def free(self) -> int:
        """How many have nothing to do, or could be started."""
        return self.size - sum(each.occupied or each.leaving for each in self.processes)

    def give(self, stages: Sequence[Stage]) -> None:
        """Let one that is free compute stages, as soon as it is set up; if need be a new one."""
        worker = self._take(stages)
        worker.occupy(stages)
        if worker.ready:
            worker.send(Order(list(worker.stages)))

    def _take(self, stages: Sequence[Stage]) -> Process:
        idle = [worker for worker in self.processes if not worker.occupied and not worker.leaving]
        if idle:
            return next((worker for worker in idle if worker.has_loaded(stages)), idle[0])
        number = next(n for n in count() if all(n != worker.number for worker in self.processes))
        worker = Process(number, share_of(number, threads=self.threads, devices=self.devices))
        self.processes.append(worker)
        return worker

    def news(self, seconds: float) -> Iterator[News]:
        """What comes through the pipes."""
        links = {worker.link: worker for worker in self.processes}
        if not links:
            time.sleep(seconds)
            return
        for link in wait(list(links), seconds):
            worker = links[link]  # type: ignore[index]
            try:
                while worker.link.poll():
                    message = worker.link.recv()
                    if isinstance(message, Hello):
                        self._set_up(worker)
                        continue
                    worker.leaving = worker.leaving or isinstance(message, Halted)
                    yield worker, message
            except (EOFError, OSError):
                yield self._bury(worker)

    def _set_up(self, worker: Process) -> None:
        """Tell a new worker what it needs to know, and what it was ordered meanwhile.

        Raises:
            SurpassError: It cannot be told.
        """
        self.stillborn = 0
        settings = for_worker(self.settings, self.threads)
        level, root = logging.getLogger().level, self.store.where
        try:
            worker.send(Setup(os.getpid(), root, settings, self.stages, self.instead, level))
        except Exception as error:  # whatever an object says that is made for one process
            raise cannot_be_sent(error) from error
        worker.ready = True
        if worker.occupied:
            worker.send(Order(list(worker.stages)))
        if self._halted:
            worker.send(Halt())

    def _bury(self, worker: Process) -> News:
        self.processes.remove(worker)
        self.stillborn += not worker.ready
        fate = worker.fate()
        if self.stillborn >= TRIES:
            why = f"workers end as soon as they start: the last one {fate}; use engine=inline"
            return worker, Broken(Failure("", "SurpassError", why))
        return worker, Lost(fate, blamed=worker.ready)

    def halt(self) -> None:
        """Let all save what runs."""
        self._halted = True
        for worker in self.processes:
            if worker.ready:
                worker.send(Halt())

    def close(self) -> None:
        """End all of them, now; also when a second Ctrl-C comes meanwhile."""
        with ExitStack() as ends:
            for worker in self.processes:
                ends.callback(worker.end)
            for worker in self.processes:
                worker.close()
