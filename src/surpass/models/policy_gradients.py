"""What a folded policy says of chosen moves, with its gradients written down.

Policies are small: autograd, which goes through them operation by operation, takes a tenth to a quarter of a
step between the operations. Direct convolutions take up to twice as long as Winograd's, which blocks have
where that `pays`. The stem's is direct nevertheless. Its planes are mostly zeros, and many of its weights
meet nothing else: they have a gradient of exactly zero, where Winograd's is rounding, which AdamW would bring
to the size of all others. But for rounding what all this computes is the same.

Features are boards, (N, C, 8, 8), channels last; for Winograd's convolutions rows, (R, C), square by square.
Shape suffixes: N positions, R squares of all positions, C channels, L moves of a position (the most that one
has).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surpass.models import direct, winograd
from surpass.models.direct import SIDE
from surpass.models.policy_head import score, score_backward

_OF_STEM, _OF_BLOCK, _OF_HEAD = 3, 4, 6
_NEAR = 1024
"""Numbers of a square, of some positions, whose boards are still near in memory at the next layer."""

_behind_unit = torch.ops.aten.threshold_backward.grad_input


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
        parts, fast = _by_part(weights), winograd.pays()
        if back:
            self.logits_NL = _forward(planes, moves_NL, parts, _filters(parts, fast), self._kept, fast)
        else:
            filters, size = [*_filters(parts, fast)], _num_at_once(parts, len(planes), fast)
            pieces = zip(torch.split(planes, size), torch.split(moves_NL, size), strict=True)
            self.logits_NL = torch.cat([_forward(*piece, parts, filters, None, fast) for piece in pieces])
        self._fast = fast

    @torch.no_grad()
    def backward(self, slope_NL: Tensor) -> None:
        """Add the gradients of the weights that want some, given that of a loss by the logits."""
        if not self._kept:
            raise RuntimeError("gradients of a policy can be had once; go through it again")
        found = _backward(self._kept, slope_NL, self._weights, self._fast)
        for weight, gradient in zip(reversed(self._weights), reversed(found), strict=False):
            if weight.grad is not None:
                weight.grad.add_(gradient)
            elif weight.requires_grad:
                weight.grad = _lying_as(weight, gradient)


@torch.no_grad()
def features(planes: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The trunk's features of every square, float32 (N, C, 8, 8), channels last; as `Policy.trunk`."""
    parts, fast = _by_part(weights), winograd.pays()
    filters, pieces = [*_filters(parts, fast)], torch.split(planes, _num_at_once(parts, len(planes), fast))
    found = [_as_boards(_trunk(piece, parts, filters, None, fast), len(piece), fast) for piece in pieces]
    return torch.cat(found).contiguous(memory_format=torch.channels_last)


