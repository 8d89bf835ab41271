"""What a run shows: a live block on a terminal, one line per stage elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console, Group
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from surpass.durations import duration
from surpass.engine.progress import Estimate, OnlyFailures
from surpass.memory import Gauge
from surpass.stages import Stage

_REFRESHES_PER_SECOND = 4
_LOG_SECONDS = 30.0
_ECHO_COLUMNS = 3
_ROOM_LINES = 6  # of a low terminal that running stages leave free


@dataclass(slots=True)
class _Running:
    """A stage that runs, the share of it that is done, and when it began."""

    stage: Stage
    share: float
    began: float


class Terminal(OnlyFailures):
    """Progress on a console: a live block on a terminal; elsewhere a line per stage."""

    def __init__(
        self,
        stages: Sequence[Stage],
        console: Console,
        *,
        reproduce: Callable[[Stage], str] | None = None,
        log: Callable[[Stage], Path] | None = None,
    ) -> None:
        super().__init__(stages, console, reproduce=reproduce, log=log)
        self.numbers: dict[str, int] = {}
        self.running: dict[str, _Running] = {}
        self.waits_for: Stage | None = None
        self.estimate = Estimate(stages)
        self.memory = Gauge()
        self.live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal and stages:
            self.live = Live(
                get_renderable=self.block,
                console=console,
                transient=True,
                refresh_per_second=_REFRESHES_PER_SECOND,
                vertical_overflow="crop",
            )

    def __enter__(self) -> Self:
        """Begin to show."""
        if self.live is not None:
            self.live.start()
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
        last_said = time.monotonic()
        run = self.running[stage.id] = _Running(stage, 0.0, last_said)
        self.waits_for = None

        def report(share: float) -> None:
            nonlocal last_said
            if self.running.get(stage.id) is run:
                self.estimate.running += (share - run.share) * stage.cost
                run.share = share
            self.memory.look()
            if self.live is None and time.monotonic() - last_said > _LOG_SECONDS:
                last_said = time.monotonic()
                self._say(stage, f"{share:.0%}, {self._left()}")

        return report

    def finished(self, stage: Stage, seconds: float) -> None:
        """Count it, and without a live block print it."""
        super().finished(stage, seconds)
        self._leave(stage)
        running = self.estimate.running  # of the others
        self.estimate.finished(stage.cost, seconds)
        self.estimate.running, self.estimate.workers = running, self.workers
        if self.live is None:
            self.memory.look()
            took = f"{seconds:.1f} s" if seconds else "by another process"
            # Only stages that took a while tell something new about the time that is left.
            more = self._ended() < self.count and seconds >= 1
            self._say(stage, took + (f", {self._left()}" if more else ""))

    def failed(self, stage: Stage, reason: str, dropped: Sequence[Stage]) -> None:
        """Say so at once: the rest goes on."""
        self._leave(stage)
        for each in (stage, *dropped):
            self.estimate.dropped(each.cost)
        super().failed(stage, reason, dropped)

    def waiting(self, stage: Stage) -> None:
        """Say so, once for each stage."""
        if self.waits_for is None or stage.id != self.waits_for.id:
            self.waits_for = stage
            if self.live is None:
                self.line(f"waiting for another process: {stage.kind} {stage.label}")

    def note(self, text: str) -> None:
        """A line of its own that stays."""
        self.line(text)

    def block(self) -> Constrain:
        """How far the run is, in a few lines that are as wide as the terminal."""
        self.memory.look()
        head = Table.grid(expand=True, padding=(0, 2, 0, 0))
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True)
        share = self.estimate.share()
        bar = ProgressBar(total=1.0, completed=share, complete_style="green", finished_style="green")
        there = f"{self.computed + self.found} of {self.count} stages"
        head.add_row(there, bar, f"{share:.0%}, {self._left()}")
        # What the terminal echoes of Ctrl-C has room behind the last line.
        width = self.console.width - _ECHO_COLUMNS
        counts, memory = self._counts(), self._memory()
        gap = width - len(counts) - len(memory)
        sums = [f"{counts}{memory:>{gap + len(memory)}}"] if gap > 1 else [counts, memory]
        return Constrain(Group(head, *map(_cut, sums), *self._lines()), width)

    def _counts(self) -> str:
        """Stages by what became of them; what is none goes without saying."""
        running = len(self.running)
        left = max(self.count - self._ended() - running, 0)
        counts = (
            (running, "running"),
            (self.computed, "done"),
            (self.found, "shared"),
            (self.failures, "failed"),
            (self.dropped, "need those"),
            (left, "left"),
        )
        return ", ".join(f"{number} {what}" for number, what in counts if number or what == "running")

    def _memory(self) -> str:
        if self.memory.now is None:
            return ""
        of = f" of {self.memory.total / 1e9:.0f}" if self.memory.total else ""
        return f"memory {self.memory.now / 1e9:.1f}{of} GB, peak {self.memory.peak / 1e9:.1f} GB"

    def _lines(self) -> list[Text]:
        """What runs, a line for each worker, in the order in which it began."""
        runs = list(self.running.values())
        if not runs and (waits_for := self.waits_for) is not None:
            return [_cut(f"waiting for another process: {waits_for.kind} {waits_for.label}")]
        room = max(1, min(self.workers, self.console.height - _ROOM_LINES))
        now = time.monotonic()
        lines = [
            f"{run.share:>5.0%} {duration(now - run.began):>7}  {run.stage.kind} {run.stage.label}"
            for run in runs[:room]
        ]
        if len(runs) > room:
            lines.append(f"{'':>13}  and {len(runs) - room} more at the same time")
        return [_cut(line) for line in lines]

    def _ended(self) -> int:
        return self.computed + self.found + self.failures + self.dropped

    def _leave(self, stage: Stage) -> None:
        """A stage no longer runs, or begins anew."""
        run = self.running.pop(stage.id, None)
        self.estimate.running -= run.share * stage.cost if run is not None else 0.0

    def _say(self, stage: Stage, news: str) -> None:
        """Print how far a stage is."""
        place = f"{self.numbers[stage.id]:>{len(str(self.count))}}/{self.count}"
        self.line(f"{place} {stage.kind} {stage.label}: {news}")

    def _left(self) -> str:
        return f"about {duration(self.estimate.seconds())} left"


def _cut(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
