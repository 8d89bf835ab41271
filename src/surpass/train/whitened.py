"""What full-batch training of linear heads minimises, in coordinates in which it curves about alike.

The Hessian of a head is about c / N x the product of its states with themselves, plus the decay. In
coordinates where that is the identity, L-BFGS needs as few iterations for states whose directions differ
in length by thousands as for others. Where there are fewer examples than features, only what the examples
span has coordinates: the minimum has no part elsewhere. Coordinates depend on all states of the examples
that a head belongs to and on its decay, never on its company.

Shape suffixes: H heads, N examples, C outputs, D features, B coordinates, P numbers of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from surpass.train.lanes import Lane
from surpass.train.linear import PREFIX, HeadState
from surpass.train.objective import (
    as_folded,
    decay_of,
    goals,
    is_folded,
    is_linear,
    of_difference,
    of_logits,
    unfolded,
)

CURVATURE = 0.05
"""c: about what p (1 - p) is of an example of a trained head. Only the number of iterations depends on it."""

HELD_BYTES = 16 << 20
"""Of states in float64; with more, heads are trained in the coordinates of their weights."""

_WEIGHT, _BIAS = f"{PREFIX}weight", f"{PREFIX}bias"
_LEAST = 1e-10
_OF_BOUND = 10.0
"""How much smaller the largest entry of a gradient is than its bound: on texts and images 7 to 10 times."""


class Coordinates(NamedTuple):
    """Of the heads of one decay on the same states.

    Attributes:
        states_BN: What the coordinates of a head are multiplied with to give logits.
        lower_BB: The Cholesky factor of the Hessian, in the coordinates of what the examples span.
        span: That as Householder vectors (D, N) and their factors; None where it is all features.
        steepest: How large an entry of the gradient by weights can be, over the norm of that by coordinates.
    """

    states_BN: Tensor
    lower_BB: Tensor
    span: tuple[Tensor, Tensor] | None
    steepest: float

    def of_heads(self, weight_CD: Tensor, bias_C: Tensor) -> Tensor:
        """The coordinates of all outputs of heads, or of what they have in what the examples span, (C, B)."""
        inner_CB = weight_CD
        if self.span is not None:
            inner_CB = torch.ormqr(*self.span, weight_CD.T, transpose=True)[: self.span[0].shape[1]].T
        return torch.cat([inner_CB, bias_C[:, None]], 1) @ self.lower_BB

    def heads(self, value_CB: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (C, D) and biases (C,)."""
        inner_BC = torch.linalg.solve_triangular(self.lower_BB.T, value_CB.T, upper=True)
        weight_DC = inner_BC[:-1]
        if self.span is not None:
            padded_DC = weight_DC.new_zeros(len(self.span[0]), weight_DC.shape[1])
            padded_DC[: len(weight_DC)] = weight_DC
            weight_DC = torch.ormqr(*self.span, padded_DC)
        return weight_DC.T, inner_BC[-1]


def coordinates_of(lane: Lane) -> Coordinates | None:
    """Those of a head; None where its weights must do: it has no decay, or too many examples."""
    known = lane.known
    if not is_linear(lane) or 8 * len(known) * known.shape[0] > HELD_BYTES:
        return None
    return coordinates(known[np.arange(len(known))], decay_of(lane))


def coordinates(states_ND: Tensor, decay: float) -> Coordinates | None:
    """Those of heads on these states; None where the decay is too small beside the states."""
    num_examples, num_features = states_ND.shape
    size, span = min(num_examples, num_features), None
    full_NB = torch.ones(num_examples, size + 1, dtype=torch.float64)
    if num_examples < num_features:
        span = torch.geqrf(states_ND.double().T)
        full_NB[:, :-1] = span[0][:num_examples].triu().T
    else:
        full_NB[:, :-1] = states_ND
    hessian_BB = _lower_square(full_NB).mul_(CURVATURE / num_examples)
    # An entry of a gradient is no larger than the root of the Hessian's on the diagonal, times the norm here.
    squares = hessian_BB.diagonal() if span is None else CURVATURE * states_ND.square().mean(0)
    largest = float(squares.amax()) + decay
    hessian_BB.diagonal()[:-1] += decay
    lower_BB, failed = torch.linalg.cholesky_ex(hessian_BB)
    if decay < _LEAST * largest or failed:
        return None
    states_NB = torch.linalg.solve_triangular(lower_BB.T, full_NB, upper=True, left=False)
    return Coordinates(states_NB.T, lower_BB, span, largest**0.5)


