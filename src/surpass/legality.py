"""Check, and the legal moves, of many positions at once, seen from the side to move.

python-chess says the same of one position at a time, and takes five times as long for many.

Shape suffixes: N positions, S squares (64), B packed bytes (34); of all positions together: O pieces to move,
M moves, L legal moves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.boards import FIRST_UNDERPROMOTION, NUM_MOVES, UNDERPROMOTIONS, Bytes, Unpacked, unpack
from surpass.geometry import ATTACKS, BETWEEN

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PAWN, KNIGHT, BISHOP, ROOK, QUEEN, KING = range(1, 7)
_THEIR_ATTACKS = np.where(np.arange(len(ATTACKS))[:, None, None] > KING, ATTACKS, False)


class Castling(NamedTuple):
    """Where the king and the rook go, and what castling asks for."""

    king_to: int
    rook_from: int
    rook_to: int
    empty: tuple[int, ...]
    safe: tuple[int, ...]


KING_FROM = 4
CASTLINGS = (Castling(6, 7, 5, (5, 6), (4, 5, 6)), Castling(2, 0, 3, (1, 2, 3), (4, 3, 2)))
"""By the place of the castling right: own king side, own queen side."""

# Of each kind of piece and square, one after the other, where it may go on an empty board; pawns nowhere.
_REACHED = ATTACKS[: KING + 1].reshape(-1, 64).copy()
_REACHED[PAWN * 64 : (PAWN + 1) * 64] = False
_AT_ONCE = 4096
_TARGETS = np.nonzero(_REACHED)[1]
_NUM_TARGETS = _REACHED.sum(1)
_FIRST_TARGET = np.cumsum(_NUM_TARGETS) - _NUM_TARGETS


def occupied(codes_NS: Bytes) -> npt.NDArray[np.uint64]:
    """The occupied squares as bit boards, uint64 (N)."""
    return np.packbits(codes_NS != 0, axis=1, bitorder="little").view("<u8")[:, 0]


def attacked(codes_NS: Bytes, square_N: Ints) -> Bools:
    """Whether the side not to move attacks the square of each board."""
    rows, origins = np.nonzero(_THEIR_ATTACKS[codes_NS, np.arange(64), square_N[:, None]])
    clear = BETWEEN[origins, square_N[rows]] & occupied(codes_NS)[rows] == 0
    found_N = np.zeros(len(codes_NS), np.bool_)
    found_N[rows[clear]] = True
    return found_N


def in_check(codes_NS: Bytes) -> Bools:
    """Whether the king of the side to move is attacked."""
    return attacked(codes_NS, np.argmax(codes_NS == KING, axis=1))


def may_castle(codes_NS: Bytes, right_N: Bytes, side: Castling) -> Bools:
    """Whether there is the right, no piece between, and no check before, on the way or behind it."""
    allowed: Bools = right_N == 1
    for square in side.empty:
        allowed &= codes_NS[:, square] == 0
    for square in side.safe:
        allowed &= ~attacked(codes_NS, np.full(len(codes_NS), square))
    return allowed


class _Moves(NamedTuple):
    """Moves, by the row of the position and two squares; promotions are told later."""

    row_M: Ints
    origin_M: Ints
    target_M: Ints

    def those(self, which: Bools | Ints) -> _Moves:
        return _Moves(*(values[which] for values in self))


def legal_moves(packed_NB: Bytes) -> tuple[npt.NDArray[np.uint16], Ints]:
    """The numbers of all legal moves of positions, as `boards.legal_move_indices` gives them of one.

    Args:
        packed_NB: Legal positions, packed, uint8 (N, 34).

    Returns:
        The numbers, uint16 (L,), position after position and ascending in each, and how many each has,
        int64 (N,).

    Raises:
        DataError: The array is not uint8 of shape (N, 34).
    """
    position = unpack(packed_NB)
    found = [
        _legal_moves(Unpacked(*(values[start : start + _AT_ONCE] for values in position)))
        for start in range(0, len(packed_NB), _AT_ONCE)
    ]
    numbers, counts = zip(*found, strict=True) if found else ((), ())
    return (
        np.concatenate([*numbers, np.empty(0, np.uint16)]),
        np.concatenate([*counts, np.empty(0, np.int64)]),
    )


def _legal_moves(position: Unpacked) -> tuple[npt.NDArray[np.uint16], Ints]:
    codes_NS = position.codes_NS
    moves = _joined(_of_pieces(codes_NS), _of_pawns(position))
    exposed = np.flatnonzero(_may_expose_the_king(codes_NS, moves))
    safe_M = np.ones(len(moves.row_M), np.bool_)
    safe_M[exposed] = ~in_check(_played(codes_NS, moves.those(exposed)))
    moves = _joined(moves.those(safe_M), _of_castling(position))
    row_L, number_L = _numbered(codes_NS, moves)
    key_L = np.sort(row_L * NUM_MOVES + number_L)
    row_L, number_L = np.divmod(key_L, NUM_MOVES)
    return number_L.astype(np.uint16), np.bincount(row_L, minlength=len(codes_NS))


def _joined(*parts: _Moves) -> _Moves:
    return _Moves(*map(np.concatenate, zip(*parts, strict=True)))


def _of_pieces(codes_NS: Bytes) -> _Moves:
    """Where all but pawns can go."""
    row_O, origin_O = np.nonzero((codes_NS >= KNIGHT) & (codes_NS <= KING))
    place_O = codes_NS[row_O, origin_O].astype(np.int64) * 64 + origin_O
    count_O = _NUM_TARGETS[place_O]
    # Where the first of each piece is, less how many others' there are before, for each of its targets.
    first_M = np.repeat(_FIRST_TARGET[place_O] - (np.cumsum(count_O) - count_O), count_O)
    target_M = _TARGETS[first_M + np.arange(len(first_M))]
    row_M, origin_M = np.repeat(row_O, count_O), np.repeat(origin_O, count_O)
    own_M = (codes_NS[row_M, target_M] - np.uint8(1)) < KING
    clear_M = BETWEEN[origin_M, target_M] & occupied(codes_NS)[row_M] == 0
    return _Moves(row_M, origin_M, target_M).those(clear_M & ~own_M)


def _of_pawns(position: Unpacked) -> _Moves:
    """Where pawns can go, en passant included."""
    codes_NS = position.codes_NS
    takeable_NS = codes_NS > KING
    (passing,) = np.nonzero(position.en_passant_N)
    takeable_NS[passing, 40 + position.en_passant_N[passing].astype(np.int64) - 1] = True
    pawns_NS = codes_NS[:, :56] == PAWN
    steps_NS = pawns_NS & (codes_NS[:, 8:] == 0)
    doubles_NS = np.zeros_like(steps_NS)
    doubles_NS[:, 8:16] = steps_NS[:, 8:16] & (codes_NS[:, 24:32] == 0)
    found = [_by(steps_NS, 8), _by(doubles_NS, 16)]
    for step, edge in ((7, 0), (9, 7)):
        takes_NS = pawns_NS & takeable_NS[:, np.minimum(np.arange(56) + step, 63)]
        takes_NS[:, np.arange(56) % 8 == edge] = False
        found.append(_by(takes_NS, step))
    return _joined(*found)


def _by(origins_NS: Bools, step: int) -> _Moves:
    """Moves of so many squares from those that are marked."""
    row_M, origin_M = np.nonzero(origins_NS)
    return _Moves(row_M, origin_M, origin_M + step)


def _of_castling(position: Unpacked) -> _Moves:
    """The king's squares where castling is legal."""
    found = []
    for side, right_N in zip(CASTLINGS, position.castling_N4.T, strict=False):
        (rows,) = np.nonzero(right_N)
        rows = rows[may_castle(position.codes_NS[rows], right_N[rows], side)]
        found.append(_Moves(rows, np.full(len(rows), KING_FROM), np.full(len(rows), side.king_to)))
    return _joined(*found)


