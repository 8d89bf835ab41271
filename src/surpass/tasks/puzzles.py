"""Lichess puzzles: the set that ships with Surpass, and files in the format of the official one.

A puzzle table has one row per puzzle: `id` (string), `fen` (string, the position to solve, move
counters reset), `moves` (string, the solution in UCI notation, the solver's move first), `rating`
(int16, Glicko-2 points), `themes` (string, separated by spaces) and `game` (string, the game it
comes from; null where unknown). No two rows show the same position, colours aside.

Source: https://database.lichess.org/#puzzles, CC0 1.0.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import chess
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from surpass.boards import PACKED_BYTES, pack_board, parse_fen
from surpass.errors import ConfigError, DataError
from surpass.hashing import unit
from surpass.identity import remembered_digest

SHIPPED = Path(__file__).parent.parent / "assets" / "puzzles.parquet"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("fen", pa.string()),
        ("moves", pa.string()),
        ("rating", pa.int16()),
        ("themes", pa.string()),
        ("game", pa.string()),
    ]
)
OFFICIAL_NAMES = ("PuzzleId", "FEN", "Moves", "Rating", "Themes", "GameUrl")
_CHECKED_AT_ONCE = 10_000


class Line(NamedTuple):
    """A position to solve, packed and as FEN, and its solution in UCI notation."""

    packed: bytes
    fen: str
    moves: str


def legal_line(fen: str, moves: str, *, setup: bool) -> Line:
    """Plays a puzzle through.

    Args:
        fen: Where the moves begin.
        moves: UCI notation, separated by spaces.
        setup: The first move is the opponent's; the position to solve comes after it.

    Raises:
        DataError: The FEN is no legal position, a move is not legal, or there is no solution.
    """
    board = parse_fen(fen)
    texts = moves.split()
    if len(texts) <= setup:
        raise DataError(f"no solution in moves {moves!r}; expected UCI moves such as 'e2e4 e7e5'")
    start, solution = "", []
    packed = b""
    for place, text in enumerate(texts):
        if place == setup:
            board.halfmove_clock, board.fullmove_number = 0, 1
            packed, start = pack_board(board), board.fen()
        try:
            move = board.parse_uci(text)
        except ValueError:
            move = chess.Move.null()
        if not move:
            raise DataError(f"move {place + 1} of {moves!r}, {text!r}, is not legal in {board.fen()!r}")
        solution.append(move.uci())
        board.push(move)
    return Line(packed, start, " ".join(solution[setup:]))


def game_id(url: str | None) -> str | None:
    """The game's own name in a Lichess address; other text stays as it is, none becomes null."""
    found = re.search(r"lichess\.org/(\w{8})", url or "")
    return found[1] if found else url or None


@cache
def shipped_puzzles() -> pa.Table:
    """The puzzles that ship with Surpass; `docs/data/chess-puzzles.md` describes them."""
    return pq.read_table(SHIPPED)


def puzzles_digest(path: Path = SHIPPED) -> str:
    """The sha256 of a puzzle file, hexadecimal.

    Raises:
        DataError: There is no such file.
    """
    try:
        return remembered_digest(path)
    except (FileNotFoundError, IsADirectoryError):
        raise _no_file(path) from None


def source_histogram() -> dict[int, int]:
    """Puzzles per 100 rating points (by the lower end) before common ratings were thinned."""
    text = pq.read_schema(SHIPPED).metadata[b"source_histogram"]
    return {int(rating): count for rating, count in json.loads(text).items()}


def read_puzzles(path: str | Path, *, max_puzzles: int | None = None, seed: int = 0) -> pa.Table:
    """Puzzles of a user's own file, checked.

    About 3,000 puzzles are played through per second, so take a sample of the official file of
    five million: rows left out cost microseconds.

    Args:
        path: `lichess_db_puzzle.csv`, as it is or compressed (.zst, .gz, .bz2, .xz), or a Parquet
            file of a puzzle table.
        max_puzzles: Keep at most so many, chosen by the hash of their ids, in the file's order;
            repeated positions go afterwards.
        seed: Another seed is another sample.

    Raises:
        DataError: The file is missing, empty, cut short or of another format, a position or a
            solution is not legal, a rating is no number, or an id is there twice.
        ConfigError: `max_puzzles` is less than 1.
    """
    path = Path(path)
    rows = _rows(path)
    if max_puzzles is not None and max_puzzles < 1:
        raise ConfigError(f"max_puzzles is {max_puzzles}; ask for at least 1, or None for all")
    if max_puzzles is not None:
        rows = _sample(rows, max_puzzles, seed)
    setup = path.suffix != ".parquet"
    packed, tables = bytearray(), [SCHEMA.empty_table()]
    for table in rows:
        for batch in table.to_batches(max_chunksize=_CHECKED_AT_ONCE):
            positions, checked = _checked(path, batch.to_pydict(), setup=setup)
            packed += positions
            tables.append(checked)
    positions_N = np.frombuffer(packed, np.dtype((np.void, PACKED_BYTES)))
    first_N = np.sort(np.unique(positions_N, return_index=True)[1])
    puzzles = pa.concat_tables(tables).take(first_N)
    if not len(puzzles):
        raise DataError(f"{path} holds no puzzles; expected rows below the header")
    counts = puzzles["id"].value_counts()
    if len(counts) < len(puzzles):
        twice = next(pair["values"] for pair in counts.to_pylist() if pair["counts"] > 1)
        raise DataError(f"{path} holds puzzle {twice!r} twice with different positions; keep one")
    return puzzles


