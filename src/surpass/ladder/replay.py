"""Thousands of games replayed at once: written moves to move numbers, and games to positions.

All games of a batch stand at the same ply, so the same side is to move in all of them, and the
boards are kept seen from that side; after each ply they are turned. One step is a handful of
numpy operations on (G, 64) arrays, which is some hundred times faster than a Python board.

Shape suffixes: G games of a batch, S squares (64), P plies or positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import chess
import numpy as np
import numpy.typing as npt

from surpass.boards import FIRST_UNDERPROMOTION, pack
from surpass.geometry import ATTACKS, BETWEEN, REACH
from surpass.ladder import pgn

Ints = npt.NDArray[np.int64]
ILLEGAL = -1
PAWN, KNIGHT, BISHOP, ROOK, QUEEN, KING = range(1, 7)

_TURNED = np.array([0, *range(7, 13), *range(1, 7)], np.uint8)
_UNDERPROMOTION_PIECE = {KNIGHT: 0, BISHOP: 1, ROOK: 2}
# Squares of a file, or of a rank; the ninth row, where nothing is said, allows them all.
_FILE_HINTS = np.concatenate((np.arange(64) % 8 == np.arange(8)[:, None], np.ones((1, 64), np.bool_)))
_RANK_HINTS = np.concatenate((np.arange(64) // 8 == np.arange(8)[:, None], np.ones((1, 64), np.bool_)))
_THEIR_ATTACKS = np.where(np.arange(13)[:, None, None] > KING, ATTACKS, False)


class _Castling(NamedTuple):
    """Where the king and the rook go, and what castling asks for."""

    king_to: int
    rook_from: int
    rook_to: int
    empty: tuple[int, ...]
    safe: tuple[int, ...]


_KING_FROM = 4
# By the place of the castling right: own king side, own queen side.
_CASTLINGS = (_Castling(6, 7, 5, (5, 6), (4, 5)), _Castling(2, 0, 3, (1, 2, 3), (4, 3)))


class Boards:
    """G boards at the same ply, seen from the side to move."""

    def __init__(self, num_games: int) -> None:
        start = np.array([chess.Board().piece_type_at(s) or 0 for s in range(64)], np.uint8)
        start[48:] += 6
        self.codes_GS = np.tile(start, (num_games, 1))
        self.castling_G4 = np.ones((num_games, 4), np.uint8)
        self.en_passant_G = np.zeros(num_games, np.uint8)

    def keep(self, num_games: int) -> None:
        """Drop the games behind the first `num_games`."""
        self.codes_GS = self.codes_GS[:num_games]
        self.castling_G4 = self.castling_G4[:num_games]
        self.en_passant_G = self.en_passant_G[:num_games]

    def packed(self) -> npt.NDArray[np.uint8]:
        """The boards as packed positions, uint8 (G, 34)."""
        return pack(self.codes_GS, self.castling_G4, self.en_passant_G)

    def play(self, origin_G: Ints, target_G: Ints, promotion_G: Ints) -> None:
        """Make one move on every board and turn the boards to the other side."""
        codes = self.codes_GS
        rows = np.arange(len(codes))
        piece = codes[rows, origin_G]
        pawn = piece == PAWN
        passing = pawn & ((target_G - origin_G) % 8 != 0) & (codes[rows, target_G] == 0)
        codes[rows[passing], target_G[passing] - 8] = 0
        codes[rows, target_G] = np.where(promotion_G > 0, promotion_G, piece)
        codes[rows, origin_G] = 0
        king = piece == KING
        for side in _CASTLINGS:
            castles = rows[king & (target_G - origin_G == side.king_to - _KING_FROM)]
            codes[castles, side.rook_from] = 0
            codes[castles, side.rook_to] = ROOK
        self.castling_G4[king, :2] = 0
        for place, corner in ((0, 7), (1, 0)):
            self.castling_G4[origin_G == corner, place] = 0
            self.castling_G4[target_G == corner + 56, place + 2] = 0
        double = pawn & (target_G - origin_G == 16)
        beside = np.zeros(len(codes), np.bool_)
        for step, edge in ((-1, 0), (1, 7)):
            near = np.clip(target_G + step, 0, 63)
            beside |= (target_G % 8 != edge) & (codes[rows, near] == PAWN + 6)
        self.en_passant_G = np.where(double & beside, target_G % 8 + 1, 0).astype(np.uint8)
        self.codes_GS = _TURNED[codes.reshape(-1, 8, 8)[:, ::-1].reshape(-1, 64)]
        self.castling_G4 = self.castling_G4[:, [2, 3, 0, 1]]


def _attacked(codes_GS: npt.NDArray[np.uint8], square_G: Ints) -> npt.NDArray[np.bool_]:
    """Whether the side not to move attacks the square of each board."""
    rows, origins = np.nonzero(_THEIR_ATTACKS[codes_GS, np.arange(64), square_G[:, None]])
    occupied_G = _occupied(codes_GS)
    clear = BETWEEN[origins, square_G[rows]] & occupied_G[rows] == 0
    return np.bincount(rows[clear], minlength=len(codes_GS)) > 0


def _occupied(codes_GS: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """The occupied squares as bit boards, uint64 (G)."""
    return np.packbits(codes_GS != 0, axis=1, bitorder="little").view("<u8")[:, 0]


def _in_check(codes_GS: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return _attacked(codes_GS, np.argmax(codes_GS == KING, axis=1))


def _origin_of_pieces(
    codes_GS: npt.NDArray[np.uint8], piece_G: Ints, target_G: Ints, file_G: Ints, rank_G: Ints
) -> Ints:
    """Origins of knight, bishop, rook, queen and king moves; ILLEGAL where no one piece can go there."""
    movers = codes_GS == piece_G[:, None]
    movers &= REACH[piece_G, target_G] & _FILE_HINTS[file_G] & _RANK_HINTS[rank_G]
    rows, origins = np.nonzero(movers)
    clear = BETWEEN[origins, target_G[rows]] & _occupied(codes_GS)[rows] == 0
    rows, origins = rows[clear], origins[clear]
    # Where the text fits several pieces it means the one that is not pinned.
    several = np.flatnonzero(np.bincount(rows, minlength=len(codes_GS))[rows] > 1)
    after = codes_GS[rows[several]]
    after[np.arange(len(after)), target_G[rows[several]]] = piece_G[rows[several]]
    after[np.arange(len(after)), origins[several]] = 0
    pinned = several[_in_check(after)]
    rows, origins = np.delete(rows, pinned), np.delete(origins, pinned)
    origin_G = np.full(len(codes_GS), ILLEGAL, np.int64)
    origin_G[rows] = origins
    origin_G[np.bincount(rows, minlength=len(codes_GS)) > 1] = ILLEGAL
    return origin_G


def _origin_of_pawns(
    codes_GS: npt.NDArray[np.uint8], en_passant_G: npt.NDArray[np.uint8], target_G: Ints, file_G: Ints
) -> Ints:
    """Origins of pawn moves; ILLEGAL where no pawn can go there.

    A pawn captures where the text names another file than that of the target.
    """
    rows = np.arange(len(codes_GS))
    captures = (file_G < pgn.NO_HINT) & (file_G != target_G % 8)
    one_back = np.maximum(target_G - 8, 0)
    two_back = np.where((target_G // 8 == 3) & (codes_GS[rows, one_back] == 0), target_G - 16, one_back)
    push = np.where(codes_GS[rows, one_back] == PAWN, one_back, two_back)
    origin_G = np.where(captures, one_back // 8 * 8 + file_G % 8, push)
    taken = codes_GS[rows, target_G]
    passing = (en_passant_G > 0) & (target_G == 40 + en_passant_G.astype(np.int64) - 1)
    takes = (np.abs(file_G - target_G % 8) == 1) & ((taken > KING) | passing)
    legal = (codes_GS[rows, origin_G] == PAWN) & (target_G >= 16) & np.where(captures, takes, taken == 0)
    return np.where(legal, origin_G, ILLEGAL)


def _may_castle(boards: Boards, side: int) -> npt.NDArray[np.bool_]:
    """Whether the right is left, nothing stands between, and the king passes no attacked square."""
    codes = boards.codes_GS
    allowed = boards.castling_G4[:, side] == 1
    for square in _CASTLINGS[side].empty:
        allowed &= codes[:, square] == 0
    for square in _CASTLINGS[side].safe:
        allowed &= ~_attacked(codes, np.full(len(codes), square))
    return allowed


class Step(NamedTuple):
    """One ply of G games: origin is ILLEGAL where the written move cannot be played."""

    origin_G: Ints
    target_G: Ints
    promotion_G: Ints


def read_written(boards: Boards, written_G: Ints, black: bool) -> Step:
    """Which move each written move is, on its board; a king left in check is not seen here."""
    codes = boards.codes_GS
    flip = 56 if black else 0
    target = (written_G & 63) ^ flip
    piece = written_G >> pgn.PIECE_SHIFT & 7
    file = written_G >> pgn.FILE_SHIFT & 15
    rank = written_G >> pgn.RANK_SHIFT & 15
    rank = np.where(rank < 8, rank ^ (flip >> 3), rank)
    promotion = written_G >> pgn.PROMOTION_SHIFT & 7
    origin = np.full(len(codes), ILLEGAL, np.int64)
    pawns = np.flatnonzero(piece == PAWN)
    origin[pawns] = _origin_of_pawns(codes[pawns], boards.en_passant_G[pawns], target[pawns], file[pawns])
    pieces = np.flatnonzero(piece > PAWN)
    origin[pieces] = _origin_of_pieces(
        codes[pieces], piece[pieces], target[pieces], file[pieces], rank[pieces]
    )
    for side, code in enumerate((pgn.CASTLE_KING_SIDE, pgn.CASTLE_QUEEN_SIDE)):
        castles = np.flatnonzero(written_G & code)
        target[castles] = _CASTLINGS[side].king_to
        origin[castles] = np.where(_may_castle(boards.of(castles), side), _KING_FROM, ILLEGAL)
    own = codes[np.arange(len(codes)), target]
    origin[(own >= PAWN) & (own <= KING)] = ILLEGAL
    promotes = (piece == PAWN) & (target >= 56)
    origin[promotes != (promotion > 0)] = ILLEGAL
    return Step(origin, target, promotion)


def move_numbers(step: Step) -> npt.NDArray[np.uint16]:
    """Move numbers as in `boards.move_index`."""
    number = 64 * step.origin_G + step.target_G
    for piece, place in _UNDERPROMOTION_PIECE.items():
        under = step.promotion_G == piece
        file = step.origin_G % 8
        numbered = FIRST_UNDERPROMOTION + 24 * place + 3 * file + step.target_G % 8 - file + 1
        number = np.where(under, numbered, number)
    return number.astype(np.uint16)


def moves_of_numbers(number_G: npt.NDArray[np.uint16], codes_GS: npt.NDArray[np.uint8]) -> Step:
    """Origins, targets and promotions of move numbers; the inverse of `move_numbers`."""
    number = number_G.astype(np.int64)
    under = number >= FIRST_UNDERPROMOTION
    place, rest = np.divmod(number - FIRST_UNDERPROMOTION, 24)
    origin = np.where(under, 48 + rest // 3, number // 64)
    target = np.where(under, 56 + rest // 3 + rest % 3 - 1, number % 64)
    queen = (codes_GS[np.arange(len(number)), origin] == PAWN) & (target >= 56)
    promotion = np.where(under, place + KNIGHT, np.where(queen, QUEEN, 0))
    return Step(origin, target, promotion)


def resolve(written: list[npt.NDArray[np.int32]]) -> list[npt.NDArray[np.uint16]]:
    """Move numbers of games of written moves; a game is cut before its first illegal move."""
    order = sorted(range(len(written)), key=lambda game: -len(written[game]))
    boards = Boards(len(order))
    lengths = np.array([len(written[game]) for game in order])
    grid = np.zeros((len(order), max(lengths, default=0)), np.int64)
    for row, game in enumerate(order):
        grid[row, : lengths[row]] = written[game]
    numbers = np.zeros(grid.shape, np.uint16)
    legal_length = lengths.copy()
    for ply in range(grid.shape[1]):
        running = int(np.count_nonzero(lengths > ply))
        boards.keep(running)
        step = read_written(boards, grid[:running, ply], black=ply % 2 == 1)
        stopped = step.origin_G == ILLEGAL
        legal_length[:running] = np.where(stopped, np.minimum(legal_length[:running], ply), legal_length[:running])
        step = Step(np.where(stopped, 0, step.origin_G), step.target_G, step.promotion_G)
        numbers[:running, ply] = move_numbers(step)
        boards.play(*step)
    resolved: list[npt.NDArray[np.uint16]] = [np.empty(0, np.uint16)] * len(order)
    for row, game in enumerate(order):
        resolved[game] = numbers[row, : legal_length[row]].copy()
    return resolved


def positions(
    games: list[npt.NDArray[np.uint16]],
) -> Iterator[tuple[int, npt.NDArray[np.uint8], npt.NDArray[np.uint16], npt.NDArray[np.int64]]]:
    """Ply by ply, the packed positions of the games, the moves played in them, and which games."""
    order = np.array(sorted(range(len(games)), key=lambda game: -len(games[game])), np.int64)
    boards = Boards(len(order))
    lengths = np.array([len(games[game]) for game in order])
    grid = np.zeros((len(order), max(lengths, default=0)), np.uint16)
    for row, game in enumerate(order):
        grid[row, : lengths[row]] = games[game]
    for ply in range(grid.shape[1]):
        running = int(np.count_nonzero(lengths > ply))
        boards.keep(running)
        yield ply, boards.packed(), grid[:running, ply], order[:running]
        boards.play(*moves_of_numbers(grid[:running, ply], boards.codes_GS))
