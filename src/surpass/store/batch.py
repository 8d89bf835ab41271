"""Many artifacts published at little cost: one folder for their drafts, and one call that makes them last.

An artifact is forced to the disk by several calls of fsync, each of which waits for the disk. What took no
second to compute need not wait: it is in place at once, and outlasts a power cut from the next `settle` on,
which is after about a second of such work. If the power fails before, it is gone or torn; what is torn does
not match its digests, so it is never served and is computed again, like anything damaged.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from surpass.disk import disk_errors
from surpass.store.layout import make_temporary, remove_temporary

DEAR_SECONDS = 1.0
"""From so much computing on, a power cut may not take it away."""

# Where the disk is slow, or others write much, no more than a tenth of the time goes into waiting for it.
_PATIENCE = 10.0


class Batch:
    """What the publications of one process into one store share.

    Attributes:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._open = 0
        self._desk: tuple[int, Path] | None = None
        self._risked_since: float | None = None
        self._risked_seconds = 0.0
        self._settling_seconds = 0.0

    @property
    def is_open(self) -> bool:
        """Whether drafts share a folder, and cheap artifacts need not be forced to the disk."""
        return self._open > 0

    def __enter__(self) -> Batch:
        with self._lock:
            self._open += 1
        return self

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._open -= 1
            desk, self._desk = (self._desk, None) if not self._open else (None, self._desk)
        if desk is not None and desk[0] == os.getpid():  # a forked child has one of its own
            remove_temporary(desk[1])
        self.settle()

    def draft_folder(self, name: str) -> Path:
        """A fresh folder for a draft, on the file system of the store; the batch is open.

        Raises:
            OSError: It cannot be made.
        """
        for _ in range(2):
            folder = self._shared() / f"{name}-{os.urandom(8).hex()}"
            with suppress(FileNotFoundError):  # nobody touched it for a day, and another machine cleaned up
                folder.mkdir()
                return folder
            self._desk = None
        return make_temporary(self.root, name) / "files"

    def risk(self, seconds: float) -> None:
        """An artifact that took so long was published, and a power cut may take it; force it out when due.

        Raises:
            StoreError: The disk is unwilling.
        """
        now = time.monotonic()
        with self._lock:
            if self._risked_since is None:
                self._risked_since = now
            self._risked_seconds += seconds
            at_risk = self._risked_seconds + now - self._risked_since
            due = at_risk >= max(DEAR_SECONDS, _PATIENCE * self._settling_seconds)
        if due:
            self.settle()

    def settle(self) -> None:
        """Let all that was published so far outlast a power cut.

        Raises:
            StoreError: The disk is unwilling.
        """
        with self._lock:
            if self._risked_since is None:
                return
            self._risked_since, self._risked_seconds = None, 0.0
        began = time.monotonic()
        with disk_errors(self.root):
            sync_file_system(self.root)
        self._settling_seconds = time.monotonic() - began

    def _shared(self) -> Path:
        with self._lock:
            if self._desk is None or self._desk[0] != os.getpid():
                self._desk = os.getpid(), make_temporary(self.root, "drafts")
            return self._desk[1]


def sync_file_system(folder: Path) -> None:
    """Force everything that was written to the file system of a folder to the disk, whoever wrote it.

    One call for thousands of files, where fsync would wait for the disk once for each.

    Raises:
        OSError: The folder cannot be opened, or the disk is unwilling.
    """
    syncfs, get_errno = _syncfs()
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor) != 0:
            number = get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


@cache
def _syncfs() -> tuple[Any, Callable[[], int]]:
    """The system's call, which Python does not have (None where there is none), and what tells its error."""
    import ctypes

    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None), ctypes.get_errno
