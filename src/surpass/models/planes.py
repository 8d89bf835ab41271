"""What a chess policy sees: packed positions decoded in batch to planes and attacks.

Shape suffixes: N positions, S squares (64, a1 = 0, h8 = 63, seen from the side to move), B packed
bytes (34), P planes; of all positions together: Q pieces, X squares, or kinds of piece.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from surpass.boards import NUM_CODES
from surpass.geometry import ATTACKS, BETWEEN
from surpass.legality import BISHOP, KING, QUEEN, ROOK

NUM_PLANES = 31
_MOST_OF_ONE_KIND = 2.0
_ATTACKS_PER_UNIT = 4.0


class Position(NamedTuple):
    """Decoded positions: square codes int64 (N, 64), castling rights (N, 4), en-passant file + 1 (N)."""

    codes_NS: Tensor
    castling_N4: Tensor
    en_passant_N: Tensor


# Which codes slide, and where a piece goes on an empty board, by code and origin.
_SLIDES = torch.tensor([code % KING in (BISHOP, ROOK, QUEEN) for code in range(NUM_CODES)])
_REACH = torch.from_numpy(ATTACKS).flatten(0, 1)
_BETWEEN = torch.from_numpy(BETWEEN.view("int64"))
_BITS = torch.ones(64, dtype=torch.int64) << torch.arange(64)


def decode(boards_NB: Tensor) -> Position:
    """Square codes, castling rights and en-passant files of packed positions, uint8 (N, 34)."""
    halves = boards_NB[:, :32]
    codes_NS = torch.stack((halves & 15, halves >> 4), dim=2).flatten(1).long()
    castling_N4 = boards_NB[:, 32:33] >> torch.arange(4, dtype=torch.uint8) & 1
    return Position(codes_NS, castling_N4, boards_NB[:, 33])


def attacks(position: Position) -> Tensor:
    """Which squares the piece on each square attacks, bool (N, origin, target), both sides."""
    at_Q, code_Q = _pieces(position)
    found_QS = _REACH.index_select(0, code_Q * 64 + (at_Q & 63))
    slides = torch.nonzero(_SLIDES.index_select(0, code_Q))[:, 0]
    at_slides = at_Q.index_select(0, slides)
    occupied_N = ((position.codes_NS > 0).long() * _BITS).sum(1)
    between = _BETWEEN.index_select(0, at_slides & 63)
    blocked = between.bitwise_and_(occupied_N.index_select(0, at_slides >> 6)[:, None]).bool()
    found_QS.index_copy_(0, slides, found_QS.index_select(0, slides) & ~blocked)
    attacks_XS = torch.zeros(position.codes_NS.numel(), 64, dtype=torch.bool)
    return attacks_XS.index_copy_(0, at_Q, found_QS).view(-1, 64, 64)


def _pieces(position: Position) -> tuple[Tensor, Tensor]:
    """Where the pieces stand, among the squares of all positions, and which they are."""
    codes_X = position.codes_NS.flatten()
    at_Q = torch.nonzero(codes_X)[:, 0]
    return at_Q, codes_X.index_select(0, at_Q)


def en_passant_targets(position: Position) -> tuple[Tensor, Tensor]:
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
    planes_NSP = torch.zeros(len(codes_NS), 64, NUM_PLANES)
    planes_NSP.scatter_(2, codes_NS[..., None], 1.0)
    planes_NSP[..., 0] = 0.0
    rows, squares = en_passant_targets(position)
    planes_NSP[rows, squares, 0] = 1.0
    planes_NSP[..., 13:17] = position.castling_N4[:, None]
    by_code = _attackers(position, attacks_NSS)
    planes_NSP[..., 17:29] = by_code.clamp(max=_MOST_OF_ONE_KIND).div_(_MOST_OF_ONE_KIND).transpose(1, 2)
    planes_NSP[..., 29] = by_code[:, :6].sum(1) / _ATTACKS_PER_UNIT
    planes_NSP[..., 30] = by_code[:, 6:].sum(1) / _ATTACKS_PER_UNIT
    return planes_NSP.view(-1, 8, 8, NUM_PLANES).permute(0, 3, 1, 2)


def _attackers(position: Position, attacks_NSS: Tensor) -> Tensor:
    """How many pieces of each code attack each square, float32 (N, 12, 64)."""
    at_Q, code_Q = _pieces(position)
    of_pieces_QS = attacks_NSS.view(-1, 64).index_select(0, at_Q).float()
    counts_XS = torch.zeros(len(position.codes_NS) * NUM_CODES, 64)
    counts_XS.index_add_(0, (at_Q >> 6) * NUM_CODES + code_Q, of_pieces_QS)
    return counts_XS.view(-1, NUM_CODES, 64)[:, 1:]
