"""PGN text to numbers: one integer per move as it is written, before any board is looked at.

A move in standard algebraic notation says the piece, the target and sometimes a file or rank of
origin; which piece that is depends on the board and is found in `replay.py`, for thousands of
games at a time. The vocabulary is small (about 20,000 different strings in a million games), so
each string is parsed once.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from surpass.errors import DataError

UNREADABLE = -1
MEANINGLESS = -2
NO_HINT = 8

# Bits of a written move: target 0-5, piece 6-8, file hint 9-12, rank hint 13-16, promotion 17-19, capture 20.
PIECE_SHIFT, FILE_SHIFT, RANK_SHIFT, PROMOTION_SHIFT, CAPTURE_SHIFT = 6, 9, 13, 17, 20
PIECES = {"": 1, "N": 2, "B": 3, "R": 4, "Q": 5, "K": 6}
CASTLE_KING_SIDE, CASTLE_QUEEN_SIDE = 1 << 21, 1 << 22

_SAN = re.compile(r"([NBRQK]?)([a-h]?)([1-8]?)(x?)([a-h])([1-8])(?:=?([NBRQ]))?")
_COMMENT = re.compile(r"\{[^}]*\}|;[^\n]*")
_VARIATION = re.compile(r"\([^()]*\)")
_NUMBER = re.compile(r"\d+\.+|\$\d+")
# What may stand alone among the moves and says nothing: "1", "..." (as in "1. ..."), "!?", "e.p.".
_MEANINGLESS = re.compile(r"\d+|\.+|[!?]+|e\.p\.")
_HEADER = re.compile(r'\[(\w+)\s+"(.*)"\]')
_RESULTS = {"1-0": 1, "0-1": -1, "1/2-1/2": 0, "*": 0}


class WrittenGame(NamedTuple):
    """A game as written: Elo ratings (0 where unknown), result for White, and move numbers."""

    white_elo: int
    black_elo: int
    result: int
    moves: list[int]


def written_move(san: str) -> int:
    """The integer for a move in standard algebraic notation, or UNREADABLE, or MEANINGLESS."""
    if _MEANINGLESS.fullmatch(san):
        return MEANINGLESS
    san = san.rstrip("+#!?")
    if san in ("O-O", "0-0"):
        return CASTLE_KING_SIDE
    if san in ("O-O-O", "0-0-0"):
        return CASTLE_QUEEN_SIDE
    match = _SAN.fullmatch(san)
    if match is None:
        return UNREADABLE
    piece, file, rank, capture, to_file, to_rank, promotion = match.groups()
    return (
        ("abcdefgh".index(to_file) + 8 * (int(to_rank) - 1))
        | PIECES[piece] << PIECE_SHIFT
        | ("abcdefgh".index(file) if file else NO_HINT) << FILE_SHIFT
        | (int(rank) - 1 if rank else NO_HINT) << RANK_SHIFT
        | (PIECES[promotion] if promotion else 0) << PROMOTION_SHIFT
        | bool(capture) << CAPTURE_SHIFT
    )


class MoveVocabulary(dict[str, int]):
    """Written moves by their text, parsed on first sight."""

    def __missing__(self, san: str) -> int:
        self[san] = written_move(san)
        return self[san]


def written_moves(movetext: str, vocabulary: MoveVocabulary) -> list[int]:
    """The moves of one game's text without comments, variations, numbers and result.

    A token that is no move ends the game: what was read before it is kept.
    """
    if "{" in movetext or ";" in movetext:
        movetext = _COMMENT.sub(" ", movetext)
    while "(" in movetext:
        shorter = _VARIATION.sub(" ", movetext)
        if shorter == movetext:
            break
        movetext = shorter
    moves: list[int] = []
    for token in _NUMBER.sub(" ", movetext).split():
        if token in _RESULTS:
            break
        move = vocabulary[token]
        if move == UNREADABLE:
            break
        if move != MEANINGLESS:
            moves.append(move)
    return moves


def _elo(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= 4 else 0


def _game(headers: dict[str, str], movetext: list[str], vocabulary: MoveVocabulary) -> Iterator[WrittenGame]:
    """The game, unless it has no moves or does not start from the ordinary position."""
    variant = headers.get("Variant", "Standard").lower()
    if movetext and "FEN" not in headers and variant in ("standard", "chess"):
        yield WrittenGame(
            white_elo=_elo(headers.get("WhiteElo", "")),
            black_elo=_elo(headers.get("BlackElo", "")),
            result=_RESULTS.get(headers.get("Result", "*"), 0),
            moves=written_moves("\n".join(movetext), vocabulary),
        )


def read_games(lines: Iterable[str], vocabulary: MoveVocabulary) -> Iterator[WrittenGame]:
    """Games of one PGN text, those that start from the ordinary position only."""
    headers: dict[str, str] = {}
    movetext: list[str] = []
    for line in lines:
        if line.startswith("[") and (match := _HEADER.match(line)):
            # A tag that comes again begins another game, though the one before had no moves.
            if movetext or match[1] in headers:
                yield from _game(headers, movetext, vocabulary)
                headers, movetext = {}, []
            headers[match[1]] = match[2]
        elif line.strip() and not line.startswith("%"):
            movetext.append(line)
    yield from _game(headers, movetext, vocabulary)


def _open_zst(path: Path) -> io.BufferedIOBase:
    import pyarrow as pa

    return io.BufferedReader(pa.input_stream(str(path), compression="zstd"), 1 << 20)


_OPEN: dict[str, Callable[[Path], io.BufferedIOBase]] = {
    ".pgn": lambda path: path.open("rb"),
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _open_zst,
}
_NAMES = ".pgn, .pgn.zst, .pgn.xz, .pgn.bz2, .pgn.gz or .tar.xz"


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, lzma.LZMAError, zlib.error, tarfile.TarError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise DataError(f"cannot read {path} ({reason}): it is cut short or not what its name says") from None


def _lines(path: Path, stream: Iterable[bytes]) -> Iterator[str]:
    with _read_errors(path):
        for line in stream:
            yield line.decode("latin-1")


def is_pgn(path: Path) -> bool:
    """Whether `pgn_texts` reads such a path: a folder, or a name that ends in a known way."""
    archive = ".tar" in path.suffixes or path.suffix == ".tgz"
    return path.is_dir() or archive or (".pgn" in path.suffixes and path.suffix in _OPEN)


def pgn_texts(path: Path) -> Iterator[Iterator[str]]:
    """The lines of each PGN text in a file, a folder, or a tar archive (plain or compressed).

    Each text must be read before the next is asked for.

    Raises:
        DataError: Nothing is there, or it is neither PGN nor an archive of PGN, or it is cut short.
    """
    if not path.exists():
        raise DataError(f"no games at {path}: give a {_NAMES} file, or a folder of them")
    if not is_pgn(path):
        raise DataError(f"{path} is no PGN file: its name must end in {_NAMES}")
    if path.is_dir():
        for child in sorted(path.rglob("*.pgn*")):
            if child.is_file() and is_pgn(child):
                yield from pgn_texts(child)
    elif path.suffix in _OPEN and ".tar" not in path.suffixes:
        with _read_errors(path), _OPEN[path.suffix](path) as stream:
            yield _lines(path, stream)
    else:
        with _read_errors(path), tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(".pgn") and (file := archive.extractfile(member)):
                    yield _lines(path, file)