def _by_part(weights: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    """Weights of the stem, of each block, of the head."""
    blocks = range(_OF_STEM, len(weights) - _OF_HEAD, _OF_BLOCK)
    return [weights[:_OF_STEM], *(weights[at : at + _OF_BLOCK] for at in blocks), weights[-_OF_HEAD:]]


def _filters(parts: Sequence[Sequence[Tensor]], fast: bool) -> Iterator[Tensor]:
    """Weights of blocks as convolutions take them, each when it is its turn, so that it is near in memory."""
    weights = (weight for part in parts[1:-1] for weight in part[::2])
    return map(winograd.transformed, weights) if fast else weights


def _num_at_once(parts: Sequence[Sequence[Tensor]], count: int, fast: bool) -> int:
    """Positions to go through together: all, but for Winograd's as many as are near at the next layer."""
    return max(1, _NEAR // len(parts[0][2]) if fast else count)


def _for_blocks(boards: Tensor, fast: bool) -> Tensor:
    """Features of the stem as blocks take them."""
    return boards.permute(2, 3, 0, 1).reshape(-1, boards.shape[1]) if fast else boards


def _as_boards(found: Tensor, count: int, fast: bool) -> Tensor:
    """Features, or their gradients, that blocks have, as boards."""
    if not fast:
        return found
    squares = found.view(SIDE, SIDE, count, found.shape[1])
    return squares.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)


class _Convolved(NamedTuple):
    """What a convolution and a rectified unit gave, with what their gradients need."""

    seen: Tensor
    weight: Tensor
    found: Tensor


def _forward(
    planes: Tensor,
    moves_NL: Tensor,
    parts: Sequence[Sequence[Tensor]],
    filters: Iterable[Tensor],
    kept: list[Any] | None,
    fast: bool,
) -> Tensor:
    """Logits; what gradients need is added to a list, if there is one."""
    found = _trunk(planes, parts, filters, kept, fast)
    squares_RC = found if fast else found.permute(0, 2, 3, 1).reshape(-1, found.shape[1])
    logits_NL, for_moves = score(squares_RC, moves_NL, parts[-1], by_square=fast)
    if kept is not None:
        kept.append(for_moves)
    return logits_NL


def _trunk(
    planes: Tensor,
    parts: Sequence[Sequence[Tensor]],
    filters: Iterable[Tensor],
    kept: list[Any] | None,
    fast: bool,
) -> Tensor:
    """Features of squares, as blocks have them."""
    (square_bias, weight, bias_C), *residuals, _ = parts
    convolve, remaining = (winograd if fast else direct).convolve, iter(filters)
    found, seen = direct.convolve(planes, weight, bias_C)
    found.add_(square_bias).relu_()
    if kept is not None:
        kept.append(_Convolved(seen, weight, found))
    x = _for_blocks(found, fast)
    for _, bias_1, _, bias_2 in residuals:
        filter_1, filter_2 = next(remaining), next(remaining)
        hidden, seen_1 = convolve(x, filter_1, bias_1)
        hidden.relu_()
        found, seen_2 = convolve(hidden, filter_2, bias_2)
        x = found.add_(x).relu_()
        if kept is not None:
            kept += _Convolved(seen_1, filter_1, hidden), _Convolved(seen_2, filter_2, x)
    return x


def _backward(kept: list[Any], slope: Tensor, weights: Sequence[Tensor], fast: bool) -> list[Tensor]:
    """Gradients of the weights, from the lowest part that wants some to the head."""
    _, *residuals, head = _by_part(weights)
    lowest = next((place for place, weight in enumerate(weights) if weight.requires_grad), len(weights))
    # What was kept is let go as soon as it is read, so that its memory, still near, is there again.
    count = len(slope)
    slope, found = score_backward(kept.pop(), slope, *head[::2])
    if not fast:
        slope = slope.view(count, SIDE, SIDE, slope.shape[1]).permute(0, 3, 1, 2)
    for number in reversed(range(len(residuals))):
        start = _OF_STEM + number * _OF_BLOCK
        if lowest >= start + _OF_BLOCK:
            break
        second, first, below = kept.pop(), kept.pop(), lowest < start
        slope, of_block = _backward_of_residual(second, first, slope, below=below, fast=fast)
        found = [*of_block, *found]
    if lowest < _OF_STEM:
        found = [*_backward_of_stem(kept.pop(), _as_boards(slope, count, fast)), *found]
    kept.clear()
    return found


def _backward_of_stem(stem: _Convolved, slope: Tensor) -> list[Tensor]:
    slope = _cut(slope, stem.found)
    _, of_weight, of_bias = direct.convolve_backward(slope, stem.seen, stem.weight, below=False)
    return [slope.sum(0, keepdim=True), of_weight, of_bias]


def _backward_of_residual(
    second: _Convolved, first: _Convolved, slope: Tensor, *, below: bool, fast: bool
) -> tuple[Any, list[Tensor]]:
    """Gradients of what a block was given, unless nothing below wants it, and of its weights."""
    behind = (winograd if fast else direct).convolve_backward
    outer = _cut(slope, second.found)
    inner, *of_second = behind(outer, second.seen, second.weight)
    assert inner is not None
    of_x, *of_first = behind(_cut(inner, first.found), first.seen, first.weight, below=below)
    return None if of_x is None else of_x.add_(outer), [*of_first, *of_second]


def _cut(slope: Tensor, found: Tensor) -> Tensor:
    """The gradient behind a rectified unit, given that of what it gave, in its place."""
    _behind_unit(slope, found, 0, grad_input=slope)
    return slope


def _lying_as(weight: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in the layout of the weight: the optimizer takes both number by number."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)
