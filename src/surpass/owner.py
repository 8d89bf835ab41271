"""Which process did this, and does it still run? POSIX only. A leaf: the standard library alone."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Owner:
    """A process, told from others that use its pid later, elsewhere, or in another container."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def here(cls) -> Owner:
        """Describe the process that asks."""
        return _described(os.getpid())

    @classmethod
    def of(cls, record: dict[str, Any]) -> Owner:
        """Rebuild an owner from the `dataclasses.asdict` of one.

        Raises:
            TypeError: The record is of something else.
        """
        owner = cls(**record)
        if type(owner.pid) is not int or owner.pid <= 0:
            raise TypeError(f"pid is {owner.pid!r}")
        return owner

    def is_local(self) -> bool:
        """Tell whether this process would see the owner among its own neighbours."""
        here = Owner.here()
        return (self.host, self.boot, self.namespace) == (here.host, here.boot, here.namespace)

    def is_dead(self) -> bool:
        """Tell whether the owner has surely ended; of an owner elsewhere that is never sure."""
        if not self.is_local():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        state, started = _state_and_start(self.pid)
        return state in ("Z", "X") or ("" != started != self.started != "")


@lru_cache(maxsize=1)  # a forked child has another pid
def _described(pid: int) -> Owner:
    boot, namespace = "", ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return Owner(os.uname().nodename, boot, namespace, pid, _state_and_start(pid)[1])


def _state_and_start(pid: int) -> tuple[str, str]:
    """State letter and start time (ticks since boot) of a process; empty where /proc hides them."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return fields[0].decode(), fields[19].decode()
    except (OSError, IndexError):
        return "", ""
