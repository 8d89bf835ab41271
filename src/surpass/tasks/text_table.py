"""Text tables: files with one text and one known class in each row.

Shape suffixes: N rows.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from string import Formatter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from surpass.data.files import FilePart, is_archive
from surpass.data.loading import read_rows
from surpass.errors import ConfigError, DataError
from surpass.tasks.attributes import read_attribute
from surpass.tasks.tables import (
    Classes,
    read_groups,
    read_ids,
    read_numbers,
    read_strings,
    read_truth,
    require_columns_once,
    require_rows,
    truth_name,
)

_OPTIONAL = ("id", "group", "difficulty")
Rows = list[dict[str, Any]]


class TextTable(NamedTuple):
    """A text table, checked.

    Attributes:
        ids: Unique.
        groups: Rows with equal ones stay together.
        texts: Not empty.
        truth_N: The place of each row's class among `classes`.
        classes: What the file calls each class.
        difficulty_N: Where the file has it.
        attribute: Of each row (int16 or string), where a column is named for it.
    """

    ids: list[str]
    groups: list[str]
    texts: list[str]
    truth_N: npt.NDArray[np.int16]
    classes: Classes
    difficulty_N: npt.NDArray[np.float32] | None
    attribute: pa.Array | None = None


class Columns(NamedTuple):
    r"""What a user's file calls its columns.

    Attributes:
        text: A column, or a template with columns in braces: "{premise}\n{hypothesis}".
        label: Empty for `truth` or `label`.
        id: Empty for `id`, if there is one; likewise the others.
        group: See `id`.
        difficulty: See `id`.
        attribute: A spurious attribute (whole numbers or strings; of CSV and TSV, strings); empty for none.
    """

    text: str = "text"
    label: str = ""
    id: str = ""
    group: str = ""
    difficulty: str = ""
    attribute: str = ""


PLAIN = Columns()


def read_text_table(path: str, *, classes: Classes = (), columns: Columns = PLAIN) -> TextTable:
    """The rows of a user's own file.

    Its columns: `text` (a string); `label` or `truth` (whole numbers or strings); if wanted, `id`
    (unique; else a hash of the text), `group` (what must stay together; else, and where it is null, a hash of
    the text) and `difficulty` (a number, larger is harder). Others are ignored. In CSV and TSV, classes that
    are all whole numbers are read as such, and an empty field is a missing value.

    Args:
        path: JSON lines, JSON, CSV, TSV or Parquet by its ending, also compressed; without such an ending,
            lines of JSON, each an object.
        classes: All values that the truth may have, in order; empty for those it has, ascending.
        columns: What they are called, if not so.

    Raises:
        ConfigError: The template has another form.
        DataError: The file is missing, damaged or lacks something. Lines are counted from 1, rows from 0.
    """
    if not os.path.isfile(path):
        raise no_table(path)
    rows = _rows(path)
    if not rows:
        raise DataError(f"{path} holds no rows")
    table, label = _table(path, rows, columns, classes)
    texts = _texts(path, table, columns)
    hashes = [text_id(text) for text in texts]
    truth_N, classes = read_truth(path, table["truth"], label, classes)
    hard = "difficulty" in table.column_names
    return TextTable(
        ids=read_ids(path, table, hashes, "text", columns.id or "id"),
        groups=read_groups(table, hashes),
        texts=texts,
        truth_N=truth_N,
        classes=classes,
        difficulty_N=(
            read_numbers(path, table, "difficulty", np.float32, columns.difficulty) if hard else None
        ),
        attribute=(
            read_attribute(path, table["attribute"], columns.attribute) if columns.attribute else None
        ),
    )


def text_id(text: str) -> str:
    """The id of a text: a hash, 32 hex digits."""
    return sha256(text.encode()).hexdigest()[:32]


def no_table(path: str) -> DataError:
    """What to say where there is no such file."""
    return DataError(f"there is no text table {path}; name a file of JSON lines, CSV, TSV or Parquet")


def template_columns(wanted: str) -> list[str]:
    """The columns that a template names; none for a text without braces, which is a column itself.

    Raises:
        ConfigError: Something else stands in its braces.
    """
    try:
        pieces = list(Formatter().parse(wanted))
    except ValueError as error:
        raise ConfigError(f"{wanted!r} is no template ({error}); write {{column}}, and {{{{ for {{") from None
    if any(form or conversion or name == "" for _, name, form, conversion in pieces):
        raise ConfigError(f"{wanted!r} is no template; between braces stands a column's name, nothing else")
    return [name for _, name, _, _ in pieces if name is not None]


def filled(wanted: str, row: dict[str, Any]) -> str:
    r"""A template with the values of a row, `\n` in it a line break; empty where a value is missing."""
    pieces = list(Formatter().parse(wanted.replace("\\n", "\n")))
    if any(row.get(name) is None for _, name, _, _ in pieces if name is not None):
        return ""
    return "".join(text + ("" if name is None else str(row[name])) for text, name, _, _ in pieces)


def require_column(path: str, rows: Rows, name: str) -> None:
    """Refuse rows of which none has a column.

    Raises:
        DataError: Lists those that there are.
    """
    if not any(name in row for row in rows):
        there = ", ".join(map(str, dict.fromkeys(column for row in rows for column in row)))
        raise DataError(f"{path} has no column {name}; it has {there[:200] or 'none'}")


def is_delimited(path: str) -> bool:
    """Whether all values of a file are strings."""
    return FilePart(path).format in (".csv", ".tsv")


def _rows(path: str) -> Rows:
    try:
        plain = FilePart(path).format in ("", ".jsonl") and path == FilePart(path).name
        if plain and not is_archive(path):
            return _json_lines(path)
        if path.endswith(".parquet"):
            require_columns_once(path, pq.read_schema(path).empty_table())
        return read_rows(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read ({reason}); write it again") from None


def _json_lines(path: str) -> Rows:
    rows: Rows = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number} is no JSON ({error}); correct the line") from None
            if not isinstance(row, dict):
                raise DataError(f'{path}, line {number} is no object; write {{"text": ..., "label": ...}}')
            rows.append(row)
    return rows


def _table(path: str, rows: Rows, columns: Columns, classes: Classes) -> tuple[pa.Table, str]:
    """The columns that are used, called as `TextTable` calls them, and the file's name for the truth."""
    names = template_columns(columns.text)
    for name in names or [columns.text]:
        require_column(path, rows, name)
    found = {
        "text": (columns.text, [filled(columns.text, row) for row in rows])
        if names
        else (columns.text, [row.get(columns.text) for row in rows])
    }
    label = columns.label or truth_name(path, list(dict.fromkeys(name for row in rows for name in row)))
    for use, name in (("truth", label), *((use, getattr(columns, use)) for use in _OPTIONAL)):
        if name:
            require_column(path, rows, name)
        if name or any(use in row for row in rows):
            found[use] = (name or use, [row.get(name or use) for row in rows])
    if columns.attribute:
        require_column(path, rows, columns.attribute)
        found["attribute"] = (columns.attribute, [row.get(columns.attribute) for row in rows])
    if is_delimited(path):
        numbers = all(type(value) is int for value in classes)
        for use, (name, values) in found.items():
            if use != "text":
                found[use] = (name, _typed(values, use, numbers))
    return pa.table({use: _column(path, use, name, values) for use, (name, values) in found.items()}), label


def _typed(values: list[Any], use: str, numbers: bool) -> list[Any]:
    """The fields of a delimited file, of which an empty one is missing."""
    values = [None if value == "" else value for value in values]
    kind = {"truth": int if numbers else str, "difficulty": float}.get(use, str)
    try:
        return [None if value is None else kind(value) for value in values]
    except ValueError:
        return values


def _column(path: str, use: str, name: str, values: list[Any]) -> pa.Array:
    if use in ("id", "group"):
        values = [None if value is None else str(value) for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: column {name} is of several kinds ({reason}); make it one") from None


def _texts(path: str, table: pa.Table, columns: Columns) -> list[str]:
    kind = table.schema.field("text").type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise DataError(f"{path}: column {columns.text} is {kind}; it must hold strings")
    texts = read_strings(table, "text")
    called = "text" if template_columns(columns.text) else columns.text
    filled_N = np.array([bool(text and text.strip()) for text in texts])
    require_rows(path, filled_N, lambda *_: f"{called} is empty")
    return [text or "" for text in texts]
