"""What `Fit` and `Label` run: models, examples and labels brought together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.torch import load_file, save_file

from surpass import labels as lb
from surpass.errors import DataError
from surpass.models.moves import MoveChoice
from surpass.models.sources import resolve
from surpass.train.loop import Running, fit, label

if TYPE_CHECKING:
    from surpass.artifact import Artifact
    from surpass.stages import Context, Fit, Label


@dataclass(frozen=True)
class _Inputs:
    """Examples without their truth."""

    table: pa.Table
    ids: list[str]
    num_candidates: list[int]


def _inputs(artifact: Artifact) -> _Inputs:
    table = pq.read_table(artifact.file("inputs.parquet"))
    lengths = pc.list_value_length(table["candidates"]).to_pylist()
    return _Inputs(table, table["id"].to_pylist(), lengths)


def run_fit(stage: Fit, context: Context) -> dict[str, Any]:
    """Fine-tune the model on the labels of the examples, joined by id."""
    examples = context.find(stage.examples)
    inputs = _inputs(examples)
    if isinstance(stage.labels, str):
        given = lb.truth_labels(pq.read_table(examples.file("truth.parquet")), inputs.num_candidates)
    else:
        given = pq.read_table(context.find(stage.labels).file("labels.parquet"))
    labels = lb.join(inputs.ids, inputs.num_candidates, given)
    model = MoveChoice.load(resolve(stage.model).path)
    running = Running(
        checkpoint=context.work / "checkpoint.safetensors",
        checkpoint_seconds=context.checkpoint_seconds,
        micro_batch=context.micro_batch,
        report=context.report,
        stop=context.stop,
    )
    losses = fit(
        model,
        model.encode(inputs.table),
        lb.rows(labels),
        loss=stage.loss,
        recipe=stage.recipe,
        seed=stage.seed,
        running=running,
    )
    if not losses.isfinite().all():
        raise DataError(
            f"training diverged at step {int(losses.isfinite().int().argmin()) + 1} of {len(losses)}; "
            f"lower learning_rate={stage.recipe.learning_rate:g}"
        )
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, context.out / "model.safetensors")
    pq.write_table(pa.table({"loss": losses.numpy()}), context.out / "curve.parquet")
    return {
        "model": stage.model,
        "num_examples": labels.num_rows,
        "num_steps": len(losses),
        "last_loss": float(losses[-1]),
    }


def run_label(stage: Label, context: Context) -> dict[str, Any]:
    """Label the examples with the fitted, or the pretrained, model."""
    inputs = _inputs(context.find(stage.examples))
    if isinstance(stage.source, str):
        model = MoveChoice.load(resolve(stage.source).path)
    else:
        model = MoveChoice.load(resolve(stage.source.model).path)
        model.load_state_dict(load_file(context.find(stage.source).file("model.safetensors")))
    probs = label(
        model,
        model.encode(inputs.table),
        inputs.num_candidates,
        micro_batch=context.micro_batch,
        report=context.report,
    )
    pq.write_table(lb.label_table(inputs.ids, probs), context.out / "labels.parquet")
    return {"num_examples": len(inputs.ids)}
