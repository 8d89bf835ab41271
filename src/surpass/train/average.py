"""What `Blend` runs: a model averaged from several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.train.label import load_source
from surpass.train.run import INITIAL_WEIGHTS, Inputs, save_weights

if TYPE_CHECKING:
    from surpass.stages import Blend, Context


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
