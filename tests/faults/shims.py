"""What goes wrong inside of a process: its clock, its disk, its name; by the variable FAULTS_SHIM."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

VARIABLE = "FAULTS_SHIM"
TESTS = Path(__file__).parent.parent
_WRITES = ("os.mkdir", "os.rename", "os.link", "os.utime")


def environment(shim: dict[str, Any]) -> dict[str, str]:
    """What lets a process, and each that it starts, install a shim.

    Args:
        shim: `clock`: [after how many seconds, by how much it jumps]; `full`: [a folder, after how many
            writes there, how many fail]; `marks`: a file that is made when one of these happens; `host`: the
            machine's name; `stale` and `beat`: seconds of leases.
    """
    before = os.environ.get("PYTHONPATH")
    path = [str(TESTS), str(TESTS / "faults" / "shim"), *([before] if before else [])]
    return {VARIABLE: json.dumps(shim), "PYTHONPATH": os.pathsep.join(path)}


def install() -> None:
    """Do as the variable says."""
    shim = json.loads(os.environ.get(VARIABLE) or "{}")
    if "clock" in shim:
        _jump(*shim["clock"], shim["marks"])
    if "full" in shim:
        _fill(*shim["full"], shim["marks"])
    if "host" in shim:
        real = os.uname()
        changed = os.uname_result((real.sysname, shim["host"], real.release, real.version, real.machine))
        os.uname = lambda: changed
    if "stale" in shim:
        from surpass.store import lease
        from surpass.store.urls import UrlStore

        near, far = lease.acquire.__kwdefaults__, UrlStore.__init__.__kwdefaults__
        near |= {"stale_seconds": shim["stale"], "heartbeat_seconds": shim["beat"]}
        far |= {"stale_seconds": shim["stale"], "beat_seconds": shim["beat"]}


def _mark(marks: str) -> None:
    os.close(os.open(marks, os.O_WRONLY | os.O_CREAT))


def _jump(after: float, seconds: float, marks: str) -> None:
    began, read, read_ns = time.monotonic(), time.time, time.time_ns
    told = False

    def moved() -> float:
        nonlocal told
        if time.monotonic() - began < after:
            return 0.0
        if not told:
            told = True
            _mark(marks)
        return seconds

    time.time = lambda: read() + moved()
    time.time_ns = lambda: read_ns() + int(moved() * 1e9)


def _fill(folder: str, after: int, count: int, marks: str) -> None:
    writing = os.O_WRONLY | os.O_RDWR
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in _WRITES and not (event == "open" and arguments[2] & writing):
            return
        path = os.path.abspath(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes) else ""
        if path.startswith(folder):
            seen += 1
            if after < seen <= after + count:
                _mark(marks)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    sys.addaudithook(hook)
