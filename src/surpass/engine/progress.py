"""What engines tell of a run, its time left, and what shows nothing of it but failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from surpass.stages import Stage

if TYPE_CHECKING:
    from rich.console import Console

FIRST_GUESS_FLOPS_PER_SECOND = 5e10
_OVERHEAD_SECONDS = 0.1  # of any stage, beside its arithmetic


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
        self.total -= cost
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


class OnlyFailures(Silent):
    """Shows what fails, and nothing else: what it was, how to compute it alone, and where its log is.

    Args:
        stages: Stages to do.
        console: Where to.
        reproduce: Gives the command that computes a stage alone, for people to copy.
        log: Gives the file that keeps what a stage printed; it need not be there.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        console: Console,
        *,
        reproduce: Callable[[Stage], str] | None = None,
        log: Callable[[Stage], Path] | None = None,
    ) -> None:
        super().__init__(stages)
        self.console = console
        self._reproduce, self._log = reproduce, log

    def failed(self, stage: Stage, reason: str, dropped: Sequence[Stage]) -> None:
        """Say so at once: the rest goes on."""
        super().failed(stage, reason, dropped)
        named = f"{stage.kind} {stage.label}"
        if not reason.startswith(named):
            reason = f"{named}: {reason}"
        need = f" ({len(dropped)} more need it and are left)" if dropped else ""
        lines = [f"failed: {reason}{need}"]
        if self._reproduce is not None:
            lines.append(f"  reproduce: {self._reproduce(stage)}")
        if self._log is not None and (path := self._log(stage)).exists() and str(path) not in reason:
            lines.append(f"  log: {path}")
        self.line("\n".join(lines))

    def line(self, text: str) -> None:
        """A line that stays, as it is: it can be copied."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
