"""3x3 convolutions of boards by the convolution library, there and back.

Shape suffixes: C channels of the input, O of the output; boards are (N, channels, 8, 8), channels last.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIDE, SQUARES = 8, 64
_ONES, _ZEROS = [1, 1], [0, 0]
_backward = torch.ops.aten.convolution_backward.default


def convolve(boards: Tensor, weight: Tensor, bias_O: Tensor) -> tuple[Tensor, Tensor]:
    """`torch.conv2d` with padding of 1, and what `convolve_backward` takes, which is the input."""
    return torch.conv2d(boards, weight, bias_O, padding=1), boards


def convolve_backward(
    slope: Tensor, boards: Tensor, weight: Tensor, *, below: bool = True
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of a convolution, given that of a loss by its output.

    Returns:
        The gradient by the input, or None if nothing `below` wants it; by the weights, (O, C, 3, 3); by the
        bias, (O).
    """
    # That of the bias is left to a sum: the convolution library takes five times as long for it.
    by_input, by_weight, _ = _backward(
        slope, boards, weight, None, _ONES, _ONES, _ONES, False, _ZEROS, 1, [below, True, False]
    )
    return by_input, by_weight, slope.sum((0, 2, 3))
