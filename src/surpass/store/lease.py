"""One process computes a stage: leases on a shared folder, with a heartbeat and a safe takeover.

A lease is a small JSON file that names its owner and carries a random token. It appears whole (a
hard link to a finished file), so exactly one of many processes creates it.

Whoever removes or replaces the lease with token T, its owner or a successor, first creates the
guard file of T in the same way. While it has the guard nobody else touches that lease, and tokens
are never used twice, so a check made under the guard stays true: two successors cannot both win,
and a living lease is never removed by one who read its dead predecessor. A process may die with
the guard in its hands; then the guard is itself taken over by the same rule.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from surpass.disk import disk_errors, is_disk_full
from surpass.owner import Owner

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,150}")
# What file systems answer that have no hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
# Each further try means that somebody else got ahead; asking again later is then the better way.
_TRIES = 100


class Lease:
    """The right to compute one stage, refreshed by a thread until `release`.

    An owner that slept for long (a suspended machine) may have been taken over: ask `held` before
    a step that must not be done twice.
    """

    def __init__(self, path: Path, token: str, *, stale_seconds: float, heartbeat_seconds: float) -> None:
        self.path = path
        self.token = token
        self._pid = os.getpid()
        self._stale_seconds = stale_seconds
        self._stopped = False
        _heart.add(self, heartbeat_seconds)

    def held(self) -> bool:
        """Tell whether the lease is still ours; never in a forked child.

        Raises:
            StoreError: The lease file cannot be read.
        """
        with disk_errors(self.path):
            return self._is_ours()

    def release(self) -> None:
        """Give the lease up; one that another process has taken over is left alone.

        Raises:
            StoreError: The lease file cannot be removed.
        """
        if self._pid != os.getpid():
            return
        self._stopped = True
        with disk_errors(self.path):
            try:
                self._remove()
            except OSError as error:
                if not is_disk_full(error):
                    raise
                # No room for a guard: better a tiny risk than a lease held until this process ends.
                if self._is_ours():
                    self.path.unlink()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _remove(self) -> None:
        with _claim(self.path, self._stale_seconds) as claim:
            guard = _guard(self.path, self.token)
            if claim.take(guard):
                try:
                    if self._is_ours():
                        self.path.unlink()
                finally:
                    guard.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        seen = _look(self.path)
        return self._pid == os.getpid() and seen is not None and seen.token == self.token

    def beat(self) -> bool:
        """Say that its owner lives; False once it is given up."""
        # A server that is away for a moment must not end the heartbeat.
        with suppress(OSError):
            if not self._stopped and self._is_ours():
                os.utime(self.path)
        return not self._stopped


class _Heart:
    """One thread for the leases of a process, however many."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._due: list[tuple[float, int, float, Lease]] = []
        self._count = itertools.count()
        self._pid = 0  # of the process that has the thread; a forked child has none

    def add(self, lease: Lease, seconds: float) -> None:
        """Beat for a lease, every so many seconds."""
        with self._lock:
            if self._pid != os.getpid():
                self._due, self._pid = [], os.getpid()
                threading.Thread(target=self._run, name="leases", daemon=True).start()
            sooner = not self._due or time.monotonic() + seconds < self._due[0][0]
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._count), seconds, lease))
            if sooner:
                self._lock.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._lock.wait(wait)
                    continue
                _, _, seconds, lease = heapq.heappop(self._due)
            if lease.beat():
                self.add(lease, seconds)


_heart = _Heart()


