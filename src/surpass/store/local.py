"""Content-addressed artifacts: computed once, found by id, never served half-written or damaged.

- `STORE.json` marks the folder as a store and has its format version.
- `<kind>/<label>-<id16>/` is one artifact. Its name is for people: the id is in `manifest.json`.
- `tmp/` holds drafts; a complete one is renamed into place.
- `work/<id>/` is the scratch of a stage that can resume.
- `leases/` tells who computes what now (see `lease`).
- `damaged/` keeps what failed verification.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from surpass.disk import disk_errors, fsync_path, is_disk_full, store_error
from surpass.errors import StoreError
from surpass.store.artifact import Artifact, Damaged, check, first_fault, forget, glance, read, remember
from surpass.store.batch import Batch
from surpass.store.draft import Draft
from surpass.store.layout import (
    check_id,
    check_kind,
    finished_work,
    folder_name,
    kinds,
    left_over,
    make_temporary,
    open_root,
    remove_temporary,
    set_aside,
    sorted_entries,
    strange,
)
from surpass.store.uses import Busy, Claim, busy, claim, tidy

# A folder changed within its clock's last tick may change again without a new time stamp. Where the
# clocks of machines differ this may miss an artifact, which then is computed twice, no worse.
_SETTLED_NS = 2_000_000_000
_RECENT_SECONDS = 10.0
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


@dataclass(frozen=True)
class Problem:
    """Something in the store that should not be so; `path` is the key of an object in a store with a URL."""

    path: Path | str
    reason: str


class Store:
    """A folder of artifacts that many processes and machines can share.

    Attributes:
        root: The folder.
        where: What opens it elsewhere: the folder, or a URL.
        is_shared: Whether other processes can use it too.
        leases: Where leases lie.
        batch: Open it (`with store.batch:`) to publish many artifacts.

    Raises:
        StoreError: The folder cannot be made or read, holds other things, or was written by a
            later version.
    """

    def __init__(self, root: str | Path) -> None:
        if "://" in str(root):
            raise StoreError(f"{root} is no folder: open a store at a URL with open_store({str(root)!r})")
        self.root = Path(root).expanduser().absolute()
        self.where, self.is_shared = str(self.root), True
        self.leases = self.root / "leases"
        self.batch = Batch(self.root)
        self._listings: dict[str, tuple[int, dict[str, list[str]]]] = {}
        self._recent: dict[str, tuple[float, dict[str, list[str]]]] = {}
        with disk_errors(self.root):
            open_root(self.root)

    def find(self, kind: str, id: str, *, label: str | None = None) -> Artifact | None:
        """Return the artifact with this id if it is there and every byte of it is as published.

        With its label it is found without a look at all others; one that was published under another just
        now may be missed. A damaged one is moved to `damaged/` with a warning, so that it is computed again.
        Digests are remembered in the process until a file's size or time changes.

        Raises:
            StoreError: The store cannot be read.
        """
        check_kind(kind)
        check_id(id)
        with disk_errors(self.root):
            for folder in self._candidates(kind, id, label):
                try:
                    inode = folder.stat().st_ino
                    artifact = read(folder)
                    check(artifact, digests=True)
                except Damaged as damage:
                    set_aside(self.root, folder, inode, str(damage))
                except FileNotFoundError:  # another process has just moved it
                    continue
                else:
                    if (artifact.kind, artifact.id) == (kind, id):
                        return artifact
        return None

    def contains(self, kind: str, id: str) -> bool:
        """Tell whether the artifact looks complete: its manifest is sound and all sizes are right."""
        check_kind(kind)
        check_id(id)
        with disk_errors(self.root):
            for folder in self._candidates(kind, id):
                with suppress(Damaged, FileNotFoundError):
                    artifact = read(folder)
                    check(artifact, digests=False)
                    if (artifact.kind, artifact.id) == (kind, id):
                        return True
        return False

    @contextmanager
    def draft(self, kind: str, id: str, label: str) -> Iterator[Draft]:
        """Open a fresh folder to write an artifact into; it is removed unless published.

        Args:
            kind: The type of stage, lower case; names the folder.
            id: The stage's id, 64 hex digits.
            label: For people; characters that do not suit a folder name become `-`.

        Raises:
            StoreError: The store cannot be written, or the disk filled up while the body wrote.
        """
        check_kind(kind)
        check_id(id)
        with disk_errors(self.root):
            if self.batch.is_open:
                files = temporary = self.batch.draft_folder(folder_name(label, id))
            else:
                temporary = make_temporary(self.root, folder_name(label, id))
                files = temporary / "files"
        try:
            yield Draft(self, kind, id, label, files)
        except Exception as error:
            if is_disk_full(error):
                raise store_error(error, temporary) from error
            raise
        finally:
            remove_temporary(temporary)

    def work(self, id: str) -> Path:
        """Return the scratch folder of a stage, with what an interrupted run left in it."""
        check_id(id)
        folder = self.root / "work" / id
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def drop_work(self, id: str) -> None:
        """Remove a stage's scratch folder, all at once: nobody resumes from half of it.

        Raises:
            StoreError: It cannot be removed.
        """
        check_id(id)
        folder = self.root / "work" / id
        try:
            os.rmdir(folder)  # most stages leave nothing there
            return
        except FileNotFoundError:
            return
        except OSError:
            pass
        with disk_errors(folder):
            temporary = make_temporary(self.root, f"work-{id[:16]}")
            with suppress(FileNotFoundError):
                os.rename(folder, temporary / "work")
            remove_temporary(temporary)

    def claim(self, id: str, uses: Iterable[str]) -> Claim | None:
        """Take the right to compute a stage, or to remove it; None when another process is at it.

        Args:
            id: The stage's id.
            uses: Ids of the artifacts that it reads: nobody removes them meanwhile.

        Raises:
            StoreError: The store cannot be written.
        """
        return claim(self.leases, id, uses)

    def busy(self) -> list[Busy]:
        """The stages that living processes are at."""
        return busy(self.leases)

    def expect(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Say which artifacts, by kind and id, will be asked for: what is far away comes faster together."""

    def part(
        self, kind: str, id: str, names: Collection[str] = (), *, label: str | None = None
    ) -> Artifact | None:
        """Return an artifact of which only these files are wanted; others may not be at hand."""
        return self.find(kind, id, label=label)

    def kinds(self) -> list[str]:
        """The kinds of artifact that the store holds, sorted."""
        return kinds(self.root)

    def manifests(self, kind: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Folders and manifests of a kind, their seals not looked at: far faster than `artifacts`."""
        found = ((folder, glance(folder)) for folder in sorted_entries(self.root / kind))
        yield from ((folder, manifest) for folder, manifest in found if manifest is not None)

    def damage(self, kind: str, id: str, folder: Path) -> str:
        """What is wrong with an artifact at first sight; empty where it looks complete."""
        return first_fault(folder)

    def artifacts(self, kind: str | None = None) -> Iterator[Artifact]:
        """Go through all artifacts with a sound manifest, by kind and folder name.

        Digests are not checked here: ask `find` for what will be used, `verify` for everything.

        Raises:
            StoreError: The store cannot be read.
        """
        for name in kinds(self.root) if kind is None else [kind]:
            for folder in sorted_entries(self.root / name):
                artifact = None
                with disk_errors(folder), suppress(Damaged, FileNotFoundError):
                    artifact = read(folder)
                if artifact is not None:
                    yield artifact

    def verify(self) -> list[Problem]:
        """Read every byte of the store and list what is wrong; nothing is changed.

        Raises:
            StoreError: The store cannot be read.
        """
        forget()
        with disk_errors(self.root):
            return [Problem(path, reason) for path, reason in strange(self.root)]

    def clean_tmp(self) -> Sequence[Path | str]:
        """Remove what ended processes left: temporary folders (others after a day), leases, finished scratch.

        Returns:
            What was removed.

        Raises:
            StoreError: The store cannot be read or written.
        """
        with disk_errors(self.root / "tmp"):
            removed = list(left_over(self.root))
            for folder in removed:
                with suppress(FileNotFoundError):  # another process cleans up too
                    shutil.rmtree(folder)
            for folder in finished_work(self.root):
                self.drop_work(folder.name)
                removed.append(folder)
        return [*removed, *tidy(self.leases)]

    def _install(self, sealed: Artifact, *, durable: bool = True) -> Artifact:
        home = self.root / sealed.kind
        target = home / folder_name(sealed.manifest["label"], sealed.id)
        if not home.is_dir():
            home.mkdir(exist_ok=True)
            fsync_path(self.root)
        for _ in range(2):
            existing = self.find(sealed.kind, sealed.id, label=sealed.manifest["label"])
            if existing is not None:
                return existing
            try:
                os.rename(sealed.path, target)
            except OSError as error:
                if error.errno not in _OCCUPIED:
                    raise
                continue  # somebody was faster; or it is damaged, and `find` moves it aside
            if durable:
                fsync_path(home)
            installed = replace(sealed, path=target)
            remember(installed)
            if sealed.kind in self._recent:
                self._recent[sealed.kind][1].setdefault(sealed.id[:16], []).append(target.name)
            return installed
        raise StoreError(f"{target} is in the way and cannot be used: move it elsewhere")

    def _candidates(self, kind: str, id: str, label: str | None = None) -> list[Path]:
        home = self.root / kind
        if label is not None:
            usual = home / folder_name(label, id)
            if os.path.lexists(usual):
                return [usual]
            seen_at, recent = self._recent.get(kind, (-math.inf, {}))
            if time.monotonic() - seen_at < _RECENT_SECONDS:
                return [home / name for name in recent.get(id[:16], [])]
        try:
            changed = home.stat().st_mtime_ns
            listed_at, names = self._listings.get(kind, (None, {}))
            if changed != listed_at:
                names = {}
                for name in sorted(os.listdir(home)):
                    names.setdefault(name[-16:], []).append(name)
                self._recent[kind] = (time.monotonic(), names)
                if time.time_ns() - changed > _SETTLED_NS:
                    self._listings[kind] = (changed, names)
        except FileNotFoundError:
            return []
        return [home / name for name in names.get(id[:16], [])]
