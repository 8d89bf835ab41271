"""Where language models run, and in which precision.

On an accelerator of NVIDIA's kind where there is one, else on the CPU; the environment variable
`SURPASS_DEVICE` (`cpu`, `cuda`, `cuda:1`, `mps`) says otherwise. Weights are float32 everywhere. Below the
head, matrices are multiplied in bfloat16 where the device is fast at it: CUDA devices of compute capability
8.0 and later. CPUs are not, even those that know the format. Whatever leaves a model is float32 on the CPU.

Policies and tabular models are small and stay on the CPU.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch

from surpass.environment import DEVICE
from surpass.errors import ConfigError

_KINDS = ("cpu", "cuda", "mps")
_FAST_AT_BF16 = (8, 0)


class Place(NamedTuple):
    """A device, and whether it is fast at bfloat16."""

    device: torch.device
    bf16: bool = False

    def fast(self) -> AbstractContextManager[object]:
        """The precision in which models run here."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    @property
    def pass_cost(self) -> int:
        """What a forward and backward pass costs beside its tokens, as a number of tokens.

        Measured on the CPU with the shapes of MiniLM (6 layers, 384 wide): an empty pass costs 30 tokens,
        and from 16 to 128 the time of a step is the same within its noise. Against one pass for all, a
        batch of 32 then takes 0.6 of the time with short sentences, 0.45 with passages, and 0.17 with one
        long text among short ones. That of an accelerator is an estimate.
        """
        return 64 if self.device.type == "cpu" else 2048

    @property
    def one_pass(self) -> bool:
        """Whether all texts have to go through a model in one pass."""
        return False


def place() -> Place:
    """Where a model that is loaded now runs.

    Raises:
        ConfigError: `SURPASS_DEVICE` names no device, or one that is not there.
    """
    name = os.environ.get(DEVICE, "") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in _KINDS:
        raise ConfigError(f"{DEVICE}={name!r} is no device; say one of {', '.join(_KINDS)}, or cuda:1")
    if not _is_there(device):
        raise ConfigError(f"{DEVICE}={name!r} is not there; say cpu, or leave the variable out")
    bf16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= _FAST_AT_BF16
    return Place(device, bf16)


def _is_there(device: torch.device) -> bool:
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    return torch.backends.mps.is_available() if device.type == "mps" else (device.index or 0) == 0
