"""AdamW for one process against torch's own."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from surpass.train.adamw import AdamW

RATES = [0.1, 0.03, 0.02, 0.1, 0.05, 0.07]


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 2), nn.Linear(2, 2))
    return layers.to(memory_format=torch.channels_last)


def gradients(layers: nn.Module, step: int, missing: set[int]) -> None:
    """Made-up gradients at a step; some parameters have none."""
    random = torch.Generator().manual_seed(step)
    for number, parameter in enumerate(layers.parameters()):
        value = torch.randn(parameter.shape, generator=random)
        parameter.grad = None if number in missing else value.contiguous(memory_format=layout(parameter))


def layout(parameter: torch.Tensor) -> torch.memory_format:
    return torch.channels_last if parameter.dim() == 4 else torch.contiguous_format


@pytest.mark.parametrize(
    "missing",
    [
        {},
        {0: {1}, 1: {1}},  # one that begins late
        {1: {0, 2}, 3: {0}, 4: {2}},  # some that pause, and come to counts of their own
        {0: {0, 1, 2}, 1: {3, 4, 5}, 2: {0, 1, 2, 3, 4, 5}},  # in turns, and a step without any
    ],
)
@pytest.mark.parametrize("resumed", [False, True])
def test_as_torchs_to_the_bit(missing, resumed):
    ours, theirs = model(), model()
    mine = AdamW(list(ours.parameters()), lr=0.1, weight_decay=0.01)
    plain = torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.01, fused=True)
    for step, rate in enumerate(RATES):
        if resumed and step == 3:
            state = {name: value.clone() for name, value in ours.state_dict().items()}
            places = list(ours.parameters())
            moments = [deepcopy(mine.state.get(parameter)) for parameter in places]
            ours = model()
            ours.load_state_dict(state)
            mine = AdamW(list(ours.parameters()), lr=0.1, weight_decay=0.01)
            pairs = zip(ours.parameters(), moments, strict=True)
            mine.restore({parameter: each for parameter, each in pairs if each is not None})
        for layers, optimizer in ((ours, mine), (theirs, plain)):
            gradients(layers, step, missing.get(step, set()))
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
    for value, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(value, expected)
        if expected in plain.state:
            for name, wanted in plain.state[expected].items():
                assert torch.equal(mine.state[value][name], wanted), name


def test_what_pauses_keeps_its_count():
    layers = model()
    optimizer = AdamW(list(layers.parameters()), lr=0.1, weight_decay=0.0)
    for step in range(4):
        gradients(layers, step, {0} if step in (1, 2) else set())
        optimizer.step()
    first, *others = layers.parameters()
    assert optimizer.state[first]["step"] == 2
    assert all(optimizer.state[parameter]["step"] == 4 for parameter in others)


def test_moments_that_lie_otherwise_belong_to_the_same_weights():
    one, other = model(), model()
    optimizers = [AdamW(list(layers.parameters()), lr=0.1, weight_decay=0.0) for layers in (one, other)]
    for step in range(4):
        if step == 2:
            state = optimizers[1].state
            assert not next(iter(state.values()))["exp_avg"].is_contiguous()
            optimizers[1].restore(
                {
                    parameter: {name: value.contiguous() for name, value in values.items()}
                    for parameter, values in state.items()
                }
            )
        for layers, optimizer in zip((one, other), optimizers, strict=True):
            gradients(layers, step, set())
            optimizer.step()
    for value, expected in zip(other.parameters(), one.parameters(), strict=True):
        assert torch.equal(value, expected)
        for name, wanted in optimizers[0].state[expected].items():
            assert torch.equal(optimizers[1].state[value][name], wanted)
