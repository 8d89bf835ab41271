"""Games from PGN to move numbers: Surpass against python-chess, in one run, in turns.

    python benchmarks/read_games.py GAMES.pgn [--games 2000] [--rounds 3]

Prints games a minute of either on one core, and the ratio of medians. Both give the same games, which
is checked first (where two blank lines follow the headers, python-chess gives an empty game before the
game itself; empty games do not count).
"""

from __future__ import annotations

import argparse
import io
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import chess.pgn
import numpy as np

from surpass.boards import move_index
from surpass.ladder import pgn, replay


def with_python_chess(text: str) -> list[list[int]]:
    """One board per game."""
    stream, games = io.StringIO(text), []
    while game := chess.pgn.read_game(stream):
        board, numbers = game.board(), []
        for move in game.mainline_moves():
            numbers.append(move_index(move, board.turn))
            board.push(move)
        games.append(numbers)
    return games


def with_surpass(text: str) -> list[list[int]]:
    """All games at once."""
    read = pgn.read_games(text.splitlines(keepends=True), pgn.MoveVocabulary())
    return [moves.tolist() for moves in replay.resolve([np.array(game.moves, np.int32) for game in read])]


def first_games(path: Path, count: int) -> str:
    """The text of the first games of a file."""
    lines = path.read_text(encoding="latin-1").splitlines(keepends=True)
    starts = [place for place, line in enumerate(lines) if line.startswith("[Event ")]
    return "".join(itertools.islice(lines, starts[count] if count < len(starts) else len(lines)))


def seconds(read: Callable[[str], object], text: str) -> float:
    """Time of one call."""
    began = time.perf_counter()
    read(text)
    return time.perf_counter() - began


def main() -> None:
    """Check, measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pgn", type=Path)
    parser.add_argument("--games", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    text = first_games(options.pgn, options.games)
    ours, theirs = with_surpass(text), with_python_chess(text)
    assert list(filter(None, ours)) == list(filter(None, theirs)), "the two readers disagree"
    times = [(seconds(with_surpass, text), seconds(with_python_chess, text)) for _ in range(options.rounds)]
    fast, slow = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{len(ours)} games, {sum(map(len, ours))} moves")
    print(f"surpass      {60 * len(ours) / fast:>10,.0f} games a minute")
    print(f"python-chess {60 * len(ours) / slow:>10,.0f} games a minute")
    print(f"ratio        {slow / fast:>10.1f}")


if __name__ == "__main__":
    main()
