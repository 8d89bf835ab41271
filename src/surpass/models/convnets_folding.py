"""Batch normalisation computed into the convolution before it, while the weights stay as they are.

A normalisation with fixed statistics is a multiply-add of each channel, and so is what it makes of the
weights of the convolution that it follows. A pass then reads and writes each map once less, and is up to
twice as fast; its states differ by rounding, 1e-5 of the largest.

Shape suffixes: N images, O and I channels out and in, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from surpass.models.convnets import ConvNet
from surpass.models.convnets_lite import SameConv2d
from surpass.models.normalising import merged


@contextmanager
def folded(network: nn.Module) -> Iterator[None]:
    """Run convolutions with the weights that their normalisations make of them.

    Inside, the network is run without gradient, and no weight changes. What is no `ConvNet` stays as it is.
    """
    with ExitStack() as stack:
        for convolution, norm in pairs(network) if isinstance(network, ConvNet) else ():
            with torch.no_grad():
                weight_OIHW, bias_O = merged(convolution, norm)
            stack.enter_context(_runs_as(convolution, partial(_convolved, convolution, weight_OIHW, bias_O)))
            stack.enter_context(_runs_as(norm, _as_it_is))
        yield


def pairs(network: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions, each with the normalisation that is the next part of the same module."""
    return [
        (first, second)
        for module in network.modules()
        for first, second in pairwise(module.children())
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
    ]


def _convolved(layer: nn.Conv2d, weight_OIHW: Tensor, bias_O: Tensor, x: Tensor) -> Tensor:
    if isinstance(layer, SameConv2d):
        return layer.convolve(x, weight_OIHW, bias_O)
    return functional.conv2d(
        x, weight_OIHW, bias_O, layer.stride, layer.padding, layer.dilation, layer.groups
    )


def _as_it_is(x: Tensor) -> Tensor:
    return x


@contextmanager
def _runs_as(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before
