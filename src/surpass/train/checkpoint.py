"""A training that stops and goes on to the same bits: weights, AdamW's state, and where it was."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Size, Tensor, dtype, nn, uint8
from torch.optim import Optimizer

from surpass.disk import atomic_write
from surpass.errors import DataError

_MODEL, _OPTIMIZER, _EXTRA = "model.", "optimizer.", "extra."


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: Optimizer, position: dict[str, Any], extra: dict[str, Tensor]
) -> None:
    """Write everything as one safetensors file, whole or not at all.

    Args:
        path: Where to.
        model: Its state is saved.
        optimizer: Its state is saved; its settings follow from the recipe.
        position: Where training stands, as plain JSON; what `load_checkpoint` returns.
        extra: Further tensors, such as the losses so far.

    Raises:
        StoreError: The file cannot be written; the old one is as it was.
    """
    tensors = {_MODEL + name: value.contiguous() for name, value in model.state_dict().items()}
    for place, state in optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{place}.{name}": value.contiguous() for name, value in state.items()}
    tensors |= {_EXTRA + name: value.contiguous() for name, value in extra.items()}
    write_state(path, position, tensors)


def write_state(path: Path, position: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write tensors with the position that they belong to and a digest, whole or not at all.

    Raises:
        StoreError: The file cannot be written; the old one is as it was.
    """
    text = json.dumps(position, sort_keys=True)
    whole = {name: value.contiguous() for name, value in tensors.items()}
    atomic_write(path, save(whole, {"position": text, "sha256": digest(text, whole)}))


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: Optimizer
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Restore model and optimizer in place.

    Returns:
        Position and extra tensors.

    Raises:
        DataError: The file is missing, damaged, or of another model; then nothing was changed.
    """
    position, tensors = read_state(path)
    if _shapes(_behind(_MODEL, tensors)) != _shapes(model.state_dict()):
        raise DataError(f"cannot go on from {path} (of another model): delete it to begin anew")
    model.load_state_dict(_behind(_MODEL, tensors))
    _restore_moments(optimizer, _behind(_OPTIMIZER, tensors))
    return position, _behind(_EXTRA, tensors)


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Position and tensors, as written.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = metadata["position"]
        sound = metadata["sha256"] == digest(text, tensors)
    except (OSError, SafetensorError, TypeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"cannot go on from {path} ({reason}): delete it to begin anew") from None
    if not sound:
        raise DataError(f"cannot go on from {path} (damaged): delete it to begin anew")
    return json.loads(text), tensors


def _restore_moments(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        place, _, entry = name.partition(".")
        # The fused step pairs values by their place in memory, not by their index: the moments must
        # lie as the weights do (channels last), or they belong to others.
        like = parameters[int(place)] if value.dim() else value
        states.setdefault(int(place), {})[entry] = torch.empty_like(like).copy_(value)
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def digest(position: str, tensors: dict[str, Tensor]) -> str:
    """The safetensors format has no checksum: a changed byte would train on unnoticed."""
    digest = sha256(position.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().flatten().view(uint8).numpy().data)
    return digest.hexdigest()


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[Size, dtype]]:
    return {name: (value.shape, value.dtype) for name, value in tensors.items()}


def _behind(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
