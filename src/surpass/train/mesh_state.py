"""Tensors that lie in pieces on several devices, and the same tensors whole.

`DTensor` knows how it lies; all processes of its mesh must ask for it whole at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def is_spread(value: Tensor) -> bool:
    """Whether a tensor lies in pieces."""
    return hasattr(value, "full_tensor")


def entire(value: Tensor) -> Tensor:
    """A tensor as it is or, of one in pieces, the whole on the CPU."""
    if not is_spread(value):
        return value
    whole: Tensor = value.detach().full_tensor().cpu()  # type: ignore[attr-defined]
    return whole


def placed(value: Tensor, like: Tensor) -> Tensor:
    """A new tensor with these values that lies as another does, in memory and on devices."""
    if not is_spread(like):
        return torch.empty_like(like).copy_(value)
    from torch.distributed.tensor import DTensor, Replicate

    mesh = like.device_mesh  # type: ignore[attr-defined]
    local = value.to(like.device, like.dtype)
    # Every process has read the same file: nothing need be sent.
    whole = DTensor.from_local(local, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return whole.redistribute(placements=like.placements)  # type: ignore[attr-defined]


@contextmanager
def gathered(model: Any) -> Iterator[None]:
    """Let all parameters of a model be whole tensors for a while, to be read."""
    spread = [
        (module, name, parameter)
        for module in model.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None and is_spread(parameter)
    ]
    for module, name, parameter in spread:
        module._parameters[name] = nn.Parameter(entire(parameter), requires_grad=parameter.requires_grad)
    try:
        yield
    finally:
        for module, name, parameter in spread:
            module._parameters[name] = parameter


def by_layout(parameters: Iterable[nn.Parameter]) -> list[Any]:
    """Parameters as an optimizer takes them: in groups that lie alike, as one fused step needs."""
    groups: dict[Any, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(getattr(parameter, "device_mesh", None), []).append(parameter)
    return [{"params": group} for group in groups.values()]


def in_order(optimizer: Any, model: Any) -> Sequence[nn.Parameter]:
    """The parameters of an optimizer; of one with several groups, in the order of the model."""
    groups = [group["params"] for group in optimizer.param_groups]
    if len(groups) == 1:
        first: list[nn.Parameter] = groups[0]
        return first
    place = {id(parameter): number for number, parameter in enumerate(model.parameters())}
    return sorted((parameter for group in groups for parameter in group), key=lambda p: place[id(p)])
