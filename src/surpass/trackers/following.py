"""Tells trackers of a run what the store holds of it: curves of fits, scores, and the results.

It runs in a thread of its own and reads what was published, so it is the same for every engine, and a
tracker that is slow or fails never holds up the run: it is said once, and the tracker is told no more.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields
from importlib.metadata import version
from queue import SimpleQueue
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from surpass.engine.progress import Display
from surpass.results import Results
from surpass.stages import Stage
from surpass.store import Artifact, Store
from surpass.study import Study, targets
from surpass.trackers import Tracker

POINTS = 1000
"""A curve of more steps is told at so many of them, evenly, and at its last."""

_CURVE = "curve.parquet"
_TOLD = ("score", "comparison")
_PATIENCE_SECONDS = 60.0
_log = logging.getLogger(__name__)

Values = Mapping[str, float]


class Following:
    """What some trackers are told of a run.

    Args:
        trackers: By name.
        study: What is run.
        store: Where its artifacts are.
        overrides: As they were given on a command line.
    """

    def __init__(
        self, trackers: Mapping[str, Tracker], study: Study, store: Store, overrides: Sequence[str] = ()
    ) -> None:
        self._trackers = dict(trackers)
        self._study, self._store = study, store
        self._config = config_of(study) | {"overrides": list(overrides)}
        self._told: set[str] = set()
        self._labels: dict[str, str] = {}
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def __enter__(self) -> Self:
        """Begin a run in each."""
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        name = f"{self._study.name}-{self._study.id[:8]}"
        self._wait(lambda: self._each(lambda tracker: tracker.start(name, self._config)))
        return self

    def __exit__(self, *exception: object) -> None:
        """End them, also where the study failed."""
        self._wait(lambda: self._each(lambda tracker: tracker.finish()))
        self._tasks.put(None)

    def beside(self, make: Callable[[Sequence[Stage]], Display]) -> Callable[[Sequence[Stage]], Display]:
        """A display that is told the same, and passes on what is finished."""
        return lambda to_do: _Beside(make(to_do), self.finished)

    def finished(self, stage: Stage) -> None:
        """Tell of a stage that is published, in its turn."""
        self._tasks.put(lambda: self._tell(stage))

    def results(self, results: Results) -> None:
        """Tell of stages that were done before, and of what came out."""
        ahead, seen = [stage for row in self._study.rows() for stage in targets(row)], set[str]()
        while ahead:
            stage = ahead.pop()
            if stage.id not in seen:
                seen.add(stage.id)
                ahead += stage.upstream
                self.finished(stage)
        self._tasks.put(lambda: self._all(0, numbers_of(results)))

    def _tell(self, stage: Stage) -> None:
        if stage.id in self._told:
            return
        self._told.add(stage.id)
        artifact = self._store.find(stage.kind, stage.id, label=stage.label)
        if artifact is None:
            return
        name = f"{stage.kind}/{self._label(stage)}"
        said = artifact.manifest["said"]
        for part in _TOLD:
            if isinstance(said.get(part), dict):
                self._all(0, {f"{name}/{key}": value for key, value in said[part].items()})
        for step, values in curve_of(artifact):
            self._all(step, {f"{name}/{key}": value for key, value in values.items()})

    def _label(self, stage: Stage) -> str:
        """Its label, with its id where another has the same."""
        named = f"{stage.kind} {stage.label}"
        alone = self._labels.setdefault(named, stage.id) == stage.id
        return stage.label if alone else f"{stage.label}-{stage.id[:8]}"

    def _all(self, step: int, values: Mapping[str, Any]) -> None:
        finite = {key: float(value) for key, value in values.items() if _is_finite(value)}
        if finite:
            self._each(lambda tracker: tracker.log(step, finite))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                call(tracker)
            except Exception as error:
                del self._trackers[name]
                why = " ".join(f"{type(error).__name__}: {error}".split())
                _log.warning("tracker %s failed and is told no more; the run goes on (%s)", name, why[:300])

    def _wait(self, task: Callable[[], None]) -> None:
        """Let the thread do something after all else, and wait for it, but not forever."""
        done = threading.Event()

        def work() -> None:
            try:
                task()
            finally:
                done.set()

        self._tasks.put(work)
        with redirect_stdout(sys.stderr):  # what trackers print is no output of the command
            if not done.wait(_PATIENCE_SECONDS):
                names = ", ".join(self._trackers)
                _log.warning("tracker %s takes long; the run goes on without waiting", names)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception as error:  # such as a store that cannot be read; the run will say so itself
                _log.warning("something was not tracked: %s", error)


class _Beside:
    """A display, and somebody who hears of finished stages too."""

    def __init__(self, display: Display, finished: Callable[[Stage], None]) -> None:
        self._display, self._finished = display, finished

    @property
    def workers(self) -> int:
        """How many stages run at a time."""
        return self._display.workers

    @workers.setter
    def workers(self, number: int) -> None:
        self._display.workers = number

    @property
    def failures(self) -> int:
        """How many have failed."""
        return self._display.failures

    @failures.setter
    def failures(self, number: int) -> None:
        self._display.failures = number

    def __enter__(self) -> Self:
        """Begin to show."""
        self._display.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """End."""
        self._display.__exit__(*exception)

    def started(self, stage: Stage) -> Callable[[float], None]:
        """A stage starts."""
        return self._display.started(stage)

    def failed(self, stage: Stage, reason: str, dropped: Sequence[Stage]) -> None:
        """A stage cannot be had."""
        self._display.failed(stage, reason, dropped)

    def waiting(self, stage: Stage) -> None:
        """All that is left is being computed by others."""
        self._display.waiting(stage)

    def note(self, text: str) -> None:
        """Something happened."""
        self._display.note(text)

    def tally(self) -> str:
        """How many stages were computed, in words."""
        return self._display.tally()

    def finished(self, stage: Stage, seconds: float) -> None:
        """A stage is published."""
        self._display.finished(stage, seconds)
        self._finished(stage)


@contextmanager
def following(
    trackers: Mapping[str, Tracker], study: Study, store: Store, overrides: Sequence[str] = ()
) -> Iterator[Following | None]:
    """Tell trackers of a run; None, and no thread, where there are none."""
    if not trackers:
        yield None
        return
    with Following(trackers, study, store, overrides) as followed:
        yield followed


def config_of(study: Study) -> dict[str, Any]:
    """What a study compares, as plain data, and what it is computed with."""
    told = {field.name: _plain(getattr(study, field.name)) for field in fields(study)}
    return told | {
        "study": study.name,
        "study_id": study.id,
        "surpass": version("surpass"),
        "torch": version("torch"),
    }


def curve_of(artifact: Artifact) -> Iterator[tuple[int, Values]]:
    """Steps of a training curve, counted from 1, and their values; nothing where there is none."""
    if _CURVE not in artifact.manifest["files"]:
        return
    table = pq.read_table(artifact.file(_CURVE))
    names = [f.name for f in table.schema if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
    rows = table.select(names).to_pylist()
    every = math.ceil(len(rows) / POINTS) or 1
    for number, row in enumerate(rows, 1):
        if number % every == 0 or number == len(rows):
            yield int(row.pop("step", number)), row


def numbers_of(results: Results) -> dict[str, float]:
    """Accuracies, PGR and its interval, by pair and method."""
    found: dict[str, float] = {}
    for summary in results.summary():
        key, estimate = summary.key, summary.estimate
        name = f"results/{key.weak_model}-to-{key.strong_model}/{key.method}"
        told = {"pgr": estimate.value, "pgr_low": estimate.low, "pgr_high": estimate.high}
        told |= {"weak": estimate.weak, "student": estimate.student, "ceiling": estimate.ceiling}
        found |= {f"{name}/{what}": value for what, value in told.items()}
    return found


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """Data that JSON has; anything else in words."""
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return repr(value)
