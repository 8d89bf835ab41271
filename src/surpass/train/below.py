"""States behind the layers that nobody trains, kept for all epochs, fits and labels that read them.

`frozen` keeps states below a head; this keeps those below the first trained layer of `last(layers=)` and
`lora(layers=)`. They are computed in passes that depend on the examples alone, and whether they are kept is
decided by the stage alone, not by who else is there: so a stage gives the same digits in whatever study,
interrupted or not.

Shape suffixes: N examples.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from surpass.clock import spent
from surpass.environment import KEEP_BELOW
from surpass.errors import ConfigError, Stopped
from surpass.models.depth import Below, as_kept
from surpass.models.kept import Kept
from surpass.models.sources import resolve
from surpass.train.frozen import frozen, key_of, only_head

Place = Literal["memory", "file"]

READERS = 2
"""How often each pass over examples is counted: in a study student and ceiling fit the same ones, and their
labels of the test examples read the same ones."""

FLOPS_PER_BYTE: dict[Place, float] = {"memory": 16.0, "file": 128.0}
"""What a machine computes while it reads or writes a byte of states there: a core at 50 GFLOP/s against
3 GB/s of rows gathered in memory, and 0.4 GB/s of a disk."""

MEMORY = 1.0
"""GiB of all states in memory, where `SURPASS_KEEP_BELOW` does not say otherwise."""

ON_DISK = 16.0
"""Times as much may lie in files, if the disk has twice the room."""

_known: dict[Place, Kept] = {"memory": Kept(lambda: _room()), "file": Kept(lambda: _room() * ON_DISK)}
"""States by what they are of."""


def place_for(
    *, passes: int, flops: float, num_bytes: float, memory: float, disk: float = 0.0
) -> Place | None:
    """Where states are kept, if they are: the cost model.

    Without keeping, each pass computes the lower layers. With it they are computed once, in a pass that
    writes each state, and every pass reads it. So keeping saves (passes - 1) x flops, and costs
    (passes + 1) x bytes.

    Args:
        passes: Over all examples, of all who are known to read them; 1 is never worth it.
        flops: Of the lower layers for all examples, floating-point operations.
        num_bytes: Of the states of all examples.
        memory: Bytes that may be kept in memory.
        disk: Bytes that may be kept in a file.
    """
    rooms: tuple[tuple[Place, float], ...] = (("memory", memory), ("file", disk))
    for place, room in rooms:
        if num_bytes <= room:
            pays = (passes - 1) * flops > (passes + 1) * num_bytes * FLOPS_PER_BYTE[place]
            return place if pays else None
    return None


def computed_once(
    model: Any, trained: Sequence[nn.Parameter], examples: Any, num_examples: int, epochs: int, running: Any
) -> tuple[Any, Any]:
    """For a fit: what scores examples, and the examples, with the states of what stands still where kept.

    Args:
        model: The model.
        trained: The parameters that are trained.
        examples: What its `encode` gave.
        num_examples: How many those are.
        epochs: Of the fit.
        running: A `loop.Running`.
    """
    if only_head(model, trained):
        return frozen(model, examples, num_examples, running.micro_batch, running.stop), examples
    if running.ranks is not None:
        return model, examples
    work = None if running.checkpoint is None else running.checkpoint.parent
    stop = running.stop
    return model, with_below(model, examples, num_examples, passes=epochs, folder=work, stop=stop)


def with_below(
    model: Any,
    examples: Any,
    num_examples: int,
    *,
    passes: int,
    folder: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Any:
    """The examples with the states of the lower layers, or as they are where those are not kept.

    They are not where all is trained, or the head alone; where a lower layer draws at random or looks at a
    batch as a whole; where it does not pay (`place_for`); and where a model of whose kind nothing is known
    does not give the same when it is entered in the middle.

    Args:
        model: The model. Where it has an attribute `origin_below`, a digest of all below the cut, states are
            kept for the next one with the same, if its examples say what they are (`digest`).
        examples: What its `encode` gave.
        num_examples: How many those are.
        passes: How often they are read.
        folder: For a file; None for none.
        stop: Asked between passes.

    Raises:
        ConfigError: `SURPASS_KEEP_BELOW` is no number.
        Stopped: `stop` said so.
    """
    cut, room = getattr(model, "cut", None), _room()
    if cut is None or not room or not num_examples or not hasattr(model, "read_below") or _is_random(model):
        return examples
    parts = model.parts_below(examples) if hasattr(model, "parts_below") else (num_examples, None)
    if parts is None:
        return examples
    origin = getattr(model, "origin_below", None)
    key = key_of(origin, examples, num_examples, cut.layer)
    for each in _known.values():
        if (known := each.get(key)) is not None:
            return model.knowing(examples, known)
    readers = 1 if origin is None else READERS
    below = _computed(model, examples, parts, passes * readers, room, folder, stop)
    if below is None or not _agrees(model, examples, below, num_examples):
        return examples
    if key:
        _known["file" if below.mapped else "memory"].put(key, below, below.values.nbytes)
    return model.knowing(examples, below)


def forget() -> None:
    """Keep none of the states any longer."""
    for each in _known.values():
        each.clear()


def pretrained_below(stage: Any) -> str | None:
    """The digest of the pretrained weights, if a fit leaves those below its first trained layer as they were.

    Also where it begins with another fit that did; early stopping is as its fit. None for all else.
    """
    fit = stage.fit if stage.kind == "stop" else stage
    if fit.kind != "fit" or fit.adapter == "full" or resolve(fit.model).path is None:
        return None
    start = fit.start
    if start is None or start.origin is not None:
        return resolve(fit.model).digest
    same = start.kind == "fit" and start.adapter == fit.adapter
    return pretrained_below(start) if same else None


def _room() -> float:
    """Bytes of all states in memory.

    Raises:
        ConfigError: The environment says something else than a number.
    """
    said = os.environ.get(KEEP_BELOW, "")
    try:
        room = float(said) if said else MEMORY
    except ValueError:
        room = -1.0
    if not 0 <= room < math.inf:
        raise ConfigError(f"{KEEP_BELOW}={said!r} is no number of GiB; say 1, or 0 to keep no states")
    return room * 2**30


def _is_random(model: nn.Module) -> bool:
    """Whether a layer in training mode drops, or normalises over its batch."""
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
    return any(
        module.training and isinstance(module, kinds) and getattr(module, "p", 1.0) > 0
        for module in model.modules()
    )


@torch.no_grad()
def _computed(
    model: Any,
    examples: Any,
    parts: tuple[int, Any],
    passes: int,
    room: float,
    folder: Path | None,
    stop: Callable[[], bool],
) -> Below | None:
    """The states of all examples, unless keeping them does not pay."""
    num_rows, ends_N = parts
    below: Below | None = None
    training = model.training
    model.eval()
    try:
        for rows, states in model.read_below(examples, model.cut.layer):
            kept = as_kept(states)
            if below is None:
                found = _place(kept, num_rows, model.cut.weights, passes, room, folder)
                if found is None:
                    return None
                below = Below(model.cut, found[0], ends_N, states.dtype, found[1])
            elif stop():
                raise Stopped("stopped; run the same command again to go on from here")
            below.values[below.places(rows)] = kept.float().cpu()
    finally:
        model.train(training)
    return below


def _place(
    states: Tensor, num_rows: int, weights: int, passes: int, room: float, folder: Path | None
) -> tuple[Tensor, bool] | None:
    """Room for the states of all examples, where it pays, and whether it is a file's.

    `states` are the first of them.
    """
    shape = (num_rows, *states.shape[1:])
    numbers = math.prod(shape)
    place = place_for(
        passes=passes,
        flops=2.0 * weights * numbers / shape[-1],
        num_bytes=4.0 * numbers,
        memory=room,
        disk=0.0 if folder is None else room * ON_DISK,
    )
    if place == "memory":
        return torch.empty(shape), False
    if place is None or folder is None or shutil.disk_usage(folder).free < 8 * numbers:
        return None
    # Gone from its folder at once, from the disk with its last reader.
    with TemporaryFile(dir=folder) as file:
        return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=shape)), True


@torch.no_grad()
def _agrees(model: Any, examples: Any, below: Below, num_examples: int) -> bool:
    """Whether a few examples give the same from the states."""
    training = model.training
    model.eval()
    rows = np.arange(min(num_examples, 2))
    with spent("forward"):
        whole, entered = model(examples, rows), model(model.knowing(examples, below), rows)
    model.train(training)
    size = float(whole[whole.isfinite()].abs().max()) if whole.isfinite().any() else 0.0
    return whole.shape == entered.shape and torch.allclose(entered, whole, rtol=1e-3, atol=1e-3 * size)
