"""The cache of converted models: a folder for each, there as a whole or not at all.

`$SURPASS_CACHE`, else `~/.cache/surpass`; models lie under `models/NAME-DIGEST`, where the digest is of
what the model is made from and of how. Beside the model's files, `origin.json` says where it came from.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from surpass.disk import fsync_path, is_disk_full, write_new
from surpass.errors import ConfigError

ORIGIN = "origin.json"
_SHOWN = 16


def cache_folder() -> Path:
    """Where Surpass keeps what can be brought or made again."""
    named = os.environ.get("SURPASS_CACHE")
    general = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.abspath(Path(named or f"{general}/surpass").expanduser()))


def place_of(name: str, digest: str) -> Path:
    """Where a model lies once it is there."""
    return cache_folder() / "models" / f"{name}-{digest[:_SHOWN]}"


def is_there(folder: Path) -> bool:
    """Whether a model was published; its origin is written last."""
    return (folder / ORIGIN).is_file()


def publish(folder: Path, make: Callable[[Path], dict[str, Any]]) -> Path:
    """A folder of the cache, made if it is not there.

    It appears as a whole, under a lock: of two processes that want it, one makes it and the other waits.
    What a killed process left over is removed.

    Args:
        folder: What `place_of` says.
        make: Writes the model's files into the folder that it is given, and returns what `origin.json`
            is to say.

    Raises:
        ConfigError: The cache cannot be written.
    """
    if is_there(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock")):
            if not is_there(folder):
                _make(folder, make)
    except Exception as error:
        if not isinstance(error, OSError) and not is_disk_full(error):
            raise
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        place = getattr(error, "filename", None) or folder
        raise ConfigError(
            f"cannot keep a model at {folder} ({place}: {reason}); free space, or name another folder with "
            "SURPASS_CACHE"
        ) from error
    return folder


def _make(folder: Path, make: Callable[[Path], dict[str, Any]]) -> None:
    # Only one process at a time is here for this folder, so whatever lies there is left over.
    draft = folder.with_name(f".{folder.name}.tmp")
    for left_over in (draft, folder):
        shutil.rmtree(left_over, ignore_errors=True)
    draft.mkdir()
    try:
        origin = make(draft) | {"made": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())}
        write_new(draft / ORIGIN, json.dumps(origin, indent=1).encode())
        for path in draft.rglob("*"):
            if path.is_file():  # some writers let nobody else read what they wrote
                path.chmod((draft / ORIGIN).stat().st_mode & 0o777)
            fsync_path(path)
        fsync_path(draft)
        draft.rename(folder)
        fsync_path(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, waiting for whoever has it; the file goes with the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Who had the lock may have removed the file meanwhile: then this lock is on nothing.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                break
        os.close(descriptor)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
