"""What a policy's head says of chosen moves, with its gradients written down.

Shape suffixes: N positions, R squares of all positions, C channels; of chosen moves: L of each position (the
longest row), P of all positions, U underpromotions among them, of which there are V kinds, K key width, T two
keys of each square.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from surpass.boards import FIRST_UNDERPROMOTION, NUM_MOVES, UNDERPROMOTIONS
from surpass.models.direct import SQUARES

_SEVENTH_RANK = 48
_STEPS = 3
# Of each underpromotion, numbered by piece, file and step: from which file, and which of the head's outputs.
_NUMBER_U = np.arange(NUM_MOVES - FIRST_UNDERPROMOTION)
_FILE_U = _NUMBER_U // _STEPS % 8
_KIND_U = _NUMBER_U // (8 * _STEPS) * _STEPS + _NUMBER_U % _STEPS
assert int(_KIND_U.max()) + 1 == _STEPS * len(UNDERPROMOTIONS)
# From which square a move goes, and to which. Underpromotions have keys of neither.
_MOVE_M = np.arange(NUM_MOVES) % FIRST_UNDERPROMOTION
_SQUARE_2M = np.stack((_MOVE_M // SQUARES, _MOVE_M % SQUARES))
_KEY_21 = np.array([[0], [1]])  # of a square first its key as origin, then that as target


class _Chosen(NamedTuple):
    """The moves that there are: where among all of a rectangle, and in which rows the keys of their squares.

    Of underpromotions the places among the moves, the row of the square, and the kind.
    """

    at_P: Tensor
    place_2P: Tensor
    under_U: Tensor
    row_U: Tensor
    kind_U: Tensor

    @classmethod
    def among(cls, moves_NL: Tensor, by_square: bool) -> _Chosen:
        """Those of some positions, int64 (N, L), below 0 where there is none."""
        flat = moves_NL.numpy().ravel()
        at_P = np.flatnonzero(flat >= 0)
        move_P = flat[at_P]
        of_square, of_position = (len(moves_NL), 1) if by_square else (1, SQUARES)
        corner_P = at_P // moves_NL.shape[1] * of_position
        row_2P = _SQUARE_2M.take(move_P, 1) * of_square + corner_P
        place_2P = torch.from_numpy(2 * row_2P + _KEY_21)
        under_U = np.flatnonzero(move_P >= FIRST_UNDERPROMOTION)
        number_U = move_P[under_U] - FIRST_UNDERPROMOTION
        row_U = (_SEVENTH_RANK + _FILE_U[number_U]) * of_square + corner_P[under_U]
        under = map(torch.from_numpy, (under_U, row_U, _KIND_U[number_U]))
        return cls(torch.from_numpy(at_P), place_2P, *under)


class Scored(NamedTuple):
    """What the gradients of the head need."""

    squares_RC: Tensor
    pairs_2PK: Tensor
    chosen: _Chosen


def score(
    squares_RC: Tensor, moves_NL: Tensor, weights: Sequence[Tensor], *, by_square: bool
) -> tuple[Tensor, Scored]:
    """Logits: of a move the product of the keys of its two squares, of an underpromotion one of the first.

    Args:
        squares_RC: Features of squares.
        moves_NL: Move numbers, int64; below 0 where there is none, whose logit is -inf.
        weights: Of keys of squares that moves leave, of those that they go to, and of underpromotions, each
            with biases.
        by_square: Whether rows are square by square, or position by position.

    Returns:
        The logits, (N, L), and what `score_backward` takes.
    """
    origin_KC, origin_K, target_KC, target_K, under_VC, under_V = weights
    width, chosen = len(origin_KC), _Chosen.among(moves_NL, by_square)
    # Biases are added where keys are used.
    keys_TK = (squares_RC @ torch.cat((origin_KC, target_KC)).T).view(-1, width)
    pairs_2PK = keys_TK.index_select(0, chosen.place_2P.view(-1)).view(2, -1, width)
    pairs_2PK.add_(torch.stack((origin_K, target_K))[:, None])
    logits_P = (pairs_2PK[0] * pairs_2PK[1]).sum(1).mul_(width**-0.5)
    if len(chosen.under_U):
        under_U = (squares_RC[chosen.row_U] * under_VC[chosen.kind_U]).sum(1) + under_V[chosen.kind_U]
        logits_P.index_copy_(0, chosen.under_U, under_U)
    logits = torch.full((moves_NL.numel(),), -torch.inf).index_copy_(0, chosen.at_P, logits_P)
    return logits.view_as(moves_NL), Scored(squares_RC, pairs_2PK, chosen)


def score_backward(
    kept: Scored, slope_NL: Tensor, origin_KC: Tensor, target_KC: Tensor, under_VC: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of the features of squares, (R, C), and of the weights."""
    squares_RC, pairs_2PK, chosen = kept
    width = len(origin_KC)
    slope_P = slope_NL.reshape(-1).index_select(0, chosen.at_P)
    if chosen.under_U.numel():
        slope_U = slope_P[chosen.under_U]
        slope_P.index_fill_(0, chosen.under_U, 0.0)
    # The gradient of either key of a move is the other key times the slope: they only change places.
    of_others_2PK = pairs_2PK.mul_(slope_P.mul_(width**-0.5)[:, None])
    of_keys_TK = pairs_2PK.new_zeros(2 * len(squares_RC), width)
    of_keys_TK.index_add_(0, torch.cat((chosen.place_2P[1], chosen.place_2P[0])), of_others_2PK.flatten(0, 1))
    of_keys_R_2K = of_keys_TK.view(-1, 2 * width)
    of_squares_RC = of_keys_R_2K @ torch.cat((origin_KC, target_KC))
    of_both_2K_C = of_keys_R_2K.T @ squares_RC
    of_target_K, of_origin_K = of_others_2PK.sum(1)
    of_under_VC, of_under_V = torch.zeros_like(under_VC), under_VC.new_zeros(len(under_VC))
    if chosen.under_U.numel():
        of_under_VC.index_add_(0, chosen.kind_U, squares_RC[chosen.row_U] * slope_U[:, None])
        of_under_V.index_add_(0, chosen.kind_U, slope_U)
        of_squares_RC.index_add_(0, chosen.row_U, under_VC[chosen.kind_U] * slope_U[:, None])
    of_origin, of_target = (of_both_2K_C[:width], of_origin_K), (of_both_2K_C[width:], of_target_K)
    return of_squares_RC, [*of_origin, *of_target, of_under_VC, of_under_V]


class Scoring(torch.autograd.Function):
    """`score` and `score_backward` as a function of autograd's; gradients can be had once."""

    @staticmethod
    def forward(ctx: Any, squares_RC: Tensor, moves_NL: Tensor, *weights: Tensor) -> Tensor:
        """Logits, of features position by position."""
        logits_NL, ctx.for_moves = score(squares_RC, moves_NL, weights, by_square=False)
        ctx.save_for_backward(*weights[::2])
        return logits_NL

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_NL: Tensor) -> Any:
        """Gradients of features and weights."""
        for_moves, ctx.for_moves = ctx.for_moves, None
        if for_moves is None:
            raise RuntimeError("gradients of chosen moves can be had once; score them again")
        of_squares_RC, of_weights = score_backward(for_moves, slope_NL, *ctx.saved_tensors)
        return of_squares_RC, None, *of_weights