def acquire(
    folder: Path, id: str, *, stale_seconds: float = 30.0, heartbeat_seconds: float = 5.0
) -> Lease | None:
    """Take the lease on a stage unless a living process has it.

    Args:
        folder: Where the leases lie; made if missing. All who compete name the same folder.
        id: The stage's id.
        stale_seconds: Age of the last heartbeat from which an owner on another machine counts as
            dead. An owner on this machine is looked up instead, and taken over as soon as it ends.
        heartbeat_seconds: Seconds between two heartbeats.

    Returns:
        The lease, or None when another process has it or is just taking it over.

    Raises:
        StoreError: The folder cannot be written.
        ValueError: `id` is no file name, or the heartbeat is not faster than `stale_seconds`.
    """
    if not _NAME.fullmatch(id):
        raise ValueError(f"{id!r} cannot name a lease: use letters, digits, '_', '-' and '.'")
    if not 0 < heartbeat_seconds < stale_seconds:
        raise ValueError(
            f"heartbeat_seconds={heartbeat_seconds} must be in (0, stale_seconds={stale_seconds})"
        )
    path = folder / f"{id}.lease"
    with disk_errors(folder):
        seen = _look(path)
        if seen is not None and seen.owner is not None and seen.owner.is_local() and not seen.owner.is_dead():
            return None  # a shortcut: whoever polls need not write
        if seen is None and not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
        with _claim(path, stale_seconds) as claim:
            if not claim.take(path):
                return None
    return Lease(path, claim.token, stale_seconds=stale_seconds, heartbeat_seconds=heartbeat_seconds)


class _Seen(NamedTuple):
    """A lease file as it was read: `owner` is None where the content makes no sense."""

    token: str
    owner: Owner | None
    touched_ns: int


@dataclass(frozen=True)
class _Claim:
    """A finished private file, ready to be linked into place, and what decides on takeovers.

    `touched_ns` is the time of its creation by the clock of the file system, which is the clock of
    every heartbeat: clocks of machines may differ.
    """

    file: Path
    token: str
    touched_ns: int
    stale_seconds: float

    def take(self, path: Path) -> bool:
        """Put the claim at `path` unless somebody living is there; one wins among all who try."""
        for _ in range(_TRIES):
            if self._create(path):
                return True
            seen = _look(path)
            if seen is None:
                continue
            if seen.token == self.token:  # the link was made, but its answer got lost on the network
                return True
            if not self._is_over(seen):
                return False
            guard = _guard(path, seen.token)
            if not self.take(guard):
                return False
            try:
                now = _look(path)
                if now is not None and now.token == seen.token:
                    self._replace(path)
                    return True
            finally:
                guard.unlink(missing_ok=True)
        return False

    def _create(self, path: Path) -> bool:
        try:
            os.link(self.file, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            try:
                with open(path, "xb") as file:
                    file.write(self.file.read_bytes())
            except FileExistsError:
                return False
        return True

    def _replace(self, path: Path) -> None:
        copy = _copy(self.file)
        try:
            copy.write_bytes(self.file.read_bytes())
            os.replace(copy, path)
        except BaseException:
            with suppress(OSError):
                copy.unlink()
            raise

    def _is_over(self, seen: _Seen) -> bool:
        if seen.owner is not None and seen.owner.is_local():
            return seen.owner.is_dead()
        return self.touched_ns - seen.touched_ns > self.stale_seconds * 1e9


@contextmanager
def _claim(path: Path, stale_seconds: float) -> Iterator[_Claim]:
    token = os.urandom(16).hex()
    file = path.with_name(f".{token}.claim")
    try:
        with open(file, "xb", buffering=0) as opened:
            opened.write(b'%s, "token": "%s"}' % (_described(os.getpid()), token.encode("ascii")))
            touched_ns = os.fstat(opened.fileno()).st_mtime_ns
        yield _Claim(file, token, touched_ns, stale_seconds)
    finally:
        with suppress(OSError):
            file.unlink()


@lru_cache(maxsize=1)  # a forked child has another pid
def _described(pid: int) -> bytes:
    return json.dumps(asdict(Owner.here())).encode("ascii").removesuffix(b"}")


def _copy(file: Path) -> Path:
    return file.with_name(f"{file.name}.copy")


def _guard(path: Path, token: str) -> Path:
    return path.with_name(f".{token}.guard")


def _look(path: Path) -> _Seen | None:
    try:
        with open(path, "rb") as file:
            status, content = os.fstat(file.fileno()), file.read()
    except FileNotFoundError:
        return None
    try:
        record = json.loads(content)
        token = str(record.pop("token"))
        return _Seen(token, Owner.of(record), status.st_mtime_ns)
    except (ValueError, TypeError, KeyError, AttributeError):
        # Half-written where there are no hard links, or by a later version: only its age counts.
        return _Seen(f"unreadable-{status.st_ino:x}", None, status.st_mtime_ns)
