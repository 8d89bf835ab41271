"""What of a model is trained: everything, the upper layers, the head alone, or low-rank changes.

Adapters are named by a text, such as `lora(rank=4)`; checking a name imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from surpass.calls import find, settings_of
from surpass.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


def full(model: nn.Module) -> None:
    """Train everything."""


def frozen(model: nn.Module, *, hidden: int = 0) -> None:
    """Train the head alone, below it nothing moves: a linear probe (Burns et al. 2023, appendix D.2).

    Of language and image models the states below the head are read once for all heads (`Features`).

    Args:
        model: Changed in place.
        hidden: Rectified units between the states and the classes; 0 for a linear head.

    Raises:
        ConfigError: The model has no head, or its head cannot have hidden units.
    """
    from torch import nn

    _require_hidden(hidden)
    if hidden:
        from surpass.models.heads import with_hidden

        head = getattr(model, "head", None)
        if not isinstance(head, nn.Linear | nn.Sequential):
            raise ConfigError(
                f"frozen(hidden={hidden}): the head of this model is no linear layer; leave hidden out"
            )
        if isinstance(head, nn.Linear):
            model.head = with_hidden(head, hidden)
    _freeze_below_head(model)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("adapter frozen trains the head alone, and this model has none; use lora or full")


def _require_hidden(hidden: object) -> None:
    if type(hidden) is not int or hidden < 0:
        raise ConfigError(f"frozen(hidden={hidden!r}): hidden must be a whole number of at least 0")


def _freeze_below_head(model: nn.Module) -> None:
    model.requires_grad_(False)
    for parameter in model.head_parameters():  # type: ignore[operator]
        parameter.requires_grad_(True)


def last(model: nn.Module, *, layers: int = 1) -> None:
    """Train the head and the last layers; below them, embeddings included, nothing moves.

    Layers are the blocks of a transformer or of a chess policy, and the stages of a convolutional network. A
    norm behind the last of them is trained, too. States below are kept where that pays (`train.below`).

    Args:
        model: Changed in place.
        layers: How many, counted from where the model is read.

    Raises:
        ConfigError: The model has no layers, or fewer.

    Source:
        He et al. 2022 (masked autoencoders), section 4.3, "partial fine-tuning".
    """
    from surpass.models.depth import cut_below

    _require_layers("last", layers, least=1)
    cut, above = cut_below(model, layers, f"adapter last(layers={layers})")
    _freeze_below_head(model)
    for parameter in above:
        parameter.requires_grad_(True)
    model.cut = cut  # type: ignore[assignment]


def _require_layers(name: str, layers: object, *, least: int) -> None:
    if type(layers) is not int or layers < least:
        raise ConfigError(f"{name}(layers={layers!r}): layers must be a whole number of at least {least}")


def lora(model: nn.Module, *, rank: int = 8, alpha: float = 16.0, layers: int = 0) -> None:
    """Train the head, and below it a change of low rank to each weight (Hu et al. 2022).

    The weight of a layer is W + alpha / rank x B A, with B zero at first. Convolutions count as
    matrices of their output channels. Biases stay as they are.

    Args:
        model: Changed in place until `settle`.
        rank: Rank of each change.
        alpha: Scale of each change, before division by the rank.
        layers: Change the last so many layers alone, counted as by `last`; 0 for all, embeddings of
            patches and stems included.

    Raises:
        ConfigError: A value makes no sense, or the model has fewer layers.
    """
    from surpass.models.low_rank import add_low_rank

    _require_shape(rank, alpha, layers)
    above = None
    if layers:
        from surpass.models.depth import cut_below

        model.cut, above = cut_below(model, layers, f"adapter lora(layers={layers})")  # type: ignore[assignment]
    _freeze_below_head(model)
    add_low_rank(model, rank, alpha, above)


def _require_shape(rank: object, alpha: object, layers: object) -> None:
    if type(rank) is not int or rank < 1:
        raise ConfigError(f"lora(rank={rank!r}): rank must be a whole number of at least 1")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
        raise ConfigError(f"lora(alpha={alpha!r}): alpha must be a number above 0 and finite")
    _require_layers("lora", layers, least=0)


ADAPTERS: dict[str, Callable[..., None]] = {
    "full": full,
    "frozen": frozen,
    "last": last,
    "lora": lora,
}


def find_adapter(text: str) -> partial[Any]:
    """The adapter that a text names.

    Raises:
        ConfigError: There is none, it has no such setting, or a setting makes no sense.
    """
    adapter = find(text, ADAPTERS, "adapter")
    if adapter.func is frozen:
        _require_hidden(adapter.keywords.get("hidden", 0))
    if adapter.func is last:
        _require_layers("last", adapter.keywords.get("layers", 1), least=1)
    if adapter.func is lora:
        _require_shape(**(settings_of(lora) | adapter.keywords))
    return adapter


def settle(model: nn.Module) -> None:
    """Make the changes of an adapter part of the weights, so that the model has its own shape again."""
    from surpass.models.low_rank import merge_low_rank

    merge_low_rank(model)
    model.requires_grad_(True)
