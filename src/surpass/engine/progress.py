"""What a run shows: one live line on a terminal, one line per stage elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column

from surpass.durations import duration
from surpass.stages import Stage

FIRST_GUESS_FLOPS_PER_SECOND = 5e10
_OVERHEAD_SECONDS = 0.1  # of any stage, beside its arithmetic
_REFRESH_SECONDS = 0.2
_LOG_SECONDS = 30.0
_BAR_WIDTH = 16


class Display(Protocol):
    """Told what happens; shows it or not.

    Attributes:
        workers: How many stages run at a time; the engine says so.
        failures: How many have failed.
    """

    workers: int
    failures: int

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(self, *exception: object) -> None:
        """End."""
        ...

    def started(self, stage: Stage) -> Callable[[float], None]:
        """A stage starts; the result takes the share of it that is done."""
        ...

    def finished(self, stage: Stage, seconds: float) -> None:
        """A stage is published, by this process (seconds it took) or another (0)."""
        ...

    def failed(self, stage: Stage, reason: str, dropped: Sequence[Stage]) -> None:
        """A stage cannot be had, and neither can those that need it."""
        ...

    def waiting(self, stage: Stage) -> None:
        """All that is left is being computed by other processes."""
        ...

    def note(self, text: str) -> None:
        """Something happened that is worth a line."""
        ...

    def tally(self) -> str:
        """How many stages were computed, and by whom, in words."""
        ...


class Estimate:
    """Time left, from the work that is left and the rate so far."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.total = sum(stage.cost for stage in stages)
        self.left = self.total
        self.stages_left = len(stages)
        self.running = 0.0
        self.workers = 1
        self._measured = (0.0, 0.0)

    def finished(self, cost: float, seconds: float) -> None:
        """Count a stage as done."""
        self.left -= cost
        self.stages_left -= 1
        self.running = 0.0
        if seconds > _OVERHEAD_SECONDS:
            work, before = self._measured
            self._measured = (work + cost, before + seconds - _OVERHEAD_SECONDS)

    def dropped(self, cost: float) -> None:
        """Count a stage out."""
        self.left -= cost
        self.stages_left -= 1

    def seconds(self) -> float:
        """Seconds left, if all workers have something to do until the end."""
        work, seconds = self._measured
        rate = work / seconds if seconds > 1 else FIRST_GUESS_FLOPS_PER_SECOND
        alone = max(self.left - self.running, 0.0) / rate + _OVERHEAD_SECONDS * max(self.stages_left, 0)
        return alone / max(1, min(self.workers, self.stages_left))

    def share(self) -> float:
        """Share of the work that is done, in [0, 1]."""
        return 1.0 - max(self.left - self.running, 0.0) / self.total if self.total else 1.0


