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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from surpass.disk import disk_errors
from surpass.owner import Owner
from surpass.stages import ModelStage, Stage

# Of an owner on another machine. Far longer than its lease outlives its heartbeat, as clocks may differ.
_SILENT_SECONDS = 600.0
_ID_DIGITS = 64


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


def reads(needs: Iterable[Stage]) -> set[str]:
    """Ids of what a stage that takes from these may read: also the models that its models began with."""
    found: set[str] = set()
    ahead = list(needs)
    while ahead:
        stage = ahead.pop()
        if stage.id not in found:
            found.add(stage.id)
            ahead += [before for before in stage.upstream if isinstance(before, ModelStage)]
    return found


@contextmanager
def using(leases: Path, id: str, uses: Iterable[str]) -> Iterator[None]:
    """Say what a stage reads while its lease is held.

    Args:
        leases: The store's folder of leases.
        id: The stage's id; its lease is ours.
        uses: Ids of the artifacts it reads.

    Raises:
        StoreError: It cannot be written.
    """
    path = leases / f"{id}.uses"
    temporary = leases / f".{os.urandom(8).hex()}.uses"
    with disk_errors(path):
        try:
            temporary.write_text(json.dumps({"uses": sorted(uses)}))
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


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
    return time.time() - touched < _SILENT_SECONDS, owner


def _uses(path: Path) -> frozenset[str] | None:
    try:
        return frozenset(map(str, json.loads(path.read_bytes())["uses"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
