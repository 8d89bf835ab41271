"""What tasks from tables have in common: columns, checked, and how examples are drawn.

Shape suffixes: N rows, W values of a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.data.catalog import DATA_SETS
from surpass.errors import ConfigError, DataError
from surpass.hashing import unit
from surpass.tasks import splits

PROPORTIONS = {"weak": 0.40, "student": 0.40, "validation": 0.05, "test": 0.15}
"""The share of each part."""

MIXES = ("all",)
"""The one way of drawing."""

MAX_CLASSES = 1000
_TRUTH_NAMES = ("truth", "label")

Classes = tuple[int | str, ...]


class TableTask:
    """What all tasks say of themselves whose rows have a fixed set of classes."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts; `PROPORTIONS` holds their sizes where one table is cut into all of them."""
        return tuple(PROPORTIONS)

    @property
    def mixes(self) -> tuple[str, ...]:
        """The one way of drawing examples."""
        return MIXES

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def class_names(self) -> Classes:
        """What the data call each class."""
        raise NotImplementedError

    @property
    def difficulty(self) -> str | None:
        """The input column that says how hard an example is, if there is one."""
        return None


def require_classes(classes: Classes) -> None:
    """Refuse what are no classes; none at all stand for those that the truth has.

    Raises:
        ConfigError: There is one only, or one is named twice.
    """
    if classes and not 2 <= len(set(classes)) == len(classes):
        raise ConfigError(f"classes={classes} must be at least two, each named once")


def require_data_set(name: str, kind: str, what: str) -> None:
    """Refuse a name that is no data set of a kind.

    Args:
        name: The name.
        kind: As in `data.base.DataSet`.
        what: Such data sets, for the message: "with classes".

    Raises:
        ConfigError: Names those that there are.
    """
    known = [key for key, data_set in DATA_SETS.items() if data_set.kind == kind]
    if name not in known:
        raise ConfigError(f"no data set {what} is called {name!r}; there are: {', '.join(known)}")


def require_known(task: str, *, part: str, mix: str) -> None:
    """Refuse a part or a mix that there is not.

    Raises:
        ConfigError: Names it, and those that there are.
    """
    for what, value, known in (("part", part, PROPORTIONS), ("mix", mix, MIXES)):
        if value not in known:
            raise ConfigError(f"no {what} {value!r} in task {task}; choose from {', '.join(known)}")


def draw(
    ids: Sequence[str],
    parts_N: npt.NDArray[np.str_],
    *,
    part: str,
    size: int | None,
    seed: int,
    turns_N: npt.NDArray[np.int16] | None = None,
) -> npt.NDArray[np.int64]:
    """Rows of one part, in an order that their ids and the seed decide; fewer are a prefix of more.

    Args:
        ids: Of all rows.
        parts_N: The part of each.
        part: Which one.
        size: How many; None for all.
        seed: Another seed is another order.
        turns_N: The class of each row, if classes take turns: of C equally frequent classes, every C rows
            hold one of each, in any order, so that two classes are balanced in every even prefix. What is
            left of a more frequent class comes last.

    Raises:
        ConfigError: The part has fewer than `size` rows.
    """
    (rows,) = np.nonzero(parts_N == part)
    if size is not None and not 0 <= size <= len(rows):
        raise ConfigError(f"{size} examples asked for and {len(rows)} in part {part!r}; ask for fewer")
    names = [ids[row] for row in rows.tolist()]
    if turns_N is None:
        chosen: npt.NDArray[np.int64] = rows[splits.subsample(names, size, seed)]
        return chosen
    seen: Counter[int] = Counter()
    turns: list[tuple[int, float, int]] = []
    for place in splits.subsample(names, None, seed):
        label = int(turns_N[rows[place]])
        turns.append((seen[label], unit(names[place], seed=seed, purpose="turn"), place))
        seen[label] += 1
    in_turn: npt.NDArray[np.int64] = rows[[place for _, _, place in sorted(turns)[:size]]]
    return in_turn


def list_column(values_NW: npt.NDArray[Any]) -> pa.Array:
    """The rows of a matrix as an array of lists."""
    num_rows, width = values_NW.shape
    offsets = np.arange(num_rows + 1, dtype=np.int64) * width
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values_NW.ravel()))


def candidates_column(num_rows: int, num_classes: int) -> pa.Array:
    """The classes 0 to C - 1 for every row, list<uint16>."""
    return list_column(np.tile(np.arange(num_classes, dtype=np.uint16), (num_rows, 1)))


def truth_name(path: str, names: Sequence[str]) -> str:
    """The column that holds the truth: `truth` or `label`.

    Raises:
        DataError: There are both, or neither.
    """
    found = [name for name in _TRUTH_NAMES if name in names]
    if len(found) != 1:
        there = "both" if found else "neither"
        raise DataError(f"{path} has {there} of the columns truth and label; it needs one of them")
    return found[0]


