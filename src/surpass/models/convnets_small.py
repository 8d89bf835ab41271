"""The network that begins untrained: it normalises within each image, so that no image depends on another.

Shape suffixes: N images, C channels, H height, W width, D features.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from surpass.models.convnets import ConvNet, added, rectified, spatial_mean
from surpass.models.image_configs import NUM_STAGES


class SmallBlock(nn.Module):
    """Two convolutions added to the input or to its projection, normalised in groups of channels."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = _grouped(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = _grouped(outside)
        self.beside, self._stride = None, stride
        if stride != 1 or inside != outside:
            self.beside = nn.Conv2d(inside, outside, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps."""
        hidden = rectified(self.norm1(self.conv1(x)))
        if self.beside is not None:
            # Not a stride of its own: with few channels and AVX2 torch's gradient of that overruns memory.
            x = self.beside(x[:, :, :: self._stride, :: self._stride])
        return rectified(added(self.norm2(self.conv2(hidden)), x))


class SmallNet(ConvNet):
    """`cnn:WIDTH`, for pictures of about 32 pixels: a residual block at full, half and quarter size.

    Nothing in it depends on the other images of a batch. Its first weights are drawn from torch's generator.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.norm = _grouped(width)
        widths = [width, *(width * 2**stage for stage in range(NUM_STAGES))]
        self.stages = nn.ModuleList(
            SmallBlock(inside, outside, 2 if stage else 1)
            for stage, (inside, outside) in enumerate(pairwise(widths))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def blocks(self) -> list[nn.Module]:
        """The residual blocks."""
        return list(self.stages)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """The mean of the last map, (N, 4 x width)."""
        x = rectified(self.norm(self.stem(images_NCHW)))
        for block in self.stages:
            x = block(x)
        return spatial_mean(x)


def _grouped(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(channels, 8), channels)
