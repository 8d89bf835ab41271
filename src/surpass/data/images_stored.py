"""Images where they are stored: in files, archives, CIFAR binary files and Parquet; nothing is unpacked.

A *container* is a file that was published; each image in it is a `Stored`, which is enough to read its
bytes again.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import IO, Any, NamedTuple, cast

from surpass.data.files import FilePart, is_archive, opened, unreadable
from surpass.data.images_content import SIDE, png_of
from surpass.errors import DataError

RECORDS = re.compile(r"(?:^|/)(?:(data_batch_\d+|test_batch)|(train|test))\.bin$")
"""Names of CIFAR binary files: of ten classes, or of a hundred."""

FOLDER = "folder"
_PIXELS = 3 * SIDE * SIDE
_PLAIN_TAR = ".tar"
_ROWS_AT_ONCE = 64


class Stored(NamedTuple):
    """One image, or one file that should be one.

    Attributes:
        file: The container.
        member: The path inside an archive; of Parquet the column.
        offset: Where its bytes begin, in an uncompressed container or, of a CIFAR image, in the member; -1
            where it is found by its name.
        size: How many bytes it has, if `offset` says where.
        row: In Parquet, from 0; else -1.
        head: Of a CIFAR image its labels as stored, a byte each.
        fault: See `images_content.Verdict`; "folder" for a folder of an archive.
        said: Likewise.
        digest: Likewise.
        traits: Likewise.
    """

    file: str
    member: str = ""
    offset: int = -1
    size: int = -1
    row: int = -1
    head: bytes = b""
    fault: str = ""
    said: str = ""
    digest: bytes = b""
    traits: str = ""

    def __str__(self) -> str:
        if self.row >= 0:
            return f"{self.file}, row {self.row}"
        record = f", image {self.offset // (_PIXELS + len(self.head))}" if self.head else ""
        return f"{FilePart(self.file, self.member)}{record}"


REMEMBERED_BYTES = 256 << 20
"""What a compressed tar may hold to be kept in memory, so that all seeds of a study go through it once."""

_remembered: dict[tuple[str, int, int], dict[str, bytes] | None] = {}


def scanned(file: str, column: str = "") -> Iterator[tuple[Stored, bytes]]:
    """All that is stored in a container, in its order, with its bytes (none of what has a fault already).

    Args:
        file: Its path.
        column: For Parquet, the column of images.

    Raises:
        DataError: The container is damaged.
    """
    if file.endswith(".parquet"):
        yield from _parquet_rows(file, column)
    elif file.lower().endswith(".zip"):
        yield from _zip_members(file)
    elif is_archive(file):
        yield from _tar_members(file)
    elif labels := num_labels(file):
        with opened(FilePart(file)) as stream:
            yield from _records(Stored(file), stream.read(), labels)
    else:
        with opened(FilePart(file)) as stream:
            yield Stored(file), stream.read()


def contents(stored: Sequence[Stored]) -> list[bytes]:
    """The bytes of some images, in the order asked for; CIFAR images as PNG.

    Each container is gone through once.

    Raises:
        DataError: One is gone, or has changed since it was examined.
    """
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(stored):
        places[one.file].append(place)
    found: dict[int, bytes] = {}
    for file, of_file in places.items():
        wanted = {place: stored[place] for place in of_file}
        if file.endswith(".parquet"):
            found |= _from_parquet(file, wanted)
        elif is_archive(file) and not file.lower().endswith((".zip", _PLAIN_TAR)):
            found |= _from_stream(file, wanted)
        else:
            found |= _from_file(file, wanted)
    return [_shown(stored[place], found.get(place)) for place in range(len(stored))]


def num_labels(name: str) -> int:
    """How many bytes of labels each image of a CIFAR binary file has; 0 for another file."""
    match = RECORDS.search(name)
    return 0 if match is None else 1 if match[1] else 2


def _shown(stored: Stored, content: bytes | None) -> bytes:
    if content is None or sha256(content).digest() != stored.digest:
        raise DataError(f"{stored} has changed while it was read; start again")
    return png_of(content) if stored.head else content


def _records(stored: Stored, content: bytes, labels: int) -> Iterator[tuple[Stored, bytes]]:
    """The images of a CIFAR binary file; `stored` says where the file is."""
    length = labels + _PIXELS
    if len(content) % length or not content:
        raise DataError(
            f"{stored} has {len(content):,} bytes, which is no multiple of {length:,}, the bytes of an image "
            "and its labels; it may be cut short: fetch it again"
        )
    base = max(stored.offset, 0)
    for start in range(0, len(content), length):
        head, planes = content[start : start + labels], content[start + labels : start + length]
        yield stored._replace(offset=base + start + labels, size=_PIXELS, head=head), planes


def _member(stored: Stored, content: bytes) -> Iterator[tuple[Stored, bytes]]:
    labels = num_labels(stored.member)
    return _records(stored, content, labels) if labels else iter([(stored, content)])


def _zip_members(file: str) -> Iterator[tuple[Stored, bytes]]:
    with opened(FilePart(file)) as stream, zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():
            stored = Stored(file, entry.filename)
            if entry.is_dir():
                yield stored._replace(fault=FOLDER), b""
                continue
            try:
                content = archive.read(entry)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:  # the archive is whole, but not this
                yield stored._replace(fault="corrupt", said=f"is damaged ({error})"), b""
                continue
            yield from _member(stored, content)


def _tar_members(file: str) -> Iterator[tuple[Stored, bytes]]:
    for stored, stream, ends in _tar_entries(file):
        if stored.fault:
            yield stored, b""
            continue
        content = cast(IO[bytes], stream).read()
        # Where a compression is between, places in the file say nothing.
        yield from _member(stored if ends else stored._replace(offset=-1, size=-1), content)


def _tar_entries(file: str) -> Iterator[tuple[Stored, IO[bytes] | None, bool]]:
    """Members in order, their bytes, and whether `offset` counts in the file itself."""
    plain = file.lower().endswith(_PLAIN_TAR)
    part = FilePart(file)
    with opened(part) as packed, _tar_stream(file, packed) as stream:
        archive: Any
        with tarfile.open(fileobj=stream, mode="r:" if plain else "r|") as archive:
            for entry in archive:
                stored = Stored(file, entry.name, entry.offset_data if plain else -1, entry.size)
                if entry.isdir():
                    yield stored._replace(fault=FOLDER), None, plain
                elif not entry.isfile():
                    said = "is a link, not a file: archive it with the files that links point to"
                    yield stored._replace(fault="foreign", said=said), None, plain
                else:
                    yield stored, archive.extractfile(entry), plain
        if plain:
            # An archive ends with zeros; one that was cut between two members looks whole but for them.
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE).strip(b"\0") or stream.tell() == archive.offset:
                raise DataError(f"{file} has no end; it may be cut short: fetch it again")


def _tar_stream(file: str, packed: IO[bytes]) -> IO[bytes]:
    """A tar without the compressions whose names `files.opened` does not know."""
    name = file.lower()
    if name.endswith(".tgz"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=packed))
    if name.endswith(".tbz2"):
        return bz2.BZ2File(packed)
    return lzma.LZMAFile(packed) if name.endswith(".txz") else packed


def _from_stream(file: str, wanted: Mapping[int, Stored]) -> dict[int, bytes]:
    """From a compressed tar, which is gone through each time, or once where all of it can be remembered."""
    status = os.stat(file)
    key = (file, status.st_mtime_ns, status.st_size)
    if key not in _remembered:
        _remembered.clear()
        _remembered[key] = _all_of(file) if status.st_size <= REMEMBERED_BYTES else None
    of_member = _remembered[key]
    if of_member is None:
        return _gone_through(file, wanted)
    return {
        place: _slice(of_member[one.member], one) for place, one in wanted.items() if one.member in of_member
    }


def _all_of(file: str) -> dict[str, bytes] | None:
    """All members of a compressed tar; None where they are more than is remembered."""
    found: dict[str, bytes] = {}
    total = 0
    for stored, stream, _ in _tar_entries(file):
        total += max(stored.size, 0)
        if total > REMEMBERED_BYTES:
            return None
        if stream is not None:
            found[stored.member] = stream.read()
    return found


def _gone_through(file: str, wanted: Mapping[int, Stored]) -> dict[int, bytes]:
    """From a compressed tar, to the last member that is wanted."""
    of_member: defaultdict[str, list[int]] = defaultdict(list)
    for place, one in wanted.items():
        of_member[one.member].append(place)
    found: dict[int, bytes] = {}
    for stored, stream, _ in _tar_entries(file):
        places = of_member.pop(stored.member, [])
        if places and stream is not None:
            content = stream.read()
            found |= {place: _slice(content, wanted[place]) for place in places}
        if not of_member:
            break
    return found


def _from_file(file: str, wanted: Mapping[int, Stored]) -> dict[int, bytes]:
    """From a plain file, an uncompressed tar, or a zip file."""
    found: dict[int, bytes] = {}
    with opened(FilePart(file)) as stream:
        archive = zipfile.ZipFile(stream) if file.lower().endswith(".zip") else None
        last = ("", b"")
        for place, one in sorted(wanted.items(), key=lambda item: (item[1].member, item[1].offset)):
            if archive is None:
                stream.seek(max(one.offset, 0))
                found[place] = stream.read(one.size)
                continue
            if last[0] != one.member:
                last = (one.member, archive.read(one.member))
            found[place] = _slice(last[1], one)
    return found


def _slice(content: bytes, stored: Stored) -> bytes:
    return content if stored.offset < 0 else content[stored.offset : stored.offset + stored.size]


def _parquet_rows(file: str, column: str) -> Iterator[tuple[Stored, bytes]]:
    for row, content in _column(file, column, None):
        stored = Stored(file, column, row=row)
        if content is None:
            stored = stored._replace(fault="empty", said=f"has no bytes in column {column}")
        yield stored, content or b""


def _from_parquet(file: str, wanted: Mapping[int, Stored]) -> dict[int, bytes]:
    place_of = {one.row: place for place, one in wanted.items()}
    column = next(iter(wanted.values())).member
    return {place_of[row]: content or b"" for row, content in _column(file, column, set(place_of))}


def _column(file: str, column: str, rows: set[int] | None) -> Iterator[tuple[int, bytes | None]]:
    """Bytes of the images of some rows, or of all; only the row groups that are needed are read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            start = 0
            for group in range(parquet.num_row_groups):
                stop = start + parquet.metadata.row_group(group).num_rows
                if rows is None or any(row in rows for row in range(start, stop)):
                    at = start
                    for batch in parquet.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[column]):
                        values = batch.column(0)
                        values = values.field("bytes") if pa.types.is_struct(values.type) else values
                        for place in range(len(values)):
                            if rows is None or at + place in rows:
                                yield at + place, values[place].as_py()
                        at += len(values)
                start = stop
    except (pa.ArrowException, OSError) as error:
        raise unreadable(file, error) from None