def _lower_square(values_NB: Tensor) -> Tensor:
    """The product of columns with each other; above the diagonal not all of it, which nobody reads."""
    half = values_NB.shape[1] // 2
    square_BB = values_NB.new_zeros(values_NB.shape[1], values_NB.shape[1])
    torch.mm(values_NB[:, :half].T, values_NB[:, :half], out=square_BB[:half, :half])
    torch.mm(values_NB[:, half:].T, values_NB, out=square_BB[half:])
    return square_BB


class Whitened:
    """The objective of linear heads of one shape, each group of them on as many examples, in float64.

    With u the coordinates and z = Z u the logits, half the square of u is the penalty and c / 2 N times the
    square of z: the objective is the cross-entropy less the latter, plus the former.
    """

    def __init__(self, lanes: Sequence[Lane], found: Sequence[Coordinates]) -> None:
        self._lanes, self._found = list(lanes), list(found)
        self._folded, width = is_folded(lanes[0]), len(lanes[0].head[_BIAS])
        self._outputs = 1 if self._folded else width
        self._size, self._num_examples = found[0].states_BN.shape
        goals_H = [goals(lane, width) for lane in lanes]
        self._target_HCN = torch.stack([target_CN for target_CN, _ in goals_H])
        self._share_HN = torch.stack([share_N for _, share_N in goals_H])
        self._steepest_H = torch.tensor([own.steepest for own in found], dtype=torch.float64)
        self._groups = self._grouped(range(len(lanes)))

    def _grouped(self, places: Sequence[int]) -> list[tuple[slice, Coordinates]]:
        """Heads that have the same coordinates, which are side by side."""
        groups, begin = [], 0
        for _, same in groupby(places, lambda at: id(self._found[at])):
            first, *more = same
            groups.append((slice(begin, begin := begin + 1 + len(more)), self._found[first]))
        return groups

    def begin(self) -> Tensor:
        """Where heads begin, (H, P)."""
        given = []
        for own, coordinates in self._groups:
            heads = [as_folded(lane) for lane in self._lanes[own]]
            parts = (torch.cat([head[name] for head in heads]) for name in (_WEIGHT, _BIAS))
            given.append(coordinates.of_heads(*parts).reshape(len(heads), -1))
        return torch.cat(given)

    def heads_of(self, values: Sequence[Tensor]) -> list[HeadState]:
        """The heads that these numbers are, of all heads there were; float32."""
        found = []
        for own, coordinates in self._grouped(range(len(self._lanes))):
            value_CB = torch.cat([value_P.view(-1, self._size) for value_P in values[own]])
            weight_CD, bias_C = coordinates.heads(value_CB)
            parts = (torch.split(part, self._outputs) for part in (weight_CD, bias_C))
            for lane, weight, bias in zip(self._lanes[own], *parts, strict=True):
                found.append(unfolded({_WEIGHT: weight, _BIAS: bias}, lane))
        return found

    def steepness(self, slope_HP: Tensor) -> Tensor:
        """About the largest entry of the gradient of each head by its weights, (H,)."""
        return slope_HP.square().sum(1).sqrt() * self._steepest_H / _OF_BOUND

    def keep(self, places: Sequence[int], staying_H: Tensor) -> None:
        """Go on with some of the heads; `places` are theirs among all there were."""
        self._groups = self._grouped(places)
        self._target_HCN, self._share_HN = self._target_HCN[staying_H], self._share_HN[staying_H]
        self._steepest_H = self._steepest_H[staying_H]

    def measure(self, value_HP: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (H,) in nats and gradient (H, P)."""
        logits_HCN = value_HP.new_empty(len(value_HP), self._outputs, self._num_examples)
        for own, coordinates in self._groups:
            flat = value_HP[own].view(-1, self._size)
            torch.mm(flat, coordinates.states_BN, out=logits_HCN[own].view(-1, self._num_examples))
        of_examples = of_difference if self._folded else of_logits
        loss_H, slopes_HCN = of_examples(logits_HCN, self._target_HCN, self._share_HN)
        share = CURVATURE / self._num_examples
        slopes_HCN.sub_(logits_HCN, alpha=share)
        loss_H += (value_HP.square().sum(1) - share * logits_HCN.square().sum((1, 2))) / 2
        slope_HP = torch.empty_like(value_HP)
        for own, coordinates in self._groups:
            flat = slopes_HCN[own].view(-1, self._num_examples)
            torch.mm(flat, coordinates.states_BN.T, out=slope_HP[own].view(-1, self._size))
        return loss_H, slope_HP.add_(value_HP)
