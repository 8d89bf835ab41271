"""What an object store holds, what is wrong in it, and what killed processes have left in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from surpass.store.artifact import Damaged
from surpass.store.far_artifacts import FILES, MANIFESTS, checked, files_of, key_of, parse_key
from surpass.store.far_leases import LEASES, OWNERS
from surpass.store.far_work import WORK
from surpass.store.layout import MARKER, folder_name
from surpass.store.local import Problem
from surpass.store.objects import Seen

if TYPE_CHECKING:
    from surpass.store.urls import UrlStore

_DAY_SECONDS = 86400.0
_AT_ONCE = 500
_OURS = (MARKER, MANIFESTS, FILES, LEASES, OWNERS, WORK)


class FarEntry(NamedTuple):
    """An artifact in an object store.

    Attributes:
        kind: Of its stage.
        id: Of its stage.
        bytes: Of its files and its manifest.
        changed: When it was published, in seconds since 1970 by the clock of the server.
    """

    kind: str
    id: str
    bytes: int
    changed: float


class LeftOver(NamedTuple):
    """Objects that belong together.

    Attributes:
        name: The key that they begin with.
        id: The stage's.
        keys: Theirs.
        bytes: Their size.
        changed: When the last of them was written.
        reason: What they are.
    """

    name: str
    id: str
    keys: list[str]
    bytes: int
    changed: float
    reason: str


def entries(store: UrlStore) -> Iterator[FarEntry]:
    """All artifacts with their sizes; no manifest is read, so files of publishers that lost count too.

    Raises:
        StoreError: The store cannot be listed.
    """
    sizes: dict[str, int] = {}
    for key, seen in store.objects.below(FILES).items():
        place = "/".join(key.split("/")[1:3])
        sizes[place] = sizes.get(place, 0) + seen.size
    for key, seen in sorted(store.objects.below(MANIFESTS).items()):
        named = parse_key(key)
        if named is not None:
            yield FarEntry(*named, seen.size + sizes.get("/".join(named), 0), seen.changed)


def name_of(store: UrlStore, kind: str, begins: str) -> str:
    """An artifact's name for people; how its id begins where its manifest cannot be read."""
    for id in store.far.listed(kind):
        if id.startswith(begins):
            with suppress(Damaged):
                content = store.objects.read(key_of(kind, id))
                return folder_name(str(checked(content or b"", kind, id)["label"]), id)
    return begins


def problems(store: UrlStore) -> list[Problem]:
    """Everything in an object store that should not be so; reads every byte of it.

    Raises:
        StoreError: It cannot be read.
    """
    found = [f"{name}: unknown entry" for name in store.objects.names() if name not in _OURS]
    keys = store.objects.below(MANIFESTS)
    found += [f"{key}: unknown entry" for key in keys if parse_key(key) is None]
    named = [(key, place) for key in sorted(keys) if (place := parse_key(key)) is not None]
    listed: set[str] = set()
    with tempfile.TemporaryDirectory(dir=store.root / "tmp") as folder:
        for start in range(0, len(named), _AT_ONCE):
            contents = store.objects.read_many(key for key, _ in named[start : start + _AT_ONCE])
            for key, (kind, id) in named[start : start + _AT_ONCE]:
                if key not in contents:
                    continue  # removed meanwhile
                try:
                    manifest = checked(contents[key], kind, id)
                    own = files_of(contents[key])
                    listed |= {f"{own}/{name}" for name in manifest["files"]}
                    for name in manifest["files"]:
                        store.far.fetch([(contents[key], Path(folder))], [name])
                        (Path(folder) / name).unlink()
                except Damaged as damage:
                    found.append(f"{key}: {damage}")
    found += [f"{one.name}: {one.reason}" for one in left_over(store, known=listed)]
    split = (line.partition(": ") for line in found)
    return [Problem(f"{store.where}/{key}", reason) for key, _, reason in split]


def left_over(
    store: UrlStore, seconds: float = _DAY_SECONDS, *, known: set[str] | None = None
) -> list[LeftOver]:
    """What nobody has touched for so long: files without a manifest, leases and owners.

    Args:
        store: Where.
        seconds: How long.
        known: Keys of all files that manifests name; read from these if not given.

    Raises:
        StoreError: The store cannot be read.
    """
    now = store.far_leases.pulse.server_time()
    found = [one for one in _unfinished(store, known) if now - one.changed > seconds]
    for key in store.far_leases.silent(seconds):
        found.append(LeftOver(key, "", [key], 0, 0.0, "left over by a process that ended"))
    return found


def scratch(store: UrlStore) -> list[LeftOver]:
    """What interrupted stages go on from.

    Raises:
        StoreError: The store cannot be listed.
    """
    return [
        _together(f"{WORK}/{id}", id, objects, "nobody goes on with it")
        for id, objects in sorted(store.far_work.ids().items())
    ]


def hide(store: UrlStore, kind: str, id: str) -> bytes | None:
    """Remove an artifact's manifest, so that nobody finds it; its files are still there.

    Returns:
        The manifest; None if there was none.

    Raises:
        StoreError: It cannot be removed.
    """
    content = store.objects.read(key_of(kind, id))
    if content is not None:
        store.objects.remove([key_of(kind, id)])
        store.far.forget(kind, id)
    return content


def put_back(store: UrlStore, kind: str, id: str, manifest: bytes) -> None:
    """Undo `hide`, unless the stage was published again in the meantime.

    Raises:
        StoreError: It cannot be written.
    """
    store.objects.create(key_of(kind, id), manifest)
    store.far.is_there(kind, id)


def erase(store: UrlStore, kind: str, id: str, manifest: bytes) -> None:
    """Remove what `hide` has left, in the object store and in the cache of this machine.

    Raises:
        StoreError: It cannot be removed.
    """
    with suppress(Damaged):  # then `left_over` finds them
        store.objects.remove(store.objects.below(files_of(manifest)))
    here = store.cache.find(kind, id)
    if here is not None:
        store.forget(here)


def _unfinished(store: UrlStore, known: set[str] | None) -> list[LeftOver]:
    """Files that no manifest names, by the folder of their publisher."""
    folders: dict[str, dict[str, Seen]] = {}
    for key, seen in store.objects.below(FILES).items():
        folders.setdefault("/".join(key.split("/")[:4]), {})[key] = seen
    if known is None:
        owned: set[str] = set()
        named = {tuple(folder.split("/")[1:3]) for folder in folders}
        keys = [key_of(*place) for place in named if len(place) == 2]
        for content in store.objects.read_many(keys).values():
            try:
                owned.add(files_of(content))
            except Damaged:
                continue
        strays = {folder: objects for folder, objects in folders.items() if folder not in owned}
    else:
        strays = {f: o for f, o in folders.items() if not known.intersection(o)}
    return [
        _together(folder, "", objects, "left over by a process that ended")
        for folder, objects in sorted(strays.items())
    ]


def _together(name: str, id: str, objects: dict[str, Seen], reason: str) -> LeftOver:
    size, changed = sum(seen.size for seen in objects.values()), max(s.changed for s in objects.values())
    return LeftOver(name, id, sorted(objects), size, changed, reason)
