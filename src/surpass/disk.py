"""Durable files, and disk errors that say what to do. A leaf: the standard library and our errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from surpass.errors import StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM)
# What file systems answer that have no fsync for folders (some network and FUSE ones).
_NO_FOLDER_FSYNC = (errno.EINVAL, errno.ENOTSUP)


@contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Turn any OSError of the body into a StoreError of one line.

    Args:
        path: The file or folder to name when the error itself names none.

    Raises:
        StoreError: The body raised an OSError; the message names the path and a remedy.
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise store_error(error, path) from error


def store_error(error: Exception, path: str | Path) -> StoreError:
    """Say the same for users: what went wrong, where, and what to do."""
    place = getattr(error, "filename", None) or path
    code = getattr(error, "errno", None)
    if is_disk_full(error):
        return StoreError(f"disk full at {place}: free space or use another store; nothing stored was harmed")
    if code == errno.EROFS:
        return StoreError(
            f"read-only store, cannot write {place}: it still serves what it holds; use another store"
        )
    if code in _DENIED:
        return StoreError(f"permission denied at {place}: ask its owner for access or use another store")
    reason = getattr(error, "strerror", None) or str(error)
    return StoreError(f"cannot use {place} ({reason}): check the path and the disk, or use another store")


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error means that no space, or no quota, is left.

    Native writers (safetensors, for one) raise their own types, which carry the reason as text only.
    """
    return getattr(error, "errno", None) in _FULL or os.strerror(errno.ENOSPC) in str(error)


def fsync_path(path: Path) -> None:
    """Force a file's content, or a folder's list of names, to the disk.

    Raises:
        OSError: The file cannot be opened or written back.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_FSYNC or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def write_new(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file that must not exist yet and force it to the disk, unless told not to.

    Raises:
        OSError: The file exists or cannot be written.
    """
    with open(path, "xb", buffering=0) as file:
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
        if durable:
            os.fsync(file.fileno())


def atomic_write(path: str | Path, content: bytes) -> None:
    """Replace a file as a whole: after a crash it holds the old bytes or the new ones.

    Raises:
        StoreError: The file cannot be written; the old one is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    with disk_errors(path):
        try:
            write_new(temporary, content)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        fsync_path(path.parent)
