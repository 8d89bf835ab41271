"""Moves by the movement of pieces alone, of many positions at once: what pretraining scores.

Shape suffixes: N positions, S squares (64), L moves of a position (the most that one has); of all positions
together: X squares, O own pieces, W pawns, M moves.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surpass.boards import FIRST_UNDERPROMOTION, NUM_MOVES, UNDERPROMOTIONS
from surpass.legality import CASTLINGS, KING, KING_FROM, PAWN
from surpass.models.planes import Position, en_passant_targets
from surpass.ragged import rectangle

Ints = npt.NDArray[np.int64]
_UP, _SECOND_RANK, _SEVENTH_RANK, _EIGHTH_RANK = 8, 8, 48, 56
_PIECES = np.arange(len(UNDERPROMOTIONS))[:, None]


def pseudo_legal(position: Position, attacks_NSS: Tensor) -> Tensor:
    """Numbers of the moves, int64 (N, L), ascending; -1 behind the last of each position.

    A superset of the legal moves: rules about check, which the board alone does not show cheaply, are left
    out, also those of castling.
    """
    codes_NS = position.codes_NS.numpy()
    found = (_by_attack(position, attacks_NSS), _pushes(codes_NS), _castlings(position))
    row_M, origin_M, target_M = map(np.concatenate, zip(*found, strict=True))
    number_M = row_M * NUM_MOVES + origin_M * 64 + target_M
    pawn_M = (origin_M >= _SEVENTH_RANK) & (origin_M < _EIGHTH_RANK) & (codes_NS[row_M, origin_M] == PAWN)
    row_W, origin_W, target_W = row_M[pawn_M], origin_M[pawn_M], target_M[pawn_M]
    file_and_step_W = (origin_W - _SEVENTH_RANK) * 3 + target_W - origin_W - _UP + 1
    under = row_W * NUM_MOVES + FIRST_UNDERPROMOTION + _PIECES * 24 + file_and_step_W
    sorted_M = np.sort(np.concatenate((number_M, under.ravel())))
    row_M, number_M = np.divmod(sorted_M, NUM_MOVES)
    moves_NL = rectangle(number_M, np.bincount(row_M, minlength=len(codes_NS)), fill=-1)
    return torch.from_numpy(moves_NL)


def _by_attack(position: Position, attacks_NSS: Tensor) -> tuple[Ints, Ints, Ints]:
    """Position, origin and target of the moves to squares that a piece attacks; pawns only take."""
    codes_NS, attacks_XS = position.codes_NS.numpy(), attacks_NSS.view(-1, 64).numpy()
    own_NS = (codes_NS >= PAWN) & (codes_NS <= KING)
    takeable_NS = codes_NS > KING
    rows, squares = en_passant_targets(position)
    takeable_NS[rows.numpy(), squares.numpy()] = True
    at_O = np.flatnonzero(own_NS)
    row_O, pawn_O = at_O >> 6, codes_NS.ravel()[at_O] == PAWN
    reached_OS = attacks_XS[at_O] & ~own_NS[row_O]
    reached_OS[pawn_O] &= takeable_NS[row_O[pawn_O]]
    which_M = np.flatnonzero(reached_OS)
    at_M = at_O[which_M >> 6]
    return at_M >> 6, at_M & 63, which_M & 63


def _pushes(codes_NS: Ints) -> tuple[Ints, Ints, Ints]:
    """The same of pawns that go ahead."""
    empty_NS = codes_NS == 0
    single_NS = (codes_NS[:, :_EIGHTH_RANK] == PAWN) & empty_NS[:, _UP:]
    row_W, origin_W = np.nonzero(single_NS)
    twice_W = (origin_W < 2 * _SECOND_RANK) & empty_NS[row_W, np.minimum(origin_W + 2 * _UP, 63)]
    rows, origins = np.concatenate((row_W, row_W[twice_W])), np.concatenate((origin_W, origin_W[twice_W]))
    steps = np.repeat((_UP, 2 * _UP), (len(row_W), int(twice_W.sum())))
    return rows, origins, origins + steps


def _castlings(position: Position) -> tuple[Ints, Ints, Ints]:
    """The same of the king that castles."""
    codes_NS, rights_N4 = position.codes_NS.numpy(), position.castling_N4.numpy()
    rows, targets = [], []
    for place, castling in enumerate(CASTLINGS):
        free_N = (codes_NS[:, castling.empty] == 0).all(1)
        rows.append(np.flatnonzero((rights_N4[:, place] > 0) & free_N))
        targets.append(np.full(len(rows[-1]), castling.king_to))
    row_M = np.concatenate(rows)
    return row_M, np.full(len(row_M), KING_FROM), np.concatenate(targets)
