"""The slurm engine: workers are jobs of Slurm that share the store with the driver.

They are submitted through submitit. Nobody listens on a port: the driver and its jobs leave each other lines
of JSON in a folder that all see. Of what is run, submitit keeps on disk the name of a function and two texts:
a job finds the study by its name.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from surpass.disk import atomic_write
from surpass.engine.crew import Lost, News, Worker, with_upstream
from surpass.engine.driver import TRIES, drive
from surpass.engine.graph import Graph
from surpass.engine.mail import PULSE, Inbox, Outbox
from surpass.engine.messages import Broken, Ended, Failure, Halt, Halted, Hello, Order
from surpass.engine.progress import Display, Silent
from surpass.engine.slurm_job import TASK, work
from surpass.engine.slurm_parameters import Parameters
from surpass.engine.work import Settings
from surpass.environment import THREAD_VARIABLES
from surpass.errors import ConfigError
from surpass.stages import Stage
from surpass.store import Store

_PULSE_SECONDS = 5.0
_LOOK_SECONDS = 0.25  # at messages
_ASK_SECONDS = 30.0  # Slurm, which jobs there are
_IDLE_SECONDS = 60.0
_PATIENCE_SECONDS = 15.0
_NOBODYS_FAULT = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED")
_PASSED_ON = ("checkpoint_seconds", "micro_batch", "save_memory")


def run(
    targets: Sequence[Stage],
    store: Store,
    *,
    settings: Settings = Settings(),  # noqa: B008
    display: Callable[[Sequence[Stage]], Display] = lambda _: Silent(),
) -> int:
    """Compute whatever is missing for the targets, each stage once, in jobs of Slurm; see `drive`.

    Args:
        targets: Stages whose artifacts are wanted.
        store: Where artifacts are; all machines see it under the same name.
        settings: How to carry it out: `workers` jobs at a time, one by default, as `slurm` says, for the
            study that is `named`.
        display: Makes what shows the progress of the stages to do.

    Returns:
        How many stages the jobs computed.

    Raises:
        ConfigError: submitit is not installed, the study has no name, or there is no such parameter.
        SurpassError: A stage failed, or no job can be had. What was published stays.
    """
    return drive(
        targets, store, lambda graph: Jobs(store, settings, graph), settings=settings, display=display
    )


class Job(Worker):
    """A worker that is a job of Slurm.

    Attributes:
        name: Of the files of its messages.
        handle: What submitit knows of it.
        ready: Whether it has started.
        leaving: Whether it takes no further order.
        idle_since: When it last had something to do.
    """

    def __init__(self, folder: Path, name: str, handle: Any) -> None:
        super().__init__()
        self.name, self.handle = name, handle
        self.inbox, self.outbox = Inbox(folder / f"{name}.news"), Outbox(folder / f"{name}.orders")
        self.ready = False
        self.leaving = False
        self.idle_since = time.monotonic()

    def order(self, stages: Sequence[Stage]) -> None:
        """Let it compute stages, once it has started."""
        self.occupy(stages)
        if self.ready:
            self.outbox.send(Order(list(self.stages)))

    def is_over(self, *, ask: bool) -> bool:
        """Whether it has ended, as far as is known, or as Slurm says now."""
        return bool(self.handle.done(force_check=ask))

    def cancel(self) -> None:
        """Take it off."""
        with suppress(Exception):  # it is over, or Slurm does not answer
            self.handle.cancel(check=False)


def await_end(jobs: Sequence[Job]) -> None:
    """Give jobs some time to end."""
    patience = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < patience and not all(job.is_over(ask=False) for job in jobs):
        time.sleep(_LOOK_SECONDS)


class Jobs:
    """The jobs, submitted when there is something for them to do; a `Crew`.

    Attributes:
        stillborn: How many have ended one after another before they had started.
    """

    def __init__(self, store: Store, settings: Settings, graph: Graph) -> None:
        if find_spec("submitit") is None:
            raise ConfigError("engine slurm needs submitit: pip install 'surpass[slurm]'")
        if not settings.named:
            raise ConfigError(
                "engine slurm needs a study that its jobs can find: `surpass run STUDY --engine slurm`, or "
                "from Python Settings(named=('your_module:function', 'seeds=5'))"
            )
        workers = settings.workers or 1
        given = Parameters.of(settings.slurm)
        threads = max(1, settings.threads // workers) if settings.threads else given.cpus or 1
        self.size = min(workers, len(graph.to_do))
        self.stages = with_upstream(graph)
        self.jobs: list[Job] = []
        self.stillborn = 0
        self._lost = False
        self._numbers = count()
        self._beats, self._beaten, self._asked = count(), -_PULSE_SECONDS, time.monotonic()
        self._folder = given.folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(4).hex()}"
        self._executor = given.executor(self._folder, threads)
        self._write_task(store, settings, threads, [stage.id for stage in graph.to_do])
        self._beat()

    def _write_task(self, store: Store, settings: Settings, threads: int, ids: list[str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)  # what lies there is run
        kept = {name: value for name, value in asdict(settings).items() if name in _PASSED_ON}
        task = {
            "named": settings.named,
            "root": store.where,
            "settings": kept | {"threads": threads},
            "stages": ids,
            "paths": sys.path,
            "environment": dict.fromkeys(THREAD_VARIABLES, str(threads)),
            "log_level": logging.getLogger().level,
        }
        atomic_write(self._folder / TASK, json.dumps(task).encode())

    @property
    def workers(self) -> list[Worker]:
        """Those that were submitted and have not ended."""
        return list(self.jobs)

    def free(self) -> int:
        """How many have nothing to do, or could be submitted."""
        return self.size - sum(job.occupied or job.leaving for job in self.jobs)

    def give(self, stages: Sequence[Stage]) -> None:
        """Let a job that runs or waits compute stages; if need be a new one."""
        idle = [job for job in self.jobs if not job.occupied and not job.leaving]
        job = max(idle, key=lambda each: each.ready) if idle else self._submitted()
        job.order(stages)

    def _submitted(self) -> Job:
        name = str(next(self._numbers))
        try:
            handle = self._executor.submit(work, str(self._folder), name)
        except Exception as error:
            why = " ".join(str(error).split())[-300:]
            raise ConfigError(f"no job can be submitted: {why}") from error
        job = Job(self._folder, name, handle)
        self.jobs.append(job)
        return job

    def news(self, seconds: float) -> Iterator[News]:
        """What jobs have written, and which are gone."""
        self._beat()
        heard = False
        ask = time.monotonic() - self._asked > _ASK_SECONDS
        for job in list(self.jobs):
            over = job.is_over(ask=ask)
            if ask:  # the answer is of all jobs
                self._asked, ask = time.monotonic(), False
            for message in job.inbox.receive():
                heard = True
                if isinstance(message, Hello):
                    job.ready, self.stillborn = True, 0
                    if job.occupied:
                        job.order(list(job.stages.values()))
                    continue
                job.leaving = job.leaving or isinstance(message, Halted | Broken)
                yield job, message
                if isinstance(message, Ended):
                    job.idle_since = time.monotonic()
            if over:
                yield self._buried(job)
        self._move_orders()
        self._dismiss()
        if not heard:
            time.sleep(max(seconds, _LOOK_SECONDS))

    def _beat(self) -> None:
        """Let the jobs know that the driver lives."""
        if time.monotonic() - self._beaten >= _PULSE_SECONDS:
            self._beaten = time.monotonic()
            (self._folder / PULSE).write_text(str(next(self._beats)))

    def _buried(self, job: Job) -> News:
        self.jobs.remove(job)
        state = str(job.handle.state)
        self._lost = self._lost or not job.leaving
        self.stillborn += not job.ready and not job.leaving
        if self.stillborn >= TRIES:
            why = f"jobs end before they have started ({state}); see {job.handle.paths.stderr}"
            return job, Broken(Failure("", "SurpassError", why))
        blamed = job.ready and not job.leaving and not state.startswith(_NOBODYS_FAULT)
        return job, Lost(f"ended ({state}, see {job.handle.paths.stderr})", blamed=blamed)

    def _move_orders(self) -> None:
        """Let a job that has nothing to do have the order of one that still waits for its start."""
        waiting = [job for job in self.jobs if job.occupied and not job.ready]
        for job in self.jobs:
            if waiting and job.ready and not job.occupied and not job.leaving:
                job.order(list(waiting.pop(0).relieve().values()))

    def _dismiss(self) -> None:
        """Give back what has had nothing to do for a while; there are new ones when they are needed."""
        for job in self.jobs:
            if not job.occupied and not job.leaving and time.monotonic() - job.idle_since > _IDLE_SECONDS:
                job.leaving = True
                job.cancel()

    def halt(self) -> None:
        """Let all save what runs; those that have not started never will."""
        for job in self.jobs:
            if job.ready:
                job.outbox.send(Halt())
            else:
                job.relieve()

    def close(self) -> None:
        """End all of them, now; the folder stays where one went wrong."""
        (self._folder / PULSE).unlink(missing_ok=True)
        await_end([job for job in self.jobs if job.ready and not job.stages])  # they notice
        left = [job for job in self.jobs if not job.is_over(ask=False)]
        for job in left:
            job.cancel()
        await_end(left)
        if not self._lost:
            shutil.rmtree(self._folder, ignore_errors=True)
