"""What a store holds: number and bytes by kind, the largest artifacts, scratch, leftovers."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from heapq import nsmallest
from pathlib import Path
from typing import NamedTuple

from surpass.disk import disk_errors
from surpass.store.artifact import MANIFEST
from surpass.store.far_upkeep import entries, left_over, name_of, scratch
from surpass.store.layout import kinds, sorted_entries
from surpass.store.layout import left_over as left_over_here
from surpass.store.local import Store
from surpass.store.urls import UrlStore

SHORT_ID = 16
_MANIFEST_BYTES = 2**15  # most have less
# How the store writes an entry of a manifest's files; a digest right before a size is nothing else.
_SIZE = re.compile(rb'"sha256":\s*"[0-9a-f]{64}",\s*"size":\s*(\d+)')


class Share(NamedTuple):
    """So many things of so many bytes together."""

    number: int = 0
    bytes: int = 0

    def plus(self, size: int) -> Share:
        """One more."""
        return Share(self.number + 1, self.bytes + size)


class Held(NamedTuple):
    """An artifact as its folder's name has it."""

    kind: str
    name: str
    bytes: int

    @property
    def short_id(self) -> str:
        """How its id begins."""
        return self.name[-SHORT_ID:]


class Usage(NamedTuple):
    """What takes how much.

    Attributes:
        kinds: Artifacts by kind.
        study: Those of them that one study needs; None where none was named.
        largest: Largest first.
        scratch: What stages that were interrupted go on from.
        leftovers: What processes that were killed have left over.
        damaged: What failed verification.
    """

    kinds: dict[str, Share]
    study: dict[str, Share] | None
    largest: list[Held]
    scratch: Share
    leftovers: Share
    damaged: Share


def held(store: Store) -> Iterator[Held]:
    """Go through all artifacts with their sizes, by kind; no digest is checked and no manifest parsed.

    Raises:
        StoreError: The store cannot be read.
    """
    if isinstance(store, UrlStore):
        yield from (Held(one.kind, one.id[:SHORT_ID], one.bytes) for one in entries(store))
        return
    with disk_errors(store.root):
        for kind in kinds(store.root):
            for name in sorted(os.listdir(store.root / kind)):
                try:
                    size = _size(f"{store.root}/{kind}/{name}/{MANIFEST}")
                except (FileNotFoundError, NotADirectoryError):  # removed meanwhile, or a stray file
                    continue
                yield Held(kind, name, size)


def _size(manifest: str) -> int:
    descriptor = os.open(manifest, os.O_RDONLY)  # no file object: there may be a hundred thousand
    try:
        content = os.read(descriptor, _MANIFEST_BYTES)
        while more := os.read(descriptor, _MANIFEST_BYTES):
            content += more
    finally:
        os.close(descriptor)
    return len(content) + sum(map(int, _SIZE.findall(content)))


def usage(store: Store, needed: Collection[str] | None = None, *, largest: int = 10) -> Usage:
    """Add up what a store holds.

    Args:
        store: Where artifacts are.
        needed: Ids that a study needs; None where no study is asked for.
        largest: How many of the largest artifacts to name.

    Raises:
        StoreError: The store cannot be read.
    """
    short = None if needed is None else {id[:SHORT_ID] for id in needed}
    by_kind: dict[str, Share] = {}
    of_study: dict[str, Share] = {}
    sizes: list[Held] = []
    for one in held(store):
        by_kind[one.kind] = by_kind.get(one.kind, Share()).plus(one.bytes)
        if short is not None and one.short_id in short:
            of_study[one.kind] = of_study.get(one.kind, Share()).plus(one.bytes)
        if short is None or one.short_id in short:
            sizes.append(one)
    sizes = nsmallest(largest, sizes, key=lambda one: (-one.bytes, one.kind, one.name))
    if isinstance(store, UrlStore):
        named = [one._replace(name=name_of(store, one.kind, one.name)) for one in sizes]
        over, stray = scratch(store), left_over(store)
        return Usage(
            kinds=by_kind,
            study=None if short is None else of_study,
            largest=named,
            scratch=Share(len(over), sum(one.bytes for one in over)),
            leftovers=Share(len(stray), sum(one.bytes for one in stray)),
            damaged=Share(),
        )
    with disk_errors(store.root):
        return Usage(
            kinds=by_kind,
            study=None if short is None else of_study,
            largest=sizes,
            scratch=_share(sorted_entries(store.root / "work")),
            leftovers=_share(list(left_over_here(store.root))),
            damaged=_share(sorted_entries(store.root / "damaged")),
        )


def _share(folders: list[Path]) -> Share:
    return Share(len(folders), sum(map(folder_bytes, folders)))


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder, links not followed; what goes meanwhile counts nothing."""
    total = 0
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):
            if not path.is_dir():
                total += path.lstat().st_size
    return total


def last_change(folder: Path) -> float:
    """When a folder or anything below it changed last, in seconds since 1970."""
    times = [0.0]
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):
            times.append(path.lstat().st_mtime)
    return max(times)
