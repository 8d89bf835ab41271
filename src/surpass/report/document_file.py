"""The file of a report: one key of the document in each line, what it is in the first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surpass.disk import atomic_write, disk_errors
from surpass.errors import DataError
from surpass.report.joining import astray

FORMAT, VERSION = "surpass-report", 1
NAME, PAGE = "report.json", "report.html"
_HEADER = ("format", "version", "made")
_LISTS = (
    *("studies", "summaries", "ranks", "curves", "calibration", "overlap", "tables", "examples"),
    *("stages", "versions"),
)
_LONGEST_LINE = 10_000


def as_bytes(document: Mapping[str, Any]) -> bytes:
    """A document as it stands in a file, ASCII."""
    lines = [_encoded({name: document[name] for name in _HEADER})[:-1]]
    lines += [f"{_encoded(name)}: {_encoded(document[name])}" for name in document if name not in _HEADER]
    return (",\n".join(lines) + "}\n").encode("ascii")


def write_document(document: Mapping[str, Any], path: str | Path) -> None:
    """Write a document; replaces the file as a whole.

    Raises:
        StoreError: The file cannot be written.
    """
    with disk_errors(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, as_bytes(document))


def read_document(path: str | Path) -> dict[str, Any]:
    """Read what `write_document` wrote; of a folder its `report.json`.

    Raises:
        DataError: The file is missing, damaged, not of this format, or of a version unknown here.
    """
    path = Path(path)
    path = path / NAME if path.is_dir() else path
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"cannot read a report from {str(path)!r} ({error}); `surpass run` and `surpass report` write one"
        ) from None
    return checked(document, str(path))


def checked(document: Any, name: str) -> dict[str, Any]:
    """A document, if it is one.

    Args:
        document: What was read.
        name: The file, for messages.

    Raises:
        DataError: It has another format or version, or is damaged.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataError(f"{name!r} holds no report of Surpass; expected format {FORMAT!r}")
    if document.get("version") != VERSION:
        raise DataError(
            f"{name!r} is version {document.get('version')!r} of the report format, this Surpass reads "
            f"{VERSION}; update Surpass or write the report again"
        )
    odd = [key for key in _LISTS if not isinstance(document.get(key), list)]
    odd += [key for key in ("made", "rows", "models") if not isinstance(document.get(key), dict)]
    if odd or (odd := astray(document)):
        raise DataError(f"{name!r} is damaged ({odd[0]}); write the report again")
    return document


def made_of(path: str | Path) -> dict[str, Any]:
    """What the first line of a document says of how it was made; empty where there is no such file."""
    try:
        with open(path, "rb") as file:
            made = json.loads(file.readline(_LONGEST_LINE).rstrip(b",\n") + b"}")["made"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return made if isinstance(made, dict) else {}


def _encoded(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
