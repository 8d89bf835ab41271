"""Models and examples that a stage leaves for those that follow in the same process.

A model that was fitted here labels here without being read again, as long as the file that it was written to
is the one that was published: the same file by its inode, size and time, which the store has looked at. What
it is given back for is passes without gradient, in evaluation.

Pretrained weights are not kept: they are mapped from their files, whose pages the system keeps, and a copy in
memory takes longer than constructing the model anew (`docs/LOG.md`).
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from surpass.models import kept
from surpass.models.adapters import settle
from surpass.models.families import shape_of
from surpass.models.folders import WEIGHTS
from surpass.models.sources import resolve

if TYPE_CHECKING:
    from surpass.stages import ModelStage
    from surpass.store.artifact import Artifact

Buffers = dict[str, Tensor]


def unsaved(model: nn.Module) -> Buffers:
    """Copies of the buffers that no file of weights holds, such as frequencies of positions."""
    saved = model.state_dict().keys()
    return {name: value.clone() for name, value in model.named_buffers() if name not in saved}


def keep_fitted(model: nn.Module, stage: ModelStage, path: Path, inputs: pa.Table, begun: Buffers) -> None:
    """Keep a model that was written just now for the labels that follow; it is changed in place.

    Args:
        model: With its adapter, as training left it.
        stage: What has fitted it.
        path: Where its weights were written.
        inputs: Examples that it was loaded for.
        begun: Its `unsaved` buffers before training.
    """
    settle(model)
    model.zero_grad(set_to_none=True)
    _keep(model, _key(stage, path, inputs), begun)


def keep_loaded(model: nn.Module, stage: ModelStage, artifact: Artifact, inputs: pa.Table) -> None:
    """Keep a model that was loaded just now from what a stage has published."""
    if WEIGHTS in artifact.manifest["files"]:
        _keep(model, _key(stage, artifact.file(WEIGHTS), inputs), unsaved(model))


def _keep(model: nn.Module, key: Hashable, begun: Buffers) -> None:
    model.eval()
    kept.models.put(key, (model, begun), kept.bytes_of(model))


def held(stage: ModelStage, artifact: Artifact, inputs: pa.Table) -> Any:
    """The model that a stage has published, if it is in memory as a reader would find it; else None."""
    if WEIGHTS not in artifact.manifest["files"]:
        return None
    key = _key(stage, artifact.file(WEIGHTS), inputs)
    found = kept.models.get(key)
    if found is None:
        return None
    model, begun = found
    now = unsaved(model)
    if now.keys() != begun.keys() or not all(torch.equal(now[name], begun[name]) for name in now):
        # Such as of positions that were stretched to a longer text.
        kept.models.drop(key)
        return None
    return model


def make_way() -> None:
    """Another model will be loaded: one that is large does not stay beside it."""
    kept.models.make_way()


def _key(stage: ModelStage, path: Path, inputs: pa.Table) -> Hashable:
    status = os.stat(path)
    stamp = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    source = resolve(stage.model)
    return stage.id, stamp, source, shape_of(source, inputs)


def encoded(model: Any, inputs: pa.Table, artifact: Artifact | None) -> Any:
    """What the model's `encode` gives, once for all models of this process that read examples alike.

    Args:
        model: The model; its `encoding`, if it has one, says what decides.
        inputs: The examples.
        artifact: All of whose examples those are; None where they are fewer.
    """
    decides = getattr(model, "encoding", None)
    if decides is None or artifact is None:
        return model.encode(inputs)
    key = artifact.id, decides()
    found = kept.examples.get(key)
    if found is None:
        found = model.encode(inputs)
        kept.examples.put(key, found, kept.bytes_of(found))
    return found
