"""The driver: holds the graph, gives out what is ready, and computes nothing.

The stage with the longest remaining cost behind it goes first. Who computes is a `Crew`: its workers know
all stages, are told ids, and put results into the store; nothing else comes back but news.
"""

from __future__ import annotations

import heapq
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from itertools import count

from surpass.engine.agenda import Agenda
from surpass.engine.crew import Crew, Lost, Worker
from surpass.engine.graph import Graph, outstanding
from surpass.engine.logs import log_path
from surpass.engine.messages import (
    Broken,
    Ended,
    Failure,
    Finished,
    Halted,
    Message,
    Record,
    Share,
    Started,
)
from surpass.engine.ordering import grows, urgency
from surpass.engine.progress import Display, Silent
from surpass.engine.work import STOPPED, WAIT_SECONDS, Failures, Settings
from surpass.engine.work import together as grouped
from surpass.errors import ConfigError, Stopped, StoreError, SurpassError, error_named
from surpass.stages import Stage
from surpass.store import Store

TRIES = 3
"""How often a stage is begun whose worker dies."""

_LISTEN_SECONDS = 0.1
_PATIENCE_SECONDS = 5.0
LOOKED_AT = 32
WORTH_CUTTING = 8  # stages of a group that run together


def drive(
    targets: Sequence[Stage],
    store: Store,
    hire: Callable[[Graph], Crew],
    *,
    settings: Settings,
    display: Callable[[Sequence[Stage]], Display] = lambda _: Silent(),
) -> int:
    """Compute whatever is missing for the targets, each stage once, by a crew.

    Other processes may work on the same store, whatever their engine. When a stage fails, or the worker
    dies that computes it for the third time, all that does not need it is still computed.

    Args:
        targets: Stages whose artifacts are wanted.
        store: Where artifacts are.
        hire: Finds the crew, for what is to do; not called where nothing is.
        settings: How to carry it out.
        display: Makes what shows the progress of the stages to do.

    Returns:
        How many stages the workers computed.

    Raises:
        ConfigError: The number of workers makes no sense.
        SurpassError: A stage failed; the message names it. What was published stays.
    """
    if settings.workers is not None and settings.workers < 1:
        raise ConfigError(f"workers={settings.workers} must be at least 1")
    if not store.is_shared:
        gone = f"{store.where}, which ends with this process"
        raise ConfigError(f"workers cannot see {gone}: use engine=inline")
    graph = outstanding(
        targets, lambda stage: store.find(stage.kind, stage.id, label=stage.label) is not None
    )
    with display(graph.to_do) as shown:
        if not graph.to_do:
            return 0
        with closing(hire(graph)) as crew:
            return _Run(crew, store, shown, graph, settings).go()


