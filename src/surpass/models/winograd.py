"""3x3 convolutions of boards, there and back, by Winograd's minimal filtering.

A board is four tiles of 4 x 4 squares. Along each side a tile and the squares around it are a polynomial, and
so is the filter; of their product four coefficients are wanted, and its values at six points give them. So a
tile needs 36 products of channels where a direct convolution needs 144. All else is linear, and gradients go
back through the same matrices.

The points keep numbers near each other in size (Barabasz et al. 2020): rounding is 8e-7 of the values, where
that of a direct convolution in float32 is 2e-7.

What its functions mean is told in `convolutions`. Features are rows, square by square, one for each board at
a1, then at b1, so that transforms are products of matrices, too. Shape suffixes: N boards, R squares of all
boards (64 N), C channels of the input, O of the output, P 36 pairs of points (of files, then of ranks), T
tiles of all boards (4 N).

Source:
    Winograd 1980; Lavin and Gray 2016, F(4x4, 3x3).
"""

from __future__ import annotations

from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from surpass.models.direct import SIDE, SQUARES

BY_SQUARE = True
_NEAR = 1024
"""Numbers of a square, of some boards, that are still near in memory at the next layer."""

_PROCESSORS = Path("/proc/cpuinfo")
_POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)  # and infinity, last
_NUM_POINTS, _NUM_PAIRS, _TILE, _TAPS = 6, 36, 4, 3
_AT_ONE = _POINTS.index(1.0) * (_NUM_POINTS + 1)
"""The pair of points at which a number adds itself to all squares of a tile."""


class _Transform:
    """A linear map from lines of 8 squares to values at the points of both tiles, along files and ranks.

    Args:
        line: The matrix, (6 points, 2 tiles, 8 squares).
    """

    def __init__(self, line: Tensor) -> None:
        matrix = line.flatten(0, 1).float()
        one, other = line.float().permute(1, 2, 0)
        self._files, self._ranks = matrix.expand(SIDE, -1, -1), matrix.expand(_NUM_POINTS, -1, -1)
        self._ranks_back = matrix.T.contiguous().expand(_NUM_POINTS, -1, -1)
        self._files_back = one.expand(SIDE, -1, -1), other.expand(SIDE, -1, -1)
        self._apart = not one[_TILE:].any() and not other[:_TILE].any()
        self._tiles_back = one[:_TILE].contiguous().expand(2 * SIDE, -1, -1)

    def there(self, rows_RC: Tensor) -> Tensor:
        """Values at points, (P, T, C), of boards."""
        rows, channels = rows_RC.shape
        wide = rows // SQUARES * channels
        of_files = torch.bmm(self._files, rows_RC.view(SIDE, SIDE, wide))
        by_point = of_files.as_strided((_NUM_POINTS, SIDE, 2 * wide), (2 * wide, 2 * _NUM_POINTS * wide, 1))
        return torch.bmm(self._ranks, by_point).view(_NUM_PAIRS, rows // _TILE**2, channels)

    def back(self, values_PTC: Tensor) -> Tensor:
        """The transposed map: boards, (R, C), of values at points."""
        _, tiles, channels = values_PTC.shape
        rows, wide = tiles * _TILE**2, tiles // 4 * channels
        of_ranks = torch.bmm(self._ranks_back, values_PTC.view(_NUM_POINTS, 2 * _NUM_POINTS, 2 * wide))
        next_point = 2 * SIDE * wide
        if self._apart:  # no square belongs to both tiles
            each = of_ranks.as_strided((2 * SIDE, _NUM_POINTS, wide), (wide, next_point, 1))
            return torch.bmm(self._tiles_back, each).view(rows, channels)
        size, strides = (SIDE, _NUM_POINTS, wide), (2 * wide, next_point, 1)
        one, other = of_ranks.as_strided(size, strides), of_ranks.as_strided(size, strides, wide)
        boards = torch.bmm(self._files_back[0], one).baddbmm_(self._files_back[1], other)
        return boards.view(rows, channels)


def _powers(count: int) -> Tensor:
    """Values at the points of polynomials that are one coefficient, of so many, (6, count)."""
    rows = [[point**power for power in range(count)] for point in _POINTS]
    return torch.tensor([*rows, [*[0.0] * (count - 1), 1.0]], dtype=torch.float64)


def _of_input() -> Tensor:
    """A tile has the squares around it, but for those behind the edge, which are zero."""
    others = [[other for other in _POINTS if other != point] for point in _POINTS]
    rows = [*([*np.poly(some)[::-1], 0.0] for some in others), np.poly(_POINTS)[::-1]]
    line = torch.zeros(_NUM_POINTS, 2, SIDE + 2, dtype=torch.float64)
    line[:, 0, :_NUM_POINTS] = line[:, 1, _TILE:] = torch.tensor(np.array(rows))
    return line[:, :, 1:-1]


def _of_output() -> Tensor:
    line = torch.zeros(_NUM_POINTS, 2, SIDE, dtype=torch.float64)
    line[:, 0, :_TILE] = line[:, 1, _TILE:] = _powers(_TILE)
    return line


def _of_filter() -> Tensor:
    """The matrix from a filter's weights (3 ranks x 3 files) to values at pairs of points, (36, 9)."""
    line = _powers(_TAPS)
    for row, point in zip(line, _POINTS, strict=False):
        row /= prod(point - other for other in _POINTS if other != point)
    return torch.einsum("fb,ra->frab", line, line).reshape(_NUM_PAIRS, _TAPS**2).float()


_INPUT, _OUTPUT, _FILTER = _Transform(_of_input()), _Transform(_of_output()), _of_filter()
_FILTER_BACK = _FILTER.T.contiguous()


def features(boards: Tensor) -> Tensor:
    """Boards, (N, C, 8, 8), as rows."""
    return boards.permute(2, 3, 0, 1).reshape(-1, boards.shape[1])


def boards(features: Tensor, count: int) -> Tensor:
    """The way back, channels last."""
    squares = features.view(SIDE, SIDE, count, features.shape[1])
    return squares.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)


