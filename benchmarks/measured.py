"""How times are taken, and what is shown of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Seconds(NamedTuple):
    """Wall time, and the processor time of this process, all threads together."""

    wall: float
    cpu: float


class Measured(NamedTuple):
    """One number against its bound.

    Attributes:
        what: What it is.
        value: The number.
        bound: What it must be: at least, or at most where `most` is set.
        most: Whether the bound is the highest.
        details: What it was made from.
        unit: "times" of a ratio, which other machines can be held to; else what it is counted in.
    """

    what: str
    value: float
    bound: float
    most: bool
    details: dict[str, Any]
    unit: str = "times"

    @property
    def wanted(self) -> str:
        """The bound in words."""
        return f"{'at most' if self.most else 'at least'} {self.bound:g}"

    @property
    def holds(self) -> bool:
        """Whether it is within its bound."""
        return self.value <= self.bound if self.most else self.value >= self.bound


def seconds(run: Callable[[], object]) -> Seconds:
    """Of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def in_turns(runs: Sequence[Callable[[], object]], rounds: int) -> list[Seconds]:
    """Medians of several things to do, one after the other and again; warm-up is the caller's."""
    times = [[seconds(run) for run in runs] for _ in range(rounds)]
    return [median(column) for column in zip(*times, strict=True)]


def median(times: Sequence[Seconds]) -> Seconds:
    """The median of either time."""
    return Seconds(*(statistics.median(column) for column in zip(*times, strict=True)))


def table(found: Sequence[Measured]) -> str:
    """All numbers with their bounds, a line each."""
    width = max(len(each.what) for each in found)
    lines = []
    for each in found:
        lines.append(
            f"{each.what:<{width}}  {each.value:>8.2f}  {each.wanted:<14}  {'' if each.holds else 'missed'}"
        )
    return "\n".join(line.rstrip() for line in lines)
