"""Archives: a study's results, manifests and artifacts in one file, read with distrust.

A plain tar of regular files, never compressed. The first member is `archive.json`, which lists all others
with size and sha256 and carries the sha256 of its own canonical JSON. Headers have one form: owner, time and
mode are the same for all, so equal contents give equal bytes, and a reader knows what each byte must be.

- `study.json`, `results.json`, `analysis.json`
- `report.json` and `report.html`, where whoever wrote it made them: the page as data, and for looking at
- `artifacts/<kind>/<id>/...`: an artifact as it lies in a store
- `records/<kind>/<id>/...`: the manifest of one, and of its files those that reports read
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from surpass.disk import disk_errors, fsync_path
from surpass.errors import ConfigError, DataError, StoreError
from surpass.identity import digest_of
from surpass.store.artifact import unsafe
from surpass.store.layout import check_id, check_kind

INDEX = "archive.json"
TOP = ("analysis.json", "results.json", "study.json")
REPORT, PAGE = "report.json", "report.html"
ARTIFACTS, RECORDS = "artifacts", "records"
SUFFIXES = (".json", ".parquet", ".safetensors")
_FORMAT, _VERSION = "surpass-archive", 1
_BLOCK = 512
_PIECE = 1 << 20
_LONGEST_INDEX = 64 << 20
_OCTAL_LIMIT = 8 << 30
_PACKED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"PK": "zip", b"\x28\xb5": "zstd"}
_TYPES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a folder",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.XHDTYPE: "an extended header",
    tarfile.XGLTYPE: "an extended header",
    tarfile.GNUTYPE_LONGNAME: "an extended header",
    tarfile.GNUTYPE_LONGLINK: "an extended header",
}


class Member(NamedTuple):
    """A file of an archive."""

    name: str
    size: int
    sha256: str


def describe(name: str, content: bytes) -> Member:
    """The member that some bytes are."""
    return Member(name, len(content), hashlib.sha256(content).hexdigest())


def write_archive(path: Path, contents: Mapping[Member, bytes | Path]) -> int:
    """Write an archive; a file that is there is replaced as a whole.

    Args:
        path: Where to.
        contents: What each member holds: bytes, or a file.

    Returns:
        Its size in bytes.

    Raises:
        StoreError: It cannot be written, or a file is not what its member says.
    """
    ordered = sorted(contents)
    index = {"format": _FORMAT, "version": _VERSION, "members": [list(member) for member in ordered]}
    text = json.dumps(index | {"sha256": digest_of(index)}, separators=(",", ":")).encode("ascii")
    if len(text) > _LONGEST_INDEX:
        raise StoreError(f"{len(ordered):,} files are too many for one archive: export a smaller study")
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                _put(file, describe(INDEX, text), text)
                for member in ordered:
                    _put(file, member, contents[member])
                file.write(bytes(2 * _BLOCK))
                size = file.tell()
            fsync_path(temporary)
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        fsync_path(path.parent)
    return size


def _put(out: IO[bytes], member: Member, content: bytes | Path) -> None:
    out.write(_header(member))
    if isinstance(content, bytes):
        out.write(content)
    else:
        with open(content, "rb") as file:
            digest = _copy(file, out, member.size)
            if digest != member.sha256 or file.read(1):
                raise StoreError(f"{content} was changed meanwhile: run the study, then export again")
    out.write(_padding(member.size))


def extract(path: Path, into: Path) -> list[Member]:
    """Take an archive apart, every byte of it checked.

    Args:
        path: The archive.
        into: A folder of our own. It may be left with files in it if the archive is refused.

    Returns:
        Its members.

    Raises:
        DataError: It is no archive, damaged, or holds what has no place in one; the message says what.
        StoreError: It cannot be read, or a file cannot be written.
    """
    with disk_errors(path), open(path, "rb") as file, _refusing(path):
        members = _read_index(file)
        expected = file.tell() + sum(_BLOCK + m.size + len(_padding(m.size)) for m in members) + 2 * _BLOCK
        # A sound header that does not belong here is named first: it tells more than a size.
        for place, member in enumerate(members):
            block = file.read(_BLOCK)
            if block != _header(member):
                raise DataError(_strange(block, member))
            if place == 0 and (size := os.fstat(file.fileno()).st_size) < expected:
                raise DataError(f"it has {size:,} bytes of {expected:,}; it was cut short")
            target = into / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with disk_errors(target), open(target, "xb") as out:
                digest = _copy(file, out, member.size)
            if digest != member.sha256 or file.read(len(_padding(member.size))).strip(b"\0"):
                raise DataError(f"{member.name} does not match its digest; it is damaged")
        if (end := file.read(2 * _BLOCK)) != bytes(2 * _BLOCK) or file.read(1):
            raise DataError(_strange(end, None) if end.strip(b"\0") else "something stands behind its end")
    return members


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{path} is refused: {error}; nothing was imported") from None


def _read_index(file: IO[bytes]) -> list[Member]:
    block = file.read(_BLOCK)
    packed = next((name for magic, name in _PACKED.items() if block.startswith(magic)), None)
    if packed is not None:
        raise DataError(f"it is packed ({packed}); archives of Surpass are plain, unpack it first")
    try:
        size = tarfile.TarInfo.frombuf(block, "ascii", "strict").size
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise DataError("it is no archive of Surpass, or its beginning is damaged") from None
    if not 0 < size <= _LONGEST_INDEX or block != _header(Member(INDEX, size, "")):
        raise DataError(_strange(block, None) + f"; the first file must be {INDEX}")
    text = file.read(size)
    if len(text) < size or file.read(len(_padding(size))) != _padding(size):
        raise DataError("it was cut short")
    try:
        index = json.loads(text)
        seal = index.pop("sha256")
        members = [Member(str(name), _count(size), str(digest)) for name, size, digest in index["members"]]
        sound = seal == digest_of(index) and index["format"] == _FORMAT
        version = index["version"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError):
        raise DataError(f"{INDEX} cannot be read; it is damaged") from None
    if not sound:
        raise DataError(f"{INDEX} does not match its digest; it is damaged")
    if version != _VERSION:
        raise DataError(f"it has format {version!r}, this Surpass reads {_VERSION}; update Surpass")
    seen: set[str] = set()
    for member in members:
        if reason := refusal(member.name):
            raise DataError(f"{member.name!r} {reason}")
        if member.name.lower() in seen:
            raise DataError(f"{member.name!r} is in there twice")
        seen.add(member.name.lower())
    if members != sorted(members):
        raise DataError(f"{INDEX} is not in order; it was not written by Surpass")
    return members


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def refusal(name: str) -> str:
    """Why a name has no place in an archive; empty where it has."""
    if reason := unsafe(name):
        return reason
    if not name.isascii():
        return "is no plain path"
    parts = name.split("/")
    if name in (*TOP, REPORT, PAGE):
        return ""
    if not name.endswith(SUFFIXES):
        return f"is none of {', '.join(SUFFIXES)}, the only files of a store"
    try:
        section, kind, id, *rest = parts
        check_kind(kind)
        check_id(id)
    except ValueError:
        return "has no place in a store"
    return "" if section in (ARTIFACTS, RECORDS) and rest else "has no place in a store"


def _strange(block: bytes, expected: Member | None) -> str:
    """What stands where another header should."""
    wanted = f"{expected.name} should come" if expected is not None else "its end should be"
    if len(block) < _BLOCK:
        return f"it was cut short: {wanted} there"
    try:
        found = tarfile.TarInfo.frombuf(block[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return f"a header is damaged, where {wanted}"
    if found.type in _TYPES:
        return f"{found.name!r} is {_TYPES[found.type]}, and only plain files are allowed"
    if reason := refusal(found.name):
        return f"{found.name!r} {reason}"
    if expected is not None and found.name == expected.name and found.size != expected.size:
        return f"{found.name} has {found.size:,} bytes, and {INDEX} says {expected.size:,}"
    return f"{found.name!r} is there, where {wanted}"


def _copy(source: IO[bytes], to: IO[bytes], size: int) -> str:
    """Copy so many bytes, or as many as there are; returns their sha256."""
    digest = hashlib.sha256()
    while size > 0 and (piece := source.read(min(size, _PIECE))):
        digest.update(piece)
        to.write(piece)
        size -= len(piece)
    return digest.hexdigest()


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _header(member: Member) -> bytes:
    """The one header of a member: that of a tar of 1988, with the size in binary beyond 8 GiB."""
    info = tarfile.TarInfo(member.name)
    info.size = member.size if member.size < _OCTAL_LIMIT else 0
    try:
        block = bytearray(info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))
    except ValueError:
        raise StoreError(f"{member.name} is too long a name for an archive: shorten it") from None
    if member.size >= _OCTAL_LIMIT:
        block[124:136] = b"\x80" + member.size.to_bytes(11, "big")
        block[148:156] = b" " * 8
        block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)
