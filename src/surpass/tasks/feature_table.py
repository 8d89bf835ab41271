"""Feature tables: Parquet files with one feature vector and one known class in each row.

Shape suffixes: N rows, D features, W values of a row.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surpass.errors import DataError
from surpass.tasks.attributes import read_attribute
from surpass.tasks.tables import (
    Classes,
    doubles,
    is_number,
    read_groups,
    read_ids,
    read_numbers,
    read_truth,
    require_columns_once,
    require_number,
    require_rows,
    truth_name,
)

_KEPT: dict[str, type[np.generic]] = {"difficulty": np.float32, "length": np.int32}


class FeatureTable(NamedTuple):
    """A feature table, checked.

    Attributes:
        ids: Unique.
        groups: Rows with equal ones stay together.
        features_ND: As the file has them, finite.
        truth_N: The place of each row's class among `classes`.
        classes: What the file calls each class.
        kept: The columns `difficulty` (float32) and `length` (int32), where the file has them.
        attribute: Of each row (int16 or string), where a column is named for it.
    """

    ids: list[str]
    groups: list[str]
    features_ND: npt.NDArray[np.float32]
    truth_N: npt.NDArray[np.int16]
    classes: Classes
    kept: dict[str, npt.NDArray[Any]]
    attribute: pa.Array | None = None


def read_feature_table(path: str, *, classes: Classes = (), attribute: str = "") -> FeatureTable:
    """The rows of a user's own file.

    Its columns: `features` (a list of numbers, equally many in every row) or f0, f1, ... (numbers);
    `truth` or `label` (whole numbers or strings); if wanted, `id` (unique; else a hash of the features),
    `group` (what must stay together; else, and where it is null, a hash of the features), `difficulty`
    (a number, larger is harder) and `length` (a whole number). Others are ignored.

    Args:
        path: A Parquet file.
        classes: All values that the truth may have, in order; empty for those it has, ascending.
        attribute: The column of a spurious attribute (whole numbers or strings); empty for none.

    Raises:
        DataError: The file is missing, damaged or lacks something. Rows are counted from 0.
    """
    if not Path(path).is_file():
        raise no_table(path)
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read as Parquet ({reason}); write it again") from None
    if not len(table):
        raise DataError(f"{path} holds no rows")
    require_columns_once(path, table)
    features_ND = _features(path, table)
    # Adding 0 makes -0.0 and 0.0 one.
    hashes = [sha256(row.tobytes()).hexdigest()[:32] for row in (features_ND + np.float32(0)).astype("<f4")]
    truth = truth_name(path, table.column_names)
    truth_N, classes = read_truth(path, table[truth], truth, classes)
    if attribute and attribute not in table.column_names:
        raise DataError(f"{path} has no column {attribute}; it has {', '.join(table.column_names)[:200]}")
    return FeatureTable(
        ids=read_ids(path, table, hashes, "features"),
        groups=read_groups(table, hashes),
        features_ND=features_ND,
        truth_N=truth_N,
        classes=classes,
        kept={n: read_numbers(path, table, n, kind) for n, kind in _KEPT.items() if n in table.column_names},
        attribute=read_attribute(path, table[attribute], attribute) if attribute else None,
    )


def no_table(path: str) -> DataError:
    """What to say where there is no such file."""
    return DataError(f"there is no feature table {path}; name a Parquet file")


def _features(path: str, table: pa.Table) -> npt.NDArray[np.float32]:
    listed = "features" in table.column_names
    values_ND = _listed(path, table) if listed else _columns(path, table)
    name = "features[{}]" if listed else "f{}"
    # Not so for NaN, which also stands for null.
    small_ND = np.abs(values_ND) <= np.finfo(np.float32).max
    require_rows(path, small_ND, lambda row, place: f"{name.format(place)} is {values_ND[row, place]:g}")
    features_ND: npt.NDArray[np.float32] = values_ND.astype(np.float32)
    return features_ND


def _listed(path: str, table: pa.Table) -> npt.NDArray[np.float64]:
    column = table["features"].combine_chunks()
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (is_list and is_number(kind.value_type)):
        raise DataError(f"{path}: column features is {kind}; make it lists of numbers")
    length_N = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    width = max(int(length_N[0]), 1)
    said = {-1: "features is missing", 0: "features is empty"}
    require_rows(
        path,
        length_N[:, None] == width,
        lambda row, _: said.get(int(length_N[row]), f"{length_N[row]} features, and {width} in row 0"),
    )
    return doubles(column.flatten()).reshape(len(table), width)


def _columns(path: str, table: pa.Table) -> npt.NDArray[np.float64]:
    numbers = [int(name[1:]) for name in table.column_names if name[:1] == "f" and name[1:].isdecimal()]
    if not numbers:
        found = ", ".join(table.column_names)[:200]
        raise DataError(f"{path} has no column features and none called f0, f1, ...; it has {found}")
    for place in range(len(numbers)):
        if f"f{place}" not in table.column_names:
            raise DataError(f"{path} has {len(numbers)} columns f0, f1, ..., but no f{place}; leave out none")
        require_number(path, table, f"f{place}")
    return np.stack([doubles(table[f"f{place}"]) for place in range(len(numbers))], axis=1)
