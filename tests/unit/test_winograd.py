"""Convolutions by Winograd's minimal filtering, against direct ones in float64."""

import numpy as np
import pytest
import torch

from surpass.models import direct, winograd
from surpass.models.winograd import convolve, convolve_backward, filters

SHAPES = [(1, 1, 1), (3, 4, 4), (2, 31, 8), (5, 7, 3), (32, 32, 32)]
ROUNDING, OF_WEIGHTS = 3e-6, 6e-6


def directly(boards, weight, bias):
    """Square by square, tap by tap; boards (8, 8, N, C)."""
    output = np.zeros((*boards.shape[:3], len(bias)))
    for rank in range(8):
        for file in range(8):
            output[rank, file] = bias
            for up in (-1, 0, 1):
                for right in (-1, 0, 1):
                    if 0 <= rank + up < 8 and 0 <= file + right < 8:
                        tap = weight[:, :, up + 1, right + 1]
                        output[rank, file] += boards[rank + up, file + right] @ tap.T
    return output


def some(count, inputs, outputs):
    random = np.random.default_rng(0)
    weight = random.normal(size=(outputs, inputs, 3, 3)) / 3 / inputs**0.5
    return random.normal(size=(8, 8, count, inputs)), weight, random.normal(size=outputs)


def single(value):
    return torch.from_numpy(np.asarray(value)).float()


def convolved(boards, weight, bias):
    filter_POC = filters(single(weight))
    output, input_PTC = convolve(single(boards).flatten(0, 2), filter_POC, single(bias))
    return output.view(8, 8, boards.shape[2], len(bias)), input_PTC, filter_POC


def furthest(ours, exact):
    """As a part of the largest value."""
    exact = np.asarray(exact)
    return np.abs(ours.double().numpy() - exact).max() / np.abs(exact).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_output(shape):
    boards, weight, bias = some(*shape)
    output, *_ = convolved(boards, weight, bias)
    assert furthest(output, directly(boards, weight, bias)) < ROUNDING


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients(shape, layout):
    boards, weight, bias = some(*shape)
    laid = single(weight).contiguous(memory_format=layout)
    output, input_PTC = convolve(single(boards).flatten(0, 2), filters(laid), single(bias))
    slope = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    by_input, by_weight, by_bias = convolve_backward(slope, input_PTC, filters(laid))

    wanted = [torch.from_numpy(each).requires_grad_() for each in (boards, weight, bias)]
    exact = torch.conv2d(wanted[0].permute(2, 3, 0, 1), *wanted[1:], padding=1)
    exact.backward(slope.double().view(8, 8, shape[0], shape[2]).permute(2, 3, 0, 1))
    found = by_input.view(boards.shape), by_weight, by_bias
    for ours, theirs, bound in zip(found, wanted, (ROUNDING, OF_WEIGHTS, ROUNDING), strict=True):
        assert furthest(ours, theirs.grad) < bound
    assert convolve_backward(slope, input_PTC, filters(laid), below=False)[0] is None


def test_each_square_and_tap_alone():
    """Whatever is linear in both is right if it is for ones; these numbers float32 holds nearly exactly."""
    boards = np.eye(64).reshape(8, 8, 64, 1)
    for tap in range(9):
        weight = np.eye(9)[tap].reshape(1, 1, 3, 3)
        output, *_ = convolved(boards, weight, np.zeros(1))
        np.testing.assert_allclose(output.numpy(), directly(boards, weight, np.zeros(1)), atol=1e-6)


def test_a_bias_is_the_same_on_all_squares():
    output, *_ = convolved(np.zeros((8, 8, 2, 3)), np.zeros((4, 3, 3, 3)), np.arange(4.0))
    assert torch.equal(output, torch.arange(4.0).expand(8, 8, 2, 4))


def test_no_boards():
    output, input_PTC, filter_POC = convolved(np.zeros((8, 8, 0, 3)), np.ones((4, 3, 3, 3)), np.ones(4))
    assert output.shape == (8, 8, 0, 4)
    by_input, by_weight, by_bias = convolve_backward(output.flatten(0, 2), input_PTC, filter_POC)
    assert by_input.shape == (0, 3)
    assert not by_weight.any()
    assert not by_bias.any()


def test_rounding_is_some_times_that_of_a_direct_convolution():
    """As the page of the module says: as a part of the root mean square."""
    boards, weight, bias = some(256, 32, 32)
    exact = torch.from_numpy(directly(boards, weight, bias))
    librarys = torch.conv2d(single(boards).permute(2, 3, 0, 1), single(weight), single(bias), padding=1)
    output, *_ = convolved(boards, weight, bias)

    def rounding(found):
        return float((found.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt())

    assert rounding(librarys.permute(2, 3, 0, 1)) < 3e-7
    assert 4e-7 < rounding(output) < 1.2e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_the_convolution_librarys(shape):
    """With gradients, on boards."""
    boards, weight, bias = some(*shape)
    output, seen = direct.convolve(single(boards).permute(2, 3, 0, 1), single(weight), single(bias))
    assert furthest(output.permute(2, 3, 0, 1), directly(boards, weight, bias)) < 1e-6

    wanted = [torch.from_numpy(each).requires_grad_() for each in (boards, weight, bias)]
    exact = torch.conv2d(wanted[0].permute(2, 3, 0, 1), *wanted[1:], padding=1)
    slope = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    exact.backward(slope.double())
    by_input, *found = direct.convolve_backward(slope, seen, single(weight))
    for ours, theirs in zip((by_input.permute(2, 3, 0, 1), *found), wanted, strict=True):
        assert furthest(ours, theirs.grad) < 2e-6
    assert direct.convolve_backward(slope, seen, single(weight), below=False)[0] is None


@pytest.mark.parametrize(
    ("mkl", "vendor", "wanted"),
    [(True, "GenuineIntel", True), (True, "AuthenticAMD", False), (False, "GenuineIntel", False)],
)
def test_it_pays_on_intels_with_mkl(monkeypatch, tmp_path, mkl, vendor, wanted):
    processors = tmp_path / "cpuinfo"
    processors.write_text(f"processor : 0\nvendor_id : {vendor}\n")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    monkeypatch.setattr(winograd, "_PROCESSORS", processors)
    assert winograd.pays.__wrapped__() is wanted
    monkeypatch.setattr(winograd, "_PROCESSORS", tmp_path / "none")
    assert not winograd.pays.__wrapped__()
