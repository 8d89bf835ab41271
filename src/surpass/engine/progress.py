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
    """Told what happens; shows it or not."""

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

    def waiting(self, stage: Stage) -> None:
        """All that is left is being computed by other processes."""
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
        self._measured = (0.0, 0.0)

    def finished(self, cost: float, seconds: float) -> None:
        """Count a stage as done."""
        self.left -= cost
        self.stages_left -= 1
        self.running = 0.0
        if seconds > _OVERHEAD_SECONDS:
            work, before = self._measured
            self._measured = (work + cost, before + seconds - _OVERHEAD_SECONDS)

    def seconds(self) -> float:
        """Seconds left."""
        work, seconds = self._measured
        rate = work / seconds if seconds > 1 else FIRST_GUESS_FLOPS_PER_SECOND
        return max(self.left - self.running, 0.0) / rate + _OVERHEAD_SECONDS * max(self.stages_left, 0)

    def share(self) -> float:
        """Share of the work that is done, in [0, 1]."""
        return 1.0 - max(self.left - self.running, 0.0) / self.total if self.total else 1.0


class Silent:
    """Shows nothing, and counts."""

    def __init__(self, stages: Sequence[Stage] = ()) -> None:
        self.count = len(stages)
        self.computed = 0
        self.found = 0

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

    def waiting(self, stage: Stage) -> None:
        """Others are at work."""

    def tally(self) -> str:
        """How many stages were computed, and by whom, in words."""
        if not self.count:
            return "nothing to compute"
        stages = f"{self.computed} stage{'s' if self.computed != 1 else ''} computed"
        return f"{stages}, {self.found} by other processes" if self.found else stages


class Terminal(Silent):
    """Progress on a console: a live line on a terminal; elsewhere a line per stage."""

    def __init__(self, stages: Sequence[Stage], console: Console) -> None:
        super().__init__(stages)
        self.console = console
        self.number = 0
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
        self.number += 1
        self.count = max(self.count, self.number)  # a stage found damaged is one more
        self.waits_for = ""
        pause = _LOG_SECONDS if self.live is None else _REFRESH_SECONDS
        last_shown = time.monotonic()

        def report(share: float) -> None:
            nonlocal last_shown
            self.estimate.running = share * stage.cost
            if time.monotonic() - last_shown > pause:
                last_shown = time.monotonic()
                self._show(stage, f"{share:.0%}, {self._left()}")

        if self.live is not None:
            self._show(stage, "")
        return report

    def finished(self, stage: Stage, seconds: float) -> None:
        """Count it, and without a live line print it."""
        super().finished(stage, seconds)
        self.estimate.finished(stage.cost, seconds)
        if self.live is None:
            took = f"{seconds:.1f} s" if seconds else "by another process"
            # Only stages that took a while tell something new about the time that is left.
            left = f", {self._left()}" if self.number < self.count and seconds >= 1 else ""
            self._show(stage, took + left)

    def waiting(self, stage: Stage) -> None:
        """Say so, once for each stage."""
        if stage.id != self.waits_for:
            self.waits_for = stage.id
            self._line(f"waiting for another process: {stage.kind} {stage.label}")

    def _show(self, stage: Stage, news: str) -> None:
        """Say how far a stage is; the live line has its own place for that."""
        place = f"{self.number:>{len(str(self.count))}}/{self.count} {stage.kind} {stage.label}"
        self._line(place if self.live is not None else f"{place}: {news}")

    def _line(self, text: str) -> None:
        if self.live is not None:
            self.live.update(self.task, description=text, completed=self.estimate.share(), left=self._left())
        else:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        return f"about {duration(self.estimate.seconds())} left"
