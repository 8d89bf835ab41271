"""How the matrices of a model are cut in parts for several devices (tensor parallelism).

Language models of transformers say it themselves (`base_model_tp_plan`); for encoders like BERT, which do
not, there is a small table here. PyTorch's `parallelize_module` does the cutting.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from surpass.errors import ConfigError

_BERT = {
    "encoder.layer.*.attention.self.query": "colwise",
    "encoder.layer.*.attention.self.key": "colwise",
    "encoder.layer.*.attention.self.value": "colwise",
    "encoder.layer.*.attention.output.dense": "rowwise",
    "encoder.layer.*.intermediate.dense": "colwise",
    "encoder.layer.*.output.dense": "rowwise",
}
_DISTILBERT = {
    "transformer.layer.*.attention.q_lin": "colwise",
    "transformer.layer.*.attention.k_lin": "colwise",
    "transformer.layer.*.attention.v_lin": "colwise",
    "transformer.layer.*.attention.out_lin": "rowwise",
    "transformer.layer.*.ffn.lin1": "colwise",
    "transformer.layer.*.ffn.lin2": "rowwise",
}
PLANS = {"bert": _BERT, "roberta": _BERT, "xlm-roberta": _BERT, "electra": _BERT, "distilbert": _DISTILBERT}
"""By the type of a model that has no plan of its own."""

_DIVIDED = (
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "n_heads",
    "hidden_dim",
)
"""What of a configuration counts things that are shared out."""


def split(model: Any, mesh: DeviceMesh) -> None:
    """Cut the matrices of a model's body, in place.

    Args:
        model: A model that has not been trained yet.
        mesh: The devices, along one axis.

    Raises:
        ConfigError: The model has no plan, or one that is not known here, or cannot be shared out evenly.
    """
    body = getattr(model, "body", None)
    config: Any = getattr(body, "config", None)
    plan = getattr(config, "base_model_tp_plan", None) or PLANS.get(getattr(config, "model_type", ""))
    if plan is None:
        name = type(model if body is None else body).__name__
        raise ConfigError(
            f"mesh model={mesh.size()}: there is no plan to cut the matrices of a {name} in parts; "
            "say shard or data instead of model"
        )
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in _DIVIDED:
        count = getattr(config, name, None)
        if isinstance(count, int) and count % mesh.size():
            raise ConfigError(
                f"mesh model={mesh.size()}: {name}={count} of this {config.model_type} cannot be shared out "
                f"evenly; take a divisor of {count} for model, or say shard"
            )
    parallelize_module(body, mesh, {place: _style(style, place) for place, style in plan.items()})  # type: ignore[arg-type]


def _style(name: str, place: str) -> ParallelStyle:
    match name:
        case "colwise":
            return ColwiseParallel()
        case "rowwise":
            return RowwiseParallel()
        case "colwise_gather_output":
            return ColwiseParallel(output_layouts=Replicate())
        case "rowwise_split_input":
            return RowwiseParallel(input_layouts=Replicate())
        case "embedding_rowwise":
            return RowwiseParallel(input_layouts=Replicate())
        case "replicated_with_grad_allreduce":
            # A norm of each head, (N, T, heads, D): the heads are shared out.
            return SequenceParallel(sequence_dim=2, use_local_output=True)
    raise ConfigError(f"the plan of this model cuts {place} {name!r}, which is not known here; say shard")


def follow(model: nn.Module, mesh: DeviceMesh) -> None:
    """Let the low-rank changes to cut matrices lie on all devices of the axis, in place."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    from surpass.models.low_rank import LowRank

    for module in model.modules():
        changes = [part for part in module.children() if isinstance(part, LowRank)]
        if not changes or not isinstance(module.original, DTensor):
            continue
        for name, parameter in changes[0].named_parameters(recurse=False):
            whole = distribute_tensor(parameter.detach(), mesh, [Replicate()], src_data_rank=None)
            setattr(changes[0], name, nn.Parameter(whole, requires_grad=parameter.requires_grad))
