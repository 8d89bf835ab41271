"""Artifacts in an object store: there as a whole or not at all, and verified whenever they are brought here.

- `manifests/<kind>/<id>.json` is an artifact's manifest, written last: the artifact exists if this does.
- `files/<kind>/<id>/<seal>/<name>` are its files. The seal begins the manifest's own digest, so what two
  publishers of one stage write never mixes; one manifest wins, and the other's files are removed.

An answer that an object was written is not believed: what was sent is looked for before the manifest is
written, and the manifest is read back. An artifact that turns out to be damaged is not removed but
replaced, if it is still the same, by whoever computes it again.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from surpass.errors import StoreError
from surpass.identity import file_digest
from surpass.store.artifact import MANIFEST, Artifact, Damaged, parsed
from surpass.store.layout import check_kind
from surpass.store.objects import Objects, Seen

MANIFESTS, FILES = "manifests", "files"
_MANIFEST = re.compile(r"manifests/([a-z][a-z0-9_]*)/([0-9a-f]{64})\.json")
_TRIES = 3
_AT_ONCE = 500
_SEAL_DIGITS = 16
_log = logging.getLogger("surpass.store")
Key = tuple[str, str]


class FarArtifacts:
    """The artifacts of an object store."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._listed: dict[str, tuple[float, dict[str, Seen]]] = {}
        self._damaged: dict[Key, str] = {}

    def listed(self, kind: str, *, within: float = math.inf) -> Mapping[str, Seen]:
        """The artifacts of a kind by id, as a listing says that is not older than so many seconds.

        Raises:
            StoreError: They cannot be listed.
        """
        at, found = self._listed.get(kind, (-math.inf, {}))
        if time.monotonic() - at > within or at == -math.inf:
            keys = self.objects.below(f"{MANIFESTS}/{kind}")
            found = {match[2]: seen for key, seen in keys.items() if (match := _MANIFEST.fullmatch(key))}
            self._listed[kind] = (time.monotonic(), found)
        return found

    def looks_complete(self, kind: str, id: str, *, within: float = math.inf) -> bool:
        """Whether an artifact is listed and not known to be damaged; a new listing is made if it is not."""
        if (kind, id) in self._damaged:
            return False
        return id in self.listed(kind) or id in self.listed(kind, within=within)

    def is_there(self, kind: str, id: str) -> bool:
        """Whether an artifact's manifest is there now, by its size alone."""
        seen = self.objects.see(key_of(kind, id))
        if seen is not None:
            self._note(kind, id, seen)
        return seen is not None and (kind, id) not in self._damaged

    def kinds(self) -> list[str]:
        """The kinds that there are, sorted."""
        return [name for name in self.objects.names(MANIFESTS) if _is_kind(name)]

    def manifest(self, kind: str, id: str) -> bytes | None:
        """A manifest as it is there now; None where there is none, or one that is known to be damaged."""
        content = self.objects.read(key_of(kind, id))
        if content is not None and (kind, id) in self._damaged:
            seen = self.objects.see(key_of(kind, id))
            if seen is None or seen.tag == self._damaged[kind, id]:
                return None
            del self._damaged[kind, id]  # somebody has computed it again
        return content

    def manifests(self, wanted: Iterable[Key]) -> dict[Key, bytes]:
        """Many manifests at once; those that are not there are left out."""
        keys = {key_of(*key): key for key in wanted if key not in self._damaged}
        return {keys[key]: content for key, content in self.objects.read_many(keys).items()}

    def sound(self, kind: str, *, within: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """The ids and manifests of a kind, many read at once; damaged ones are passed over."""
        keys = [(kind, id) for id in sorted(self.listed(kind, within=within))]
        for start in range(0, len(keys), _AT_ONCE):
            for (_, id), content in self.manifests(keys[start : start + _AT_ONCE]).items():
                with suppress(Damaged):
                    yield id, checked(content, kind, id)

    def fetch(self, parts: Collection[tuple[bytes, Path]], names: Collection[str] | None = None) -> None:
        """Bring files of artifacts into folders, and verify every byte.

        Args:
            parts: Manifests that `checked` has passed, each with the folder for its files.
            names: Which files; all by default.

        Raises:
            Damaged: A file is missing or is not what the manifest says, also when asked for again.
            StoreError: They cannot be read.
        """
        wanted: dict[str, tuple[Path, Mapping[str, Any]]] = {}
        for content, folder in parts:
            manifest, seal = parsed(content, self.objects.url)
            for name, file in manifest["files"].items():
                if names is None or name in names:
                    wanted[f"{_files(manifest, seal)}/{name}"] = (folder / name, file)
        for last in (False, True):
            try:
                self.objects.bring({key: path for key, (path, _) in wanted.items()})
            except FileNotFoundError:
                if last:
                    raise Damaged("a file of it is missing") from None
            wanted = {key: (path, file) for key, (path, file) in wanted.items() if not _is_sound(path, file)}
            if not wanted:
                return
        raise Damaged(f"{next(iter(wanted)).rpartition('/')[2]} does not match its digest")

    def condemn(self, kind: str, id: str, content: bytes | None, reason: str) -> None:
        """Take an artifact for damaged, if it is still the one with this manifest; users are warned."""
        key = key_of(kind, id)
        seen = self.objects.see(key)
        if seen is not None and self.objects.read(key) == content:
            self._damaged[kind, id] = seen.tag
            _log.warning("damaged: %s/%s (%s); it will be computed again", self.objects.url, key, reason)

    def publish(self, artifact: Artifact) -> bool:
        """Write an artifact; False if another one of the same stage is there.

        Raises:
            StoreError: It cannot be written, or what was written is not there.
        """
        content = (artifact.path / MANIFEST).read_bytes()
        manifest, seal = parsed(content, str(artifact.path))
        self._send(artifact, _files(manifest, seal))
        won = self._commit(artifact.kind, artifact.id, content)
        if not won:
            self.objects.remove(f"{_files(manifest, seal)}/{name}" for name in manifest["files"])
        return won

    def _send(self, artifact: Artifact, folder: str) -> None:
        missing = {f"{folder}/{name}": artifact.path / name for name in artifact.manifest["files"]}
        sizes = {f"{folder}/{name}": file["size"] for name, file in artifact.manifest["files"].items()}
        for _ in range(_TRIES):
            if not missing:
                return
            self.objects.send(missing)
            there = self.objects.below(folder)
            missing = {k: p for k, p in missing.items() if k not in there or there[k].size != sizes[k]}
        if missing:
            raise self._lost(next(iter(missing)))

    def _commit(self, kind: str, id: str, content: bytes) -> bool:
        key = key_of(kind, id)
        for _ in range(_TRIES):
            tag = self._damaged.get((kind, id))
            if tag is None or not self.objects.replace(key, content, tag):
                self.objects.create(key, content)
            seen, there = self.objects.see(key), self.objects.read(key)
            if there == content:
                self._damaged.pop((kind, id), None)
                if seen is not None:
                    self._note(kind, id, seen)
                return True
            if there is None or seen is None:
                continue
            try:
                checked(there, kind, id)
            except Damaged as damage:
                self.condemn(kind, id, there, str(damage))
            else:
                if seen.tag != tag:
                    self._damaged.pop((kind, id), None)
                    return False
        raise self._lost(key)

    def _lost(self, key: str) -> StoreError:
        return StoreError(
            f"{self.objects.url}/{key} was written {_TRIES} times and is not there: check the object store"
        )

    def _note(self, kind: str, id: str, seen: Seen) -> None:
        if kind in self._listed:
            self._listed[kind][1][id] = seen

    def forget(self, kind: str, id: str) -> None:
        """An artifact was removed."""
        if kind in self._listed:
            self._listed[kind][1].pop(id, None)
        self._damaged.pop((kind, id), None)


def key_of(kind: str, id: str) -> str:
    """The key of an artifact's manifest."""
    return f"{MANIFESTS}/{kind}/{id}.json"


def checked(content: bytes, kind: str, id: str) -> dict[str, Any]:
    """A manifest, if it is sound and that of this artifact.

    Raises:
        Damaged: It is not.
        StoreError: A later version of Surpass wrote it.
    """
    manifest, _ = parsed(content, f"{kind} {id}")
    if (manifest["kind"], manifest["id"]) != (kind, id):
        raise Damaged(f"{MANIFEST} is that of {manifest['kind']} {manifest['id']}")
    return manifest


def files_of(content: bytes) -> str:
    """The key below which the files of a manifest lie."""
    manifest, seal = parsed(content, MANIFEST)
    return _files(manifest, seal)


def parse_key(key: str) -> Key | None:
    """Kind and id of a manifest's key; None of another."""
    match = _MANIFEST.fullmatch(key)
    return (match[1], match[2]) if match else None


def _files(manifest: Mapping[str, Any], seal: str) -> str:
    return f"{FILES}/{manifest['kind']}/{manifest['id']}/{seal[:_SEAL_DIGITS]}"


def _is_sound(path: Path, file: Mapping[str, Any]) -> bool:
    try:
        return (path.stat().st_size, file_digest(path)) == (file["size"], file["sha256"])
    except FileNotFoundError:
        return False


def _is_kind(name: str) -> bool:
    try:
        check_kind(name)
    except ValueError:
        return False
    return True
