"""The pool engine: worker processes on this machine, which share its threads and its devices.

The driver, this process, holds the graph and computes nothing. It gives out what is ready, the stage
with the longest remaining cost behind it first. Stages cross to a worker once, when it starts, through the
pipe of `multiprocessing`, so that ids, digests and what tasks have read need not be made again; then they
are named by ids. Results pass through the store alone.
"""

from __future__ import annotations

import heapq
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from itertools import count
from multiprocessing.connection import wait

from surpass import errors
from surpass.engine.agenda import Agenda
from surpass.engine.crew import Crew, Worker
from surpass.engine.graph import Graph, outstanding
from surpass.engine.messages import (
    Broken,
    Ended,
    Failure,
    Finished,
    Halt,
    Halted,
    Hello,
    Message,
    Record,
    Share,
    Started,
)
from surpass.engine.progress import Display, Silent
from surpass.engine.work import STOPPED, WAIT_SECONDS, Failures, Settings
from surpass.engine.work import together as grouped
from surpass.engine.worker import LOG
from surpass.errors import ConfigError, Stopped, StoreError, SurpassError
from surpass.stages import Stage
from surpass.store import Store

TRIES = 3
"""How often a stage is begun whose worker dies."""

_LISTEN_SECONDS = 0.1
WORTH_CUTTING = 8  # stages of a group that run together
OVERHEAD = 1e9  # of any stage, beside its cost


