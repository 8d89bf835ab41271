"""An object store behind a URL: whole objects by key, conditional writes, and errors of one line.

Everything goes through fsspec, so `s3://`, `gs://`, `memory://` and others are the same here. An object is
written as a whole or not at all. `create` and `replace` let one of several writers win; where a file system
has no conditional writes, they look first, and two writers at the same moment may both believe they won.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from surpass.errors import ConfigError, MissingExtraError, StoreError, SurpassError

_AT_ONCE = 500
_S3 = ("s3", "s3a")
_PREVENTED = ("PreconditionFailed", "ConditionalRequestConflict", "OperationAborted")
_S3_EXTRA = "surpass[s3]"
_EXTRAS = {"s3": _S3_EXTRA, "s3a": _S3_EXTRA, "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_FOLDERS = ("file", "local")


class Seen(NamedTuple):
    """An object as a listing has it.

    Attributes:
        size: In bytes.
        tag: Changes whenever the object is written.
        changed: When it was written, in seconds since 1970 by the clock of the server.
    """

    size: int
    tag: str
    changed: float


def is_url(where: str | Path) -> bool:
    """Whether a store is named by a URL; `file://` is a folder all the same."""
    return "://" in str(where)


def protocol_of(url: str) -> str:
    """What stands before `://`, in lower case."""
    return url.partition("://")[0].lower()


class Objects:
    """The objects below one URL, by keys relative to it.

    Raises:
        ConfigError: The URL has credentials, or names no place.
        MissingExtraError: The package for such URLs is not installed.
        StoreError: It cannot be used.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._lock = threading.Lock()
        protocol, _, place = url.partition("://")
        if "@" in place.partition("/")[0] and protocol.lower() != "abfs":
            raise ConfigError(f"a URL of a store has no credentials ({protocol}://...): use the environment")
        if not place.strip("/"):
            raise ConfigError(f"{url} names no place: add a bucket or a folder, {protocol}://NAME/FOLDER")
        if "?" in place or "#" in place or ".." in place.split("/"):
            raise ConfigError(f"{url} is no plain URL: leave out '?', '#' and '..'")
        self._fs, self._root = _file_system(self.url)
        self._is_s3 = protocol.lower() in _S3
        self._can_create = "mode" in signature(self._fs.pipe_file).parameters

    def read(self, key: str) -> bytes | None:
        """The content of an object; None where there is none."""
        with self._errors(key):
            try:
                # One request: s3fs asks for the size first where it may read in several parts.
                more = {"max_concurrency": 1} if self._is_s3 else {}
                content: bytes = self._fs.cat_file(self._at(key), **more)
            except FileNotFoundError:
                return None
            return content

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The contents of many objects, several at a time; those that are gone are left out."""
        found: dict[str, bytes] = {}
        for part in _parts(keys):
            with self._errors(part[0]):
                paths = {self._at(key): key for key in part}
                got = self._fs.cat(list(paths), on_error="return")
                got = got if isinstance(got, dict) else {next(iter(paths)): got}
            for path, content in got.items():
                if isinstance(content, FileNotFoundError):
                    continue
                with self._errors(paths[path]):
                    if isinstance(content, BaseException):
                        raise content
                found[paths[path]] = content
        return found

    def see(self, key: str) -> Seen | None:
        """Size, tag and time of an object; None where there is none."""
        with self._errors(key):
            try:
                return _seen(self._fs.info(self._at(key)))
            except FileNotFoundError:
                return None

    def below(self, prefix: str) -> dict[str, Seen]:
        """All objects below a prefix, by key, at any depth; one request for each thousand."""
        with self._errors(prefix):
            try:
                found: Mapping[str, Any] = self._fs.find(self._at(prefix), detail=True)
            except FileNotFoundError:
                return {}
        base = f"{self._root}/"
        return {
            name[len(base) :]: _seen(info)
            for name, info in found.items()
            if name.startswith(base) and info["type"] == "file"
        }

    def names(self, prefix: str = "") -> list[str]:
        """The names of what lies right below a prefix, sorted."""
        with self._errors(prefix):
            try:
                names = [str(name).rstrip("/") for name in self._fs.ls(self._at(prefix), False)]
                return sorted(name.rpartition("/")[2] for name in names)
            except FileNotFoundError:
                return []

    def write(self, key: str, content: bytes) -> None:
        """Write an object, whatever was there."""
        with self._errors(key):
            self._fs.pipe_file(self._at(key), content)

    def send(self, files: Mapping[str, Path]) -> None:
        """Write objects from files, several at a time."""
        for part in _parts(files):
            with self._errors(part[0]):
                self._fs.put([str(files[key]) for key in part], [self._at(key) for key in part])

    def bring(self, files: Mapping[str, Path]) -> None:
        """Write objects into files, several at a time.

        Raises:
            FileNotFoundError: One of them is gone.
        """
        for part in _parts(files):
            for key in part:
                files[key].parent.mkdir(parents=True, exist_ok=True)
            with self._errors(part[0], missing=True):
                self._fs.get([self._at(key) for key in part], [str(files[key]) for key in part])

    def create(self, key: str, content: bytes) -> bool:
        """Write an object that is not there yet; False if it is, whoever wrote it."""
        with self._errors(key), self._lock:
            try:
                if self._can_create:
                    self._fs.pipe_file(self._at(key), content, mode="create")
                    return True
                if self._fs.exists(self._at(key)):
                    return False
                self._fs.pipe_file(self._at(key), content)
                return True
            except FileExistsError:
                pass
            except OSError as error:
                if not _prevented(error):
                    raise
        # The answer to an earlier try of the same request may have been lost on the way.
        return self.read(key) == content

    def replace(self, key: str, content: bytes, tag: str) -> bool:
        """Write an object if it is still the one with this tag; False if not."""
        with self._errors(key), self._lock:
            try:
                if self._is_s3:
                    self._fs.pipe_file(self._at(key), content, IfMatch=tag)
                    return True
                if _seen(self._fs.info(self._at(key))).tag != tag:
                    return False
                self._fs.pipe_file(self._at(key), content)
                return True
            except FileNotFoundError:
                return False
            except OSError as error:
                if not _prevented(error):
                    raise
        return self.read(key) == content

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are gone are passed over."""
        for part in _parts(keys):
            with self._errors(part[0]):
                paths = [self._at(key) for key in part]
                for path in [paths] if self._is_s3 else paths:  # of others one that is gone ends the call
                    with suppress(FileNotFoundError):
                        self._fs.rm(path)

    def _at(self, key: str) -> str:
        parts = key.split("/")
        if not {"", ".", ".."}.isdisjoint(parts[:-1] if key.endswith("/") else parts) and key:
            raise StoreError(f"{key!r} leads out of {self.url}")
        return f"{self._root}/{key}".rstrip("/")

    @contextmanager
    def _errors(self, key: str, *, missing: bool = False) -> Iterator[None]:
        """Whatever a file system of others raises becomes one line."""
        try:
            yield
        except SurpassError:
            raise
        except Exception as error:
            if missing and isinstance(error, FileNotFoundError):
                raise
            raise _explained(error, f"{self.url}/{key}".rstrip("/")) from error


