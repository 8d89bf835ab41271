"""Thousands of games replayed at once: written moves to move numbers, and games to positions.

All games of a batch stand at the same ply, so the same side is to move in all of them, and the
boards are kept seen from that side; after each ply they are turned. One step is a handful of
numpy operations on (G, 64) arrays, which is some hundred times faster than a Python board.

Shape suffixes: G games of a batch, S squares (64), P plies or positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import chess
import numpy as np
import numpy.typing as npt

from surpass.boards import FIRST_UNDERPROMOTION, Bytes, pack
from surpass.geometry import BETWEEN, REACH
from surpass.ladder import pgn
from surpass.legality import (
    CASTLINGS,
    KING,
    KING_FROM,
    KNIGHT,
    PAWN,
    QUEEN,
    ROOK,
    in_check,
    may_castle,
    occupied,
)

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint16]
ILLEGAL = -1

_TURNED = np.array([0, *range(7, 13), *range(1, 7)], np.uint8)
# Squares of a file, or of a rank; the ninth row, where nothing is said, allows them all.
_FILE_HINTS = np.concatenate((np.arange(64) % 8 == np.arange(8)[:, None], np.ones((1, 64), np.bool_)))
_RANK_HINTS = np.concatenate((np.arange(64) // 8 == np.arange(8)[:, None], np.ones((1, 64), np.bool_)))


def _turned(codes_GS: Bytes) -> Bytes:
    """The same boards seen from the other side."""
    return _TURNED[codes_GS.reshape(-1, 8, 8)[:, ::-1].reshape(-1, 64)]


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

    def packed(self) -> Bytes:
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
        for side in CASTLINGS:
            castles = rows[king & (target_G - origin_G == side.king_to - KING_FROM)]
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
        self.codes_GS = _turned(codes)
        self.castling_G4 = self.castling_G4[:, [2, 3, 0, 1]]

    def king_can_be_taken(self) -> npt.NDArray[np.bool_]:
        """Whether the move just played left the mover's own king in check, bool (G)."""
        return in_check(_turned(self.codes_GS))


def _origin_of_pieces(codes_GS: Bytes, piece_G: Ints, target_G: Ints, file_G: Ints, rank_G: Ints) -> Ints:
    """Origins of knight, bishop, rook, queen and king moves; ILLEGAL where no one piece can go there."""
    movers = codes_GS == piece_G[:, None]
    movers &= REACH[piece_G, target_G] & _FILE_HINTS[file_G] & _RANK_HINTS[rank_G]
    rows, origins = np.nonzero(movers)
    clear = BETWEEN[origins, target_G[rows]] & occupied(codes_GS)[rows] == 0
    rows, origins = rows[clear], origins[clear]
    # Where the text fits several pieces it means the one that is not pinned.
    several = np.flatnonzero(np.bincount(rows, minlength=len(codes_GS))[rows] > 1)
    after = codes_GS[rows[several]]
    after[np.arange(len(after)), target_G[rows[several]]] = piece_G[rows[several]]
    after[np.arange(len(after)), origins[several]] = 0
    pinned = several[in_check(after)]
    rows, origins = np.delete(rows, pinned), np.delete(origins, pinned)
    origin_G = np.full(len(codes_GS), ILLEGAL, np.int64)
    origin_G[rows] = origins
    origin_G[np.bincount(rows, minlength=len(codes_GS)) > 1] = ILLEGAL
    return origin_G


