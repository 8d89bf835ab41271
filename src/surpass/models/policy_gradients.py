"""What a folded policy says of chosen moves, with its gradients written down.

Policies are small: autograd, which goes through them operation by operation, takes a tenth to a quarter of a
step between the operations, and direct convolutions up to twice as long as Winograd's (`winograd.py`). The
stem's is direct nevertheless. Its planes are mostly zeros, and many of its weights meet nothing else: they
have a gradient of exactly zero, where Winograd's is rounding, which AdamW would bring to the size of all
others. But for rounding what all this computes is the same.

Features lie square by square, (8, 8, N C), convolutions by pairs of points. Shape suffixes: N positions, C
channels, O those of an output, P pairs of points, T tiles; of chosen moves: L of each position (the longest
row), P of all positions, U underpromotions among them, of which there are V kinds, K key width, R squares of
all positions, T two keys of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from surpass.boards import FIRST_UNDERPROMOTION, NUM_MOVES, UNDERPROMOTIONS
from surpass.models.winograd import SIDE, convolve, convolve_backward, transformed

_OF_STEM, _OF_BLOCK, _OF_HEAD = 3, 4, 6
_SQUARES, _SEVENTH_RANK = SIDE**2, 48
_STEPS = 3
_NEAR = 1024
"""Numbers of a square, of some positions, whose boards are still near in memory at the next layer."""

_ONES, _ZEROS = [1, 1], [0, 0]
_behind_convolution = torch.ops.aten.convolution_backward.default
_behind_unit = torch.ops.aten.threshold_backward.grad_input
# Of each underpromotion, numbered by piece, file and step: from which file, and which of the head's outputs.
_NUMBER_U = np.arange(NUM_MOVES - FIRST_UNDERPROMOTION)
_FILE_U = _NUMBER_U // _STEPS % 8
_KIND_U = _NUMBER_U // (8 * _STEPS) * _STEPS + _NUMBER_U % _STEPS
assert int(_KIND_U.max()) + 1 == _STEPS * len(UNDERPROMOTIONS)
# From which square a move goes, and to which. Underpromotions have keys of neither.
_MOVE_M = np.arange(NUM_MOVES) % FIRST_UNDERPROMOTION
_SQUARE_2M = np.stack((_MOVE_M // _SQUARES, _MOVE_M % _SQUARES))
_KEY_21 = np.array([[0], [1]])  # of a square first its key as origin, then that as target


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
        parts = _by_part(weights)
        if back:
            self.logits_NL = _forward(planes, moves_NL, parts, _filters(parts), self._kept)
        else:
            filters, size = [*_filters(parts)], _num_near(parts)
            pieces = zip(torch.split(planes, size), torch.split(moves_NL, size), strict=True)
            self.logits_NL = torch.cat([_forward(*piece, parts, filters, None) for piece in pieces])

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
                weight.grad = _lying_as(weight, gradient)


@torch.no_grad()
def features(planes: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The trunk's features of every square, float32 (N, C, 8, 8), channels last; as `Policy.trunk`."""
    parts = _by_part(weights)
    filters = [*_filters(parts)]
    pieces = [_trunk(piece, parts, filters, None) for piece in torch.split(planes, _num_near(parts))]
    squares = torch.cat([piece.view(SIDE, SIDE, -1, len(parts[0][2])) for piece in pieces], 2)
    return squares.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)


