"""Convolutional networks in plain torch, below their classifier: they give a state of each image.

Names of weights are those of the files that exist: torchvision's for MobileNetV2, AlexNet and ResNet-50.
Batch normalisation is there as pretraining left it, and always used with its own statistics (`vision`).

Shape suffixes: N images, C channels, H height, W width, D features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvNet(nn.Module):
    """A network whose state of an image is, but for AlexNet, the mean of its last map."""

    @property
    def blocks(self) -> list[nn.Module]:
        """What `layer=` counts: the last module of each stage; what it gives is (N, C, H, W)."""
        raise NotImplementedError

    @property
    def first(self) -> nn.Module:
        """The first module of the first stage, where no block is that."""
        return self.blocks[0]

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """The state of each image, float32 (N, D)."""
        raise NotImplementedError


def spatial_mean(maps_NCHW: Tensor) -> Tensor:
    """The mean over all places, (N, C)."""
    return maps_NCHW.mean(dim=(2, 3))


def cut(maps: Tensor) -> Tensor:
    """Units cut at 0 and 6, in place where no gradient needs what was there."""
    return functional.relu6(maps, inplace=not torch.is_grad_enabled())


def rectified(maps: Tensor) -> Tensor:
    """Units cut at 0, in place where no gradient needs what was there."""
    return functional.relu(maps, inplace=not torch.is_grad_enabled())


def added(given: Tensor, beside: Tensor) -> Tensor:
    """Their sum, in place of the first where no gradient is wanted."""
    return given + beside if torch.is_grad_enabled() else given.add_(beside)


class Cut(nn.Module):
    """`cut` as a module."""

    def forward(self, maps: Tensor) -> Tensor:
        """Of the same shape."""
        return cut(maps)


def _normed(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, normalisation, units that are cut at 0 and 6."""
    convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), Cut())


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; added to the input where the shapes allow it."""

    def __init__(self, inside: int, outside: int, stride: int, widening: int) -> None:
        super().__init__()
        wide = inside * widening
        widen = [] if widening == 1 else [_normed(inside, wide, 1)]
        self.conv = nn.Sequential(
            *widen,
            _normed(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self._adds = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps."""
        given: Tensor = self.conv(x)
        return added(given, x) if self._adds else given


class MobileNetV2(ConvNet):
    """MobileNetV2 of width 1, seven stages of inverted residuals (Sandler et al. 2018, table 2)."""

    stages = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    """Of each stage: widening, channels, repeats, stride of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleList([_normed(3, 32, 3, 2)])
        channels, self._ends = 32, list[int]()
        for widening, outside, repeats, stride in self.stages:
            for repeat in range(repeats):
                block = InvertedResidual(channels, outside, 1 if repeat else stride, widening)
                self.features.append(block)
                channels = outside
            self._ends.append(len(self.features) - 1)
        self.features.append(_normed(channels, 1280, 1))

    @property
    def blocks(self) -> list[nn.Module]:
        """The last of each stage."""
        return [self.features[end] for end in self._ends]

    @property
    def first(self) -> nn.Module:
        """Behind the stem."""
        return self.features[1]

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """The mean of the last map, (N, 1280)."""
        x = images_NCHW
        for part in self.features:
            x = part(x)
        return spatial_mean(x)


class AlexNet(ConvNet):
    """AlexNet in one column, five convolutions and two dense layers (Krizhevsky 2014)."""

    def __init__(self) -> None:
        super().__init__()
        shapes = (
            (3, 64, 11, 4, 2),
            (64, 192, 5, 1, 2),
            (192, 384, 3, 1, 1),
            (384, 256, 3, 1, 1),
            (256, 256, 3, 1, 1),
        )
        parts: list[nn.Module] = []
        self._ends = list[int]()
        for number, (inside, outside, kernel, stride, padding) in enumerate(shapes):
            parts += [nn.Conv2d(inside, outside, kernel, stride, padding), nn.ReLU()]
            parts += [nn.MaxPool2d(3, 2)] if number in (0, 1, 4) else []
            self._ends.append(len(parts) - 1)
        self.features = nn.ModuleList(parts)
        # The dropout of its training is left out; places in the list are as in its file.
        self.classifier = nn.ModuleDict({"1": nn.Linear(256 * 6 * 6, 4096), "4": nn.Linear(4096, 4096)})

    @property
    def blocks(self) -> list[nn.Module]:
        """The convolutions with what follows each."""
        return [self.features[end] for end in self._ends]

    @property
    def first(self) -> nn.Module:
        """There is no stem."""
        return self.features[0]

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """The last hidden layer, (N, 4096)."""
        x = images_NCHW
        for part in self.features:
            x = part(x)
        x = functional.adaptive_avg_pool2d(x, 6).flatten(1)
        for layer in self.classifier.values():
            x = functional.relu(layer(x))
        return x


class Bottleneck(nn.Module):
    """Three convolutions, the second with the stride, added to the input or to its projection."""

    def __init__(self, inside: int, middle: int, stride: int) -> None:
        super().__init__()
        outside = 4 * middle
        self.conv1 = nn.Conv2d(inside, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.downsample = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps to maps."""
        beside = x if self.downsample is None else self.downsample(x)
        hidden = rectified(self.bn1(self.conv1(x)))
        hidden = rectified(self.bn2(self.conv2(hidden)))
        return rectified(added(self.bn3(self.conv3(hidden)), beside))


class ResNet50(ConvNet):
    """ResNet-50 with the stride in the 3 x 3 convolutions, four stages (He et al. 2016; torchvision)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for number, repeats in enumerate((3, 4, 6, 3)):
            middle = 64 * 2**number
            stage = nn.ModuleList()
            for repeat in range(repeats):
                stage.append(Bottleneck(channels, middle, 1 if repeat or not number else 2))
                channels = 4 * middle
            setattr(self, f"layer{number + 1}", stage)

    @property
    def _stages(self) -> list[Any]:
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    @property
    def blocks(self) -> list[nn.Module]:
        """The last of each stage."""
        return [stage[-1] for stage in self._stages]

    @property
    def first(self) -> nn.Module:
        """Behind the stem."""
        stage = self._stages[0]
        module: nn.Module = stage[0]
        return module

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """The mean of the last map, (N, 2048)."""
        x = rectified(self.bn1(self.conv1(images_NCHW)))
        x = functional.max_pool2d(x, 3, 2, 1)
        for stage in self._stages:
            for block in stage:
                x = block(x)
        return spatial_mean(x)


@torch.no_grad()
def multiply_adds(network: nn.Module, heads: Sequence[nn.Module], pixels: int) -> int:
    """Those of convolutions and dense layers for one image of so many pixels a side, and of the heads."""
    total = 0

    def count(module: nn.Module, _inputs: Any, given: Tensor) -> None:
        nonlocal total
        places = math.prod(given.shape[2:]) if isinstance(module, nn.Conv2d) else 1
        weight = module.weight
        assert isinstance(weight, Tensor)
        total += weight.numel() * places

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    try:
        network(torch.zeros(1, 3, pixels, pixels, device=next(network.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return total + sum(
        parameter.numel() for head in heads for parameter in head.parameters() if parameter.dim() > 1
    )
