"""Where states are read inside a model, on modules made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reference.language import inputs_of, save_tiny, some_texts
from surpass.errors import ConfigError
from surpass.models.families import load_model
from surpass.models.layers import blocks_of, require_layer, states_of_layers
from surpass.models.sources import resolve


class Add(nn.Module):
    """Adds a number; gives a tuple, as blocks of some models do, if told so."""

    def __init__(self, value: float, wrapped: bool = False) -> None:
        super().__init__()
        self.value, self.wrapped, self.runs = value, wrapped, 0

    def forward(self, state: Tensor) -> Any:
        self.runs += 1
        return (state + self.value, None) if self.wrapped else state + self.value


class Body(nn.Module):
    def __init__(self, wrapped: bool = False) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_hidden_layers=3)
        self.others = nn.ModuleList([Add(100.0)])
        self.layers = nn.ModuleList([Add(1.0, wrapped), Add(10.0, wrapped), Add(100.0, wrapped)])

    def forward(self) -> Tensor:
        state = torch.zeros(2)
        for layer in self.layers:
            given = layer(state)
            state = given[0] if isinstance(given, tuple) else given
        return -state


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("layers", "expected", "runs"),
    [
        ([None], {None: -111.0}, [1, 1, 1]),
        ([1], {1: 1.0}, [1, 0, 0]),
        ([2, 1], {1: 1.0, 2: 11.0}, [1, 1, 0]),
        ([3], {3: 111.0}, [1, 1, 1]),
        ([2, None, 2], {2: 11.0, None: -111.0}, [1, 1, 1]),
    ],
)
def test_states_of_layers(wrapped, layers, expected, runs):
    body = Body(wrapped)
    seen = states_of_layers(list(body.layers), layers, body)
    assert {layer: float(state[0]) for layer, state in seen.items()} == expected
    assert [layer.runs for layer in body.layers] == runs
    assert not any(layer._forward_hooks for layer in body.layers)


def test_hooks_are_gone_after_an_error():
    body = Body()

    def fail() -> Tensor:
        body.layers[0](torch.zeros(2))
        raise ValueError("out of memory")

    with pytest.raises(ValueError, match="out of memory"):
        states_of_layers(list(body.layers), [1, 2], fail)
    assert not any(layer._forward_hooks for layer in body.layers)


def test_blocks_are_the_list_that_is_as_long_as_the_model_is_deep():
    body = Body()
    assert blocks_of(body) == list(body.layers)
    body.config.num_hidden_layers = 5
    with pytest.raises(ConfigError, match="Body has no list of 5 blocks; leave layer= out of its name"):
        blocks_of(body)


@pytest.mark.parametrize("layer", [0, -1, 4])
def test_no_such_layer(layer):
    with pytest.raises(ConfigError, match=f"a Body has layers 1 to 3, and layer={layer} is none of them"):
        require_layer("a Body", layer, 3)
    for fine in (None, 1, 3):
        require_layer("a Body", fine, 3)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_model_that_is_not_so_deep(tmp_path, kind):
    name = f"dir:{save_tiny(tmp_path / kind, kind)}(layer=3)"
    with pytest.raises(ConfigError, match="has layers 1 to 2, and layer=3 is none of them"):
        load_model(resolve(name), inputs_of(some_texts(2)))
