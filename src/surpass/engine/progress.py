"""What a run shows: one live line on a terminal, one line per stage elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from surpass.stages import Stage

FIRST_GUESS_FLOPS_PER_SECOND = 5e10


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


class Estimate:
    """Time left, from the work that is left and the rate so far."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.total = sum(stage.cost for stage in stages)
        self.left = self.total
        self.running = 0.0
        self._measured = (0.0, 0.0)

    def finished(self, cost: float, seconds: float) -> None:
        """Count a stage as done."""
        self.left -= cost
        self.running = 0.0
        if seconds > 0:
            self._measured = (self._measured[0] + cost, self._measured[1] + seconds)

    def seconds(self) -> float:
        """Seconds left."""
        work, seconds = self._measured
        rate = work / seconds if seconds > 1 else FIRST_GUESS_FLOPS_PER_SECOND
        return max(self.left - self.running, 0.0) / rate

    def share(self) -> float:
        """Share of the work that is done, in [0, 1]."""
        return 1.0 - max(self.left - self.running, 0.0) / self.total if self.total else 1.0


def duration(seconds: float) -> str:
    """`8 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Terminal:
    """Progress on a console."""

    def __init__(self, stages: Sequence[Stage], console: Console) -> None:
        self.console = console
        self.count = len(stages)
        self.number = 0
        self.estimate = Estimate(stages)
        self.live: Progress | None = None
        if console.is_terminal and stages:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(None),
                TaskProgressColumn(),
                TextColumn("{task.fields[left]}"),
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
        last_shown = 0.0

        def report(share: float) -> None:
            nonlocal last_shown
            self.estimate.running = share * stage.cost
            if time.monotonic() - last_shown > 0.2:
                last_shown = time.monotonic()
                self._show(f"{self.number}/{self.count} {stage.kind} {stage.label}")

        report(0.0)
        return report

    def finished(self, stage: Stage, seconds: float) -> None:
        """Count it, and without a live line print it."""
        self.estimate.finished(stage.cost, seconds)
        if self.live is None:
            took = f"{seconds:.1f} s" if seconds else "by another process"
            left = f", about {duration(self.estimate.seconds())} left" if self.number < self.count else ""
            self.console.print(
                f"[{self.number}/{self.count}] {stage.kind} {stage.label}: {took}{left}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def waiting(self, stage: Stage) -> None:
        """Say so on the live line."""
        self._show(f"waiting for another process: {stage.kind} {stage.label}")

    def _show(self, text: str) -> None:
        if self.live is not None:
            left = f"{duration(self.estimate.seconds())} left"
            self.live.update(self.task, description=text, completed=self.estimate.share(), left=left)


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        """Nothing to begin."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to end."""

    def started(self, stage: Stage) -> Callable[[float], None]:
        """Ignore the stage's progress."""
        return lambda _: None

    def finished(self, stage: Stage, seconds: float) -> None:
        """Nothing to show."""

    def waiting(self, stage: Stage) -> None:
        """Nothing to show."""