def run(
    targets: Sequence[Stage],
    store: Store,
    *,
    settings: Settings = Settings(),  # noqa: B008
    display: Callable[[Sequence[Stage]], Display] = lambda _: Silent(),
) -> int:
    """Compute whatever is missing for the targets, each stage once, in several processes.

    Other processes may work on the same store, whatever their engine. When a stage fails, or the worker
    dies that computes it for the third time, all that does not need it is still computed.

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
    if settings.workers is not None and settings.workers < 1:
        raise ConfigError(f"workers={settings.workers} must be at least 1")
    graph = outstanding(targets, lambda stage: store.find(stage.kind, stage.id) is not None)
    with display(graph.to_do) as shown:
        if not graph.to_do:
            return 0
        with closing(Crew(store, settings, graph)) as crew:
            return _Run(crew, shown, graph, settings).go()


class _Run:
    """One pass over the graph: what is given out, and what comes back.

    Attributes:
        ahead: A heap of ready stages that run alone, most urgent first; some may be out of date.
        parked: When to ask again for stages that other processes are at, by id.
        ending: Why nothing more is given out.
    """

    def __init__(self, crew: Crew, shown: Display, graph: Graph, settings: Settings) -> None:
        self.crew, self.shown, self.stop = crew, shown, settings.stop
        self.agenda = Agenda(graph)
        self.urgency = urgency(self.agenda, graph)
        self.grows = grows(self.agenda, graph)
        self.known = {stage.id: stage for stage in crew.stages}
        self.ahead: list[tuple[float, int, Stage]] = []
        self.order = count()
        self.parked: dict[str, float] = {}
        self.reports: dict[str, Callable[[float], None]] = {}
        self.tries: Counter[str] = Counter()
        self.failures = Failures()
        self.ending: Exception | None = None
        self.computed = 0
        shown.workers = crew.size
        self.push(self.agenda.ready.values())

    def go(self) -> int:
        while self.agenda.left:
            if self.ending is None and self.stop():
                self.end(Stopped(STOPPED))
            if self.ending is None:
                self.give_out()
            elif self.crew.free() == self.crew.size:
                raise self.ending
            self.listen()
        self.failures.check()
        return self.computed

    def end(self, reason: Exception) -> None:
        """Give nothing more out, and let what runs save where it is."""
        self.ending = self.ending or reason
        for worker in self.crew.workers:
            worker.send(Halt())

    def push(self, stages: Iterable[Stage]) -> None:
        for stage in stages:
            if stage.together is None:
                heapq.heappush(self.ahead, (-self.urgency.get(stage.id, 0.0), next(self.order), stage))

    def give_out(self) -> None:
        """Find something for each worker that has nothing to do."""
        now = time.monotonic()
        for id in [id for id, again in self.parked.items() if again <= now]:
            del self.parked[id]
            self.push([self.agenda.ready[id]] if id in self.agenda.ready else [])
        while self.crew.free() and (group := self.next_group()):
            self.crew.take().order(group)
        if self.parked and not self.crew.busy():
            self.shown.waiting(self.known[next(iter(self.parked))])

    def next_group(self) -> list[Stage]:
        """The most urgent stage that runs alone, else stages that run together; none if there is nothing."""
        taken = self.crew.busy() | self.parked.keys()
        while self.ahead:
            stage = heapq.heappop(self.ahead)[2]
            if stage.id in self.agenda.ready and stage.id not in taken:
                return [stage]
        growing = {key for id in taken for key in self.grows.get(id, ())}
        bound = [s for s in self.agenda.ready.values() if s.together is not None and s.id not in taken]
        groups = [group for group in grouped(bound) if group[0].together not in growing]
        return self.piece(max(groups, key=self.most_urgent)) if groups else []

    def most_urgent(self, group: Sequence[Stage]) -> float:
        return max(self.urgency.get(stage.id, 0.0) for stage in group)

    def piece(self, group: list[Stage]) -> list[Stage]:
        """What one of the free workers gets of a group; the rest stays for the others."""
        tries = min(self.tries[stage.id] for stage in group)
        group = [stage for stage in group if self.tries[stage.id] == tries]
        pieces = min(self.crew.free(), len(group) // WORTH_CUTTING)
        if tries:  # whose fault was it that the worker died?
            pieces = max(pieces, 2 if tries + 1 < TRIES else len(group))
        return group[: math.ceil(len(group) / max(pieces, 1))]

    def listen(self) -> None:
        """Wait for news from workers, for a moment."""
        links = {worker.link: worker for worker in self.crew.workers}
        if not links:
            time.sleep(_LISTEN_SECONDS)
            return
        for link in wait(list(links), _LISTEN_SECONDS):
            worker = links[link]  # type: ignore[index]
            try:
                while worker.link.poll():
                    self.hear(worker, worker.link.recv())
            except (EOFError, OSError):
                self.lost(worker)

    def hear(self, worker: Worker, message: Message) -> None:
        match message:
            case Hello():
                self.crew.set_up(worker)
            case Started(id):
                self.reports[id] = self.shown.started(self.known[id])
            case Share(id, share):
                self.reports[id](share)
            case Finished(id, seconds):
                self.finished(worker.stages.pop(id), seconds)
            case Record(name, level, text):
                logging.getLogger(name).log(level, "%s", text)
            case Ended(busy, missing, failed):
                self.ended(worker, busy, missing, failed)
            case Halted() if self.ending is not None:
                worker.relieve()
            case Broken(failure):
                worker.relieve()
                self.end(rebuilt(failure))

    def finished(self, stage: Stage, seconds: float) -> None:
        self.shown.finished(stage, seconds)
        self.computed += seconds > 0
        self.push(self.agenda.finished(stage))

    def ended(self, worker: Worker, busy: list[str], missing: list[str], failed: list[Failure]) -> None:
        """Take back what was not finished."""
        rest = worker.relieve()
        self.parked |= dict.fromkeys(busy, time.monotonic() + WAIT_SECONDS)
        self.push(self.agenda.restore(self.known[id] for id in missing))
        for failure in failed:
            self.failed(rest.pop(failure.id), rebuilt(failure, self.log_of(failure.id)))
        self.push(stage for id, stage in rest.items() if id in self.agenda.ready and id not in busy)

    def failed(self, stage: Stage, error: Exception) -> None:
        try:
            self.failures.add(stage, error)
        except StoreError as fatal:
            self.end(fatal)
        else:
            self.shown.failed(stage, str(error), self.agenda.drop(stage))

    def lost(self, worker: Worker) -> None:
        """A worker died: say so, and try again what it was at."""
        stages = list(worker.relieve().values())
        fate = self.crew.bury(worker)
        if self.ending is not None:
            return
        if not worker.ready:
            if self.crew.stillborn >= TRIES:
                self.end(
                    SurpassError(f"workers end as soon as they start: the last one {fate}; use engine=inline")
                )
            self.push(stages)
            return
        for stage in stages:
            self.tries[stage.id] += 1
            named = f"{stage.kind} {stage.label}"
            if self.tries[stage.id] < TRIES:
                self.shown.note(
                    f"a worker {fate} at {named}; trying again ({self.tries[stage.id] + 1} of {TRIES})"
                )
                self.push([stage])
            else:
                why = f"{named}: {TRIES} workers died of it, the last one {fate}"
                how = "run again with engine=inline to compute it in this process"
                self.failed(stage, SurpassError(f"{why}; {how}{self.log_of(stage.id)}"))

    def log_of(self, id: str) -> str:
        """Where to read more of a stage, for people."""
        log = self.crew.store.root / "work" / id / LOG
        return f"; log: {log}" if log.exists() and log.stat().st_size else ""


def rebuilt(failure: Failure, more: str = "") -> SurpassError:
    """The error that a worker has met; with where to read more, unless it is one of ours that says all."""
    kind = getattr(errors, failure.error, None)
    if isinstance(kind, type) and issubclass(kind, SurpassError):
        return kind(failure.text)
    return SurpassError(f"{failure.text}; run again with engine=inline to see where{more}")


def urgency(agenda: Agenda, graph: Graph) -> dict[str, float]:
    """The cost of each stage and of the longest way behind it."""
    found: dict[str, float] = {}
    for stage in reversed(graph.to_do):
        longest = max((found[after.id] for after in agenda.behind(stage)), default=0.0)
        found[stage.id] = stage.cost + OVERHEAD + longest
    return found


def grows(agenda: Agenda, graph: Graph) -> dict[str, frozenset[str]]:
    """By stage that runs alone: groups that what stands behind it will belong to."""
    found: dict[str, frozenset[str]] = {}
    for stage in reversed(graph.to_do):
        after = [found[each.id] for each in agenda.behind(stage)]
        own = {each.together for each in agenda.behind(stage) if each.together is not None}
        found[stage.id] = frozenset(own).union(*after)
    return {stage.id: found[stage.id] for stage in graph.to_do if stage.together is None}
