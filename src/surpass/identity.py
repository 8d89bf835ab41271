"""What makes two computations the same: canonical JSON, digests, and fields marked in the type.

Every field of a stage is *identity* (it can change a number) or *execution* (device, workers,
paths). A field nobody marked counts as identity: at worst something is computed twice, never is
the wrong thing served.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import MISSING, Field, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from surpass.errors import ConfigError

_ROLE = "surpass.role"
# Up to here every integer is a float, so that writing 3.0 as 3 confuses no two numbers.
_EXACT = 2**53
_SMALL_BYTES = 2**16
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_SCALARS = (str, int, float, bool, type(None))


def canonical_json(value: object) -> str:
    """Write a value as the one JSON text it has: sorted keys, no spaces, ASCII.

    Equal numbers have equal text: 1.0 is written 1 and -0.0 is written 0, so that `lr=1` and
    `lr=1.0` are one stage, as they are equal dataclasses to Python. Any other float (and every
    float beyond 2**53) is written in the shortest form that reads back to the same bits. True is
    not 1 and "1" is not 1; a tuple is the same as a list.

    Args:
        value: Built of str, int, float, bool, None, list, tuple and dict with str keys. Exactly
            these types: an enum or a NumPy number has to be converted first.

    Raises:
        ConfigError: Another type, a key that is no str, or a NaN or infinity is in there; the
            message says where.
    """
    try:
        plain = _plain(value)
    except _Odd:
        plain = _canonical(value, "value")
    return _encode(plain)


def digest_of(value: object) -> str:
    """Return the sha256, 64 hex digits, of a value's canonical JSON.

    Raises:
        ConfigError: The value has no canonical JSON.
    """
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def file_digest(path: str | Path) -> str:
    """Return the sha256, 64 hex digits, of a file's bytes, read in small pieces.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size <= _SMALL_BYTES:  # no buffer to be made for it
            return hashlib.sha256(file.readall()).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_digest(path: str | Path) -> str:
    """The same, remembered in this process while the file's inode, size and time stay.

    Raises:
        OSError: The file cannot be read.
    """
    status = os.stat(path)
    return _digest_at(str(path), (status.st_ino, status.st_size, status.st_mtime_ns))


@cache
def _digest_at(path: str, stamp: tuple[int, int, int]) -> str:
    return file_digest(path)


def identity_field(
    default: Any = MISSING, *, default_factory: Any = MISSING, since_default: bool = False
) -> Any:
    """Declare a dataclass field that can change a number.

    Args:
        default: As in `dataclasses.field`.
        default_factory: As in `dataclasses.field`.
        since_default: The field was added later and its default keeps the old behaviour: it is
            left out of the identity while it has that default, so that old ids stay.

    Raises:
        TypeError: `since_default` without a default.
    """
    if since_default and default is MISSING and default_factory is MISSING:
        raise TypeError("identity_field(since_default=True) needs the default that keeps the old behaviour")
    return _marked("since_default" if since_default else "identity", default, default_factory)


def execution_field(default: Any = MISSING, *, default_factory: Any = MISSING) -> Any:
    """Declare a dataclass field that says how to compute (device, workers, paths), never what."""
    return _marked("execution", default, default_factory)


def identity_fields(instance: object) -> dict[str, Any]:
    """Return name and value of the fields that can change a number.

    Dataclasses inside (also in lists, tuples and dicts) become dicts of their own identity fields;
    those that have an `id`, such as the stages that a stage takes from, count by it.
    Their type is not part of it: where a field may hold one of several dataclasses, give each a
    field that tells them apart.

    Args:
        instance: A frozen dataclass.

    Raises:
        TypeError: It, or a dataclass inside it, is not a frozen dataclass instance.
    """
    if not is_dataclass(instance) or isinstance(instance, type):
        raise TypeError(f"identity_fields needs a dataclass instance, not {instance!r}")
    if not type(instance).__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise TypeError(f"{type(instance).__name__} must be frozen=True: what has an identity may not change")
    values = ((entry, getattr(instance, entry.name)) for entry in _marked_fields(type(instance)))
    return {entry.name: _unfolded(value) for entry, value in values if _counts(entry, value)}


class _Odd(Exception):
    """Something that has no canonical JSON."""


def _plain(value: object) -> object:
    """The same as `_canonical`, which has the words for what is wrong, and takes four times as long."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is dict:
        for key in value:  # type: ignore[attr-defined]
            if type(key) is not str:
                raise _Odd
        return {key: _plain(item) for key, item in value.items()}  # type: ignore[attr-defined]
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]  # type: ignore[attr-defined]
    if isinstance(value, float) and kind is float and math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    raise _Odd


def _canonical(value: object, where: str) -> object:
    kind = type(value)
    if value is None or kind in (str, bool, int):
        return value
    if isinstance(value, float) and kind is float:
        if not math.isfinite(value):
            raise ConfigError(f"{where} is {value}: only finite numbers have an identity; replace it")
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    if isinstance(value, list | tuple) and kind in (list, tuple):
        return [_canonical(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict) and kind is dict:
        for key in value:
            if type(key) is not str:
                raise ConfigError(f"{where} has the key {key!r}: keys must be str; convert it")
        return {key: _canonical(item, f"{where}.{key}") for key, item in value.items()}
    raise ConfigError(
        f"{where} is a {kind.__name__} ({value!r}): an identity is made of str, int, float, bool, None, "
        "list, tuple and dict only; convert it, or mark its field as execution_field"
    )


def _marked(role: str, default: Any, default_factory: Any) -> Any:
    metadata = {_ROLE: role}
    if default_factory is not MISSING:
        return field(default_factory=default_factory, metadata=metadata)
    return field(default=default, metadata=metadata)


@cache
def _marked_fields(kind: type) -> tuple[Field[Any], ...]:
    """The fields that may count."""
    return tuple(entry for entry in fields(kind) if entry.metadata.get(_ROLE) != "execution")


def _counts(entry: Field[Any], value: object) -> bool:
    if entry.metadata.get(_ROLE) != "since_default":
        return True
    default = entry.default if entry.default_factory is MISSING else entry.default_factory()
    if type(value) is type(default) and type(value) in _SCALARS:
        return bool(value != default)
    return canonical_json(_unfolded(value)) != canonical_json(_unfolded(default))


def _unfolded(value: object) -> object:
    if type(value) in _SCALARS:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return value.id if hasattr(value, "id") else identity_fields(value)
    if isinstance(value, list | tuple):
        return [_unfolded(item) for item in value]
    if type(value) is dict:
        return {key: _unfolded(item) for key, item in value.items()}
    return value