def _file_system(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    protocol = protocol_of(url)
    if protocol in _FOLDERS:
        raise ConfigError(f"{url} is a folder: name it without {protocol}://")
    try:
        fs, root = url_to_fs(url, use_listings_cache=False, **_more(protocol))
    except ImportError as error:
        extra = _EXTRAS.get(protocol, "the package for it")
        said = f"stores at {protocol}:// need {extra}: pip install '{extra}'"
        raise MissingExtraError(f"{said} ({error})") from None
    except ValueError as error:
        raise ConfigError(f"no store at {url} ({error}); use a folder, or s3://BUCKET/FOLDER") from None
    except Exception as error:
        raise _explained(error, url) from error
    return fs, str(root).rstrip("/")


def _more(protocol: str) -> dict[str, Any]:
    """What else a file system is made with.

    S3's client shall not hold what it reads against a checksum that came along: whatever matters has a digest
    of ours, and what does not match it is damaged and computed again, not an error that ends a run.
    """
    if protocol not in _S3:
        return {}
    from fsspec.config import conf

    own = conf.get(protocol, {}).get("config_kwargs", {})
    return {"config_kwargs": {"response_checksum_validation": "when_required"} | own}


def _explained(error: Exception, place: str) -> StoreError:
    if isinstance(error, PermissionError):
        return StoreError(f"permission denied at {place}: check the credentials and what they allow")
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{place} is not there: make the bucket first, or name another")
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return StoreError(f"cannot use {place} ({reason}): check the network and the URL, then run again")


def _prevented(error: BaseException) -> bool:
    """Whether a condition of a write did not hold."""
    response = getattr(error.__cause__ or error, "response", None)
    return isinstance(response, dict) and response.get("Error", {}).get("Code") in _PREVENTED


def _seen(info: Mapping[str, Any]) -> Seen:
    names = ("LastModified", "last_modified", "updated", "mtime", "created")
    changed = next((info[name] for name in names if info.get(name) is not None), 0.0)
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    if isinstance(changed, datetime):
        changed = (changed if changed.tzinfo else changed.replace(tzinfo=UTC)).timestamp()
    tag = info.get("ETag") or info.get("etag") or f"{info['size']}-{changed!r}"
    return Seen(int(info["size"]), str(tag), float(changed))


def _parts(keys: Iterable[str]) -> Iterator[list[str]]:
    keys = list(keys)
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]


def cache_of(url: str) -> Path:
    """The folder in which this machine keeps what it has read of a store."""
    from surpass.identity import digest_of

    general = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    base = os.environ.get("SURPASS_CACHE") or f"{general}/surpass"
    return Path(base).expanduser().absolute() / "stores" / digest_of({"store": url.rstrip("/")})[:16]
