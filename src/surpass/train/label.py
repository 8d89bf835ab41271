"""What `Label` and `Features` run: passes over examples without gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from surpass import labels as lb
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.train.loop import embed, label
from surpass.train.run import Inputs

if TYPE_CHECKING:
    from surpass.stages import Context, Features, Label, ModelStage


def load_source(source: ModelStage | str, inputs: pa.Table, context: Context) -> Any:
    """A pretrained model as it is, or as a stage left it."""
    torch.manual_seed(0)
    if isinstance(source, str):
        return load_model(resolve(source), inputs)
    model = load_model(resolve(source.model), inputs)
    source.load_into(model, context)
    return model


def run_label(stage: Label, context: Context) -> dict[str, Any]:
    """Label the examples."""
    inputs = Inputs.read(context.find(stage.examples))
    model = load_source(stage.source, inputs.table, context)
    probs = label(
        model,
        model.encode(inputs.table),
        inputs.num_candidates,
        micro_batch=context.micro_batch,
        report=context.report,
    )
    pq.write_table(lb.label_table(inputs.ids, probs), context.out / "labels.parquet")
    return {"num_examples": len(inputs.ids)}


def run_features(stage: Features, context: Context) -> dict[str, Any]:
    """Write the hidden states of the examples."""
    inputs = Inputs.read(context.find(stage.examples))
    model = load_source(stage.source, inputs.table, context)
    features_ND = embed(
        model,
        model.encode(inputs.table),
        len(inputs.ids),
        micro_batch=context.micro_batch,
        report=context.report,
    )
    save_file({"features": features_ND.contiguous()}, context.out / "features.safetensors")
    pq.write_table(pa.table({"id": inputs.ids}), context.out / "ids.parquet")
    return {"num_examples": len(inputs.ids), "num_features": features_ND.shape[1]}