def read_truth(
    path: str, column: pa.Array | pa.ChunkedArray, name: str, classes: Classes
) -> tuple[npt.NDArray[np.int16], Classes]:
    """The class of each row by its place, int16 (N,), and what the classes are called.

    Args:
        path: The file, for messages.
        column: Whole numbers or strings.
        name: The column's name, for messages.
        classes: All values there may be, in order; empty for those there are, ascending.

    Raises:
        DataError: A value is missing or none of the classes, or values are no classes at all.
    """
    kind = column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    whole = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if not (whole or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{path}: column {name} is {kind}; classes must be whole numbers or strings")
    values: list[Any] = column.cast(pa.int64() if whole else pa.string()).to_pylist()
    require_rows(path, there(values), lambda row, _: f"{name} is missing")
    if not classes:
        classes = tuple(sorted(set(values)))
        if not 2 <= len(classes) <= MAX_CLASSES:
            some = ", ".join(map(repr, classes[:3]))
            raise DataError(
                f"{path}: column {name} has {len(classes)} different values ({some}, ...); "
                f"give it from 2 to {MAX_CLASSES} classes"
            )
    place_of = {value: place for place, value in enumerate(classes)}
    known = np.array([value in place_of for value in values])
    require_rows(
        path, known, lambda row, _: f"{name} is {values[row]!r}, which is none of the classes {classes}"
    )
    return np.array([place_of[value] for value in values], np.int16), classes


def read_ids(path: str, table: pa.Table, hashes: Sequence[str], what: str, called: str = "id") -> list[str]:
    """The unique id of each row: the column `id`, else the hash of what it is.

    Args:
        path: The file, for messages.
        table: What was read.
        hashes: Of each row's content.
        what: The content, for messages: "features".
        called: The file's name for the column, for messages.

    Raises:
        DataError: An id is missing or there twice.
    """
    named = "id" in table.column_names
    ids = read_strings(table, "id") if named else list(hashes)
    require_rows(path, there(ids), lambda row, _: f"{called} is missing")
    first: dict[str, int] = {}
    for row, name in enumerate(map(str, ids)):
        if first.setdefault(name, row) != row:
            same = f"{called} {name!r}" if named else f"the same {what}"
            mend = "keep one" if named else "keep one, or add a column id"
            raise DataError(f"{path}: rows {first[name]} and {row} have {same}; {mend}")
    return list(first)


def read_groups(table: pa.Table, hashes: Sequence[str]) -> list[str]:
    """What must stay together: the column `group`, else, and where it is null, the hash of the content."""
    return [group or own for group, own in zip(read_strings(table, "group"), hashes, strict=True)]


def read_numbers(
    path: str, table: pa.Table, name: str, kind: type[np.generic], called: str = ""
) -> npt.NDArray[Any]:
    """A column of finite numbers as float32, or of whole numbers as int32; `called` for messages.

    Raises:
        DataError: It holds something else.
    """
    called = called or name
    require_number(path, table, name, called)
    value_N = doubles(table[name])
    limit = np.finfo(np.float32).max if kind is np.float32 else np.iinfo(np.int32).max
    right_N = np.abs(value_N) <= limit
    if kind is np.int32:
        right_N &= np.floor(np.where(right_N, value_N, 0)) == value_N
    what = "a number" if kind is np.float32 else "a whole number"
    require_rows(path, right_N, lambda row, _: f"{called} is {value_N[row]:g} and must be {what}")
    return value_N.astype(kind)


def read_strings(table: pa.Table, name: str) -> list[str | None]:
    """A column as strings; None where the table has none."""
    if name not in table.column_names:
        return [None] * len(table)
    return [None if value is None else str(value) for value in table[name].to_pylist()]


def doubles(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Numbers; NaN where the table has none."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values: npt.NDArray[np.float64] = whole.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def require_number(path: str, table: pa.Table, name: str, called: str = "") -> None:
    """Refuse a column that holds no numbers."""
    kind = table.schema.field(name).type
    if not is_number(kind):
        raise DataError(f"{path}: column {called or name} is {kind}; it must hold numbers")


def there(values: Sequence[object]) -> npt.NDArray[np.bool_]:
    """Which values are not None."""
    return np.array([value is not None for value in values], np.bool_)


def require_rows(path: str, right: npt.NDArray[np.bool_], describe: Callable[[int, int], str]) -> None:
    """Name the first row with something wrong; `right` is (N,) or (N, W). Rows are counted from 0."""
    wrong = np.argwhere(~right.reshape(len(right), -1))
    if len(wrong):
        row, place = wrong[0].tolist()
        raise DataError(f"{path}, row {row}: {describe(row, place)}; correct the row or drop it")


def require_columns_once(path: str, table: pa.Table) -> None:
    """Refuse two columns of one name."""
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has two columns called {repeated[0]}; rename one")
