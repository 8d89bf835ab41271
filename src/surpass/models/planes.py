"""What a chess policy sees: packed positions decoded in batch to planes, attacks and move masks.

Shape suffixes: N positions, S squares (64, a1 = 0, h8 = 63, seen from the side to move), B packed
bytes (34), P planes, M move numbers (4168), L moves of each position (the longest row); of all positions
together: Q pieces, X squares, or kinds of piece.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from surpass.boards import FIRST_UNDERPROMOTION, NUM_CODES, NUM_MOVES
from surpass.geometry import BETWEEN, REACH

NUM_PLANES = 31
_PAWN, _KING = 1, 6
_MOST_OF_ONE_KIND = 2.0
_ATTACKS_PER_UNIT = 4.0


class Position(NamedTuple):
    """Decoded positions: square codes int64 (N, 64), castling rights (N, 4), en-passant file + 1 (N)."""

    codes_NS: Tensor
    castling_N4: Tensor
    en_passant_N: Tensor


def _reach_by_code() -> Tensor:
    """Squares attacked on an empty board, bool (code, origin, target)."""
    reach = torch.zeros(NUM_CODES, 64, 64, dtype=torch.bool)
    pieces = torch.from_numpy(REACH).transpose(1, 2)
    reach[2:7], reach[8:13] = pieces[2:7], pieces[2:7]
    for origin in range(64):
        file, rank = origin % 8, origin // 8
        for step in (-1, 1):
            if 0 <= file + step < 8:
                if rank < 7:
                    reach[_PAWN, origin, origin + 8 + step] = True
                if rank > 0:
                    reach[_PAWN + 6, origin, origin - 8 + step] = True
    return reach


_REACH = _reach_by_code().flatten(0, 1)
_BETWEEN = torch.from_numpy(BETWEEN.view("int64"))
_BITS = torch.ones(64, dtype=torch.int64) << torch.arange(64)
_SQUARES = torch.arange(64)


def decode(boards_NB: Tensor) -> Position:
    """Square codes, castling rights and en-passant files of packed positions, uint8 (N, 34)."""
    halves = boards_NB[:, :32]
    codes_NS = torch.stack((halves & 15, halves >> 4), dim=2).flatten(1).long()
    castling_N4 = boards_NB[:, 32:33] >> torch.arange(4, dtype=torch.uint8) & 1
    return Position(codes_NS, castling_N4, boards_NB[:, 33])


def attacks(position: Position) -> Tensor:
    """Which squares the piece on each square attacks, bool (N, origin, target), both sides."""
    at_Q, code_Q = _pieces(position)
    occupied_N = ((position.codes_NS > 0).long() * _BITS).sum(1)
    origin_Q, row_Q = at_Q & 63, at_Q >> 6
    found_QS = (_BETWEEN.index_select(0, origin_Q) & occupied_N.index_select(0, row_Q)[:, None]) == 0
    found_QS &= _REACH.index_select(0, code_Q * 64 + origin_Q)
    attacks_XS = torch.zeros(position.codes_NS.numel(), 64, dtype=torch.bool)
    return attacks_XS.index_copy_(0, at_Q, found_QS).view(-1, 64, 64)


def _pieces(position: Position) -> tuple[Tensor, Tensor]:
    """Where the pieces stand, among the squares of all positions, and which they are."""
    codes_X = position.codes_NS.flatten()
    at_Q = torch.nonzero(codes_X)[:, 0]
    return at_Q, codes_X.index_select(0, at_Q)


def _en_passant_targets(position: Position) -> tuple[Tensor, Tensor]:
    """Rows that have an en-passant square, and the square."""
    rows = torch.nonzero(position.en_passant_N)[:, 0]
    return rows, 40 + position.en_passant_N[rows].long() - 1


def input_planes(position: Position, attacks_NSS: Tensor) -> Tensor:
    """Planes float32 (N, 31, 8, 8), channels last.

    Plane 0 marks the en-passant square, 1-12 the pieces by code, 13-16 castling rights. Planes
    17-28 say how many pieces of each code attack a square (halves, at most 1), 29 and 30 how many
    of either side do (quarters). Lines of sight are what a small convolution learns
    last: these planes were worth about 0.2 nats in the same time (docs/LOG.md compares).
    """
    codes_NS = position.codes_NS
    planes = torch.zeros(len(codes_NS), NUM_PLANES, 64)
    planes.scatter_(1, codes_NS[:, None], 1.0)
    planes[:, 0] = 0.0
    rows, squares = _en_passant_targets(position)
    planes[rows, 0, squares] = 1.0
    planes[:, 13:17] = position.castling_N4[:, :, None].float()
    by_code = _attackers(position, attacks_NSS)
    planes[:, 17:29] = by_code.clamp(max=_MOST_OF_ONE_KIND) / _MOST_OF_ONE_KIND
    planes[:, 29] = by_code[:, :6].sum(1) / _ATTACKS_PER_UNIT
    planes[:, 30] = by_code[:, 6:].sum(1) / _ATTACKS_PER_UNIT
    return planes.view(-1, NUM_PLANES, 8, 8).contiguous(memory_format=torch.channels_last)


def _attackers(position: Position, attacks_NSS: Tensor) -> Tensor:
    """How many pieces of each code attack each square, float32 (N, 12, 64)."""
    at_Q, code_Q = _pieces(position)
    of_pieces_QS = attacks_NSS.view(-1, 64).index_select(0, at_Q).float()
    counts_XS = torch.zeros(len(position.codes_NS) * NUM_CODES, 64)
    counts_XS.index_add_(0, (at_Q >> 6) * NUM_CODES + code_Q, of_pieces_QS)
    return counts_XS.view(-1, NUM_CODES, 64)[:, 1:]


def pseudo_legal(position: Position, attacks_NSS: Tensor) -> Tensor:
    """Moves by the movement of the pieces alone, bool (N, 4168); a superset of the legal moves.

    Left out are only the rules about check, which the board alone does not show cheaply.
    """
    codes_NS, castling_N4 = position.codes_NS, position.castling_N4
    own, empty, theirs = (codes_NS >= _PAWN) & (codes_NS <= _KING), codes_NS == 0, codes_NS > _KING
    moves = attacks_NSS & own[:, :, None] & ~own[:, None, :]
    pawns = codes_NS == _PAWN
    takeable = theirs.clone()
    rows, squares = _en_passant_targets(position)
    takeable[rows, squares] = True
    moves &= ~pawns[:, :, None] | takeable[:, None, :]
    single = pawns[:, :56] & empty[:, 8:]
    moves[:, _SQUARES[:56], _SQUARES[8:]] |= single
    moves[:, _SQUARES[8:16], _SQUARES[24:32]] |= single[:, 8:16] & empty[:, 24:32]
    moves[:, 4, 6] |= (castling_N4[:, 0] > 0) & empty[:, 5] & empty[:, 6]
    moves[:, 4, 2] |= (castling_N4[:, 1] > 0) & empty[:, 1] & empty[:, 2] & empty[:, 3]
    promoting_N83 = torch.zeros(len(codes_NS), 8, 3, dtype=torch.bool)
    for step in (-1, 0, 1):
        files = torch.arange(max(0, -step), 8 - max(0, step))
        promoting_N83[:, files, step + 1] = moves[:, 48 + files, 56 + files + step] & pawns[:, 48 + files]
    mask = torch.empty(len(codes_NS), NUM_MOVES, dtype=torch.bool)
    mask[:, :FIRST_UNDERPROMOTION] = moves.flatten(1)
    mask[:, FIRST_UNDERPROMOTION:] = promoting_N83.flatten(1).repeat(1, 3)
    return mask


def listed(mask_NM: Tensor) -> Tensor:
    """The numbers of the moves in a mask, int64 (N, L), ascending, -1 behind the last of each position."""
    rows_P, numbers_P = torch.nonzero(mask_NM, as_tuple=True)
    counts_N = torch.bincount(rows_P, minlength=len(mask_NM))
    starts_N = counts_N.cumsum(0) - counts_N
    moves_NL = torch.full((len(mask_NM), int(counts_N.max()) if len(mask_NM) else 0), -1)
    moves_NL[rows_P, torch.arange(len(rows_P)) - starts_N[rows_P]] = numbers_P
    return moves_NL