def _origin_of_pawns(
    codes_GS: Bytes, en_passant_G: Bytes, target_G: Ints, file_G: Ints, crossed_G: Ints
) -> Ints:
    """Origins of pawn moves; ILLEGAL where no pawn can go there.

    A pawn captures where the text has a cross, or names another file than that of the target.
    """
    rows = np.arange(len(codes_GS))
    named = file_G < pgn.NO_HINT
    captures = (crossed_G > 0) | (named & (file_G != target_G % 8))
    one_back = np.maximum(target_G - 8, 0)
    two_back = np.where((target_G // 8 == 3) & (codes_GS[rows, one_back] == 0), target_G - 16, one_back)
    push = np.where(codes_GS[rows, one_back] == PAWN, one_back, two_back)
    origin_G = np.where(captures, one_back // 8 * 8 + file_G % 8, push)
    taken = codes_GS[rows, target_G]
    passing = (en_passant_G > 0) & (target_G == 40 + en_passant_G.astype(np.int64) - 1)
    takes = named & (np.abs(file_G - target_G % 8) == 1) & ((taken > KING) | passing)
    legal = (codes_GS[rows, origin_G] == PAWN) & (target_G >= 16) & np.where(captures, takes, taken == 0)
    return np.where(legal, origin_G, ILLEGAL)


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
    crossed = written_G >> pgn.CAPTURE_SHIFT & 1
    origin[pawns] = _origin_of_pawns(
        codes[pawns], boards.en_passant_G[pawns], target[pawns], file[pawns], crossed[pawns]
    )
    pieces = np.flatnonzero(piece > PAWN)
    origin[pieces] = _origin_of_pieces(
        codes[pieces], piece[pieces], target[pieces], file[pieces], rank[pieces]
    )
    for place, code in enumerate((pgn.CASTLE_KING_SIDE, pgn.CASTLE_QUEEN_SIDE)):
        castles = np.flatnonzero(written_G & code)
        target[castles] = CASTLINGS[place].king_to
        allowed = may_castle(codes[castles], boards.castling_G4[castles, place], CASTLINGS[place])
        origin[castles] = np.where(allowed, KING_FROM, ILLEGAL)
    own = codes[np.arange(len(codes)), target]
    origin[(own >= PAWN) & (own <= KING)] = ILLEGAL
    promotes = (piece == PAWN) & (target >= 56)
    origin[promotes != (promotion > 0)] = ILLEGAL
    return Step(origin, target, promotion)


def move_numbers(step: Step) -> Numbers:
    """Move numbers as in `boards.move_index`."""
    file = step.origin_G % 8
    under = FIRST_UNDERPROMOTION + 24 * (step.promotion_G - KNIGHT) + 3 * file + step.target_G % 8 - file + 1
    plain = 64 * step.origin_G + step.target_G
    return np.where((step.promotion_G > 0) & (step.promotion_G < QUEEN), under, plain).astype(np.uint16)


def moves_of_numbers(number_G: Numbers, codes_GS: Bytes) -> Step:
    """Origins, targets and promotions of move numbers; the inverse of `move_numbers`."""
    number = number_G.astype(np.int64)
    under = number >= FIRST_UNDERPROMOTION
    place, rest = np.divmod(number - FIRST_UNDERPROMOTION, 24)
    origin = np.where(under, 48 + rest // 3, number // 64)
    target = np.where(under, 56 + rest // 3 + rest % 3 - 1, number % 64)
    queen = (codes_GS[np.arange(len(number)), origin] == PAWN) & (target >= 56)
    promotion = np.where(under, place + KNIGHT, np.where(queen, QUEEN, 0))
    return Step(origin, target, promotion)


class _Grid(NamedTuple):
    """Games of different lengths as one table, the longest first."""

    order_G: Ints
    lengths_G: Ints
    moves_GP: Ints


def _grid(games: Sequence[npt.NDArray[np.int32] | Numbers]) -> _Grid:
    lengths_G = np.array([len(game) for game in games], np.int64)
    order_G = np.argsort(-lengths_G, kind="stable")
    moves_GP = np.zeros((len(games), max(lengths_G, default=0)), np.int64)
    for row, game in enumerate(order_G.tolist()):
        moves_GP[row, : lengths_G[game]] = games[game]
    return _Grid(order_G, lengths_G[order_G], moves_GP)


def resolve(written: Sequence[npt.NDArray[np.int32]]) -> list[Numbers]:
    """Move numbers of games of written moves; a game is cut before its first illegal move."""
    order_G, lengths_G, written_GP = _grid(written)
    boards = Boards(len(order_G))
    numbers_GP = np.zeros(written_GP.shape, np.uint16)
    legal_G = lengths_G.copy()
    for ply in range(written_GP.shape[1]):
        running = int(np.count_nonzero(lengths_G > ply))
        boards.keep(running)
        step = read_written(boards, written_GP[:running, ply], black=ply % 2 == 1)
        illegal = step.origin_G == ILLEGAL
        step = step._replace(origin_G=np.where(illegal, 0, step.origin_G))
        numbers_GP[:running, ply] = move_numbers(step)
        boards.play(*step)
        stopped = np.flatnonzero(illegal | boards.king_can_be_taken())
        legal_G[stopped] = np.minimum(legal_G[stopped], ply)
        written_GP[stopped, ply + 1 :] = 0  # is no move: nothing more is looked for on a spoilt board
    resolved = [np.empty(0, np.uint16)] * len(order_G)
    for row, game in enumerate(order_G.tolist()):
        resolved[game] = numbers_GP[row, : legal_G[row]].copy()
    return resolved


class Ply(NamedTuple):
    """The positions of all games at one ply (the longest games first), and the moves played there."""

    ply: int
    boards_GB: Bytes
    moves_G: Numbers
    games_G: Ints


def positions(games: Sequence[Numbers]) -> Iterator[Ply]:
    """Ply by ply, the packed positions of games of legal move numbers."""
    order_G, lengths_G, moves_GP = _grid(games)
    boards = Boards(len(order_G))
    numbers_GP = moves_GP.astype(np.uint16)
    for ply in range(numbers_GP.shape[1]):
        running = int(np.count_nonzero(lengths_G > ply))
        boards.keep(running)
        numbers_G = numbers_GP[:running, ply]
        yield Ply(ply, boards.packed(), numbers_G, order_G[:running])
        boards.play(*moves_of_numbers(numbers_G, boards.codes_GS))
