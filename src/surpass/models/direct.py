"""3x3 convolutions of boards by the convolution library, there and back.

What its functions mean is told in `convolutions`. Features are boards, (N, C, 8, 8), channels last. Shape
suffixes: R squares of all boards, C channels of the input, O of the output.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIDE, SQUARES = 8, 64
_ONES, _ZEROS = [1, 1], [0, 0]
BY_SQUARE = False
_backward = torch.ops.aten.convolution_backward.default


def features(boards: Tensor) -> Tensor:
    """Boards are features."""
    return boards


def boards(features: Tensor, count: int) -> Tensor:
    """Features are boards."""
    return features


def rows(features: Tensor) -> Tensor:
    """Features by square, (R, C), board by board."""
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])


def of_rows(rows_RC: Tensor) -> Tensor:
    """The way back."""
    return rows_RC.view(-1, SIDE, SIDE, rows_RC.shape[1]).permute(0, 3, 1, 2)


def filters(weight: Tensor) -> Tensor:
    """The weights themselves."""
    return weight


def num_at_once(channels: int) -> None:
    """As many as there are."""
    return


def convolve(features: Tensor, filters: Tensor, bias_O: Tensor) -> tuple[Tensor, Tensor]:
    """`torch.conv2d` with padding of 1, and what `convolve_backward` takes, which is the input."""
    return torch.conv2d(features, filters, bias_O, padding=1), features


def convolve_backward(
    slope: Tensor, seen: Tensor, filters: Tensor, *, below: bool = True
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of a convolution, given that of a loss by its output.

    Returns:
        The gradient by the input, or None if nothing `below` wants it; by the weights, (O, C, 3, 3); by the
        bias, (O).
    """
    # That of the bias is left to a sum: the convolution library takes five times as long for it.
    by_input, by_weight, _ = _backward(
        slope, seen, filters, None, _ONES, _ONES, _ONES, False, _ZEROS, 1, [below, True, False]
    )
    return by_input, by_weight, slope.sum((0, 2, 3))
