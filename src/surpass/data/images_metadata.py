"""Images that a table describes: which file, which class, which split, and perhaps a spurious attribute."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from surpass.data.files import FilePart
from surpass.data.formats import rows_of
from surpass.data.images_folders import is_image_name
from surpass.data.images_layout import TRAIN, Layout, Problem, Row, by_rows, split_named, typed
from surpass.data.images_stored import Stored
from surpass.errors import ConfigError, DataError

USUAL = "metadata.csv"
"""What such a table is called if nobody says so."""

_NAMES = {
    "image": ("file", "file_name", "filename", "img_filename", "image", "path"),
    "label": ("label", "y", "class", "truth"),
    "split": ("split",),
    "attribute": ("attribute",),
    "group": ("group",),
}
_NEEDED = ("image", "label")
_MISSING = "images that the table names and that are not there"
_UNNAMED = "images that the table does not name"


class Columns(NamedTuple):
    """What a table calls its columns; empty for the usual names."""

    image: str = ""
    label: str = ""
    split: str = ""
    attribute: str = ""
    group: str = ""


def by_table(table: FilePart, folder: str, names: Mapping[str, Stored], columns: Columns) -> Layout:
    """The images that a table names, by paths from its own folder or from the place that was named.

    Args:
        table: CSV, TSV, JSON lines or Parquet, with a row for each image.
        folder: The table's folder as `names` has it.
        names: Files by their path below the place that was named.
        columns: What its columns are called.

    Raises:
        ConfigError: It has no such columns.
        DataError: It is damaged, or a row lacks something.
    """
    rows = list(rows_of(table))
    if not rows:
        raise DataError(f"{table} holds no rows")
    found = columns_of(str(table), list(rows[0]), columns)
    labels: Sequence[int | str] = _labels(table, rows, found["label"])
    described: list[Row] = []
    problems: list[Problem] = []
    named = set()
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        said = {use: row.get(column) for use, column in found.items()}
        where = f"{table}, row {number}"
        for use in ("image", "split", "attribute"):
            if use in found and said[use] in (None, ""):
                raise DataError(f"{where}: {found[use]} is missing; correct the row or drop it")
        file = posixpath.normpath(str(said["image"]).replace("\\", "/"))
        name = next((name for name in (posixpath.join(folder, file), file) if name in names), None)
        if name is None:
            problems.append(Problem(f"{where} names {file}, which is not there", _MISSING))
            continue
        named.add(name)
        split = split_named(said["split"], where) if "split" in found else TRAIN
        attribute = str(said["attribute"]) if "attribute" in found else None
        described.append(Row(names[name], split, label, attribute, str(said.get("group") or "")))
    unnamed = sum(is_image_name(name) for name in names.keys() - named)
    return by_rows(described, problems, {_UNNAMED: unnamed} if unnamed else {})


def columns_of(place: str, there: Sequence[str], columns: Columns) -> dict[str, str]:
    """The column of each use; of those that are not needed, only what is there.

    Raises:
        ConfigError: One that was named, or is needed, is not there, or one has two uses.
    """
    found: dict[str, str] = {}
    for use, usual in _NAMES.items():
        named = getattr(columns, use)
        column = named or next((name for name in usual if name in there), "")
        if column and column in there:
            found[use] = column
        elif named or use in _NEEDED:
            wanted = f"no column {named!r}" if named else f"none of the columns {', '.join(usual)}"
            raise ConfigError(
                f"{place} has {wanted}; it has {', '.join(map(str, there))[:200]}: name one with {use}="
            )
    for use in ("attribute", "group"):
        if found.get(use) == found["label"]:
            raise ConfigError(
                f"{use}={found[use]!r} is the column of the truth, which models may not see; name another"
            )
    return found


def _labels(table: FilePart, rows: Sequence[Mapping[str, Any]], column: str) -> list[int] | list[str]:
    values = [row.get(column) for row in rows]
    for number, value in enumerate(values):
        if value in (None, ""):
            raise DataError(f"{table}, row {number}: {column} is missing; correct the row or drop it")
    return typed(map(str, values))