def _checked(path: Path, columns: dict[str, list[Any]], *, setup: bool) -> tuple[bytes, pa.Table]:
    """Packed positions and puzzle table of some rows."""
    lines = []
    for row, name, fen, moves in zip(*(columns[key] for key in ("row", "id", "fen", "moves")), strict=True):
        try:
            lines.append(legal_line(fen, moves, setup=setup))
        except DataError as error:
            raise DataError(f"{path}, {_place(row, setup)}, puzzle {name!r}: {error}") from None
    values = columns | {
        "fen": [line.fen for line in lines],
        "moves": [line.moves for line in lines],
        "rating": [int(rating) for rating in columns["rating"]],
        "themes": [" ".join(sorted(themes.split())) for themes in columns["themes"]],
        "game": [game_id(url) for url in columns["game"]],
    }
    return b"".join(line.packed for line in lines), pa.table({k: values[k] for k in SCHEMA.names}, SCHEMA)


def _no_file(path: Path) -> DataError:
    return DataError(f"there is no puzzle file {path}; get one at https://database.lichess.org/#puzzles")


def _place(row: int, csv: bool) -> str:
    return f"line {row + 2}" if csv else f"row {row}"


def _sample(rows: Iterator[pa.Table], size: int, seed: int) -> Iterator[pa.Table]:
    """The rows with the `size` smallest hashes, holding about twice that many at a time."""
    kept: list[pa.Table] = []
    worst = 1.0
    for table in rows:
        marks_N = np.array([unit(name, seed=seed, purpose="file") for name in table["id"].to_pylist()])
        near_N = marks_N < worst
        kept.append(table.filter(near_N).append_column("mark", pa.array(marks_N[near_N])))
        if sum(map(len, kept)) > 2 * size:
            kept = [pa.concat_tables(kept).sort_by("mark")[:size]]
            worst = kept[0]["mark"][-1].as_py()
    if kept:
        yield pa.concat_tables(kept).sort_by("mark")[:size].sort_by("row").drop_columns(["mark"])


def _rows(path: Path) -> Iterator[pa.Table]:
    """A file's rows as text, piece by piece: the columns of a puzzle table, unchecked, and `row`."""
    count = 0
    try:
        pieces = _parquet_pieces(path) if path.suffix == ".parquet" else _csv_pieces(path)
        for piece in pieces:
            number_N = pc.match_substring_regex(piece["rating"], r"^-?\d{1,4}$").fill_null(False)
            wrong = pc.index(number_N, False).as_py()
            if wrong >= 0:
                name, rating = (piece[column][wrong].as_py() for column in ("id", "rating"))
                place = _place(count + wrong, path.suffix != ".parquet")
                raise DataError(f"{path}, {place}, puzzle {name!r}: rating {rating!r} is no whole number")
            yield piece.append_column("row", pa.array(range(count, count + len(piece)), pa.int64()))
            count += len(piece)
    except FileNotFoundError:
        raise _no_file(path) from None
    except (pa.ArrowException, OSError, EOFError, lzma.LZMAError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read ({reason}); it may be cut short: fetch it again") from None


def _csv_pieces(path: Path) -> Iterator[pa.Table]:
    with _open(path) as stream:
        header = stream.read(1 << 16).partition(b"\n")[0].decode(errors="replace").strip()
    if not header:
        raise DataError(f"{path} is empty; expected a header with {', '.join(OFFICIAL_NAMES)}")
    _require(path, OFFICIAL_NAMES, header.split(","))
    wanted = pa_csv.ConvertOptions(
        include_columns=OFFICIAL_NAMES, column_types=dict.fromkeys(OFFICIAL_NAMES, pa.string())
    )
    with _open(path) as stream, pa_csv.open_csv(stream, convert_options=wanted) as reader:
        for batch in reader:
            yield pa.table(batch.columns, SCHEMA.names)


def _parquet_pieces(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        _require(path, SCHEMA.names, file.schema_arrow.names)
        for batch in file.iter_batches(columns=SCHEMA.names):
            empty = [name for name in SCHEMA.names if name != "game" and batch[name].null_count]
            if empty:
                raise DataError(f"{path} has nulls in {', '.join(empty)}; only game may be null")
            yield pa.table({name: batch[name].cast(pa.string()) for name in SCHEMA.names})


def _open(path: Path) -> IO[bytes]:
    # Arrow takes the codec from the name's end, and knows all that Lichess and its mirrors use but xz.
    opener: Callable[[Path], IO[bytes]] = lzma.open if path.suffix == ".xz" else pa.input_stream
    return opener(path)


def _require(path: Path, wanted: tuple[str, ...] | list[str], found: list[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(found)[:200]}")
