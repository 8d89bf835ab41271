"""What `Label` and `Features` run: passes over examples without gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from surpass.clock import spent
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.train.below import pretrained_below
from surpass.train.forms import form_of
from surpass.train.loaded import encoded, held, keep_loaded, make_way
from surpass.train.mesh import Mesh
from surpass.train.mesh_launch import run_on_mesh
from surpass.train.run import Inputs, on_known_layers, on_known_states, truncation, writes

if TYPE_CHECKING:
    from surpass.stages import Context, Label, ModelStage


def load_source(source: ModelStage | str, inputs: pa.Table, context: Context, *, shared: bool = False) -> Any:
    """A pretrained model as it is, or as a stage left it.

    Args:
        source: Which.
        inputs: What it shall read.
        context: Where to find what a stage has published.
        shared: Whether it may be one that others have used and will use, for passes without gradient.
    """
    torch.manual_seed(0)
    if shared and not isinstance(source, str):
        published = context.find(source)
        model = held(source, published, inputs)
        if model is None:
            model = load_source(source, inputs, context)
            keep_loaded(model, source, published, inputs)
        return model
    make_way()
    if isinstance(source, str):
        model = load_model(resolve(source), inputs)
        model.origin = resolve(source).digest if resolve(source).path is not None else None
        return model
    model = load_model(resolve(source.model), inputs)
    source.load_into(model, context)
    model.origin, model.origin_below = source.origin, pretrained_below(source)
    return model


def run_label(stage: Label, context: Context) -> dict[str, Any]:
    """Label the examples."""
    if stage.features is not None:
        from surpass.train.many import label_by_head

        return label_by_head(stage, stage.features, context)
    if context.mesh is not None and _needs_several(stage, Mesh.parse(context.mesh)):
        return run_on_mesh(stage, None, context)
    with spent("input/output"):
        inputs = Inputs.read(context.find(stage.examples))
        model = load_source(stage.source, inputs.table, context, shared=context.ranks is None)
    with spent("data"):
        examples = encoded(model, inputs.table, inputs.artifact)
    if context.ranks is None:
        labelling = on_known_states(model, examples, len(inputs.ids), context)
        examples = on_known_layers(labelling, examples, len(inputs.ids), context, passes=1)
    else:
        context.ranks.split(model)
        labelling = context.ranks.spread(model)
    with spent("forward"):
        labels = form_of(inputs.table).label(
            labelling, examples, inputs.table, micro_batch=context.micro_batch, report=context.report
        )
    if writes(context):
        with spent("input/output"):
            pq.write_table(labels, context.out / "labels.parquet")
    return {"num_examples": len(inputs.ids)} | truncation(examples)


def _needs_several(stage: Label, mesh: Mesh) -> bool:
    """Whether one device may be too small for the model: where it was to be in parts."""
    return mesh.size > mesh.data and resolve(stage.model).family in ("causal", "encoder")
