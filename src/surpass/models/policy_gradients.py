"""What a folded policy says of chosen moves, with its gradients written down.

Policies are small: autograd, which goes through them operation by operation, takes a tenth to a quarter of a
step between the operations. Direct convolutions take up to twice as long as Winograd's, which blocks have
where that `pays`. The stem's is direct nevertheless. Its planes are mostly zeros, and many of its weights
meet nothing else: they have a gradient of exactly zero, where Winograd's is rounding, which AdamW would bring
to the size of all others. But for rounding what all this computes is the same.

Shape suffixes: N positions, R squares of all positions, C channels, L moves of a position (the most that one
has).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surpass.models import direct, winograd
from surpass.models.convolutions import Convolutions
from surpass.models.policy_head import score, score_backward

_OF_STEM, _OF_BLOCK, _OF_HEAD = 3, 4, 6

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
        self._weights, self._network = weights, _Network(weights)
        self._kept: list[Any] | None = [] if back else None
        if back:
            self.logits_NL = self._network.logits(planes, moves_NL, kept=self._kept)
        else:
            pieces = self._network.pieces(planes, moves_NL)
            self.logits_NL = torch.cat([self._network.logits(*each, kept=None) for each in pieces])

    @torch.no_grad()
    def backward(self, slope_NL: Tensor) -> None:
        """Add the gradients of the weights that want some, given that of a loss by the logits."""
        if not self._kept:
            raise RuntimeError("gradients of a policy can be had once; go through it again")
        wanted = (place for place, weight in enumerate(self._weights) if weight.requires_grad)
        found = self._network.backward(self._kept, slope_NL, next(wanted, len(self._weights)))
        for weight, gradient in zip(reversed(self._weights), reversed(found), strict=False):
            if weight.grad is not None:
                weight.grad.add_(gradient)
            elif weight.requires_grad:
                weight.grad = _lying_as(weight, gradient)


@torch.no_grad()
def features(planes: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The trunk's features of every square, float32 (N, C, 8, 8), channels last; as `Policy.trunk`."""
    network = _Network(weights)
    pieces, boards = network.pieces(planes), network.way.boards
    found = [boards(network.trunk(piece, None), len(piece)) for (piece,) in pieces]
    return torch.cat(found).contiguous(memory_format=torch.channels_last)


class _Convolved(NamedTuple):
    """What a convolution and a rectified unit gave, with what their gradients need."""

    seen: Tensor
    weight: Tensor
    found: Tensor


class _Network:
    """The weights by parts, and how blocks convolve.

    Both ways go through parts one after the other. What gradients need is added to the list `kept`, if there
    is one, and let go as soon as it is read, so that its memory, still near, is there again.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.way: Convolutions = winograd if winograd.pays() else direct
        blocks = range(_OF_STEM, len(weights) - _OF_HEAD, _OF_BLOCK)
        self.stem, self.head = weights[:_OF_STEM], weights[-_OF_HEAD:]
        self.blocks = [weights[at : at + _OF_BLOCK] for at in blocks]
        self._filters: list[Tensor] = []

    def _filter(self, number: int) -> Tensor:
        """The weights of a convolution, of all in blocks, as `way` takes them."""
        if number == len(self._filters):  # when it is its turn, so that they are near in memory
            self._filters.append(self.way.filters(self.blocks[number // 2][number % 2 * 2]))
        return self._filters[number]

    def pieces(self, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Positions to go through together."""
        size = self.way.num_at_once(len(self.stem[2])) or max(1, len(rows[0]))
        return zip(*(torch.split(each, size) for each in rows), strict=True)

    def logits(self, planes: Tensor, moves_NL: Tensor, *, kept: list[Any] | None) -> Tensor:
        """Logits of moves, (N, L)."""
        squares_RC = self.way.rows(self.trunk(planes, kept))
        logits_NL, for_moves = score(squares_RC, moves_NL, self.head, by_square=self.way.BY_SQUARE)
        if kept is not None:
            kept.append(for_moves)
        return logits_NL

    def trunk(self, planes: Tensor, kept: list[Any] | None) -> Tensor:
        """Features of squares, as blocks have them."""
        square_bias, weight, bias_C = self.stem
        found, seen = direct.convolve(planes, weight, bias_C)
        found.add_(square_bias).relu_()
        if kept is not None:
            kept.append(_Convolved(seen, weight, found))
        x = self.way.features(found)
        for number, (_, bias_1, _, bias_2) in enumerate(self.blocks):
            filter_1, filter_2 = self._filter(2 * number), self._filter(2 * number + 1)
            hidden, seen_1 = self.way.convolve(x, filter_1, bias_1)
            hidden.relu_()
            found, seen_2 = self.way.convolve(hidden, filter_2, bias_2)
            x = found.add_(x).relu_()
            if kept is not None:
                kept += _Convolved(seen_1, filter_1, hidden), _Convolved(seen_2, filter_2, x)
        return x

    def backward(self, kept: list[Any], slope_NL: Tensor, lowest: int) -> list[Tensor]:
        """Gradients of the weights, from the part of the weight number `lowest` to the head."""
        count = len(slope_NL)
        slope_RC, found = score_backward(kept.pop(), slope_NL, *self.head[::2])
        slope = self.way.of_rows(slope_RC)
        for number in reversed(range(len(self.blocks))):
            start = _OF_STEM + number * _OF_BLOCK
            if lowest >= start + _OF_BLOCK:
                break
            second, first = kept.pop(), kept.pop()
            slope, of_block = self._backward_of_block(second, first, slope, below=lowest < start)
            found = [*of_block, *found]
        if lowest < _OF_STEM:
            found = [*_backward_of_stem(kept.pop(), self.way.boards(slope, count)), *found]
        kept.clear()
        return found

    def _backward_of_block(
        self, second: _Convolved, first: _Convolved, slope: Tensor, *, below: bool
    ) -> tuple[Any, list[Tensor]]:
        """Gradients of what a block was given, unless nothing below wants it, and of its weights."""
        behind = self.way.convolve_backward
        outer = _cut(slope, second.found)
        inner, *of_second = behind(outer, second.seen, second.weight)
        assert inner is not None
        of_x, *of_first = behind(_cut(inner, first.found), first.seen, first.weight, below=below)
        return None if of_x is None else of_x.add_(outer), [*of_first, *of_second]


def _backward_of_stem(stem: _Convolved, slope: Tensor) -> list[Tensor]:
    slope = _cut(slope, stem.found)
    _, of_weight, of_bias = direct.convolve_backward(slope, stem.seen, stem.weight, below=False)
    return [slope.sum(0, keepdim=True), of_weight, of_bias]


def _cut(slope: Tensor, found: Tensor) -> Tensor:
    """The gradient behind a rectified unit, given that of what it gave, in its place."""
    _behind_unit(slope, found, 0, grad_input=slope)
    return slope


def _lying_as(weight: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in the layout of the weight: the optimizer takes both number by number."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)
