"""What `Blend` runs: a model averaged from several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surpass.clock import spent
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.train.label import load_source
from surpass.train.linear import PREFIX, HeadState
from surpass.train.many import Candidates, load_head, pretrained_head
from surpass.train.run import INITIAL_WEIGHTS, Inputs, save_weights

if TYPE_CHECKING:
    from surpass.stages import Blend, Context, Features


def run_blend(stage: Blend, context: Context) -> dict[str, Any]:
    """Average the weights, in float64; of heads on frozen states these alone."""
    if stage.features is not None:
        with spent("input/output"):
            states = _heads(stage, stage.features, context)
        save_weights(_mean(states, stage.weights), context.out / "model.safetensors")
        return {"model": stage.model}
    with spent("input/output"):
        inputs = Inputs.read(context.find(stage.examples))
        # New weights, where the model has any, are those that the first fit began with.
        torch.manual_seed(stage.seed + INITIAL_WEIGHTS)
        models = [load_model(resolve(stage.model), inputs.table)]
        models += [load_source(fit, inputs.table, context) for fit in stage.fits]
    states = [model.state_dict() for model in models]
    save_weights(_mean(states, stage.weights), context.out / "model.safetensors")
    return {"model": stage.model}


def _mean(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    return {
        name: torch.stack(
            [weight * state[name].double() for weight, state in zip(weights, states, strict=True)]
        )
        .sum(0)
        .to(first.dtype)
        for name, first in states[0].items()
    }


def _heads(stage: Blend, features: Features, context: Context) -> list[HeadState]:
    heads = [load_head(context.find(fit)) for fit in stage.fits]
    inner = heads[0].get(f"{PREFIX}0.weight")
    hidden = 0 if inner is None else len(inner)
    num_classes = Candidates.read(context.find(stage.examples)).num_classes
    return [pretrained_head(context, features, num_classes, hidden=hidden, seed=stage.seed), *heads]
