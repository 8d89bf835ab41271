"""What was found in images, remembered: gigabytes are read and decoded once, not at every start.

An index is a Parquet file in `$SURPASS_CACHE/images`, else `~/.cache/surpass/images`, for each folder or
file that was named. It holds a row for each image, with size and time of the container that it is in; a
container whose size or time has changed is read again.
"""

from __future__ import annotations

import io
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from surpass.data.files import unreadable
from surpass.data.images_content import Verdict, examine, require_pillow
from surpass.data.images_stored import Stored, scanned
from surpass.disk import atomic_write
from surpass.errors import StoreError

VERSION = 1
"""Raised when other things are looked for in images, so that all are looked at again."""

_SCHEMA = pa.schema(
    {
        "stamp_size": pa.int64(),
        "stamp_time": pa.int64(),
        "file": pa.binary(),
        "member": pa.binary(),
        "offset": pa.int64(),
        "size": pa.int64(),
        "row": pa.int64(),
        "head": pa.binary(),
        "fault": pa.string(),
        "said": pa.string(),
        "digest": pa.binary(),
        "traits": pa.string(),
    }
)
_BYTES_AT_ONCE = 2**24
_IMAGES_AT_ONCE = 1024
_SECONDS_BETWEEN_SAVES = 60.0
_Stamp = tuple[int, int]


def index_folder() -> Path:
    """Where indices are."""
    general = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    named = os.environ.get("SURPASS_CACHE") or f"{general}/surpass"
    return Path(os.path.abspath(Path(named).expanduser())) / "images"


class Index:
    """What is known of the containers below one root.

    Args:
        root: The folder or file that was named; what it says lies in one file of `index_folder`.
        column: For Parquet, the column of images.
    """

    def __init__(self, root: str | Path, column: str = "") -> None:
        self._column = column
        name = sha256(os.fsencode(os.path.abspath(root)) + b"\0" + column.encode()).hexdigest()[:16]
        self.path = index_folder() / f"{name}-v{VERSION}.parquet"
        self._stamps: dict[str, _Stamp] = {}
        self._stored: defaultdict[str, list[Stored]] = defaultdict(list)
        self._load()

    def of(self, files: Iterable[str]) -> list[Stored]:
        """All that is stored in some containers, in their order; those that are not known are read.

        Raises:
            DataError: A container is missing or damaged.
            MissingExtraError: Pillow is not installed.
        """
        files = list(files)
        stamps = {file: _stamp(file) for file in files}
        new = [file for file in files if self._stamps.get(file) != stamps[file]]
        if new:
            self._examine(new, stamps)
        return [stored for file in files for stored in self._stored[file]]

    def _examine(self, files: Sequence[str], stamps: dict[str, _Stamp]) -> None:
        require_pillow()
        for file in files:
            self._stamps.pop(file, None)
            self._stored.pop(file, None)
        pieces = (piece for file in files for piece in scanned(file, self._column))
        saved, last = time.monotonic(), ""
        try:
            with warnings.catch_warnings(), ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
                # Of damaged EXIF data and large images; what cannot be read raises.
                warnings.simplefilter("ignore")
                for batch in _batches(pieces):
                    for stored in _verdicts(pool, batch):
                        self._stored[stored.file].append(stored)
                    last = batch[-1][0].file
                    if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                        self._know(files, stamps, last)
                        saved = time.monotonic()
            last = ""
            self._stamps |= {file: stamps[file] for file in files}
        finally:
            self._know(files, stamps, last)

    def _know(self, files: Sequence[str], stamps: dict[str, _Stamp], last: str) -> None:
        """Remember what is examined to its end: of the last container more may come."""
        self._stamps |= {file: stamps[file] for file in files if file in self._stored and file != last}
        self._save()

    def _load(self) -> None:
        try:
            table = pq.read_table(io.BytesIO(self.path.read_bytes()), schema=_SCHEMA)
        except (OSError, pa.ArrowException):
            return
        columns = [table[name].to_pylist() for name in _SCHEMA.names]
        for size, at, file, member, *fields in zip(*columns, strict=True):
            stored = Stored(os.fsdecode(file), os.fsdecode(member), *fields)
            self._stamps[stored.file] = (size, at)
            if stored.fault != _NOTHING:
                self._stored[stored.file].append(stored)

    def _save(self) -> None:
        rows = [
            (*stamp, os.fsencode(file), os.fsencode(stored.member), *stored[2:])
            for file, stamp in self._stamps.items()
            for stored in self._stored.get(file) or [Stored(file, fault=_NOTHING)]
        ]
        columns: dict[str, list[Any]] = {
            name: list(values)
            for name, values in zip(
                _SCHEMA.names, zip(*rows, strict=True) if rows else [()] * len(_SCHEMA.names), strict=True
            )
        }
        sink = io.BytesIO()
        pq.write_table(pa.table(columns, schema=_SCHEMA), sink)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self.path, sink.getvalue())
        except (OSError, StoreError) as error:
            warnings.warn(
                f"what was found in images is not remembered ({error}); name a folder with SURPASS_CACHE",
                stacklevel=2,
            )


_NOTHING = "nothing"
"""The fault of the one row that stands for a container that holds nothing."""


def _stamp(file: str) -> _Stamp:
    try:
        status = os.stat(file)
    except OSError as error:
        raise unreadable(file, error) from None
    return status.st_size, status.st_mtime_ns


def _batches(pieces: Iterable[tuple[Stored, bytes]]) -> Iterator[list[tuple[Stored, bytes]]]:
    batch: list[tuple[Stored, bytes]] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece[1])
        if size >= _BYTES_AT_ONCE or len(batch) >= _IMAGES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _verdicts(pool: ThreadPoolExecutor, batch: Sequence[tuple[Stored, bytes]]) -> list[Stored]:
    """The pieces with what was found, in their order; threads take turns in small runs."""
    run = 16
    runs = [batch[start : start + run] for start in range(0, len(batch), run)]
    return [stored for part in pool.map(_examined, runs) for stored in part]


def _examined(pieces: Sequence[tuple[Stored, bytes]]) -> list[Stored]:
    found = []
    for stored, content in pieces:
        if not stored.fault:
            # Pixels of a CIFAR image are no file, and cannot be damaged in a way that shows.
            verdict = Verdict(sha256(content).digest()) if stored.head else examine(content)
            stored = stored._replace(**verdict._asdict())
        found.append(stored)
    return found
