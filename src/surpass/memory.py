"""Memory of this process and of all that it has started, as the system counts it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

PROC = Path("/proc")
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_SECONDS = 1.0


def resident(proc: Path = PROC) -> int | None:
    """Bytes that this process and its descendants hold in memory; what they share counts for each.

    None where the system has no `/proc` and psutil is not installed.
    """
    if not (proc / "self" / "statm").exists():
        return _resident_elsewhere()
    total, ahead = 0, [os.getpid()]
    while ahead:
        folder = proc / str(ahead.pop())
        with suppress(OSError, ValueError, IndexError):  # it has just ended
            total += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for thread in (folder / "task").iterdir():
                ahead += [int(child) for child in (thread / "children").read_text().split()]
    return total


def _resident_elsewhere() -> int | None:
    try:
        psutil = import_module("psutil")
    except ImportError:
        return None
    own, total = psutil.Process(), 0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def highest(proc: Path = PROC) -> int:
    """The most bytes that this process alone has ever held, 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = (proc / "self" / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    return 0


def available() -> int | None:
    """Bytes of memory that this process may use with others: the machine's, or its container's if less."""
    with suppress(OSError, ValueError, AttributeError):
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return min([machine, *_limits()])
    return None


def _limits() -> list[int]:
    found = []
    for path in _LIMITS:
        with suppress(OSError, ValueError):  # "max" is no limit
            found.append(int(path.read_text()))
    return found


class Gauge:
    """Reads memory now and then, and keeps the peak.

    Attributes:
        now: Bytes when it was last read; None where the system does not tell.
        peak: The most that was seen.
        total: Bytes that there are; None where the system does not tell.
    """

    def __init__(self, read: Callable[[], int | None] = resident) -> None:
        self._read, self._last = read, -_SECONDS
        self.now: int | None = None
        self.peak = 0
        self.total = available()

    def look(self) -> None:
        """Read it, at most once a second."""
        moment = time.monotonic()
        if moment - self._last >= _SECONDS:
            self._last = moment
            self.now = self._read()
            self.peak = max(self.peak, self.now or 0)

    def most(self) -> int:
        """The most bytes so far; of this process alone no moment is missed."""
        self._last = -_SECONDS
        self.look()
        return max(self.peak, highest()) if self.now is not None else 0


def in_words(num_bytes: float) -> str:
    """A size for people: 93 MB, 1.1 GB."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 999.5e6 else f"{num_bytes / 1e6:.0f} MB"
