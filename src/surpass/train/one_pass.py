"""What `Features` runs: one pass over examples, and its states in shards.

A shard is closed after so many bytes or seconds, and at once is what an interrupted pass goes on from.

Shape suffixes: N examples, D features.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from surpass.clock import spent
from surpass.disk import atomic_write
from surpass.errors import Stopped
from surpass.models.names import ReadOut
from surpass.train.checkpoint import digest
from surpass.train.features import Rows, own_read_out
from surpass.train.label import load_source
from surpass.train.run import Inputs, save_weights

if TYPE_CHECKING:
    from surpass.stages import Context, Features

SHARD_BYTES = 64 << 20
_EMBEDDED_AT_ONCE = 256


def run_features(stage: Features, context: Context) -> dict[str, Any]:
    """Read all examples once, each under one id, and write their states."""
    with spent("input/output"):
        inputs = Inputs.of(_distinct([Inputs.read(context.find(part)).table for part in stage.parts]))
        model = load_source(stage.source, inputs.table, context)
        model.eval()
    with spent("data"):
        examples = model.encode(inputs.table)
        passes = _passes(model, examples, len(inputs.ids), context.micro_batch)
    read_outs = list(stage.read_outs) or [own_read_out(stage)]
    order_N = np.concatenate(passes)
    with spent("input/output"):
        writer = _Shards(context, getattr(torch, stage.precision))
    with _unchanged(model):
        while writer.num_rows < len(order_N):
            rows = _next_rows(passes, writer.num_rows)
            with spent("forward"):
                states = _states(model, examples, rows, read_outs)
            with spent("input/output"):
                writer.add(states)
            context.report(writer.num_rows / len(order_N))
    with spent("input/output"):
        writer.close()
        _write_rest(stage, model, examples, inputs, order_N, context)
    return {
        "num_examples": len(order_N),
        "num_features": writer.num_features,
        "read_outs": [list(read_out) for read_out in read_outs],
    }


def _write_rest(
    stage: Features, model: Any, examples: Any, inputs: Inputs, order_N: Rows, context: Context
) -> None:
    """Which row is of which example, and the head of the model's own."""
    columns = {"id": pa.array(inputs.ids, pa.string()).take(pa.array(order_N))}
    lost_N = getattr(examples, "lost_N", None)
    if lost_N is not None:
        columns["lost"] = pa.array(lost_N[order_N])
    pq.write_table(pa.table(columns), context.out / "index.parquet")
    head = _own_head(stage, model)
    if head is not None:
        save_weights(head, context.out / "head.safetensors")


def _unchanged(model: Any) -> AbstractContextManager[None]:
    """No gradient, and what a model can compute once for all passes while its weights stay as they are."""
    unchanged: AbstractContextManager[None] = getattr(model, "unchanged", torch.no_grad)()
    return unchanged


def _distinct(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all tables, each id once."""
    table = pa.concat_tables(tables) if len(tables) > 1 else tables[0]
    first = np.unique(table["id"].to_numpy(zero_copy_only=False), return_index=True)[1]
    return table if len(first) == table.num_rows else table.take(pa.array(np.sort(first)))


def _passes(model: Any, examples: Any, num_examples: int, micro_batch: int | None) -> list[Rows]:
    """All rows, in the groups in which the model reads them; the order does not depend on `micro_batch`."""
    if hasattr(model, "passes"):
        groups: list[Rows] = model.passes(examples, num_examples)
    else:
        rows = np.arange(num_examples)
        groups = [rows[at : at + _EMBEDDED_AT_ONCE] for at in range(0, num_examples, _EMBEDDED_AT_ONCE)]
    if micro_batch is None:
        return groups
    return [group[at : at + micro_batch] for group in groups for at in range(0, len(group), micro_batch)]


def _next_rows(passes: list[Rows], done: int) -> Rows:
    """The group behind the first `done` rows; of a group that a shard has cut in two, the rest."""
    for rows in passes:
        if done < len(rows):
            return rows[done:]
        done -= len(rows)
    raise AssertionError("nothing is left")


def _states(model: Any, examples: Any, rows: Rows, read_outs: Sequence[ReadOut]) -> list[Tensor]:
    if not hasattr(model, "states_at"):
        return [model.embed(examples, rows)]
    states: list[Tensor] = model.states_at(examples, rows, read_outs)
    return states


def _own_head(stage: Features, model: Any) -> dict[str, Tensor] | None:
    """The head of a model that has been trained, or of a pretrained one that has its own."""
    if not hasattr(model, "initial_head"):
        return None
    if not isinstance(stage.source, str):
        return {name: value.cpu() for name, value in model.head.state_dict().items()}
    head: dict[str, Tensor] | None = model.initial_head()
    return head


class _Shards:
    """Writes rows one after the other; those of an interrupted pass are there again."""

    def __init__(self, context: Context, dtype: torch.dtype) -> None:
        self._context, self._dtype = context, dtype
        self._buffer: list[list[Tensor]] = []
        self._began = time.monotonic()
        self._written: list[Path] = []
        self.num_rows = self.num_features = 0
        for number in range(len(list(context.work.glob("states-*.safetensors")))):
            path = self._path(number)
            rows = _sound_rows(path)
            if rows is None:
                break
            self._took(path, *rows)

    def _path(self, number: int) -> Path:
        return self._context.work / f"states-{number:05d}.safetensors"

    def _took(self, path: Path, num_rows: int, num_features: int) -> None:
        self._written.append(path)
        self.num_rows += num_rows
        self.num_features = num_features

    def add(self, states: list[Tensor]) -> None:
        """Take in the next rows.

        Raises:
            Stopped: The run shall end; what is there is written.
        """
        self._buffer.append([each.to("cpu", self._dtype) for each in states])
        self.num_rows += len(states[0])
        held = sum(each.nbytes for part in self._buffer for each in part)
        stop = self._context.stop()
        if stop or held >= SHARD_BYTES or time.monotonic() - self._began > self._context.checkpoint_seconds:
            self._flush()
        if stop:
            raise Stopped("stopped; run the same command again to go on from here")

    def _flush(self) -> None:
        if not self._buffer:
            return
        tensors = {
            str(place): torch.cat(parts).contiguous()
            for place, parts in enumerate(zip(*self._buffer, strict=True))
        }
        path = self._path(len(self._written))
        atomic_write(path, save(tensors, {"sha256": digest("", tensors)}))
        first = tensors["0"]
        self.num_rows -= len(first)
        self._took(path, len(first), first.shape[-1])
        self._buffer, self._began = [], time.monotonic()

    def close(self) -> None:
        """Put all shards among the files of the artifact; until it is published they stay where they are."""
        self._flush()
        for path in self._written:
            try:
                os.link(path, self._context.out / path.name)
            except OSError:  # a file system without links
                shutil.copyfile(path, self._context.out / path.name)


def _sound_rows(path: Path) -> tuple[int, int] | None:
    """Rows and features of a shard; None where it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            sound = file.metadata()["sha256"] == digest("", tensors)
    except (OSError, SafetensorError, TypeError, KeyError):
        return None
    if not sound:
        return None
    shape = tensors["0"].shape
    return shape[0], shape[-1]
