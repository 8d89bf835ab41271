"""Where the time of a stage goes, when somebody asks.

Code says what it spends its time on with `spent`, which costs next to nothing while nobody asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from threading import get_ident
from typing import Any

EVALUATION = "evaluation"
KINDS = ("input/output", "data", "forward", "backward", "optimizer", EVALUATION)
ELSEWHERE = "elsewhere"

_IDLE = nullcontext()


class Clock:
    """Seconds by what they were spent on; each second counts once, for the innermost that says what it is.

    Within evaluation all is evaluation. What other threads say does not count: this one waits for them.

    Args:
        now: Tells the time.
        work: What counts where nothing is said.

    Attributes:
        seconds: By kind.
        calls: How often each was begun.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter, work: str = ELSEWHERE) -> None:
        self.seconds = dict.fromkeys((*KINDS, ELSEWHERE), 0.0)
        self.calls = dict.fromkeys((*KINDS, ELSEWHERE), 0)
        self._now = now
        self.calls[work] += work != ELSEWHERE
        self._inside = [work]
        self._thread = get_ident()
        self._since = now()

    @contextmanager
    def on(self, kind: str) -> Iterator[None]:
        """Count what happens inside for this kind."""
        if get_ident() != self._thread:
            yield
            return
        kind = EVALUATION if EVALUATION in self._inside[1:] else kind
        self.stop()
        self.calls[kind] += self._inside[-1] != kind
        self._inside.append(kind)
        try:
            yield
        finally:
            self.stop()
            self._inside.pop()

    def stop(self) -> None:
        """Count until now."""
        now = self._now()
        self.seconds[self._inside[-1]] += now - self._since
        self._since = now


_running: list[Clock] = []


def spent(kind: str) -> AbstractContextManager[None]:
    """Say what is done inside: one of `KINDS`."""
    return _running[-1].on(kind) if _running else _IDLE


@contextmanager
def running(clock: Clock) -> Iterator[None]:
    """Let a clock run; of several, the last."""
    _running.append(clock)
    try:
        yield
    finally:
        clock.stop()
        _running.pop()


def timed(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
    """The function, all of whose time is spent on one thing."""

    @wraps(function)
    def said(*given: Any, **named: Any) -> Any:
        with spent(kind):
            return function(*given, **named)

    return said
