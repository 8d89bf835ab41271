"""A normalisation with fixed statistics as a part of the convolution before it."""

from __future__ import annotations

from torch import Tensor, nn


def merged(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weights and biases of a convolution without biases that gives what the two give, in evaluation."""
    assert convolution.bias is None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale_O = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return convolution.weight * scale_O[:, None, None, None], norm.bias - norm.running_mean * scale_O
