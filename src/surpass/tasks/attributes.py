"""The column of a user's file that holds a spurious attribute: what groups are made of beside the truth."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from surpass.errors import DataError
from surpass.tasks.tables import require_rows, there

_LIMIT = np.iinfo(np.int16)


def read_attribute(path: str, column: pa.Array | pa.ChunkedArray, called: str) -> pa.Array:
    """The attribute of each row: int16 where all are whole numbers, else strings.

    Args:
        path: The file, for messages.
        column: Whole numbers, truth values (as 0 and 1) or strings.
        called: The file's name for the column, for messages.

    Raises:
        DataError: A value is missing or too large, or the column holds something else.
    """
    kind = column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if not (whole or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{path}: column {called} is {kind}; an attribute must be whole numbers or strings")
    values = column.cast(pa.int64() if whole else pa.string()).to_pylist()
    require_rows(path, there(values), lambda *_: f"{called} is missing")
    if not whole:
        return pa.array(values, pa.string())
    small_N = np.array([_LIMIT.min <= value <= _LIMIT.max for value in values], np.bool_)
    require_rows(
        path,
        small_N,
        lambda row, _: f"{called} is {values[row]}, which is not from {_LIMIT.min} to {_LIMIT.max}",
    )
    return pa.array(values, pa.int16())
