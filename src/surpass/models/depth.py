"""Models whose lower layers stand still: what is trained above them, and states behind them that are kept.

A cut at layer k leaves blocks 1 to k as they are, and all that they read: embeddings, the stem of a network.
What they give is then the same in every epoch, for every fit of the same pretrained model and for their
labels. `Below` holds it, and `entered` runs what lies above.

Shape suffixes: M tokens of all texts, N examples, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from surpass.errors import ConfigError

Rows = npt.NDArray[np.int64]


class Cut(NamedTuple):
    """Between the layers that stand still and those that are trained.

    Attributes:
        layer: How many blocks stand still; what the last of them gives is what lies above reads.
        extras: What such a block gives beside its states; None where it gives states alone.
        skips: Whether lower blocks give what they are given the shape of, so that they can be left out.
        weights: Of matrices and convolutions below.
    """

    layer: int
    extras: tuple[Any, ...] | None
    skips: bool
    weights: int

    def given(self, states: Tensor) -> Any:
        """States in the form in which a block gives them."""
        return states if self.extras is None else (states, *self.extras)


@dataclass(frozen=True)
class Below:
    """What the layers below a cut give for all examples.

    Attributes:
        cut: The cut.
        values: Float32: of texts the states of all tokens, one text behind the other, (M, D); of maps
            (N, H, W, C); else (N, ...).
        ends_N: Of texts where each ends, int64; None elsewhere.
        dtype: As a block gives them.
        mapped: Whether the values lie in a file.
    """

    cut: Cut
    values: Tensor
    ends_N: Rows | None = None
    dtype: torch.dtype = torch.float32
    mapped: bool = False

    def places(self, rows: Rows) -> Tensor:
        """Where the states of some examples are, or of the tokens of some texts, in their order."""
        if self.ends_N is None:
            return torch.from_numpy(rows)
        ends = self.ends_N[rows]
        sizes = ends - np.where(rows > 0, self.ends_N[rows - 1], 0)
        return torch.from_numpy(np.repeat(ends - sizes.cumsum(), sizes) + np.arange(sizes.sum()))

    def of(self, rows: Rows, device: torch.device | str = "cpu") -> Tensor:
        """The states of some examples, or of the tokens of some texts, one text behind the other."""
        return as_given(self.values[self.places(rows)]).to(device, self.dtype)


def as_kept(states: Tensor) -> Tensor:
    """States as they are kept: of maps (N, C, H, W), which networks have channels last, (N, H, W, C)."""
    return states.permute(0, 2, 3, 1) if states.dim() == 4 else states


def as_given(kept: Tensor) -> Tensor:
    """The other way."""
    return kept.permute(0, 3, 1, 2) if kept.dim() == 4 else kept


class _Pass(NamedTuple):
    """What a block was given, and what it gave."""

    given: Tensor
    gave: Any

    @property
    def states(self) -> Tensor:
        states: Tensor = self.gave[0] if isinstance(self.gave, tuple) else self.gave
        return states


def cut_below(model: Any, layers: int, who: str) -> tuple[Cut, list[nn.Parameter]]:
    """Where to cut a model so that so many layers are above, and the parameters there, without the head's.

    One made-up example goes through the model: below is whatever the states at the cut were computed from,
    above what else the states that the head reads were computed from.

    Args:
        model: As pretrained.
        layers: How many blocks lie above.
        who: Asks, for messages.

    Raises:
        ConfigError: The model has no layers, or not so many.
    """
    blocks = blocks_read(model, who)
    if layers > len(blocks):
        raise ConfigError(
            f"{who}: this model has {len(blocks)} layers, so layers must be from 1 to {len(blocks)}; say "
            "fewer, or train everything with adapter=full"
        )
    layer = len(blocks) - layers
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(True)
    with torch.enable_grad():
        passes, end = _watched(blocks_at(model, blocks, layer), model.tried)
    for parameter, before in zip(model.parameters(), wanted, strict=True):
        parameter.requires_grad_(before)
    here = passes[-1].states if layer else passes[0].given
    below = _reached(here)
    head = {id(parameter) for parameter in model.head_parameters()}
    above = _reached(end)
    trained = [
        parameter
        for parameter in model.parameters()
        if id(parameter) in above and id(parameter) not in below | head
    ]
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    weights = sum(
        parameter.numel()
        for parameter in model.parameters()
        if id(parameter) in below - tables and parameter.dim() > 1
    )
    gave = passes[-1].gave
    extras = None
    if layer and isinstance(gave, tuple):
        extras = tuple(None if isinstance(each, Tensor) else each for each in gave[1:])
    skips = all(each.given.shape == each.states.shape for each in passes)
    return Cut(layer, extras, skips, weights), trained


def blocks_read(model: Any, who: str) -> list[nn.Module]:
    """The blocks of a model up to the one behind which it is read.

    Raises:
        ConfigError: It has none.
    """
    blocks: list[nn.Module] = list(getattr(model, "blocks", ())) if hasattr(model, "tried") else []
    if not blocks or not all(isinstance(block, nn.Module) for block in blocks):
        raise ConfigError(
            f"{who} counts the layers of a model, and a {type(model).__name__} has none to count; leave "
            "layers out, or take adapter=frozen or full"
        )
    place = getattr(model, "reading", None) or getattr(model, "read_out", None)
    return blocks[: None if place is None else place.layer]


def blocks_at(model: Any, blocks: list[nn.Module], layer: int) -> list[nn.Module]:
    """The blocks up to a layer; at layer 0 the one module that reads what lies below all."""
    return blocks[:layer] if layer else [getattr(model, "first", blocks[0])]


def _watched(blocks: list[nn.Module], run: Callable[[], Tensor]) -> tuple[list[_Pass], Tensor]:
    passes: list[_Pass] = []

    def watch(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], gave: Any) -> None:
        passes.append(_Pass(given[0] if given else named["hidden_states"], gave))

    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_hook(watch, with_kwargs=True).remove)
        end = run()
    return passes, end


def _reached(states: Tensor) -> set[int]:
    """The ids of the parameters from which states were computed."""
    seen: set[Any] = set()
    found: set[int] = set()
    waiting = [states.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [before for before, _ in node.next_functions]
    return found


@contextmanager
def entered(blocks: list[nn.Module], cut: Cut, states: Tensor) -> Iterator[None]:
    """Let what lies above a cut read these states, whatever the model is given meanwhile.

    Blocks below give back what they are given, or, where shapes change on the way, run on it.

    Args:
        blocks: Up to the cut, as `blocks_at` has them.
        cut: The cut.
        states: As `Below.of` has them, of all that the model is to read.
    """
    with ExitStack() as undo:
        if not cut.layer:
            undo.callback(blocks[0].register_forward_pre_hook(_replaced(states), with_kwargs=True).remove)
        for number, block in enumerate(blocks[: cut.layer], 1):
            if number == cut.layer:
                gave = cut.given(states)
                undo.callback(_put, block, block.__dict__.get("forward"))
                block.forward = lambda *_given, gave=gave, **_named: gave
            elif cut.skips:
                undo.callback(_put, block, block.__dict__.get("forward"))
                block.forward = lambda first=None, *_given, hidden_states=None, **_named: cut.given(
                    hidden_states if first is None else first
                )
        yield


def _replaced(states: Tensor) -> Callable[..., Any]:
    def hook(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if given:
            return (states, *given[1:]), named
        return given, named | {"hidden_states": states}

    return hook


def _put(block: nn.Module, forward: Any) -> None:
    """Give a block back what it ran, its class's own where that is None."""
    del block.forward
    if forward is not None:
        block.forward = forward
