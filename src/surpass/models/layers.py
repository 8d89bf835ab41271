"""The states of a model at several of its layers, in one pass that goes no further than it must.

Layer k is what the k-th block gives, from 1, before any norm that follows the last block; no layer means
the end of the model, with that norm. Layer 0 is what the first block is given.

Shape suffixes: N texts or images, T tokens, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from surpass.errors import ConfigError


class _Enough(Exception):
    """All that was asked for has been seen."""


def blocks_of(body: nn.Module) -> list[nn.Module]:
    """The blocks of a transformer in their order: the first list of as many modules as its layers.

    Raises:
        ConfigError: There is no such list.
    """
    count = _num_layers(body)
    for module in body.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    raise ConfigError(f"{type(body).__name__} has no list of {count} blocks; leave layer= out of its name")


def _num_layers(body: Any) -> int:
    config = body.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(config.num_hidden_layers)


def require_layer(name: str, layer: int | None, num_layers: int) -> None:
    """Refuse a layer that a model does not have.

    Raises:
        ConfigError: Names it, and those that there are.
    """
    if layer is not None and not 1 <= layer <= num_layers:
        raise ConfigError(f"{name} has layers 1 to {num_layers}, and layer={layer} is none of them")


def states_of_layers(
    blocks: list[nn.Module], layers: Iterable[int | None], run: Callable[[], Tensor]
) -> dict[int | None, Tensor]:
    """What blocks give during one pass, which ends behind the last that is asked for.

    Args:
        blocks: Of the model, in the order in which they run.
        layers: Numbers of blocks from 1, 0 for what the first is given, and None for what `run` returns.
        run: Makes the pass.
    """
    wanted = set(layers)
    seen: dict[int | None, Tensor] = {}
    deepest = None if None in wanted else max(layer for layer in wanted if layer is not None)
    enough = _Enough()

    def found(layer: int, states: Tensor) -> None:
        seen[layer] = states
        if layer == deepest:
            raise enough

    def watch(layer: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, given: Any) -> None:
            found(layer, given[0] if isinstance(given, tuple) else given)

        return hook

    def first(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        found(0, given[0] if given else named["hidden_states"])

    with ExitStack() as hooks:
        for layer in wanted:
            if layer == 0:
                hooks.callback(blocks[0].register_forward_pre_hook(first, with_kwargs=True).remove)
            elif layer is not None:
                hooks.callback(blocks[layer - 1].register_forward_hook(watch(layer)).remove)
        try:
            seen[None] = run()
        except _Enough as end:
            if end is not enough:  # of a pass around this one
                raise
    return seen
