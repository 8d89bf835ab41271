"""A store behind a URL: artifacts in an object store, with a folder of this machine as its cache.

What is asked for is looked up in the cache, else brought there and verified; files are read from there.
What is published lies in the cache first and is then written to the object store, so that nothing that was
computed is lost if that fails. The parts: `far_artifacts`, `far_leases`, `far_work`.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from surpass.disk import atomic_write, disk_errors
from surpass.errors import StoreError
from surpass.store.artifact import MANIFEST, Artifact, Damaged, check
from surpass.store.far_artifacts import FarArtifacts, checked
from surpass.store.far_leases import FarLeases
from surpass.store.far_root import open_far_root
from surpass.store.far_work import FarWork, UrlClaim
from surpass.store.layout import check_id, check_kind, folder_name, make_temporary
from surpass.store.local import Problem, Store
from surpass.store.objects import Objects, cache_of, protocol_of
from surpass.store.uses import Busy, Claim

PUSH_SECONDS = 180.0
"""How often the checkpoint of a fit that runs is sent to the object store."""

_RECENT_SECONDS = 10.0
_JUST_SECONDS = 1.0
_AT_ONCE = 500
_log = logging.getLogger("surpass.store")
Manifests = dict[tuple[str, str], bytes]


class UrlStore(Store):
    """A store in an object store.

    Args:
        url: Where.
        cache: A folder for what was read and written; by default one of this machine's for this URL.
        make: Whether to make a store where there is none.
        stale_seconds: How long an owner on another machine is silent until others take over.
        beat_seconds: How often this process says that it lives.
        push_seconds: How often checkpoints of fits that run are sent.

    Raises:
        ConfigError: The URL cannot be that of a store.
        MissingExtraError: Such URLs need a package that is not installed.
        StoreError: There is none, or it cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        cache: Path | None = None,
        make: bool = True,
        stale_seconds: float = 45.0,
        beat_seconds: float = 10.0,
        push_seconds: float = PUSH_SECONDS,
    ) -> None:
        self.objects = Objects(url)
        open_far_root(self.objects, make=make)
        if cache is None and protocol_of(url) == "memory":  # what it holds ends with the process
            cache = Path(tempfile.mkdtemp(prefix="surpass-"))
            weakref.finalize(self, shutil.rmtree, cache, ignore_errors=True)
        base = cache or cache_of(self.objects.url)
        super().__init__(base / "files")
        self.where = self.objects.url
        self.is_shared = protocol_of(url) != "memory"
        self.far = FarArtifacts(self.objects)
        self.far_leases = FarLeases(self.objects, stale_seconds=stale_seconds, beat_seconds=beat_seconds)
        self.cache = Store(base / "files")
        self._unsent, self._parts = base / "unsent", base / "parts"
        with disk_errors(base):
            for folder in (self._unsent, self._parts, self.root / "tmp", self.root / "work"):
                folder.mkdir(parents=True, exist_ok=True)
        self.far_work = FarWork(self.objects, self.root / "work", self.root / "tmp", push_seconds)
        self._sent: set[tuple[str, str]] = set()
        self._held: set[str] = set()

    def find(self, kind: str, id: str, *, label: str | None = None) -> Artifact | None:
        """Return the artifact with this id if it is there, brought into the cache and verified.

        A listing will do that is a few seconds old or, with its label, one second; while this process holds
        the stage's lease, it is looked for now. One that the cache holds and the object store has lost is
        written there again.

        Raises:
            StoreError: The store cannot be read.
        """
        here = self.cache.find(kind, id, label=label)
        if here is None:
            within = 0.0 if id in self._held else _JUST_SECONDS if label is not None else _RECENT_SECONDS
            return self._fetched(kind, id, within)
        if os.path.lexists(self._mark(kind, id)) or not self._is_known(kind, id):
            return self._sent_again(here)
        return here

    def contains(self, kind: str, id: str) -> bool:
        """Tell whether the artifact's manifest is in the object store, by a listing a few seconds old."""
        check_kind(kind)
        check_id(id)
        return self.far.looks_complete(kind, id, within=_RECENT_SECONDS)

    def expect(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Bring many artifacts into the cache, several at a time, as far as they are there."""
        missing = [
            key for key in dict.fromkeys(wanted) if self.contains(*key) and not self.cache.contains(*key)
        ]
        for start in range(0, len(missing), _AT_ONCE):
            self._bring(self.far.manifests(missing[start : start + _AT_ONCE]))

    def part(
        self, kind: str, id: str, names: Collection[str] = (), *, label: str | None = None
    ) -> Artifact | None:
        """Return an artifact of which only these files are brought here, unless the cache has all of it."""
        check_kind(kind)
        check_id(id)
        here = self.cache.find(kind, id, label=label)
        if here is not None:
            return here
        if not self.far.looks_complete(kind, id, within=_RECENT_SECONDS):
            return None
        content = self.far.manifest(kind, id)
        if content is None:
            return None
        try:
            part = Artifact(kind, id, self._parts / kind / id, checked(content, kind, id))
            files = {name: file for name, file in part.manifest["files"].items() if name in names}
            with disk_errors(part.path):
                part.path.mkdir(parents=True, exist_ok=True)
                atomic_write(part.path / MANIFEST, content)
                try:
                    check(replace(part, manifest=part.manifest | {"files": files}), digests=True)
                except Damaged:
                    self.far.fetch([(content, part.path)], files)
        except Damaged as damage:
            self.far.condemn(kind, id, content, str(damage))
            return None
        return part

    def claim(self, id: str, uses: Iterable[str]) -> Claim | None:
        """Take the right to compute a stage, among the processes of this machine and then among all."""
        with ExitStack() as taken:
            uses = list(uses)
            near = super().claim(id, uses)
            if near is None:
                return None
            taken.enter_context(near)
            far = self.far_leases.acquire(id, uses)
            if far is None:
                return None
            taken.callback(far.release)
            self.far_work.open(id)
            self._held.add(id)
            taken.pop_all()
        return UrlClaim(near, far, self.far_work, self._held, id)

    def busy(self) -> list[Busy]:
        """The stages that living processes are at, on any machine."""
        return self.far_leases.busy()

    def work(self, id: str) -> Path:
        """Return the scratch folder of a stage, with what an interrupted run left in it, on any machine."""
        folder = super().work(id)
        with disk_errors(folder):
            self.far_work.pull(id)
        return folder

    def drop_work(self, id: str) -> None:
        """Remove a stage's scratch, here and there."""
        super().drop_work(id)
        self.far_work.drop(id)

    def kinds(self) -> list[str]:
        """The kinds of artifact that the object store holds, sorted."""
        return self.far.kinds()

    def manifests(self, kind: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Manifests of a kind, with the folders in which they would lie here."""
        for artifact in self.artifacts(kind):
            yield artifact.path, artifact.manifest

    def damage(self, kind: str, id: str, folder: Path) -> str:
        """What is wrong with an artifact, as far as this process has found out."""
        return "" if self.contains(kind, id) else "a file of it is missing or changed"

    def artifacts(self, kind: str | None = None) -> Iterator[Artifact]:
        """Go through all artifacts with a sound manifest; their files need not be here."""
        for each in self.kinds() if kind is None else [kind]:
            for id, manifest in self.far.sound(each, within=_RECENT_SECONDS):
                yield Artifact(each, id, self.root / each / folder_name(manifest["label"], id), manifest)

    def verify(self) -> list[Problem]:
        """Read every byte of the object store and list what is wrong; nothing is changed."""
        from surpass.store.far_upkeep import problems

        return problems(self)

    def clean_tmp(self) -> Sequence[Path | str]:
        """Remove what killed processes have left over, in the cache and in the object store."""
        from surpass.store.far_upkeep import left_over

        found = left_over(self)
        self.objects.remove(key for one in found for key in one.keys)
        return [*super().clean_tmp(), *(f"{self.where}/{one.name}" for one in found)]

    def forget(self, artifact: Artifact) -> None:
        """Take an artifact out of the cache."""
        self._sent.discard((artifact.kind, artifact.id))
        with disk_errors(artifact.path):
            temporary = make_temporary(self.root, f"cache-{artifact.id[:16]}")
            with suppress(FileNotFoundError):
                os.rename(artifact.path, temporary / "removed")
            shutil.rmtree(temporary, ignore_errors=True)

    def _install(self, sealed: Artifact, *, durable: bool = True) -> Artifact:
        mark = self._mark(sealed.kind, sealed.id)
        mark.touch()
        made = self.cache._install(sealed, durable=durable)
        try:
            return self._send(made)
        except StoreError as error:
            raise StoreError(f"{error}; it is kept in {self.root}, and the next run sends it") from error

    def _send(self, here: Artifact) -> Artifact:
        """Write what the cache holds; what others have published in the meantime takes its place."""
        for _ in range(2):
            won = self.far.publish(here)
            theirs = here if won else self._theirs(here)
            if theirs is not None:
                self._mark(here.kind, here.id).unlink(missing_ok=True)
                self._sent.add((here.kind, here.id))
                return theirs
        raise StoreError(f"{self.where}: {here.kind} {here.id[:16]} is damaged as often as it is written")

    def _theirs(self, here: Artifact) -> Artifact | None:
        """What the object store has, in the cache; None where that is damaged, or gone by now."""
        content = self.far.manifest(here.kind, here.id)
        if content is None:
            return None
        if content == (here.path / MANIFEST).read_bytes():
            return here
        found = self._bring({(here.kind, here.id): content}, instead=here)
        return found[0] if found else None

    def _sent_again(self, here: Artifact) -> Artifact:
        try:
            return self._send(here)
        except StoreError as error:
            _log.warning("%s; %s of the cache is used", error, here.path.name)
            return here

    def _is_known(self, kind: str, id: str) -> bool:
        """Whether the object store has what the cache has; asked once for each artifact."""
        if (kind, id) not in self._sent:
            if not (self.far.looks_complete(kind, id) or self.far.is_there(kind, id)):
                return False
            self._sent.add((kind, id))
        return True

    def _fetched(self, kind: str, id: str, within: float) -> Artifact | None:
        if within and not self.far.looks_complete(kind, id, within=within):
            return None
        content = self.far.manifest(kind, id)
        if content is None:
            return None
        if not self._bring({(kind, id): content}):
            return None
        self._sent.add((kind, id))
        return self.cache.find(kind, id)

    def _bring(self, manifests: Manifests, *, instead: Artifact | None = None) -> list[Artifact]:
        """Put artifacts into the cache, by their manifests; none of them if one is damaged."""
        with disk_errors(self.root):
            folder = make_temporary(self.root, "fetch")
            try:
                staged = [
                    _written(content, kind, id, folder / "files" / f"{kind}-{id}")
                    for (kind, id), content in manifests.items()
                ]
                self.far.fetch([(manifests[one.kind, one.id], one.path) for one in staged])
                if instead is not None:
                    self.forget(instead)
                return [self.cache._install(one, durable=False) for one in staged]
            except Damaged as damage:
                if len(manifests) == 1:  # of several, `find` will tell which
                    ((kind, id), content) = next(iter(manifests.items()))
                    self.far.condemn(kind, id, content, str(damage))
                return []
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _mark(self, kind: str, id: str) -> Path:
        """Lies there while the object store may not have what the cache has."""
        return self._unsent / f"{kind}-{id}"


def _written(content: bytes, kind: str, id: str, folder: Path) -> Artifact:
    """A folder with a manifest, whose files are still to come.

    Raises:
        Damaged: It is not the manifest of this artifact.
    """
    manifest = checked(content, kind, id)
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(content)
    return Artifact(kind, id, folder, manifest)
