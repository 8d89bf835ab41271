"""What a folded policy says of chosen moves, with its gradients written down.

Policies are small: autograd, which goes through them operation by operation, takes a tenth to a quarter of a
step between the operations. What they compute is the same.

Shape suffixes: N positions, C channels; of chosen moves: L of each position (the longest row), P of all
positions, U underpromotions among them, of which there are V kinds, K key width, R squares of all positions,
T two keys of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from surpass.boards import FIRST_UNDERPROMOTION, NUM_MOVES, UNDERPROMOTIONS

_OF_STEM, _OF_BLOCK, _OF_HEAD = 3, 4, 6
_SQUARES, _SEVENTH_RANK = 64, 48
_STEPS = 3
_ONES, _ZEROS = [1, 1], [0, 0]
_behind_unit = torch.ops.aten.threshold_backward.grad_input
_behind_convolution = torch.ops.aten.convolution_backward.default
# Of each underpromotion, numbered by piece, file and step: from which file, and which of the head's outputs.
_NUMBER_U = np.arange(NUM_MOVES - FIRST_UNDERPROMOTION)
_FILE_U = _NUMBER_U // _STEPS % 8
_KIND_U = _NUMBER_U // (8 * _STEPS) * _STEPS + _NUMBER_U % _STEPS
assert int(_KIND_U.max()) + 1 == _STEPS * len(UNDERPROMOTIONS)
# Of each square first its key as origin, then that as target. Underpromotions have none.
_MOVE_M = np.arange(NUM_MOVES) % FIRST_UNDERPROMOTION
_KEYS_OF_2M = np.stack((_MOVE_M // _SQUARES * 2, _MOVE_M % _SQUARES * 2 + 1))


class Passed:
    """A folded policy has gone through some positions: what it says of chosen moves, and the way back.

    As `Policy.chosen` of `Policy.trunk`, to rounding, and with the same gradients: but not of the planes, and
    only once. Underpromotions that no position has get a gradient of zero.

    Args:
        planes: What the policy sees, float32 (N, P, 8, 8).
        moves_NL: Move numbers, int64; below 0 where there is none.
        weights: Of the stem the bias of each square, the convolution and its bias; of each block both
            convolutions with their biases; of the head the keys of squares that moves leave, of those that
            they go to, and underpromotions, each with biases.
        back: Whether there will be a way back.

    Attributes:
        logits_NL: Of the moves, float32 (N, L); -inf where there is none.
    """

    @torch.no_grad()
    def __init__(
        self, planes: Tensor, moves_NL: Tensor, weights: Sequence[nn.Parameter], *, back: bool = True
    ) -> None:
        self._weights = weights
        self._kept: list[Any] | None = [] if back else None
        self.logits_NL = _forward(planes, moves_NL, weights, self._kept)

    @torch.no_grad()
    def backward(self, slope_NL: Tensor) -> None:
        """Add the gradients of the weights that want some, given that of a loss by the logits."""
        if not self._kept:
            raise RuntimeError("gradients of a policy can be had once; go through it again")
        found = _backward(self._kept, slope_NL, self._weights)
        for weight, gradient in zip(reversed(self._weights), reversed(found), strict=False):
            if weight.grad is not None:
                weight.grad.add_(gradient)
            elif weight.requires_grad:
                weight.grad = gradient


def _backward(kept: list[Any], slope: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the weights, from the lowest part that wants some to the head."""
    stem, *residuals, head = _by_part(weights)
    lowest = next((place for place, weight in enumerate(weights) if weight.requires_grad), len(weights))
    # What was kept is let go as soon as it is read, so that its memory, still near, is there again.
    slope, found = _backward_of_moves(kept.pop(), slope, *head[::2])
    for number, residual in reversed(list(enumerate(residuals))):
        start = _OF_STEM + number * _OF_BLOCK
        if lowest >= start + _OF_BLOCK:
            break
        slope, of_block = _backward_of_residual(kept.pop(), slope, residual, below=lowest < start)
        found = [*of_block, *found]
    if lowest < _OF_STEM:
        found = [*_backward_of_stem(kept.pop(), slope, *stem[:2]), *found]
    kept.clear()
    return found