def _by_part(weights: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    """Weights of the stem, of each block, of the head."""
    blocks = range(_OF_STEM, len(weights) - _OF_HEAD, _OF_BLOCK)
    return [weights[:_OF_STEM], *(weights[at : at + _OF_BLOCK] for at in blocks), weights[-_OF_HEAD:]]


def _filters(parts: Sequence[Sequence[Tensor]]) -> Iterator[Tensor]:
    """Blocks' convolutions at points, each when it is its turn, so that it is near in memory."""
    return (transformed(weight) for part in parts[1:-1] for weight in part[::2])


def _num_near(parts: Sequence[Sequence[Tensor]]) -> int:
    """How many positions have features that are still near in memory at the next layer."""
    return max(1, _NEAR // len(parts[0][2]))


class _Convolved(NamedTuple):
    """What a convolution and a rectified unit gave, with what their gradients need."""

    input_PTC: Tensor
    filter_POC: Tensor
    found: Tensor

    def behind(self, slope: Tensor, *, below: bool = True) -> tuple[Any, Tensor, Tensor]:
        """Gradients of the convolution, given that of its output; see `convolve_backward`."""
        return convolve_backward(slope, self.input_PTC, self.filter_POC, below=below)


def _forward(
    planes: Tensor,
    moves_NL: Tensor,
    parts: Sequence[Sequence[Tensor]],
    filters: Iterable[Tensor],
    kept: list[Any] | None,
) -> Tensor:
    """Logits; what gradients need is added to a list, if there is one."""
    trunk = _trunk(planes, parts, filters, kept)
    logits_NL, for_moves = _moves(trunk.view(-1, len(parts[0][2])), moves_NL, *parts[-1])
    if kept is not None:
        kept.append(for_moves)
    return logits_NL


def _trunk(
    planes: Tensor, parts: Sequence[Sequence[Tensor]], filters: Iterable[Tensor], kept: list[Any] | None
) -> Tensor:
    """Features of squares, (8, 8, N C)."""
    (square_bias, weight, bias_C), *residuals, _ = parts
    found = torch.conv2d(planes, weight, bias_C, padding=1).add_(square_bias).relu_()
    x = found.permute(2, 3, 0, 1).reshape(SIDE, SIDE, -1)
    if kept is not None:
        kept.append((planes, x))
    remaining = iter(filters)
    for _, bias_1, _, bias_2 in residuals:
        filter_1, filter_2 = next(remaining), next(remaining)
        hidden, input_1 = convolve(x, filter_1, bias_1)
        hidden.relu_()
        found, input_2 = convolve(hidden, filter_2, bias_2)
        x = found.add_(x).relu_()
        if kept is not None:
            kept += _Convolved(input_1, filter_1, hidden), _Convolved(input_2, filter_2, x)
    return x


def _backward(kept: list[Any], slope: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the weights, from the lowest part that wants some to the head."""
    _, *residuals, head = _by_part(weights)
    lowest = next((place for place, weight in enumerate(weights) if weight.requires_grad), len(weights))
    # What was kept is let go as soon as it is read, so that its memory, still near, is there again.
    slope, found = _backward_of_moves(kept.pop(), slope, *head[::2])
    for number in reversed(range(len(residuals))):
        start = _OF_STEM + number * _OF_BLOCK
        if lowest >= start + _OF_BLOCK:
            break
        slope, of_block = _backward_of_residual(kept.pop(), kept.pop(), slope, below=lowest < start)
        found = [*of_block, *found]
    if lowest < _OF_STEM:
        found = [*_backward_of_stem(kept.pop(), slope, weights[1]), *found]
    kept.clear()
    return found


def _backward_of_stem(kept: tuple[Tensor, Tensor], slope: Tensor, weight: Tensor) -> list[Tensor]:
    planes, found = kept
    squares = _cut(slope, found).view(SIDE, SIDE, len(planes), -1)
    of_squares, outer = squares.sum(2), squares.permute(2, 3, 0, 1)
    # That of the bias is left to a sum: the convolution library takes five times as long for it.
    _, of_weight, _ = _behind_convolution(
        outer.contiguous(memory_format=torch.channels_last),
        planes, weight, None, _ONES, _ONES, _ONES, False, _ZEROS, 1, [False, True, False],
    )  # fmt: skip
    return [of_squares.permute(2, 0, 1)[None], of_weight, of_squares.sum((0, 1))]


def _backward_of_residual(
    second: _Convolved, first: _Convolved, slope: Tensor, *, below: bool
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of what a block was given, unless nothing below wants it, and of its weights."""
    outer = _cut(slope, second.found)
    inner, *of_second = second.behind(outer)
    of_x, *of_first = first.behind(_cut(inner, first.found), below=below)
    return of_x.add_(outer) if below else of_x, [*of_first, *of_second]


def _cut(slope: Tensor, found: Tensor) -> Tensor:
    """The gradient behind a rectified unit, given that of what it gave, in its place."""
    _behind_unit(slope, found, 0, grad_input=slope)
    return slope


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
        count, position_P = len(moves_NL), at_P // moves_NL.shape[1]
        row_2P = _SQUARE_2M.take(move_P, 1) * count + position_P
        place_2P = torch.from_numpy(2 * row_2P + _KEY_21)
        under_U = np.flatnonzero(move_P >= FIRST_UNDERPROMOTION)
        number_U = move_P[under_U] - FIRST_UNDERPROMOTION
        row_U = (_SEVENTH_RANK + _FILE_U[number_U]) * count + position_P[under_U]
        under = map(torch.from_numpy, (under_U, row_U, _KIND_U[number_U]))
        return cls(torch.from_numpy(at_P), place_2P, *under)


class _Moves(NamedTuple):
    """What the gradients of the head need."""

    squares_RC: Tensor
    pairs_2PK: Tensor
    chosen: _Chosen


def _moves(
    squares_RC: Tensor,
    moves_NL: Tensor,
    origin_KC: Tensor,
    origin_K: Tensor,
    target_KC: Tensor,
    target_K: Tensor,
    under_VC: Tensor,
    under_V: Tensor,
) -> tuple[Tensor, _Moves]:
    """Logits: of a move the product of the keys of its two squares, of an underpromotion one of the first."""
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
    """Gradients of the features of squares, (8, 8, N C), and of the weights."""
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
    of_trunk = of_squares_RC.view(SIDE, SIDE, -1)
    of_origin, of_target = (of_both_2K_C[:width], of_origin_K), (of_both_2K_C[width:], of_target_K)
    return of_trunk, [*of_origin, *of_target, of_under_VC, of_under_V]
