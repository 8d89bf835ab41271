"""Text tables: JSON lines or Parquet with one text and one known class in each row.

Shape suffixes: N rows.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from surpass.errors import DataError
from surpass.tasks.tables import (
    Classes,
    read_groups,
    read_ids,
    read_numbers,
    read_strings,
    read_truth,
    require_columns_once,
    require_rows,
)

_READ = ("text", "truth", "label", "id", "group", "difficulty")
_STRINGS = ("id", "group")


class TextTable(NamedTuple):
    """A text table, checked.

    Attributes:
        ids: Unique.
        groups: Rows with equal ones stay together.
        texts: Not empty.
        truth_N: The place of each row's class among `classes`.
        classes: What the file calls each class.
        difficulty_N: Where the file has it.
    """

    ids: list[str]
    groups: list[str]
    texts: list[str]
    truth_N: npt.NDArray[np.int16]
    classes: Classes
    difficulty_N: npt.NDArray[np.float32] | None


def read_text_table(path: str, *, classes: Classes = ()) -> TextTable:
    """The rows of a user's own file.

    Its columns: `text` (a string); `label` or `truth` (whole numbers or strings); if wanted, `id`
    (unique; else a hash of the text), `group` (what must stay together; else, and where it is null, a hash of
    the text) and `difficulty` (a number, larger is harder). Others are ignored.

    Args:
        path: A Parquet file by its ending `.parquet`, else lines of JSON, each an object.
        classes: All values that the truth may have, in order; empty for those it has, ascending.

    Raises:
        DataError: The file is missing, damaged or lacks something. Lines are counted from 1, rows from 0.
    """
    try:
        table = _parquet(path) if path.endswith(".parquet") else _json_lines(path)
    except (FileNotFoundError, IsADirectoryError):
        raise no_table(path) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read ({reason}); write it again") from None
    if not len(table):
        raise DataError(f"{path} holds no rows")
    require_columns_once(path, table)
    texts = _texts(path, table)
    hashes = [sha256(text.encode()).hexdigest()[:32] for text in texts]
    truth_N, classes = read_truth(path, table, classes)
    hard = "difficulty" in table.column_names
    return TextTable(
        ids=read_ids(path, table, hashes, "text"),
        groups=read_groups(table, hashes),
        texts=texts,
        truth_N=truth_N,
        classes=classes,
        difficulty_N=read_numbers(path, table, "difficulty", np.float32) if hard else None,
    )


def no_table(path: str) -> DataError:
    """What to say where there is no such file."""
    return DataError(f"there is no text table {path}; name a file of JSON lines, or Parquet")


def _parquet(path: str) -> pa.Table:
    table = pq.read_table(Path(path), partitioning=None)
    return table.select([place for place, name in enumerate(table.column_names) if name in _READ])


def _json_lines(path: str) -> pa.Table:
    rows: list[dict[str, Any]] = []
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
            rows.append({name: value for name, value in row.items() if name in _READ})
    names = [name for name in _READ if any(name in row for row in rows)]
    return pa.table({name: _column(path, name, [row.get(name) for row in rows]) for name in names})


def _column(path: str, name: str, values: list[Any]) -> pa.Array:
    if name in _STRINGS:
        values = [None if value is None else str(value) for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: column {name} is of several kinds ({reason}); make it one") from None


def _texts(path: str, table: pa.Table) -> list[str]:
    if "text" not in table.column_names:
        raise DataError(f"{path} has no column text; it has {', '.join(table.column_names)[:200] or 'none'}")
    kind = table.schema.field("text").type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise DataError(f"{path}: column text is {kind}; it must hold strings")
    texts = read_strings(table, "text")
    require_rows(path, np.array([bool(text and text.strip()) for text in texts]), lambda *_: "text is empty")
    return [text or "" for text in texts]
