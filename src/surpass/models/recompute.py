"""Layers that keep only what they were given, and compute the rest again in the backward pass.

Not by the switch of transformers, which changes its name and works only where each model has asked for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from surpass.errors import ConfigError


class SavesMemory(nn.Module):
    """A model on a `body` whose layers can compute their activations twice."""

    body: Any
    _saves_memory = False

    def save_memory(self) -> None:
        """From now on, compute activations twice in training rather than keep them.

        Raises:
            ConfigError: The body has no layers.
        """
        recompute_layers(self.body)
        self._saves_memory = True

    def _weights_computed_once(self) -> AbstractContextManager[None]:
        """For all passes, weights that an adapter changes; layers that are computed again need their own."""
        return nullcontext() if self._saves_memory else parametrize.cached()


def recompute_layers(body: nn.Module) -> None:
    """Let the layers of a model's outermost stacks keep their inputs alone; a second time does nothing.

    The model must draw nothing at random.

    Raises:
        ConfigError: It has no stack of layers.
    """
    stacks = [module for module in body.modules() if isinstance(module, nn.ModuleList)]
    inner = {id(part) for stack in stacks for part in stack.modules() if part is not stack}
    layers = [layer for stack in stacks if id(stack) not in inner for layer in stack]
    if not layers:
        raise ConfigError(
            f"{type(body).__name__} has no stack of layers, so none could be computed twice; "
            "run without saving memory"
        )
    for layer in layers:
        if not isinstance(layer.forward, partial):
            layer.forward = partial(_recomputed, layer.forward)


def _recomputed(forward: Callable[..., Any], *given: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*given, **named)
    return checkpoint(forward, *given, use_reentrant=False, preserve_rng_state=False, **named)
