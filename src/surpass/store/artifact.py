"""One artifact on the disk: its files, and the manifest that is written last and judges them.

A manifest lists every file with size and sha256 and carries the sha256 of its own canonical JSON,
so that a changed byte anywhere in the folder, the manifest included, is noticed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
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
_encode = json.JSONEncoder(allow_nan=False).encode
_encode_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

# What this process has read already: (path, size, time of change) to sha256, and to manifests.
known_digests: dict[tuple[str, int, int, int, int], str] = {}
_known_manifests: dict[tuple[str, int, int, int, int], dict[str, Any]] = {}  # at most 4096


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


def seal(
    folder: Path, kind: str, id: str, label: str, extra: dict[str, Any], *, durable: bool = True
) -> Artifact:
    """Seal a finished folder, and force it to the disk.

    Args:
        folder: Holds the artifact's files, in sub-folders if need be.
        kind: The type of stage.
        id: The stage's id, 64 hex digits.
        label: For people.
        extra: Further entries, anything that has canonical JSON.
        durable: Whether to force it to the disk; if not, that is the caller's to do.

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
        "files": _listed(folder, durable=durable),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "host": here.host,
        "pid": here.pid,
    }
    taken = sorted({*manifest, _SEAL} & extra.keys())
    if taken:
        raise ValueError(f"manifest entries {', '.join(taken)} are filled in by the store: rename yours")
    manifest |= extra
    sealed = manifest | {_SEAL: digest_of(manifest)}
    entries = (f" {_encode(name)}: {_encode(value)}" for name, value in sealed.items())
    text = "{\n" + ",\n".join(entries) + "\n}"
    write_new(folder / MANIFEST, text.encode("ascii"), durable=durable)
    if durable:
        fsync_path(folder)
    as_read = json.loads(text)
    del as_read[_SEAL]
    return Artifact(kind, id, folder, as_read)


def read(folder: Path) -> Artifact:
    """Return an artifact whose manifest is sound, read once until it changes; its files are not looked at.

    Raises:
        Damaged: It is missing or not as it was written.
        OSError: It cannot be read.
        StoreError: A later version of Surpass wrote it.
    """
    path = f"{folder}/{MANIFEST}"
    try:
        key = _key(path, os.lstat(path))
        manifest = _known_manifests.get(key)  # of all who ask: nobody changes it
        if manifest is None:
            with open(path, "rb", buffering=0, opener=_not_following) as file:
                manifest, _ = parsed(file.readall(), str(folder))
            if len(_known_manifests) >= 4096:
                _known_manifests.clear()
            _known_manifests[key] = manifest
    except (FileNotFoundError, NotADirectoryError):
        raise Damaged(f"{MANIFEST} is missing") from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise Damaged(f"{MANIFEST} is a link, which may lead out of the store") from None
    return Artifact(manifest["kind"], manifest["id"], folder, manifest)


def _not_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def parsed(content: bytes, place: str) -> tuple[dict[str, Any], str]:
    """A manifest and its seal, if it is sound.

    Args:
        content: The file.
        place: Where it is, for people.

    Raises:
        Damaged: It is not as it was written, or names a file that is not the artifact's own.
        StoreError: A later version of Surpass wrote it.
    """
    try:
        manifest: dict[str, Any] = json.loads(content)
        seal = manifest.pop(_SEAL)
        sound = seal == _quick_digest(manifest) or seal == digest_of(manifest)
        later = manifest["format"] > FORMAT
        wrong = next(((name, reason) for name in manifest["files"] if (reason := unsafe(name))), None)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise Damaged(f"{MANIFEST} cannot be parsed") from None
    if not sound:
        raise Damaged(f"{MANIFEST} does not match its digest")
    if later:
        raise StoreError(
            f"{place} has format {manifest['format']}, later than {FORMAT}: update Surpass to read it"
        )
    if wrong:
        raise Damaged(f"{MANIFEST} names {wrong[0]!r}, which {wrong[1]}")
    return manifest, seal


