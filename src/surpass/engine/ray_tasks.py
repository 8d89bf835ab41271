"""The ray engine: stages are tasks of a Ray cluster, on this machine or on many that share the store.

Tasks, not actors: each asks for what its stage needs, so that scoring does not hold a GPU, and Ray places
them. Ray keeps the processes that ran one, so torch is imported once in each. Stages cross once, as one
object of Ray's store; each process fetches it when it gets its first order.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from surpass.engine import ray_worker
from surpass.engine.crew import Lost, News, Worker, for_worker, with_upstream
from surpass.engine.driver import drive
from surpass.engine.graph import Graph
from surpass.engine.messages import Broken, Ended, Halted, Message, Setup, cannot_be_sent
from surpass.engine.progress import Display, Silent
from surpass.engine.ray_session import Session
from surpass.engine.ray_worker import compute
from surpass.engine.serving import failure
from surpass.engine.work import Settings
from surpass.stages import Stage
from surpass.store import Store

_LOOK_SECONDS = 5.0  # at what the cluster has
_PATIENCE_SECONDS = 5.0
_TRAINS = "surpass.train."


def run(
    targets: Sequence[Stage],
    store: Store,
    *,
    settings: Settings = Settings(),  # noqa: B008
    display: Callable[[Sequence[Stage]], Display] = lambda _: Silent(),
) -> int:
    """Compute whatever is missing for the targets, each stage once, by tasks of Ray; see `drive`.

    Args:
        targets: Stages whose artifacts are wanted.
        store: Where artifacts are; all machines of the cluster see it under the same name.
        settings: How to carry it out: at most `workers` tasks at a time, which share `threads` threads, on
            the cluster at `address`.
        display: Makes what shows the progress of the stages to do.

    Returns:
        How many stages the tasks computed.

    Raises:
        ConfigError: Ray is not installed, there is no cluster at the address, or the number of workers makes
            no sense.
        SurpassError: A stage failed; the message names it. What was published stays.
    """
    return drive(
        targets, store, lambda graph: Tasks(store, settings, graph), settings=settings, display=display
    )


class Task(Worker):
    """A task that was given to Ray, and what it yields."""

    def __init__(self, stages: Sequence[Stage], yields: Any) -> None:
        super().__init__()
        self.yields = yields
        self.occupy(stages)


class Tasks:
    """The tasks that Ray was given; a `Crew`."""

    def __init__(self, store: Store, settings: Settings, graph: Graph) -> None:
        self.session = Session(settings)
        with ExitStack() as undo:
            undo.callback(self.session.close)
            self.ray, self.threads = self.session.ray, self.session.threads
            self._asked, self._most = settings.workers, len(graph.to_do)
            self._looked = -math.inf
            self.size = self._room()
            self.stages = with_upstream(graph)
            self.tasks: list[Task] = []
            level = logging.getLogger().level
            root, told = store.where, for_worker(settings, self.threads)
            self._setup = self._sent(Setup(0, root, told, self.stages, graph.instead, level))
            self._name = os.urandom(8).hex()
            self._compute = self.ray.remote(compute)
            undo.pop_all()

    def _room(self) -> int:
        """How many tasks the cluster could run now, if it were ours alone."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            processors, self.gpus, _ = self.session.has()
            fitting = self._asked or self.gpus // self.session.devices or processors // self.threads
            self.size = min(max(1, fitting), self._most)
        return self.size

    def _sent(self, setup: Setup) -> Any:
        try:
            return self.ray.put(setup)
        except Exception as error:  # whatever an object says that is made for one process
            raise cannot_be_sent(error) from error

    @property
    def workers(self) -> list[Worker]:
        """The tasks that have not ended."""
        return list(self.tasks)

    def free(self) -> int:
        """How many more tasks could begin; others who use the cluster may make them wait."""
        return self._room() - len(self.tasks)

    def give(self, stages: Sequence[Stage]) -> None:
        """Let Ray run a task."""
        ids = [stage.id for stage in stages]
        gpus = self.session.devices if self.gpus and stages[0].runs_in.startswith(_TRAINS) else 0
        task = self._compute.options(
            name=f"{stages[0].kind} {stages[0].label}",
            num_returns="streaming",
            max_retries=0,  # who died of what is the driver's to count
            num_cpus=self.threads,
            num_gpus=gpus,
            runtime_env={"env_vars": self.session.environment} if self.session.environment else None,
        )
        self.tasks.append(Task(stages, task.remote(self._name, sys.path, [self._setup], ids)))

    def news(self, seconds: float) -> Iterator[News]:
        """What tasks yield."""
        if not self.tasks:
            time.sleep(seconds)
            return
        of = {task.yields: task for task in self.tasks}
        ready, _ = self.ray.wait(list(of), num_returns=len(of), timeout=0, fetch_local=False)
        if not ready:
            ready, _ = self.ray.wait(list(of), timeout=seconds, fetch_local=False)
        for each in ready:
            task = of[each]
            message = self._next(task)
            if message is None or isinstance(message, Ended | Halted | Broken | Lost):
                self.tasks.remove(task)
            if message is not None:
                yield task, message

    def _next(self, task: Task) -> Message | Lost | None:
        """What a task says next; None where it has said all."""
        errors = self.ray.exceptions
        try:
            message: Message = self.ray.get(next(task.yields))
        except StopIteration:
            return Lost("ended without a word", blamed=False)
        except errors.TaskCancelledError:
            return Halted()
        except errors.RayTaskError as error:
            return Broken(failure("", cannot_be_sent(error)))
        except errors.OutOfMemoryError:
            return Lost("ran out of memory")
        except errors.NodeDiedError:
            return Lost("was lost with its machine")
        except errors.RayError as error:
            return Lost(f"died ({type(error).__name__})")
        return message

    def halt(self) -> None:
        """Let all save what runs."""
        working = [task for task in self.tasks if task.stages]
        if working:
            ray_worker.halt(self._name)
        for task in working:
            self.ray.cancel(task.yields, force=False)

    def close(self) -> None:
        """End all of them: at once if possible, a moment later in any case; and Ray too if we began it."""
        try:
            self.halt()
            patience = time.monotonic() + _PATIENCE_SECONDS
            while self.tasks and time.monotonic() < patience:
                for _ in self.news(0.1):
                    pass
            for task in self.tasks:
                self.ray.cancel(task.yields, force=True)
            ray_worker.forget(self._name)
        finally:
            self.session.close()
