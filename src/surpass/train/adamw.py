"""AdamW for one process: torch's own step, without what the import of its class brings.

The first optimizer of a process imports some 800 modules of a compiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_not
from typing import Any

import torch
from torch import Tensor, nn

from surpass.train.mesh_state import by_layout
from surpass.train.recipe import Recipe

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""As torch has them by default."""


def fused_step(
    parameters: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    *,
    lr: float,
    weight_decay: float,
) -> None:
    """One step of torch's AdamW; parameters, moments and counts of steps are changed in place.

    Many parameters may share a count: to add one to each of its own takes as long as the step of a small
    model. All are of one device and precision.
    """
    if not parameters:
        return
    for step in {id(step): step for step in steps}.values():
        step.add_(1)
    torch._fused_adamw_(
        parameters,
        gradients,
        means,
        squares,
        [],
        steps,
        amsgrad=False,
        beta1=BETA_1,
        beta2=BETA_2,
        lr=lr,
        weight_decay=weight_decay,
        eps=EPSILON,
        maximize=False,
    )


def _as_laid(value: Tensor, like: Tensor) -> Tensor:
    """The numbers of a tensor in the order in which those of another lie: of what is channels last a view.

    torch's step copies what is not contiguous, there and back.
    """
    if like.is_contiguous() or not like.is_contiguous(memory_format=torch.channels_last):
        return value
    return value.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


class AdamW:
    """As `torch.optim.AdamW(fused=True)` to the bit, with settings and state in the same form.

    Attributes:
        param_groups: The parameters, as a single group, with their rate and decay.
        state: By parameter: `step`, `exp_avg` and `exp_avg_sq`, once it had a gradient.

    Source:
        Loshchilov and Hutter 2019.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        settings = {"lr": lr, "weight_decay": weight_decay}
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), **settings}]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._counted: list[nn.Parameter] = []
        self._changed: tuple[list[Tensor], list[Tensor], list[Tensor]] = [], [], []
        self._steps: list[Tensor] = []

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def restore(self, state: dict[Tensor, dict[str, Tensor]]) -> None:
        """Go on from the state of another."""
        self.state, self._counted = state, []

    @torch.no_grad()
    def step(self) -> None:
        """Update what has a gradient."""
        group = self.param_groups[0]
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        if len(parameters) != len(self._counted) or any(map(is_not, parameters, self._counted)):
            self._count(parameters)
        values, means, squares = self._changed
        fused_step(
            values,
            [_as_laid(parameter.grad, parameter) for parameter in parameters],
            means,
            squares,
            self._steps,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
        )

    def _count(self, parameters: list[nn.Parameter]) -> None:
        """Let these, which go on together, share counts of the steps that they have had."""
        counts: dict[float, Tensor] = {}
        for parameter in parameters:
            if parameter not in self.state:
                zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                self.state[parameter] = {"step": torch.zeros((), device=parameter.device), **zeros}
            state = self.state[parameter]
            for name in ("exp_avg", "exp_avg_sq"):
                if state[name].stride() != parameter.stride():  # they are changed in place
                    state[name] = torch.empty_like(parameter).copy_(state[name])
            state["step"] = counts.setdefault(float(state["step"]), state["step"].clone())
        values = [_as_laid(parameter.detach(), parameter) for parameter in parameters]
        means, squares = (
            [_as_laid(self.state[parameter][name], parameter) for parameter in parameters]
            for name in ("exp_avg", "exp_avg_sq")
        )
        self._counted, self._changed = parameters, (values, means, squares)
        self._steps = [self.state[parameter]["step"] for parameter in parameters]


def optimizer_of(
    trained: Sequence[nn.Parameter], recipe: Recipe, *, alone: bool
) -> AdamW | torch.optim.AdamW:
    """The optimizer of a recipe; torch's own where processes share the parameters."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if alone:
        return AdamW(trained, lr=rate, weight_decay=decay)
    return torch.optim.AdamW(by_layout(trained), lr=rate, weight_decay=decay, fused=True)
