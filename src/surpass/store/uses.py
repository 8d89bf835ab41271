"""Who computes what, and what it reads meanwhile: what must not be removed.

Beside the lease `leases/<id>.lease` of a stage lies `leases/<id>.uses`, with the ids of the artifacts that
whoever holds the lease reads. It counts while the lease does.

A run writes it before it looks whether these artifacts are there; whoever removes one looks again once it is
out of sight, and puts it back if it is used. So one of the two always sees the other.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from surpass.disk import disk_errors
from surpass.errors import StoreError
from surpass.owner import Owner
from surpass.store.lease import Lease, acquire

# Of an owner on another machine. Far longer than its lease outlives its heartbeat, as clocks may differ.
SILENT_SECONDS = 600.0
_ID_DIGITS = 64
_DAY_SECONDS = 86400.0


class Busy(NamedTuple):
    """A stage that a living process holds.

    Attributes:
        id: Its id.
        owner: Who holds it; None where that cannot be read.
        uses: Ids of the artifacts that it reads; None where nobody says.
    """

    id: str
    owner: Owner | None
    uses: frozenset[str] | None

    @property
    def who(self) -> str:
        """The process, for people."""
        return (
            "an unknown process" if self.owner is None else f"process {self.owner.pid} on {self.owner.host}"
        )


class Claim:
    """The right to compute a stage, while others can see what it reads; see `Store.claim`."""

    def __init__(self, lease: Lease, uses: Path) -> None:
        self._lease, self._uses = lease, uses

    def held(self) -> bool:
        """Whether the right is still ours: another process takes over from one that was away for long.

        Raises:
            StoreError: That cannot be read.
        """
        return self._lease.held()

    def is_lost(self) -> bool:
        """Whether another process has surely taken over."""
        try:
            return not self.held()
        except StoreError:
            return False

    def release(self) -> None:
        """Give it up.

        Raises:
            StoreError: It cannot be given up; others take it over when this process ends.
        """
        with suppress(OSError):
            self._uses.unlink()
        self._lease.release()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def claim(leases: Path, id: str, uses: Iterable[str]) -> Claim | None:
    """Take the lease on a stage and say what the stage reads; None when another process is at it.

    Args:
        leases: The store's folder of leases.
        id: The stage's id.
        uses: Ids of the artifacts it reads.

    Raises:
        StoreError: It cannot be written.
    """
    lease = acquire(leases, id)
    if lease is None:
        return None
    path = leases / f"{id}.uses"
    try:
        _say(path, uses)
    except BaseException:
        lease.release()
        raise
    return Claim(lease, path)


def _say(path: Path, uses: Iterable[str]) -> None:
    temporary = path.with_name(f".{os.urandom(8).hex()}.uses")
    with disk_errors(path):
        try:
            temporary.write_text(json.dumps({"uses": sorted(uses)}))
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def busy(leases: Path) -> list[Busy]:
    """The stages that living processes hold, by id; nothing is written.

    Raises:
        StoreError: The folder cannot be read.
    """
    with disk_errors(leases):
        try:
            names = sorted(os.listdir(leases))
        except FileNotFoundError:
            return []
    found = []
    for name in names:
        id = name.removesuffix(".lease")
        if id != name and len(id) == _ID_DIGITS:  # others are no stages
            living, owner = _holder(leases / name)
            if living:
                found.append(Busy(id, owner, _uses(leases / f"{id}.uses")))
    return found


def tidy(leases: Path) -> Iterator[Path]:
    """Remove the leases of processes that ended, and what they left beside them; tells which.

    Raises:
        StoreError: The folder cannot be read or written.
    """
    with disk_errors(leases):
        try:
            names = sorted(os.listdir(leases))
        except FileNotFoundError:
            return
        for path in (leases / name for name in names if name.startswith(".")):
            living, owner = _holder(path)
            if not living and ((owner is not None and owner.is_local()) or _age(path) > _DAY_SECONDS):
                path.unlink(missing_ok=True)
                yield path
        for id in sorted({name.partition(".")[0] for name in names if name.endswith((".lease", ".uses"))}):
            if len(id) == _ID_DIGITS and not _holder(leases / f"{id}.lease")[0]:
                taken = claim(leases, id, ())  # so nobody else is at it
                if taken is not None:
                    taken.release()
                    yield leases / f"{id}.lease"


def _holder(path: Path) -> tuple[bool, Owner | None]:
    """Whether somebody living holds a lease, and who."""
    try:
        with open(path, "rb") as file:
            touched, content = os.fstat(file.fileno()).st_mtime, file.read()
    except OSError:
        return False, None
    owner = None
    with suppress(ValueError, TypeError, AttributeError):
        record = json.loads(content)
        record.pop("token", None)
        owner = Owner.of(record)
    if owner is not None and owner.is_local():
        return not owner.is_dead(), owner
    return time.time() - touched < SILENT_SECONDS, owner


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _uses(path: Path) -> frozenset[str] | None:
    try:
        return frozenset(map(str, json.loads(path.read_bytes())["uses"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
