"""Files of data, plain, compressed or in an archive: which there are, and how they are opened.

Nothing is ever extracted: members of archives are read where they are.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from surpass.errors import DataError
from surpass.hub import one_line

FORMATS = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
"""Endings of what can be read; where one data set is there in several, the first is taken."""

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    RuntimeError,  # a zip file with a password
    NotImplementedError,  # a zip file with a compression that Python lacks
)
_BUFFER = 1 << 18
_POINTER = b"version https://git-lfs"


class FilePart(NamedTuple):
    """A file, or a member of an archive.

    Attributes:
        path: The file.
        member: If that is an archive, the path inside it; else empty.
    """

    path: str
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else self.path

    @property
    def name(self) -> str:
        """The path as patterns see it: without the ending of a compression; an archive is a folder."""
        return _uncompressed(f"{_archive_stem(self.path)}/{self.member}" if self.member else self.path)

    @property
    def format(self) -> str:
        """One of `FORMATS`, or empty where it is none of them."""
        ending = os.path.splitext(self.name)[1].lower()
        return ending if ending in FORMATS else ""


def is_archive(path: str | Path) -> bool:
    """Tell by its name whether a file holds other files."""
    return str(path).lower().endswith(_ARCHIVES)


def plain_files(folder: str | Path) -> list[FilePart]:
    """All files below a folder, archives as they are, without hidden ones; ascending."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_shown(name))
        found += [FilePart(os.path.join(place, name)) for name in names if _is_shown(name)]
    return sorted(found)


def members(path: str | Path) -> list[FilePart]:
    """The files in an archive, without those that a Mac adds; ascending. A compressed tar is read through.

    Raises:
        DataError: The archive is damaged.
    """
    status = os.stat(path)
    return [
        FilePart(str(path), name) for name in _member_names(str(path), (status.st_size, status.st_mtime_ns))
    ]


def matching(parts: Iterable[FilePart], pattern: str) -> list[FilePart]:
    """Those whose name ends like the pattern, whatever folders are before it.

    A pattern without wildcards means one file: of several, those with the fewest folders before it.

    Args:
        parts: Where to look.
        pattern: As in a shell: `*` and `?` stay within a name, `**` goes over folders, `[...]` is a set.
    """
    expression = glob_expression(f"**/{pattern}")
    found = [part for part in parts if expression.fullmatch(part.name)]
    if found and not re.search(r"[*?[]", pattern):
        depth = min(part.name.count("/") for part in found)
        found = [part for part in found if part.name.count("/") == depth]
    return found


@cache
def glob_expression(pattern: str) -> re.Pattern[str]:
    """What a shell's pattern means; see `matching`."""
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]/]+\])", pattern)
    said = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(
            said.get(piece) or (f"[^{piece[2:]}" if piece.startswith("[!") else piece)
            if place % 2
            else re.escape(piece)
            for place, piece in enumerate(pieces)
        ),
        re.DOTALL,
    )


@contextmanager
def opened(part: FilePart) -> Iterator[IO[bytes]]:
    """The bytes of a file, without its compression.

    Raises:
        DataError: It is missing or damaged, there or while it is read.
    """
    try:
        with ExitStack() as stack:
            stream = _stream(part, stack)
            yield _decompressed(stream, str(part.member or part.path), stack)
    except _UNREADABLE as error:
        raise unreadable(part, error) from None


def unreadable(part: FilePart | str, error: BaseException) -> DataError:
    """What to say of a file that another library cannot read."""
    out_of_reach = isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
    advice = "name a file that is there" if out_of_reach else "it may be cut short: fetch it again"
    return DataError(f"{part} cannot be read ({one_line(error)}); {advice}")


def require_content(part: FilePart) -> None:
    """Refuse a file that a clone of a repository has not fetched.

    Raises:
        DataError: It is a pointer to a file elsewhere, or is not there.
    """
    try:
        with open(part.path, "rb") as file:
            is_pointer = file.read(len(_POINTER)) == _POINTER
    except OSError as error:
        raise unreadable(part, error) from None
    if is_pointer:
        raise DataError(
            f"{part} is a pointer of Git LFS, not the file; run `git lfs pull` where it was cloned"
        )


def _stream(part: FilePart, stack: ExitStack) -> IO[bytes]:
    if not part.member:
        return stack.enter_context(open(part.path, "rb"))
    try:
        if part.path.lower().endswith(".zip"):
            return stack.enter_context(stack.enter_context(zipfile.ZipFile(part.path)).open(part.member))
        content = stack.enter_context(tarfile.TarFile.open(part.path)).extractfile(part.member)
    except KeyError:
        content = None
    if content is None:
        raise FileNotFoundError("there is no such member")
    return stack.enter_context(content)


def _decompressed(stream: IO[bytes], name: str, stack: ExitStack) -> IO[bytes]:
    ending = os.path.splitext(name)[1].lower()
    if ending == ".gz":
        return _buffered(gzip.GzipFile(fileobj=stream), stack)
    if ending == ".bz2":
        return _buffered(bz2.BZ2File(stream), stack)
    if ending == ".xz":
        return _buffered(lzma.LZMAFile(stream), stack)
    if ending == ".zst":
        import pyarrow as pa

        return io.BytesIO(stack.enter_context(pa.CompressedInputStream(stream, "zstd")).read())
    return stream


def _buffered(stream: Any, stack: ExitStack) -> IO[bytes]:
    """The same, whose lines are found by compiled code; closing it closes the stream."""
    return cast(IO[bytes], stack.enter_context(io.BufferedReader(stream, _BUFFER)))


@cache
def _member_names(path: str, stamp: tuple[int, int]) -> tuple[str, ...]:
    try:
        if path.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        else:
            with tarfile.open(path) as archive_of_files:
                names = [entry.name for entry in archive_of_files if entry.isfile()]
    except _UNREADABLE as error:
        raise unreadable(path, error) from None
    return tuple(sorted({name for name in names if all(map(_is_shown, name.split("/")))}))


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name not in ("", "__MACOSX")


def _uncompressed(name: str) -> str:
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in COMPRESSIONS else name


def _archive_stem(path: str) -> str:
    ending = max((ending for ending in _ARCHIVES if path.lower().endswith(ending)), key=len, default="")
    return path[: len(path) - len(ending)]
