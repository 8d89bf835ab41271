"""Rows of one file: JSON lines, JSON, CSV, TSV, Parquet."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any

from surpass.data.files import COMPRESSIONS, FORMATS, FilePart, opened, unreadable
from surpass.errors import DataError


def rows_of(part: FilePart, columns: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a file, in its order, as plain Python values; those of CSV and TSV are all strings.

    JSON is a list of objects, or one object in each line. Rows that are lists have the columns `0`, `1`
    and so on. CSV is quoted as spreadsheets do it; TSV has no quoting, as those who publish it use none:
    a quote is a quote, and there is no tab in a text. Empty lines are no rows.

    Args:
        part: The file; its name's ending says what it is.
        columns: Names of the columns of a CSV or TSV file without a header.

    Raises:
        DataError: The file is missing, damaged or of another format; the message says where.
    """
    readers = {".jsonl": _json_lines, ".json": _json, ".parquet": _parquet}
    if part.format in (".csv", ".tsv"):
        yield from _delimited(part, columns)
    elif part.format:
        yield from readers[part.format](part)
    else:
        raise DataError(
            f"{part} has an ending that says nothing of its format; give it one of {', '.join(FORMATS)}, "
            f"which may be compressed: {', '.join(COMPRESSIONS)}"
        )


def _json_lines(part: FilePart) -> Iterator[dict[str, Any]]:
    with opened(part) as stream:
        yield from _parsed_lines(part, stream)


def _json(part: FilePart) -> Iterator[dict[str, Any]]:
    with opened(part) as stream:
        content = stream.read()
    # Files of one object in each line are called .json too.
    if content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        yield from _parsed_lines(part, io.BytesIO(content))
        return
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{part} is no JSON ({error}); mend it or fetch it again") from None
    if not isinstance(rows, list):
        raise DataError(f"{part} holds a JSON {type(rows).__name__}; expected a list of objects")
    for place, row in enumerate(rows):
        yield _named(part, f"row {place}", row)


def _parsed_lines(part: FilePart, stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = str(error).partition(": line")[0]
            raise DataError(f"{part}, line {number} is no JSON ({said}); mend it or fetch it again") from None
        yield _named(part, f"line {number}", row)


def _named(part: FilePart, place: str, row: object) -> dict[str, Any]:
    if isinstance(row, dict):
        return row
    if isinstance(row, list):
        return {str(column): value for column, value in enumerate(row)}
    raise DataError(f"{part}, {place} is {str(row)[:40]!r}; expected an object with a value for each column")


def _delimited(part: FilePart, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    names = list(columns)
    is_first = True
    with opened(part) as stream:
        cells = _csv_cells if part.format == ".csv" else _tsv_cells
        for number, values in cells(part, stream):
            first, is_first = is_first, False
            if first and (not names or values == names):
                names = _header(part, values)
            elif len(values) != len(names):
                raise DataError(
                    f"{part}, line {number} has {len(values)} fields, and there are {len(names)} columns "
                    f"({', '.join(names)[:200]}); mend it or fetch it again"
                )
            else:
                yield dict(zip(names, values, strict=True))


def _header(part: FilePart, names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{part} has two columns {twice[0]!r}; give each a name of its own")
    return names


def _csv_cells(part: FilePart, stream: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    try:
        for values in reader:
            if values:
                yield reader.line_num, values
    except (csv.Error, UnicodeDecodeError) as error:
        raise _damaged_line(part, reader.line_num + 1, error) from None
    finally:
        text.detach()


def _tsv_cells(part: FilePart, stream: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(stream, start=1):
        content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        try:
            text = content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise _damaged_line(part, number, error) from None
        if text:
            yield number, text.split("\t")


def _damaged_line(part: FilePart, number: int, error: ValueError | csv.Error) -> DataError:
    return DataError(f"{part}, line {number} cannot be read ({error}); mend it or fetch it again")


def _parquet(part: FilePart) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened(part) as stream:
        try:
            seekable = stream if part == FilePart(part.name) else io.BytesIO(stream.read())
            with pq.ParquetFile(seekable) as file:
                _header(part, file.schema_arrow.names)
                for batch in file.iter_batches():
                    yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise unreadable(part, error) from None