def unsafe(name: str) -> str:
    """Why a name cannot be that of a file within a folder; empty where it can."""
    if name.startswith("/") or name[1:2] == ":":
        return "is an absolute path"
    parts = name.split("/")
    if ".." in parts:
        return "leads out of its folder (..)"
    if not name.isprintable() or "\\" in name or "" in parts or "." in parts:
        return "is no plain path"
    return ""


def glance(folder: Path) -> dict[str, Any] | None:
    """A manifest as it lies there, its seal not looked at; None where it cannot be read.

    Good enough to count and to compare, and several times faster than `artifact.read`.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(manifest, dict) and {"kind", "id", "label", "files"} <= manifest.keys()
    return manifest if whole else None


def check(artifact: Artifact, *, digests: bool) -> None:
    """Compare the files with the manifest: sizes and, if asked for, every byte.

    Raises:
        Damaged: A file is missing or differs.
        OSError: A file cannot be read.
    """
    linked = _linked(artifact)
    if linked:
        raise Damaged(f"{linked} is a link, which may lead out of the store")
    for name, published in artifact.manifest["files"].items():
        path = f"{artifact.path}/{name}"
        try:
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                raise Damaged(f"{name} is no plain file")
            if status.st_size != published["size"]:
                raise Damaged(f"{name} has {status.st_size} bytes instead of {published['size']}")
            if digests and _digest(path, status) != published["sha256"]:
                raise Damaged(f"{name} does not match its digest")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise Damaged(f"{name} is missing") from None


def _linked(artifact: Artifact) -> str:
    """The artifact's folder or the first of its sub-folders that is a symbolic link; empty if none is."""
    if os.path.islink(artifact.path):
        return artifact.path.name
    folders = {name.rpartition("/")[0] for name in artifact.manifest["files"] if "/" in name}
    above = {
        "/".join(parts[: end + 1]) for parts in (f.split("/") for f in folders) for end in range(len(parts))
    }
    return next((name for name in sorted(above) if os.path.islink(f"{artifact.path}/{name}")), "")


def first_fault(folder: Path) -> str:
    """What is wrong with an artifact at first sight, without a look at its content; empty if nothing is."""
    try:
        check(read(folder), digests=False)
    except (Damaged, FileNotFoundError) as damage:
        return str(damage)
    return ""


def forget() -> None:
    """Read all anew from here on, as if nothing had been read in this process."""
    known_digests.clear()
    _known_manifests.clear()


def remember(artifact: Artifact) -> None:
    """Spare this process reading again what it has just written and digested.

    Raises:
        OSError: A file cannot be looked at.
    """
    for name, published in artifact.manifest["files"].items():
        path = f"{artifact.path}/{name}"
        known_digests[_key(path, os.stat(path))] = published["sha256"]


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


def _digest(path: str, status: os.stat_result) -> str:
    key = _key(path, status)
    if key not in known_digests:
        known_digests[key] = file_digest(path)
    return known_digests[key]


def _key(path: str, status: os.stat_result) -> tuple[str, int, int, int, int]:
    # Whoever changes a file can give it back its time, but not the time of that.
    return path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _quick_digest(manifest: dict[str, Any]) -> str:
    """Its digest, if no number in it has another canonical form, as most have not."""
    text = _encode_sorted(manifest)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _listed(folder: Path, *, durable: bool) -> dict[str, dict[str, Any]]:
    """Size and digest of every file; each forced to the disk, if asked for, and every sub-folder too."""
    files: dict[str, dict[str, Any]] = {}
    for name, entry in sorted(_entries(str(folder), "")):
        if name == MANIFEST:
            raise ValueError(f"{MANIFEST} is written by the store: pass entries to publish instead")
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise StoreError(f"cannot publish {entry.path}: an artifact is made of plain files; copy it in")
        if durable:
            fsync_path(Path(entry.path))
        if entry.is_file():
            files[name] = {"sha256": file_digest(entry.path), "size": entry.stat().st_size}
    return files


def _entries(folder: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All files and folders below a folder with their names from there; links are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield f"{prefix}{entry.name}", entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path, f"{prefix}{entry.name}/")
