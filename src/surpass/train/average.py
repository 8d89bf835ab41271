"""What `Stop` and `Blend` run: a model chosen among snapshots, or averaged from several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from surpass import labels as lb
from surpass.errors import DataError
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.train.label import load_source
from surpass.train.loop import label, snapshot_steps
from surpass.train.run import INITIAL_WEIGHTS, Inputs, read_labels, save_weights, snapshot_file

if TYPE_CHECKING:
    from surpass.stages import Blend, Context, Stop


def run_stop(stage: Stop, context: Context) -> dict[str, Any]:
    """Hold every snapshot against the labels, and keep the first of the best."""
    examples = context.find(stage.examples)
    inputs = Inputs.read(examples)
    labels = read_labels(stage, examples, inputs, context)
    if not labels.num_rows:
        raise DataError(f"no example of {stage.examples.label} has a label to stop by; label some of them")
    kept = pc.is_in(inputs.table["id"], labels["id"].combine_chunks()).to_numpy(zero_copy_only=False)
    wanted_N = np.array([row.argmax() for row in lb.rows(labels)])
    fitted = context.find(stage.fit)
    torch.manual_seed(0)
    model = load_model(resolve(stage.model), inputs.table)
    encoded = model.encode(inputs.table)
    accuracies = []
    for number in range(1, stage.fit.snapshots + 1):
        model.load_state_dict(load_file(fitted.file(snapshot_file(number))))
        probs = label(model, encoded, inputs.num_candidates, micro_batch=context.micro_batch)
        chosen_N = np.array([row.argmax() for row in probs])[kept]
        accuracies.append(float((chosen_N == wanted_N).mean()))
        context.report(number / stage.fit.snapshots)
    best = int(np.argmax(accuracies)) + 1
    model.load_state_dict(load_file(fitted.file(snapshot_file(best))))
    save_weights(model.state_dict(), context.out / "model.safetensors")
    num_steps = int(fitted.manifest["said"]["num_steps"])
    steps = snapshot_steps(num_steps, stage.fit.snapshots)
    pq.write_table(pa.table({"step": steps, "accuracy": accuracies}), context.out / "curve.parquet")
    return {"best": best, "best_accuracy": accuracies[best - 1], "last_accuracy": accuracies[-1]}


def run_blend(stage: Blend, context: Context) -> dict[str, Any]:
    """Average the weights, in float64."""
    inputs = Inputs.read(context.find(stage.examples))
    # New weights, where the model has any, are those that the first fit began with.
    torch.manual_seed(stage.seed + INITIAL_WEIGHTS)
    models = [load_model(resolve(stage.model), inputs.table)]
    models += [load_source(fit, inputs.table, context) for fit in stage.fits]
    states = [model.state_dict() for model in models]
    blended = {
        name: sum(
            weight * state[name].double() for weight, state in zip(stage.weights, states, strict=True)
        ).to(first.dtype)
        for name, first in states[0].items()
    }
    save_weights(blended, context.out / "model.safetensors")
    return {"model": stage.model}
