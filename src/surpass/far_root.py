"""What marks a place in an object store as one of ours."""

from __future__ import annotations

import json

from surpass.artifact import FORMAT
from surpass.errors import StoreError
from surpass.layout import MARKER
from surpass.objects import Objects

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
    try:
        found = json.loads(content or b"")
        known = found["format"] == FORMAT and found["layout"] == LAYOUT
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{objects.url}/{MARKER} is damaged: write {_MARK.decode()} into it") from None
    if not known:
        raise StoreError(
            f"{objects.url} has store format {content!r}, this Surpass knows {_MARK!r}: "
            "update Surpass, or use another store"
        )


def is_there(url: str) -> bool:
    """Whether there is a store at a URL, or something else than nothing; nothing is written.

    Raises:
        ConfigError: The URL cannot be that of a store.
        MissingExtraError: URLs of this kind need a package that is not installed.
        StoreError: It cannot be read.
    """
    objects = Objects(url)
    return objects.read(MARKER) is not None or bool(objects.names())
