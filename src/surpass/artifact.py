"""One artifact on the disk: its files, and the manifest that is written last and judges them.

A manifest lists every file with size and sha256 and carries the sha256 of its own canonical JSON,
so that a changed byte anywhere in the folder, the manifest included, is noticed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surpass.disk import fsync_path, write_new
from surpass.errors import StoreError
from surpass.identity import digest_of, file_digest
from surpass.owner import Owner

FORMAT = 1
MANIFEST = "manifest.json"
_SEAL = "sha256"

# What this process has read already: (path, size, time of change) to sha256.
known_digests: dict[tuple[str, int, int], str] = {}


@dataclass(frozen=True)
class Artifact:
    """A finished result: a folder of files under a manifest."""

    kind: str
    id: str
    path: Path
    manifest: dict[str, Any]

    def file(self, name: str) -> Path:
        """Return the path of one of the artifact's files.

        Raises:
            StoreError: The manifest does not list it.
        """
        if name not in self.manifest["files"]:
            held = ", ".join(sorted(self.manifest["files"])) or "no files"
            raise StoreError(f"no file {name!r} in {self.path}: it holds {held}")
        return self.path / name


class Damaged(Exception):
    """An artifact's folder does not hold what was published; the message says how."""


def seal(folder: Path, kind: str, id: str, label: str, extra: dict[str, Any]) -> Artifact:
    """Force a finished folder to the disk and seal it.

    Args:
        folder: Holds the artifact's files, in sub-folders if need be.
        kind: The type of stage.
        id: The stage's id, 64 hex digits.
        label: For people.
        extra: Further entries, anything that has canonical JSON.

    Returns:
        The artifact, still where it was written.

    Raises:
        ConfigError: `extra` has no canonical JSON.
        OSError: The disk is full, or otherwise unwilling.
        StoreError: The folder holds something that is neither file nor folder.
        ValueError: A file or an entry has a name that belongs to the store.
    """
    here = Owner.here()
    manifest: dict[str, Any] = {
        "kind": kind,
        "id": id,
        "label": label,
        "format": FORMAT,
        "files": _listed(folder),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "host": here.host,
        "pid": here.pid,
    }
    taken = sorted({*manifest, _SEAL} & extra.keys())
    if taken:
        raise ValueError(f"manifest entries {', '.join(taken)} are filled in by the store: rename yours")
    manifest |= extra
    sealed = manifest | {_SEAL: digest_of(manifest)}
    text = json.dumps(sealed, indent=1, allow_nan=False)
    write_new(folder / MANIFEST, text.encode("ascii"))
    fsync_path(folder)
    return read(folder)


def read(folder: Path) -> Artifact:
    """Return an artifact whose manifest is sound; its files are not looked at.

    Raises:
        Damaged: It is missing or not as it was written.
        OSError: It cannot be read.
        StoreError: A later version of Surpass wrote it.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        seal = manifest.pop(_SEAL)
        sound = seal == digest_of(manifest)
    except (FileNotFoundError, NotADirectoryError):
        raise Damaged(f"{MANIFEST} is missing") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise Damaged(f"{MANIFEST} cannot be parsed") from None
    if not sound:
        raise Damaged(f"{MANIFEST} does not match its digest")
    if manifest["format"] > FORMAT:
        raise StoreError(
            f"{folder} has format {manifest['format']}, later than {FORMAT}: update Surpass to read it"
        )
    return Artifact(manifest["kind"], manifest["id"], folder, manifest)


def check(artifact: Artifact, *, digests: bool) -> None:
    """Compare the files with the manifest: sizes and, if asked for, every byte.

    Raises:
        Damaged: A file is missing or differs.
        OSError: A file cannot be read.
    """
    for name, published in artifact.manifest["files"].items():
        path = artifact.path / name
        try:
            status = path.stat()
            if status.st_size != published["size"]:
                raise Damaged(f"{name} has {status.st_size} bytes instead of {published['size']}")
            if digests and _digest(path, status) != published["sha256"]:
                raise Damaged(f"{name} does not match its digest")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise Damaged(f"{name} is missing") from None


def remember(artifact: Artifact) -> None:
    """Spare this process reading again what it has just written and digested.

    Raises:
        OSError: A file cannot be looked at.
    """
    for name, published in artifact.manifest["files"].items():
        path = artifact.path / name
        known_digests[_key(path, path.stat())] = published["sha256"]


def faults(folder: Path) -> Iterator[str]:
    """Tell what is wrong with a folder that should be an artifact; reads every byte of it.

    Raises:
        OSError: It cannot be read.
        StoreError: A later version of Surpass wrote it.
    """
    if not folder.is_dir():
        yield "unknown file"
        return
    try:
        artifact = read(folder)
        check(artifact, digests=True)
    except Damaged as damage:
        yield str(damage)
        return
    if artifact.kind != folder.parent.name or not folder.name.endswith(artifact.id[:16]):
        yield f"is {artifact.kind} {artifact.id} and not found under this name"
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name != MANIFEST and name not in artifact.manifest["files"]:
            yield f"unknown file {name}"


def _digest(path: Path, status: os.stat_result) -> str:
    key = _key(path, status)
    if key not in known_digests:
        known_digests[key] = file_digest(path)
    return known_digests[key]


def _key(path: Path, status: os.stat_result) -> tuple[str, int, int]:
    return str(path), status.st_size, status.st_mtime_ns


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and digest of every file, each forced to the disk, and every sub-folder too."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            raise ValueError(f"{MANIFEST} is written by the store: pass entries to publish instead")
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StoreError(f"cannot publish {path}: an artifact is made of plain files; copy it in")
        fsync_path(path)
        if path.is_file():
            files[name] = {"sha256": file_digest(path), "size": path.stat().st_size}
    return files
