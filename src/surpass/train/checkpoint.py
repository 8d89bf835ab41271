"""A training that stops and goes on to the same bits: weights, AdamW's state, and where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Size, Tensor, dtype, nn, uint8
from torch.optim import Optimizer

from surpass.disk import atomic_write
from surpass.errors import DataError
from surpass.models.embedding import UsedRows
from surpass.train.adamw import AdamW
from surpass.train.mesh_state import entire, in_order, is_spread, placed
from surpass.train.weights import Average

_MODEL, _OPTIMIZER, _EXTRA = "model.", "optimizer.", "extra."


class Saving:
    """When to save again: every so often, but for large models so that it takes a twentieth of the time."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.took, self.last = seconds, 0.0, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() - self.last > min(max(self.seconds, 20 * self.took), 20 * self.seconds)

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.last = time.monotonic()
        self.took = self.last - self.began


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: Optimizer | AdamW,
    position: dict[str, Any],
    extra: dict[str, Tensor],
    *,
    used: UsedRows | None = None,
    write: bool = True,
) -> None:
    """Write everything as one safetensors file, whole or not at all.

    A model that is spread over processes is gathered, and of a table of which some rows are trained all are
    written, so that it can go on in any other number of processes.

    Args:
        path: Where to.
        model: Its state is saved.
        optimizer: Its state is saved; its settings follow from the recipe.
        position: Where training stands, as plain JSON; what `load_checkpoint` returns.
        extra: Further tensors, such as the losses so far.
        used: Rows that are trained for a table.
        write: Whether this is the one of several processes that writes; all have to come here.

    Raises:
        StoreError: The file cannot be written; the old one is as it was.
    """
    if used is not None:
        used.settled()
    found = {_MODEL + name: value for name, value in model.state_dict().items()}
    for place, parameter in enumerate(in_order(optimizer, model)):
        state = optimizer.state.get(parameter, {})
        if used is not None and parameter is used.weight:
            state = {name: used.widened(value) if value.dim() else value for name, value in state.items()}
        # Parameters may share the count of their steps, and a file takes nothing twice.
        own = {name: value if value.dim() else value.clone() for name, value in state.items()}
        found |= {f"{_OPTIMIZER}{place}.{name}": value for name, value in own.items()}
    found |= {_EXTRA + name: value for name, value in extra.items()}
    tensors = {}
    for name, value in found.items():
        whole = entire(value)
        if write:
            tensors[name] = whole.contiguous()
    if write:
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
    path: Path, model: nn.Module, optimizer: Optimizer | AdamW, used: UsedRows | None = None
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
    now, weights = model.state_dict(), _behind(_MODEL, tensors)
    spread = {name: placed(weights[name], value) for name, value in now.items() if is_spread(value)}
    model.load_state_dict(weights | spread)
    if used is not None:
        used.refreshed()
    _restore_moments(optimizer, in_order(optimizer, model), _behind(_OPTIMIZER, tensors), used)
    return position, _behind(_EXTRA, tensors)


def resumed(
    path: Path | None,
    model: nn.Module,
    optimizer: Optimizer | AdamW,
    kept: dict[str, Tensor],
    average: Average | None,
    used: UsedRows | None,
) -> int:
    """Restore what an interrupted run has left, if anything, and return the step to go on with.

    A damaged file costs time, nothing else.
    """
    if path is None or not path.exists():
        return 0
    try:
        position, extra = load_checkpoint(path, model, optimizer, used)
    except DataError:
        return 0
    kept.update({name: extra[name] for name in kept})
    if average is not None:
        average.load(extra)
    return int(position["step"])


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


def _restore_moments(
    optimizer: Optimizer | AdamW,
    parameters: Sequence[nn.Parameter],
    tensors: dict[str, Tensor],
    used: UsedRows | None,
) -> None:
    states: dict[nn.Parameter, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        place, _, entry = name.partition(".")
        parameter = parameters[int(place)]
        if used is not None and parameter is used.weight and value.dim():
            value = used.narrowed(value)
        # The fused step pairs values by their place in memory, not by their index: the moments must
        # lie as the weights do (channels last), or they belong to others.
        states.setdefault(parameter, {})[entry] = placed(value, parameter if value.dim() else value)
    if isinstance(optimizer, AdamW):
        optimizer.restore(dict(states.items()))
        return
    grouped = [id(value) for group in optimizer.param_groups for value in group["params"]]
    index = {id_: number for number, id_ in enumerate(grouped)}
    numbered = {index[id(parameter)]: state for parameter, state in states.items()}
    optimizer.load_state_dict({"state": numbered, "param_groups": optimizer.state_dict()["param_groups"]})


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
