"""What marks a place in an object store as one of ours."""

from __future__ import annotations

import json

from surpass.errors import StoreError
from surpass.store.artifact import FORMAT
from surpass.store.layout import MARKER
from surpass.store.objects import Objects

LAYOUT = "objects"
_MARK = json.dumps({"format": FORMAT, "layout": LAYOUT}).encode()


def open_far_root(objects: Objects, *, make: bool) -> None:
    """Make an empty place a store, or make sure that this is one.

    Raises:
        StoreError: It is none, or cannot be used.
    """
    content = objects.read(MARKER)
    if content is None:
        foreign = objects.names()
        if foreign and MARKER not in foreign:  # with it, another process has just made the store
            raise StoreError(
                f"{objects.url} holds {foreign[0]!r} and is no Surpass store (no {MARKER}): "
                "name a new or an empty place"
            )
        if not make:
            raise StoreError(f"no store at {objects.url}; run a study first")
        objects.create(MARKER, _MARK)
        content = objects.read(MARKER)
    known = _is_known(content)
    if not known and _was_ours(content) and objects.names() == [MARKER]:
        objects.write(MARKER, _MARK)  # it was damaged on its way here, and marks nothing yet
        known = _is_known(objects.read(MARKER))
    if known is None:
        raise StoreError(f"{objects.url}/{MARKER} is damaged: write {_MARK.decode()} into it")
    if not known:
        raise StoreError(
            f"{objects.url} has store format {content!r}, this Surpass knows {_MARK!r}: "
            "update Surpass, or use another store"
        )


def _is_known(content: bytes | None) -> bool | None:
    """Whether a mark is that of this layout; None where it is none."""
    try:
        found = json.loads(content or b"")
        return bool(found["format"] == FORMAT and found["layout"] == LAYOUT)
    except (ValueError, KeyError, TypeError):
        return None


def _was_ours(content: bytes | None) -> bool:
    """Whether a mark is the beginning of ours, or ours with one byte changed; not in its number."""
    found = content or b""
    changed = [chr(here) for here, ours in zip(found, _MARK, strict=False) if here != ours]
    if len(found) == len(_MARK):
        return len(changed) == 1 and not changed[0].isdigit()
    return not changed and len(found) < len(_MARK)


def is_there(url: str) -> bool:
    """Whether there is a store at a URL, or something else than nothing; nothing is written.

    Raises:
        ConfigError: The URL cannot be that of a store.
        MissingExtraError: URLs of this kind need a package that is not installed.
        StoreError: It cannot be read.
    """
    objects = Objects(url)
    return objects.read(MARKER) is not None or bool(objects.names())
