"""Image sets of the hub: Parquet files with a column of images and one of classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from surpass.data.files import FilePart, require_content, unreadable
from surpass.data.images_index import Index
from surpass.data.images_layout import TEST, TRAIN, Labelled, Layout, Row, by_rows
from surpass.data.images_metadata import Columns, columns_of
from surpass.errors import ConfigError, DataError

IMAGES = ("image", "img")
"""What the hub calls the column of images."""

_LABELS = ("label", "labels", "fine_label")


def by_columns(
    files: Mapping[str, Sequence[FilePart]], root: str, columns: Columns, names: tuple[str, ...]
) -> Layout:
    """The images of Parquet files, row for row.

    Args:
        files: Of the roles "train" and "test".
        root: Where what is known of them is kept, see `Index`.
        columns: What they call their columns; empty for the usual names.
        names: What classes are called, if the files themselves do not say so.

    Raises:
        ConfigError: They have no such columns.
        DataError: A file is damaged, or a label is missing.
    """
    rows: list[Row] = []
    called: tuple[str, ...] = ()
    for role, split in (("train", TRAIN), ("test", TEST)):
        for part in files.get(role, ()):
            require_content(part)
            found, own = _described(part, columns)
            called = called or own
            if own and own != called:
                raise DataError(f"{part} names other classes than the files before it; fetch them again")
            stored = Index(root, found["image"]).of([part.path])
            table = _table(part, [column for use, column in found.items() if use != "image"])
            said = {use: table[column].to_pylist() for use, column in found.items() if use != "image"}
            for place, one in enumerate(stored):
                label = said["label"][place]
                _require(f"{one}: {found['label']}", label)
                attribute = said["attribute"][place] if "attribute" in said else None
                if "attribute" in said:
                    _require(f"{one}: {found['attribute']}", attribute)
                rows.append(
                    Row(
                        one,
                        split,
                        label,
                        None if attribute is None else str(attribute),
                        str(said["group"][place] or "") if "group" in said else "",
                    )
                )
    return _layout(rows, called or names)


def _layout(rows: Sequence[Row], called: tuple[str, ...]) -> Layout:
    layout = by_rows(rows, [], {})
    numbers = all(type(row.label) is int for row in rows)
    if not (called and numbers):
        return layout
    for row in rows:
        if not 0 <= int(row.label) < len(called):
            hidden = ", as hidden labels are" if row.label == -1 else ""
            raise DataError(f"{row.stored}: label {row.label} is none of {len(called)} classes{hidden}")
    learned = set(layout.classes)
    # The published order counts, also where a class has no image.
    images = [
        Labelled(row.stored, row.split, int(row.label), row.attribute, row.group)
        for row in rows
        if row.label in learned
    ]
    return Layout(images, called, layout.problems)


def _described(part: FilePart, columns: Columns) -> tuple[dict[str, str], tuple[str, ...]]:
    """The column of each use, and the names of classes that the file's own header gives."""
    try:
        schema = pq.read_schema(part.path)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(part, error) from None
    there = schema.names
    image = columns.image or next((name for name in IMAGES if name in there), "")
    label = columns.label or next((name for name in _LABELS if name in there), "")
    found = columns_of(str(part), there, columns._replace(image=image, label=label))
    found.pop("split", None)
    kind = schema.field(found["image"]).type
    inner = (
        kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    )
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise ConfigError(
            f"{part}: column {found['image']} is {kind}; images are bytes, or a struct with bytes and path"
        )
    return found, _class_names((schema.metadata or {}).get(b"huggingface"), found["label"])


def _class_names(said: bytes | None, column: str) -> tuple[str, ...]:
    try:
        feature: Any = json.loads(said or b"{}")["info"]["features"][column]
        return tuple(map(str, feature["names"]))
    except (KeyError, TypeError, ValueError):
        return ()


def _table(part: FilePart, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(part.path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(part, error) from None


def _require(what: str, value: object) -> None:
    if value is None:
        raise DataError(f"{what} is missing; correct the row or drop it")