def _by_part(weights: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    """Weights of the stem, of each block, of the head."""
    blocks = range(_OF_STEM, len(weights) - _OF_HEAD, _OF_BLOCK)
    return [weights[:_OF_STEM], *(weights[at : at + _OF_BLOCK] for at in blocks), weights[-_OF_HEAD:]]


def _forward(planes: Tensor, moves_NL: Tensor, weights: Sequence[Tensor], kept: list[Any] | None) -> Tensor:
    """Logits; what gradients need is added to a list, if there is one."""
    (square_bias, weight, bias_C), *residuals, head = _by_part(weights)
    x = torch.conv2d(planes, weight, bias_C, padding=1).add_(square_bias).relu_()
    if kept is not None:
        kept.append((planes, x))
    for weight_1, bias_1, weight_2, bias_2 in residuals:
        hidden = torch.conv2d(x, weight_1, bias_1, padding=1).relu_()
        found = torch.conv2d(hidden, weight_2, bias_2, padding=1).add_(x).relu_()
        if kept is not None:
            kept.append((x, hidden, found))
        x = found
    logits_NL, for_moves = _moves(x, moves_NL, *head)
    if kept is not None:
        kept.append(for_moves)
    return logits_NL


def _backward_of_stem(
    kept: tuple[Tensor, Tensor], slope: Tensor, square_bias: Tensor, weight: Tensor
) -> list[Tensor]:
    planes, found = kept
    slope = _cut(slope, found)
    _, of_weight = _backward_of_convolution(slope, planes, weight, below=False)
    of_squares = slope.sum(0, keepdim=True)
    return [_lying_as(square_bias, of_squares), of_weight, of_squares.sum((0, 2, 3))]


def _backward_of_residual(
    kept: tuple[Tensor, Tensor, Tensor], slope: Tensor, weights: Sequence[Tensor], *, below: bool
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of what a block was given, unless nothing below wants it, and of its weights."""
    x, hidden, found = kept
    weight_1, _, weight_2, _ = weights
    outer = _cut(slope, found)
    inner, of_weight_2 = _backward_of_convolution(outer, hidden, weight_2)
    of_x, of_weight_1 = _backward_of_convolution(_cut(inner, hidden), x, weight_1, below=below)
    of_weights = [of_weight_1, inner.sum((0, 2, 3)), of_weight_2, outer.sum((0, 2, 3))]
    return of_x.add_(outer) if below else of_x, of_weights


def _cut(slope: Tensor, found: Tensor) -> Tensor:
    """The gradient behind a rectified unit, given that of what it gave, in its place."""
    _behind_unit(slope, found, 0, grad_input=slope)
    return slope


def _backward_of_convolution(
    slope: Tensor, seen: Tensor, weight: Tensor, *, below: bool = True
) -> tuple[Tensor, Tensor]:
    """Gradients of what a 3x3 convolution saw, unless nothing below wants it, and of its weights.

    That of the bias is left to a sum: the convolution library takes five times as long for it.
    """
    of_seen, of_weight, _ = _behind_convolution(
        slope, seen, weight, None, _ONES, _ONES, _ONES, False, _ZEROS, 1, [below, True, False]
    )
    return of_seen, _lying_as(weight, of_weight)


def _lying_as(weight: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in the layout of the weight: the optimizer takes both number by number."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)


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
    def among(cls, moves_NL: Tensor) -> _Chosen:
        """Those of some positions, int64 (N, L), below 0 where there is none."""
        flat = moves_NL.numpy().ravel()
        at_P = np.flatnonzero(flat >= 0)
        move_P = flat[at_P]
        corner_P = at_P // moves_NL.shape[1] * (2 * _SQUARES)
        place_2P = torch.from_numpy(_KEYS_OF_2M.take(move_P, 1) + corner_P)
        under_U = np.flatnonzero(move_P >= FIRST_UNDERPROMOTION)
        number_U = move_P[under_U] - FIRST_UNDERPROMOTION
        row_U = corner_P[under_U] // 2 + _SEVENTH_RANK + _FILE_U[number_U]
        under = map(torch.from_numpy, (under_U, row_U, _KIND_U[number_U]))
        return cls(torch.from_numpy(at_P), place_2P, *under)


class _Moves(NamedTuple):
    """What the gradients of the head need."""

    squares_RC: Tensor
    pairs_2PK: Tensor
    chosen: _Chosen


def _moves(
    trunk: Tensor,
    moves_NL: Tensor,
    origin_KC: Tensor,
    origin_K: Tensor,
    target_KC: Tensor,
    target_K: Tensor,
    under_VC: Tensor,
    under_V: Tensor,
) -> tuple[Tensor, _Moves]:
    """Logits: of a move the product of the keys of its two squares, of an underpromotion one of the first."""
    squares_RC = trunk.permute(0, 2, 3, 1).reshape(-1, trunk.shape[1])
    width, chosen = len(origin_KC), _Chosen.among(moves_NL)
    # Biases are added where keys are used.
    keys_TK = (squares_RC @ torch.cat((origin_KC, target_KC)).T).view(-1, width)
    pairs_2PK = keys_TK.index_select(0, chosen.place_2P.view(-1)).view(2, -1, width)
    pairs_2PK.add_(torch.stack((origin_K, target_K))[:, None])
    logits_P = (pairs_2PK[0] * pairs_2PK[1]).sum(1).mul_(width**-0.5)
    if len(chosen.under_U):
        under_U = (squares_RC[chosen.row_U] * under_VC[chosen.kind_U]).sum(1) + under_V[chosen.kind_U]
        logits_P.index_copy_(0, chosen.under_U, under_U)
    logits = torch.full((moves_NL.numel(),), -torch.inf).index_copy_(0, chosen.at_P, logits_P)
    return logits.view_as(moves_NL), _Moves(squares_RC, pairs_2PK, chosen)


def _backward_of_moves(
    kept: _Moves, slope_NL: Tensor, origin_KC: Tensor, target_KC: Tensor, under_VC: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of the features of squares, (N, C, 8, 8), and of the weights."""
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
    of_trunk = of_squares_RC.view(-1, 8, 8, squares_RC.shape[1]).permute(0, 3, 1, 2)
    of_origin, of_target = (of_both_2K_C[:width], of_origin_K), (of_both_2K_C[width:], of_target_K)
    return of_trunk, [*of_origin, *of_target, of_under_VC, of_under_V]
