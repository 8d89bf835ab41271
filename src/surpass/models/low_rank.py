"""Low-rank changes to weights, as a parametrization that torch computes and removes.

PEFT would do the same, but imports transformers into every run of a chess policy (1.5 seconds and more).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """weight + scale x (up @ down), in the shape of the weight.

    Shape suffixes: O output channels, I inputs of one output, R rank.

    Args:
        weight: What is changed: (O, I...), or (I, O) where it is `transposed`.
        rank: Rank of the change.
        alpha: Scale of the change, before division by the rank.
        transposed: Whether inputs come first.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float, *, transposed: bool = False) -> None:
        super().__init__()
        self.transposed = transposed
        weight = weight.T if transposed else weight
        num_outputs, num_inputs = len(weight), weight[0].numel()
        self.scale = alpha / rank
        self.down_RI = nn.Parameter(torch.randn(rank, num_inputs) * num_inputs**-0.5)
        self.up_OR = nn.Parameter(torch.zeros(num_outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight."""
        change = self.up_OR @ self.down_RI
        change = change.T if self.transposed else change.view(weight.shape)
        return weight + self.scale * change


def add_low_rank(
    model: nn.Module, rank: int, alpha: float, among: Iterable[nn.Parameter] | None = None
) -> None:
    """Parametrize the frozen weights of all linear and convolution layers, or of those `among` these."""
    chosen = None if among is None else {id(parameter) for parameter in among}
    for layer in [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d) or _is_transposed(m)]:
        weight: Tensor = layer.weight  # type: ignore[assignment]
        if not weight.requires_grad and (chosen is None or id(weight) in chosen):
            change = LowRank(weight, rank, alpha, transposed=_is_transposed(layer))
            parametrize.register_parametrization(layer, "weight", change, unsafe=True)


def _is_transposed(layer: nn.Module) -> bool:
    """Whether it is a linear layer of the GPT-2 of transformers, which need not be imported to ask."""
    return type(layer).__name__ == "Conv1D" and type(layer).__module__.startswith("transformers.")


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state that a model has once its changes are merged; the model stays as it is."""
    state: dict[str, Tensor] = model.state_dict()
    for name, layer in model.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            prefix = f"{name}." if name else ""
            for entry in [entry for entry in state if entry.startswith(f"{prefix}parametrizations.weight.")]:
                del state[entry]
            state[f"{prefix}weight"] = layer.weight.detach()
    return state


def merge_low_rank(model: nn.Module) -> None:
    """Replace each parametrized weight by its value."""
    for layer in list(model.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