class Silent:
    """Shows nothing, and counts."""

    def __init__(self, stages: Sequence[Stage] = ()) -> None:
        self.count = len(stages)
        self.computed = 0
        self.found = 0
        self.failures = 0
        self.dropped = 0
        self.workers = 1

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End."""

    def started(self, stage: Stage) -> Callable[[float], None]:
        """A stage starts."""
        return lambda _: None

    def finished(self, stage: Stage, seconds: float) -> None:
        """Count it."""
        if seconds > 0:
            self.computed += 1
        else:
            self.found += 1

    def failed(self, stage: Stage, reason: str, dropped: Sequence[Stage]) -> None:
        """Count it."""
        self.failures += 1
        self.dropped += len(dropped)

    def waiting(self, stage: Stage) -> None:
        """Others are at work."""

    def note(self, text: str) -> None:
        """Something happened."""

    def tally(self) -> str:
        """How many stages were computed, and by whom, in words."""
        if not self.count:
            return "nothing to compute"
        stages = f"{self.computed} stage{'s' if self.computed != 1 else ''} computed"
        found = f", {self.found} by other processes" if self.found else ""
        failed = f", {self.failures} failed" if self.failures else ""
        return f"{stages}{found}{failed}" + (f", {self.dropped} that need them left" if self.dropped else "")


class Terminal(Silent):
    """Progress on a console: a live line on a terminal; elsewhere a line per stage."""

    def __init__(self, stages: Sequence[Stage], console: Console) -> None:
        super().__init__(stages)
        self.console = console
        self.numbers: dict[str, int] = {}
        self.running: dict[str, tuple[Stage, float]] = {}
        self.waits_for = ""
        self.estimate = Estimate(stages)
        self.live: Progress | None = None
        if console.is_terminal and stages:
            columns = (
                TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
                BarColumn(_BAR_WIDTH),
                TaskProgressColumn(),
                TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
            )
            self.live = Progress(*columns, console=console, transient=True, expand=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self.live is not None:
            self.live.start()
            self.task = self.live.add_task("", total=1.0, left="")
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the terminal as it was."""
        if self.live is not None:
            self.live.stop()

    def started(self, stage: Stage) -> Callable[[float], None]:
        """Show the stage's name, and from now on its progress."""
        self.numbers.setdefault(stage.id, len(self.numbers) + 1)
        self.count = max(self.count, len(self.numbers))  # a stage found damaged is one more
        self._leave(stage)
        self.running[stage.id] = stage, 0.0
        self.waits_for = ""
        pause = _LOG_SECONDS if self.live is None else _REFRESH_SECONDS
        last_shown = time.monotonic()

        def report(share: float) -> None:
            nonlocal last_shown
            if stage.id in self.running:
                self.estimate.running += (share - self.running[stage.id][1]) * stage.cost
                self.running[stage.id] = stage, share
            if time.monotonic() - last_shown > pause:
                last_shown = time.monotonic()
                self._show(stage, f"{share:.0%}, {self._left()}")

        if self.live is not None:
            self._show(stage, "")
        return report

    def finished(self, stage: Stage, seconds: float) -> None:
        """Count it, and without a live line print it."""
        super().finished(stage, seconds)
        self._leave(stage)
        running = self.estimate.running  # of the others
        self.estimate.finished(stage.cost, seconds)
        self.estimate.running, self.estimate.workers = running, self.workers
        if self.live is None:
            took = f"{seconds:.1f} s" if seconds else "by another process"
            # Only stages that took a while tell something new about the time that is left.
            more = self._ended() < self.count and seconds >= 1
            self._show(stage, took + (f", {self._left()}" if more else ""))

    def failed(self, stage: Stage, reason: str, dropped: Sequence[Stage]) -> None:
        """Say so at once: the rest goes on."""
        super().failed(stage, reason, dropped)
        self._leave(stage)
        for each in (stage, *dropped):
            self.estimate.dropped(each.cost)
        need = f" ({len(dropped)} more need it and are left)" if dropped else ""
        self.note(f"failed: {reason}{need}")

    def waiting(self, stage: Stage) -> None:
        """Say so, once for each stage."""
        if stage.id != self.waits_for:
            self.waits_for = stage.id
            self._line(f"waiting for another process: {stage.kind} {stage.label}")

    def note(self, text: str) -> None:
        """A line of its own that stays."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _ended(self) -> int:
        return self.computed + self.found + self.failures + self.dropped

    def _leave(self, stage: Stage) -> None:
        """A stage no longer runs, or begins anew."""
        _, share = self.running.pop(stage.id, (stage, 0.0))
        self.estimate.running -= share * stage.cost

    def _show(self, stage: Stage, news: str) -> None:
        """Say how far a stage is; the live line has its own place for that."""
        place = f"{self.numbers[stage.id]:>{len(str(self.count))}}/{self.count} {stage.kind} {stage.label}"
        if self.live is None:
            self._line(f"{place}: {news}")
        else:
            self._line(self._at_once() if self.workers > 1 else place)

    def _at_once(self) -> str:
        """How many stages have ended, and which run now, the furthest first."""
        order = sorted(self.running.values(), key=lambda entry: -entry[1])
        names = [f"{share:.0%} {stage.kind} {stage.label}" for stage, share in order[: self.workers]]
        failed = f", {self.failures} failed" if self.failures else ""
        return f"{self._ended()}/{self.count}{failed}: {', '.join(names)}"

    def _line(self, text: str) -> None:
        if self.live is not None:
            self.live.update(self.task, description=text, completed=self.estimate.share(), left=self._left())
        else:
            self.note(text)

    def _left(self) -> str:
        return f"about {duration(self.estimate.seconds())} left"
