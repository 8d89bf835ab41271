"""Heads as plain tensors: what they say of states, and the gradients of their weights.

A head is one linear layer (`head.weight`, `head.bias`), or two with rectified units between (`head.0.weight`,
`head.0.bias`, `head.2.weight`, `head.2.bias`); a head of pairs scores each of the two, and may lack a bias.

Shape suffixes: G heads on one batch (of `Product`: batches), P heads, N examples, C outputs, D features, K
hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

HeadState = dict[str, Tensor]
_NAMES = ("weight", "bias", "0.weight", "0.bias", "2.weight", "2.bias")
PREFIX = "head."
_LINEAR, _TWO_LAYERS = 2, 4


def head_of(state: Mapping[str, Tensor]) -> HeadState:
    """The head in the state of a head alone, its tensors in the order in which they are used.

    They are copied: out of a file they may lie anywhere in memory, and products round differently there.
    """
    return {PREFIX + name: state[name].clone() for name in _NAMES if name in state}


def head_logits(head: HeadState, states: Tensor) -> Tensor:
    """What a head says of states (N, D), or of pairs (N, 2, D): float32 (N, C), or (N, 2)."""
    return scores(states, [value[None] for value in head.values()], "head.bias" in head)[0]


def scores(states: Tensor, parameters: Sequence[Tensor], biased: bool) -> Tensor:
    """Logits of G heads on one batch, (G, N, C); of pairs, states (N, 2, D), (G, N, 2)."""
    states_ND = states.flatten(0, -2)
    if len(parameters) == _TWO_LAYERS:
        _, _, outer_GCK, bias_GC = parameters
        scores_GNC = torch.baddbmm(
            bias_GC[:, None], _hidden(states_ND, parameters), outer_GCK.transpose(1, 2)
        )
    else:
        scores_GNC = _linear(states_ND, parameters[0], parameters[1] if biased else None)
    return scores_GNC.reshape(len(scores_GNC), -1, 2) if states.dim() == 3 else scores_GNC


def _linear(states_ND: Tensor, weight_GED: Tensor, bias_GE: Tensor | None) -> Tensor:
    """A layer of each of G heads, as one product: (G, N, E) for E outputs."""
    num_heads, num_outputs, _ = weight_GED.shape
    flat_GE_D = weight_GED.flatten(0, 1).T
    flat = states_ND @ flat_GE_D if bias_GE is None else torch.addmm(bias_GE.flatten(), states_ND, flat_GE_D)
    return flat.view(-1, num_heads, num_outputs).transpose(0, 1)


def _hidden(states_ND: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    return functional.relu(_linear(states_ND, parameters[0], parameters[1]))


def backward(states: Tensor, parameters: Sequence[Tensor], slopes_GNC: Tensor, biased: bool) -> list[Tensor]:
    """Gradients of the parameters, given that of each head's loss by its logits."""
    states_ND = states.flatten(0, -2)
    if states.dim() == 3:
        slopes_GNC = slopes_GNC.reshape(len(slopes_GNC), -1, 1)
    if len(parameters) == _TWO_LAYERS:
        hidden_GNK = _hidden(states_ND, parameters)
        inner_GNK = torch.bmm(slopes_GNC, parameters[2]).mul_(hidden_GNK > 0)
        outer = [torch.bmm(slopes_GNC.transpose(1, 2), hidden_GNK), slopes_GNC.sum(1)]
        return [*_of_linear(states_ND, inner_GNK), *outer]
    weight, bias = _of_linear(states_ND, slopes_GNC)
    return [weight, bias] if biased else [weight]


def _of_linear(states_ND: Tensor, slopes_GNE: Tensor) -> list[Tensor]:
    num_heads, num_rows, num_outputs = slopes_GNE.shape
    flat_GE_N = slopes_GNE.transpose(1, 2).reshape(num_heads * num_outputs, num_rows)
    return [(flat_GE_N @ states_ND).view(num_heads, num_outputs, -1), slopes_GNE.sum(1)]


class Product:
    """Heads on batches of equal size: what they say, and the gradients of their parameters, in place.

    Args:
        parameters: Of P heads; parts of a stack, which is changed in place.
        gradients: Where to write those, in the same shapes.
        num_batches: Of a step, G; those on the same are side by side. More than one only where `batched`.
        pairs: Whether states are of pairs.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        *,
        num_batches: int,
        biased: bool,
        pairs: bool,
    ) -> None:
        self._parameters, self._gradients, self._biased = parameters, gradients, biased
        self._simple = batched(len(parameters), biased=biased, pairs=pairs)
        assert self._simple or num_batches == 1
        if self._simple:
            # What these tensors are in three dimensions, R outputs on a batch, once for all steps.
            width = parameters[0].shape[-1]
            self._weight_GRD, self._gradient_GRD = (
                of[0].view(num_batches, -1, width) for of in (parameters, gradients)
            )
            self._bias_GR1 = parameters[1].view(num_batches, -1, 1)
            self._gradient_GR = gradients[1].view(num_batches, -1)

    def scores(self, states: Tensor, out: Tensor) -> None:
        """Write logits (P, C, N) of states (G, N, ...)."""
        if not self._simple:
            out.copy_(scores(states[0], self._parameters, self._biased).transpose(1, 2))
            return
        weight_GRD = self._weight_GRD
        out_GRN = out.view(*weight_GRD.shape[:2], -1)
        torch.baddbmm(self._bias_GR1, weight_GRD, states.transpose(1, 2), out=out_GRN)

    def backward(self, states: Tensor, slopes_PCN: Tensor) -> None:
        """Write the gradients, given that of each head's loss by its logits."""
        if not self._simple:
            given = backward(states[0], self._parameters, slopes_PCN.transpose(1, 2), self._biased)
            for gradient, value in zip(self._gradients, given, strict=True):
                gradient.copy_(value)
            return
        slopes_GRN = slopes_PCN.reshape(*self._weight_GRD.shape[:2], -1)
        torch.bmm(slopes_GRN, states, out=self._gradient_GRD)
        torch.sum(slopes_GRN, 2, out=self._gradient_GR)


def batched(num_parameters: int, *, biased: bool, pairs: bool) -> bool:
    """Whether heads on different batches can be one product: those of one layer with biases, not of pairs."""
    return biased and not pairs and num_parameters == _LINEAR
