"""Open a store by its name: a folder or a URL."""

from __future__ import annotations

from pathlib import Path

from surpass.store.local import Store
from surpass.store.objects import is_url
from surpass.store.urls import UrlStore


def open_store(where: str | Path | Store, *, make: bool = True) -> Store:
    """Open a store: a folder, or a URL such as `s3://bucket/folder`.

    Args:
        where: Which; a store that is open is given back.
        make: Whether to make one where there is none.

    Raises:
        ConfigError: The URL cannot be that of a store.
        MissingExtraError: URLs of this kind need a package that is not installed.
        StoreError: There is none, or it cannot be used.
    """
    if isinstance(where, Store):
        return where
    return UrlStore(str(where), make=make) if is_url(where) else Store(where)
