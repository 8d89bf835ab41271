"""Where things lie in a store's folder: the marker, the kinds, names, and temporary folders.

A temporary folder holds `files/` and `owner.json`, which tells who may still be writing in it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from surpass.disk import atomic_write
from surpass.errors import StoreError
from surpass.owner import Owner
from surpass.store.artifact import FORMAT, faults

MARKER = "STORE.json"
SERVICE = ("tmp", "work", "leases", "damaged")
_KIND = re.compile(r"[a-z][a-z0-9_]*")
_ID = re.compile(r"[0-9a-f]{64}")
_DAY_SECONDS = 86400.0
_OWNER = "owner.json"
_log = logging.getLogger("surpass.store")


def open_root(root: Path) -> None:
    """Make an empty folder a store, or make sure that this is one.

    Raises:
        OSError: The folder cannot be made, read, or (a new one) written.
        StoreError: It holds other things, or has another format.
    """
    root.mkdir(parents=True, exist_ok=True)
    with os.scandir(root) as entries:
        links = [entry.name for entry in entries if entry.is_symlink()]
    ours = sorted(name for name in links if name in (MARKER, *SERVICE) or _KIND.fullmatch(name))
    if ours:
        raise StoreError(
            f"{root / ours[0]} is a symbolic link, and nothing of a store may lie outside of it: "
            "put a folder there, or link the store as a whole"
        )
    # Listed before the marker is looked for: what another process puts beside a marker that it
    # is just writing is then never taken for a foreign file.
    foreign = [name for name in os.listdir(root) if not name.startswith(f".{MARKER}.")]
    try:
        found = json.loads((root / MARKER).read_bytes())["format"]
    except FileNotFoundError:
        if foreign:
            raise StoreError(
                f"{root} is not empty and no Surpass store (no {MARKER}): name a new or an empty folder"
            ) from None
        atomic_write(root / MARKER, json.dumps({"format": FORMAT}).encode())
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            f"{root / MARKER} is damaged: write {json.dumps({'format': FORMAT})} into it"
        ) from None
    else:
        if found != FORMAT:
            raise StoreError(
                f"{root} has store format {found}, this Surpass knows {FORMAT}: "
                "update Surpass or use another store"
            )


def kinds(root: Path) -> list[str]:
    """Return the kinds of artifact that a store holds, sorted."""
    return [
        entry.name
        for entry in sorted_entries(root)
        if entry.is_dir() and entry.name not in SERVICE and _KIND.fullmatch(entry.name)
    ]


def sorted_entries(folder: Path) -> list[Path]:
    """Return a folder's entries; none where there is no folder."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def folder_name(label: str, id: str) -> str:
    """Return the name of an artifact's folder: for people, but ending in 16 digits of the id."""
    readable = re.sub(r"[^A-Za-z0-9._+=-]+", "-", label).strip(".-")[:80]
    return f"{readable}-{id[:16]}" if readable else id[:16]


def check_kind(kind: str) -> None:
    """Refuse what cannot name a kind.

    Raises:
        ValueError: It has other characters, or means something else in a store.
    """
    if not _KIND.fullmatch(kind) or kind in SERVICE:
        raise ValueError(
            f"{kind!r} cannot be a kind of artifact: use a-z, 0-9 and '_', and none of {SERVICE}"
        )


def check_id(id: str) -> None:
    """Refuse what is no stage id.

    Raises:
        ValueError: It is not 64 hex digits.
    """
    if not _ID.fullmatch(id):
        raise ValueError(f"{id!r} is no id: it takes the 64 hex digits of digest_of(...)")


def make_temporary(root: Path, name: str) -> Path:
    """Make a folder of our own under `tmp/`, on the file system of the store.

    Raises:
        OSError: It cannot be made.
    """
    folder = root / "tmp" / f"{name}-{os.urandom(8).hex()}"
    folder.parent.mkdir(exist_ok=True)
    try:
        folder.mkdir()
        (folder / _OWNER).write_text(json.dumps(asdict(Owner.here())))
        (folder / "files").mkdir()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def remove_temporary(folder: Path) -> None:
    """Remove such a folder as far as possible, and last what tells whose it is: this may be interrupted."""
    with suppress(OSError):
        for entry in folder.iterdir():
            if entry.name != _OWNER:
                shutil.rmtree(entry, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def left_over(root: Path) -> Iterator[Path]:
    """Find temporary folders of processes that ended here, and of any others after a day."""
    for folder in sorted_entries(root / "tmp"):
        try:
            owner = Owner.of(json.loads((folder / _OWNER).read_bytes()))
        except (OSError, ValueError, TypeError):
            owner = None
        if owner is not None and owner.is_local():
            if owner.is_dead():
                yield folder
        elif time.time() - _last_change(folder) > _DAY_SECONDS:
            yield folder


def set_aside(root: Path, folder: Path, inode: int, reason: str) -> None:
    """Move a damaged artifact to `damaged/`, unless it is another by now; users of the store are warned."""
    target = root / "damaged" / f"{folder.parent.name}-{folder.name}-{os.urandom(4).hex()}"
    try:
        target.parent.mkdir(exist_ok=True)
        os.rename(folder, target)
    except FileNotFoundError:  # another process has just moved it
        return
    except OSError as error:
        _log.warning("damaged: %s (%s); ignored, as it cannot be moved: %s", folder, reason, error.strerror)
        return
    if target.stat().st_ino != inode:  # another process moved it, and published it again
        with suppress(OSError):
            os.rename(target, folder)
        return
    _log.warning("damaged: %s (%s); moved to %s, it will be computed again", folder, reason, target)


def strange(root: Path) -> Iterator[tuple[Path, str]]:
    """Find what should not be so in a store, with why; reads every byte of it."""
    known = {MARKER, *SERVICE, *kinds(root)}
    for entry in sorted_entries(root):
        if entry.name not in known:
            yield entry, "unknown entry"
    for kind in kinds(root):
        for folder in sorted_entries(root / kind):
            for reason in faults(folder):
                yield folder, reason
    for folder in left_over(root):
        yield folder, "left over by a process that ended"


def finished_work(root: Path) -> Iterator[Path]:
    """Find scratch folders of stages that are published: their process was killed just then."""
    published = {entry.name[-16:] for kind in kinds(root) for entry in sorted_entries(root / kind)}
    for folder in sorted_entries(root / "work"):
        if folder.name[:16] in published:
            yield folder


def _last_change(folder: Path) -> float:
    times = [0.0]
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):
            times.append(path.lstat().st_mtime)
    return max(times)