def _may_expose_the_king(codes_NS: Bytes, moves: _Moves) -> Bools:
    """Moves after which the king may be attacked: his own, from his lines, out of check, and en passant."""
    king_M = np.argmax(codes_NS == KING, axis=1)[moves.row_M]
    exposed_M: Bools = ATTACKS[QUEEN, king_M, moves.origin_M] | (king_M == moves.origin_M)
    return exposed_M | in_check(codes_NS)[moves.row_M] | _takes_in_passing(codes_NS, moves)


def _takes_in_passing(codes_NS: Bytes, moves: _Moves) -> Bools:
    row_M, origin_M, target_M = moves
    found_M: Bools = codes_NS[row_M, origin_M] == PAWN
    found_M &= (target_M - origin_M) % 8 != 0
    found_M &= codes_NS[row_M, target_M] == 0
    return found_M


def _played(codes_NS: Bytes, moves: _Moves) -> Bytes:
    """The boards behind moves that are no castling, uint8 (M, 64), not turned; pawns stay pawns."""
    after_MS = codes_NS[moves.row_M]
    move_M = np.arange(len(after_MS))
    passing = np.flatnonzero(_takes_in_passing(codes_NS, moves))
    after_MS[passing, moves.target_M[passing] - 8] = 0
    after_MS[move_M, moves.target_M] = after_MS[move_M, moves.origin_M]
    after_MS[move_M, moves.origin_M] = 0
    return after_MS


def _numbered(codes_NS: Bytes, moves: _Moves) -> tuple[Ints, Ints]:
    """Rows and numbers of moves as `boards.move_index` has them: a promotion is four."""
    row_M, origin_M, target_M = moves
    (promoting,) = np.nonzero((target_M >= 56) & (codes_NS[row_M, origin_M] == PAWN))
    step = target_M[promoting] - origin_M[promoting] - 7
    first = FIRST_UNDERPROMOTION + 3 * (origin_M[promoting] - 48) + step
    rows = [row_M, *[row_M[promoting]] * len(UNDERPROMOTIONS)]
    numbers = [64 * origin_M + target_M, *(first + 24 * place for place in range(len(UNDERPROMOTIONS)))]
    return np.concatenate(rows), np.concatenate(numbers)