class _Run:
    """One pass over the graph: what is given out, and what comes back.

    Attributes:
        ahead: A heap of ready stages that run alone, most urgent first; some may be out of date.
        parked: When to ask again for stages that other processes are at, by id.
        ending: Why nothing more is given out.
    """

    def __init__(self, crew: Crew, store: Store, shown: Display, graph: Graph, settings: Settings) -> None:
        self.crew, self.store, self.shown, self.stop = crew, store, shown, settings.stop
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
            elif not any(worker.occupied for worker in self.crew.workers):
                raise self.ending
            for worker, message in self.crew.news(_LISTEN_SECONDS):
                self.hear(worker, message)
        self.part()
        self.failures.check()
        return self.computed

    def part(self) -> None:
        """Let workers end the orders that they have finished: they still give their leases up."""
        patience = time.monotonic() + _PATIENCE_SECONDS
        while any(worker.occupied for worker in self.crew.workers) and time.monotonic() < patience:
            for worker, message in self.crew.news(_LISTEN_SECONDS):
                self.hear(worker, message)

    def end(self, reason: Exception) -> None:
        """Give nothing more out, and let what runs save where it is."""
        self.ending = self.ending or reason
        self.crew.halt()

    def push(self, stages: Iterable[Stage]) -> None:
        for stage in stages:
            if stage.together is None:
                heapq.heappush(self.ahead, (-self.urgency.get(stage.id, 0.0), next(self.order), stage))

    def taken(self) -> set[str]:
        """Ids of the stages that are given out."""
        return {id for worker in self.crew.workers for id in worker.stages}

    def give_out(self) -> None:
        """Find something for everybody who has nothing to do."""
        now = time.monotonic()
        for id in [id for id, again in self.parked.items() if again <= now]:
            del self.parked[id]
            self.push([self.agenda.ready[id]] if id in self.agenda.ready else [])
        while self.crew.free() and (group := self.next_group()):
            self.crew.give(group)
        self.shown.workers = self.crew.size
        if self.parked and not self.taken():
            self.shown.waiting(self.known[next(iter(self.parked))])

    def next_group(self) -> list[Stage]:
        """The most urgent stage that runs alone, else stages that run together; none if there is nothing."""
        taken = self.taken() | self.parked.keys()
        if stage := self.first(taken):
            return [stage]
        growing = {key for id in taken for key in self.grows.get(id, ())}
        bound = [s for s in self.agenda.ready.values() if s.together is not None and s.id not in taken]
        groups = [group for group in grouped(bound) if group[0].together not in growing]
        return self.piece(max(groups, key=self.most_urgent)) if groups else []

    def first(self, taken: Collection[str]) -> Stage | None:
        """The most urgent stage that runs alone; of equal ones, one whose model somebody idle holds."""
        idle = [worker for worker in self.crew.workers if not worker.occupied and worker.models]
        seen: list[tuple[float, int, Stage]] = []
        while self.ahead and len(seen) < (LOOKED_AT if idle else 1):
            if seen and self.ahead[0][0] > seen[0][0]:
                break
            entry = heapq.heappop(self.ahead)
            if entry[2].id in self.agenda.ready and entry[2].id not in taken:
                seen.append(entry)
                if any(worker.has_loaded([entry[2]]) for worker in idle):
                    seen.insert(0, seen.pop())
                    break
        for entry in seen[1:]:
            heapq.heappush(self.ahead, entry)
        return seen[0][2] if seen else None

    def most_urgent(self, group: Sequence[Stage]) -> float:
        return max(self.urgency.get(stage.id, 0.0) for stage in group)

    def piece(self, group: list[Stage]) -> list[Stage]:
        """What one of those who are free gets of a group; the rest stays for the others."""
        tries = min(self.tries[stage.id] for stage in group)
        group = [stage for stage in group if self.tries[stage.id] == tries]
        pieces = min(self.crew.free(), len(group) // WORTH_CUTTING)
        if tries:  # whose fault was it that the worker died?
            pieces = max(pieces, 2 if tries + 1 < TRIES else len(group))
        return group[: math.ceil(len(group) / max(pieces, 1))]

    def hear(self, worker: Worker, message: Message | Lost) -> None:
        match message:
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
            case Halted():
                self.push(worker.relieve().values())
            case Broken(failure):
                worker.relieve()
                self.end(rebuilt(failure))
            case Lost(fate, blamed):
                self.lost(list(worker.relieve().values()), fate, blamed)

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

    def lost(self, stages: Sequence[Stage], fate: str, blamed: bool) -> None:
        """A worker is gone: say so, and try again what it was at."""
        if self.ending is not None:
            return
        if not blamed:
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
        log = log_path(self.store, self.known[id])
        return f"; log: {log}" if log.exists() and log.stat().st_size else ""


def rebuilt(failure: Failure, more: str = "") -> SurpassError:
    """The error that a worker has met; with where to read more, unless it is one of ours that says all."""
    kind = error_named(failure.error)
    if kind is not None:
        return kind(failure.text)
    return SurpassError(f"{failure.text}; run again with engine=inline to see where{more}")
