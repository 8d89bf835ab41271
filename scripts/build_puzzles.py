"""Builds the chess puzzles that ship with Surpass from three published selections of Lichess puzzles.

    python scripts/build_puzzles.py DATA [--check]

DATA holds the archives in `chess_puzzles_tylervsnyc`, `chess_puzzles_drukchess` and
`chess_puzzles_seanmacebo`. The same archives and the same pyarrow give the same bytes; --check
compares with the shipped file, writes nothing, and exits with 1 where they differ.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import lzma
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from surpass.tasks.puzzles import SCHEMA, SHIPPED, game_id, legal_line

MAX_PER_BIN = 12_500
BIN_WIDTH = 100


class Raw(NamedTuple):
    """A puzzle as published: the position before the opponent's set-up move, and all moves."""

    id: str
    fen: str
    moves: str
    rating: int
    themes: frozenset[str]
    game: str | None


class Puzzle(NamedTuple):
    """A checked puzzle: packed position, then the columns of a puzzle table."""

    packed: bytes
    id: str
    fen: str
    moves: str
    rating: int
    themes: str
    game: str | None


def members(archive: Path) -> Iterator[tuple[str, Any]]:
    """Name and content of the JSON files in an archive, in its order."""
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file:
                yield Path(member.name).name, json.load(file)


def lessons(data: Path) -> Iterator[Raw]:
    """92,070 puzzles of 400 to 1599 points by theme and level, 1,910 lessons, 1,845 daily ones."""
    for name, content in members(data / "chess_puzzles_tylervsnyc/clean-puzzles.tar.xz"):
        if name.startswith("level"):
            rows = content["puzzles"]
        elif name.startswith("lesson"):
            rows = list(content.values())
        elif name.startswith("daily"):
            rows = [row for day in content["days"].values() for row in day]
        else:
            continue
        for row in rows:
            moves = row["moves"] if isinstance(row["moves"], str) else " ".join(row["moves"])
            themes = frozenset(row.get("allThemes") or row["themes"])
            game = game_id(row.get("gameUrl") or row["url"])
            yield Raw(row["puzzleId"], row["fen"], moves, row["rating"], themes, game)


def mates(data: Path) -> Iterator[Raw]:
    """25,000 mates in two and three over all ratings, in the official columns."""
    for count in (2, 3):
        with lzma.open(data / f"chess_puzzles_drukchess/mateIn{count}.csv.xz", "rt") as file:
            for row in csv.DictReader(file):
                themes = frozenset(row["Themes"].split())
                rating, game = int(row["Rating"]), game_id(row["GameUrl"])
                yield Raw(row["PuzzleId"], row["FEN"], row["Moves"], rating, themes, game)


def bands(data: Path) -> Iterator[Raw]:
    """28,800 puzzles of 600 to 2399 points; themes are a choice and games are not given."""
    for name, content in members(data / "chess_puzzles_seanmacebo/puzzles-bands.tar.xz"):
        if name.startswith("band"):
            for row in content:
                yield Raw(row["i"], row["f"], row["m"], row["r"], frozenset(row["t"].split()), None)


def merged(data: Path) -> list[Raw]:
    """One row per id: the first source's, with the themes and the game of all."""
    rows: dict[str, Raw] = {}
    for source in (lessons, mates, bands):
        for row in source(data):
            first = rows.setdefault(row.id, row)
            if (first.fen, first.moves) != (row.fen, row.moves):
                sys.exit(f"puzzle {row.id} differs between sources")
            rows[row.id] = first._replace(themes=first.themes | row.themes, game=first.game or row.game)
    return sorted(rows.values(), key=lambda row: hashlib.sha256(row.id.encode()).digest())


def checked(row: Raw) -> Puzzle:
    """Plays the puzzle through, which fails where it is not legal."""
    line = legal_line(row.fen, row.moves, setup=True)
    return Puzzle(
        line.packed, row.id, line.fen, line.moves, row.rating, " ".join(sorted(row.themes)), row.game
    )


def chosen(puzzles: list[Puzzle]) -> tuple[list[Puzzle], Counter[int]]:
    """Puzzles with common ratings thinned, and the histogram before that; both without repeats."""
    unique = list({puzzle.packed: puzzle for puzzle in reversed(puzzles)}.values())[::-1]
    before: Counter[int] = Counter()
    kept = []
    for puzzle in unique:
        rating = puzzle.rating // BIN_WIDTH * BIN_WIDTH
        before[rating] += 1
        if before[rating] <= MAX_PER_BIN:
            kept.append(puzzle)
    return kept, before


def parquet(puzzles: list[Puzzle], before: Counter[int]) -> bytes:
    """The file's bytes. Rows with like themes and moves stand together, which compresses better."""
    puzzles = sorted(puzzles, key=lambda puzzle: (puzzle.themes, puzzle.moves, puzzle.id))
    table = pa.table({name: [getattr(puzzle, name) for puzzle in puzzles] for name in SCHEMA.names}, SCHEMA)
    histogram = json.dumps(dict(sorted(before.items())))
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({"source_histogram": histogram, "licence": "CC0-1.0"}),
        sink,
        compression="zstd",
        compression_level=22,
        use_dictionary=["themes"],
        column_encoding={"rating": "BYTE_STREAM_SPLIT"},
        write_statistics=False,
        row_group_size=len(table),
        data_page_size=1 << 26,
    )
    return sink.getvalue()


def main() -> None:
    """Builds, prints what came out, and writes or compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with the published archives")
    parser.add_argument("--check", action="store_true", help="compare with the shipped file; write nothing")
    args = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        puzzles = list(pool.map(checked, merged(args.data), chunksize=1000))
    kept, before = chosen(puzzles)
    content = parquet(kept, before)
    after = Counter(puzzle.rating // BIN_WIDTH * BIN_WIDTH for puzzle in kept)
    for rating in sorted(before):
        print(f"{rating:5} {before[rating]:7,} {after[rating]:7,}")
    print(f"total {before.total():7,} {after.total():7,}")
    print(f"sha256 {hashlib.sha256(content).hexdigest()}  {len(content):,} bytes")
    if not args.check:
        SHIPPED.parent.mkdir(exist_ok=True)
        SHIPPED.write_bytes(content)
    elif content != SHIPPED.read_bytes():
        same = pq.read_table(io.BytesIO(content)).equals(pq.read_table(SHIPPED), check_metadata=True)
        sys.exit(f"{SHIPPED} differs{' in its bytes only (another pyarrow?)' if same else ''}")


if __name__ == "__main__":
    main()