def rows(features: Tensor) -> Tensor:
    """Features are rows."""
    return features


def of_rows(rows_RC: Tensor) -> Tensor:
    """Rows are features."""
    return rows_RC


def num_at_once(channels: int) -> int:
    """So many that what a layer gives is near in memory at the next."""
    return max(1, _NEAR // channels)


def filters(weight: Tensor) -> Tensor:
    """The weights of a convolution, float32 (O, C, 3, 3), at pairs of points, (P, O, C)."""
    outputs, inputs, _, _ = weight.shape
    taps = weight.permute(0, 2, 3, 1).reshape(outputs, _TAPS**2, inputs)
    return torch.bmm(_FILTER.expand(outputs, -1, -1), taps).transpose(0, 1)


def convolve(features: Tensor, filters: Tensor, bias_O: Tensor) -> tuple[Tensor, Tensor]:
    """As `torch.conv2d` with padding of 1, to rounding.

    Args:
        features: The input, float32 (R, C), contiguous.
        filters: The weights at pairs of points, (P, O, C).
        bias_O: The bias.

    Returns:
        The output, (R, O), and the input at points, (P, T, C), which `convolve_backward` takes.
    """
    input_PTC = _INPUT.there(features)
    output_PTO = torch.bmm(input_PTC, filters.transpose(1, 2))
    output_PTO[_AT_ONE].add_(bias_O)
    return _OUTPUT.back(output_PTO), input_PTC


def convolve_backward(
    slope: Tensor, seen: Tensor, filters: Tensor, *, below: bool = True
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of a convolution, given that of a loss by its output, (R, O).

    Returns:
        The gradient by the input, (R, C), or None if nothing `below` wants it; by the weights, (O, C, 3, 3),
        channels last; by the bias, (O).
    """
    _, outputs, inputs = filters.shape
    slope_PTO = _OUTPUT.there(slope)
    by_filter_OPC = torch.bmm(slope_PTO.transpose(1, 2), seen).transpose(0, 1)
    by_taps = torch.bmm(_FILTER_BACK.expand(outputs, -1, -1), by_filter_OPC)
    by_weight = by_taps.view(outputs, _TAPS, _TAPS, inputs).permute(0, 3, 1, 2)
    by_input = _INPUT.back(torch.bmm(slope_PTO, filters)) if below else None
    return by_input, by_weight, slope_PTO[_AT_ONE].sum(0)


@cache
def pays() -> bool:
    """Whether it is faster than a direct convolution here: with MKL on a processor of Intel's.

    On others MKL copies the small matrices that it multiplies, and steps of a fit took half as long again.
    """
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return False
    return _PROCESSORS.exists() and "GenuineIntel" in _PROCESSORS.read_text(errors="replace")
