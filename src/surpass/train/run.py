"""What `Fit` runs: model, examples and labels brought together."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from surpass import labels as lb
from surpass.errors import DataError
from surpass.models.adapters import find_adapter, settle
from surpass.models.families import load_model
from surpass.models.low_rank import merged_state
from surpass.models.sources import resolve
from surpass.train.loop import Labels, Running, fit

if TYPE_CHECKING:
    from surpass.artifact import Artifact
    from surpass.stages import Context, Fit

INITIAL_WEIGHTS = 2**32
"""Beside the seed: what new weights start from, apart from the order of the examples."""


@dataclass(frozen=True)
class Inputs:
    """Examples without their truth."""

    table: pa.Table
    ids: list[str]
    num_candidates: list[int]

    @classmethod
    def read(cls, artifact: Artifact) -> Inputs:
        """Those of an artifact of examples."""
        return cls.of(pq.read_table(artifact.file("inputs.parquet")))

    @classmethod
    def of(cls, table: pa.Table) -> Inputs:
        """Those of a table."""
        lengths = pc.list_value_length(table["candidates"]).to_pylist()
        return cls(table, table["id"].to_pylist(), lengths)


def read_labels(stage: Any, examples: Artifact, inputs: Inputs, context: Context) -> pa.Table:
    """The labels that a stage names, or the truth of its examples, in their order; some may lack one."""
    if isinstance(stage.labels, str):
        truth = pq.read_table(examples.file("truth.parquet"))
        return lb.truth_labels(truth, inputs.num_candidates)
    given = pq.read_table(context.find(stage.labels).file("labels.parquet"))
    return lb.join(inputs.ids, inputs.num_candidates, given, subset=True)


def run_fit(stage: Fit, context: Context) -> dict[str, Any]:
    """Fine-tune the model on the labels of the examples, joined by id."""
    examples = context.find(stage.examples)
    inputs = Inputs.read(examples)
    labels = read_labels(stage, examples, inputs, context)
    if not labels.num_rows:
        raise DataError("no example has a label left; let the rule keep more of them")
    if labels.num_rows < len(inputs.ids):
        keep = pc.is_in(inputs.table["id"], labels["id"].combine_chunks())
        inputs = Inputs.of(inputs.table.filter(keep))
    torch.manual_seed(stage.seed + INITIAL_WEIGHTS)
    model = load_model(resolve(stage.model), inputs.table)
    if stage.start is not None:
        stage.start.load_into(model, context)
    find_adapter(stage.adapter)(model)
    losses = fit(
        model,
        model.encode(inputs.table),
        Labels(lb.rows(labels), lb.weights(labels)),
        loss=stage.loss,
        recipe=stage.recipe,
        seed=stage.seed,
        ema=stage.ema,
        running=_running(stage, context, model),
    )
    if not losses.isfinite().all():
        raise DataError(
            f"training diverged at step {int(losses.isfinite().int().argmin()) + 1} of {len(losses)}; "
            f"lower learning_rate={stage.recipe.learning_rate:g}"
        )
    for number in range(1, stage.snapshots + 1):
        shutil.copyfile(context.work / snapshot_file(number), context.out / snapshot_file(number))
    settle(model)
    save_weights(model.state_dict(), context.out / "model.safetensors")
    pq.write_table(pa.table({"loss": losses.numpy()}), context.out / "curve.parquet")
    return {
        "model": stage.model,
        "num_examples": labels.num_rows,
        "num_steps": len(losses),
        "last_loss": float(losses[-1]),
    }


def _running(stage: Fit, context: Context, model: nn.Module) -> Running:
    return Running(
        checkpoint=context.work / "checkpoint.safetensors",
        checkpoint_seconds=context.checkpoint_seconds,
        micro_batch=context.micro_batch,
        report=context.report,
        stop=context.stop,
        snapshots=stage.snapshots,
        snapshot=lambda number: save_weights(merged_state(model), context.work / snapshot_file(number)),
    )


def snapshot_file(number: int) -> str:
    """The name of a snapshot's file, numbered from 1."""
    return f"snapshot-{number:02}.safetensors"


def save_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write the state of a model."""
    save_file({name: value.contiguous() for name, value in state.items()}, path)
