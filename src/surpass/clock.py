"""Where the time of a stage goes, when somebody asks.

Code says what it spends its time on with `spent`, which costs next to nothing while nobody asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

EVALUATION = "evaluation"
KINDS = ("input/output", "data", "forward", "backward", "optimizer", EVALUATION)
ELSEWHERE = "elsewhere"

_IDLE = nullcontext()


class Clock:
    """Seconds by what they were spent on; each second counts once, for the innermost that says what it is.

    Within evaluation all is evaluation.

    Attributes:
        seconds: By kind.
        calls: How often each was begun.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = dict.fromkeys((*KINDS, ELSEWHERE), 0.0)
        self.calls = dict.fromkeys((*KINDS, ELSEWHERE), 0)
        self._now = now
        self._inside = [ELSEWHERE]
        self._since = now()

    @contextmanager
    def on(self, kind: str) -> Iterator[None]:
        """Count what happens inside for this kind."""
        kind = EVALUATION if self._inside[-1] == EVALUATION else kind
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
