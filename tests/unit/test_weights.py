from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.training import averaged
from surpass.train.weights import Average


def walk(num_steps: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).standard_normal((num_steps, 3)).cumsum(0))


def average_of(walk: list[np.ndarray], decay: float, start: int = 0) -> tuple[Average, Tensor]:
    parameter = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    average = Average([parameter], decay)
    follow(average, parameter, walk, start)
    return average, parameter


def follow(average: Average, parameter: Tensor, walk: list[np.ndarray], start: int = 0) -> None:
    for step, weight in enumerate(walk, start):
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(weight))
        average.update(step)


@pytest.mark.parametrize("num_steps", [0, 1, 2, 30])
@pytest.mark.parametrize("decay", [0.05, 0.5, 0.9, 0.999])
def test_equals_the_slow_twin(num_steps, decay):
    average, parameter = average_of(walk(num_steps), decay)
    average.apply()
    expected = averaged(np.zeros(3), walk(num_steps), decay)
    np.testing.assert_allclose(parameter.detach(), expected, atol=1e-12, rtol=0)
    assert parameter.requires_grad


def test_beginnings_do_not_linger():
    """After n steps the start has weight 1 / C(n + 9, 9) while the decay is slow, 2e-13 here."""
    start = torch.nn.Parameter(torch.full((3,), 1e6, dtype=torch.float64))
    average = Average([start], 0.9999)
    follow(average, start, [np.ones(3)] * 100)
    average.apply()
    np.testing.assert_allclose(start.detach(), np.ones(3), atol=1e-4)


def test_for_a_while():
    average, parameter = average_of(walk(5), 0.9)
    before = parameter.detach().clone()
    with average.in_place():
        np.testing.assert_allclose(parameter.detach(), averaged(np.zeros(3), walk(5), 0.9), atol=1e-12)
    assert torch.equal(parameter, before)
    average.apply()
    np.testing.assert_allclose(parameter.detach(), averaged(np.zeros(3), walk(5), 0.9), atol=1e-12)


@pytest.mark.parametrize("cut", [0, 1, 4, 8])
def test_goes_on_from_its_state_to_the_same_bits(cut):
    steps = walk(8)
    whole, whole_parameter = average_of(steps, 0.9)
    begun, _ = average_of(steps[:cut], 0.9)
    resumed, parameter = average_of([], 0.9)
    resumed.load({name: value.clone() for name, value in begun.state().items()})
    follow(resumed, parameter, steps[cut:], cut)
    for average in (whole, resumed):
        average.apply()
    assert torch.equal(parameter, whole_parameter)


def test_each_parameter_its_own():
    one, two = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.ones(2, 3, 2, 2))
    two.data = two.data.to(memory_format=torch.channels_last)
    average = Average([one, two], 0.5)
    average.update(0)
    assert list(average.state()) == ["ema.0", "ema.1"]
    assert [value.shape for value in average.state().values()] == [one.shape, two.shape]
    average.apply()
    assert torch.equal(one, torch.zeros(2))
    assert torch.equal(two, torch.ones(2, 3, 2, 2))
