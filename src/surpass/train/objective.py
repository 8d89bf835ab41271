"""What full-batch training minimises: the mean loss of each head over all of its examples, with a penalty.

Of two classes only the difference of their logits matters: a head of two is one of a single output here,
which at the minimum is the same, with weights of opposite sign.

Shape suffixes: H heads, G heads on the same examples, N examples, C outputs, P numbers of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from surpass.losses import find_loss
from surpass.train.features import Known, Rows
from surpass.train.lanes import Lane, dense
from surpass.train.linear import PREFIX, HeadState, backward, scores

_AT_ONCE = 8192
_HELD_BYTES = 256 << 20
"""What is remembered of states in float64; more are brought into it whenever they are wanted."""
_TWO = 2


class _Group(NamedTuple):
    """Heads on the same examples, side by side; one that has no label for an example gives it no share."""

    own: slice
    known: Known
    rows_N: Rows
    held: Tensor | None
    target_GCN: Tensor
    share_GN: Tensor

    def states(self, part: slice) -> Tensor:
        """Of some of the examples, float64."""
        return self.known[self.rows_N[part]].double() if self.held is None else self.held[part]


class Objective:
    """The objective of heads of one shape, those on the same states side by side, in float64."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes, first = list(lanes), lanes[0].head
        self.biased = f"{PREFIX}bias" in first
        self.linear, self.folded = is_linear(lanes[0]), is_folded(lanes[0])
        self.heads = [as_folded(lane) for lane in lanes]
        self.shapes = [(name, value.shape) for name, value in self.heads[0].items()]
        self.sizes = [shape.numel() for _, shape in self.shapes]
        decay_H = torch.tensor([decay_of(lane) for lane in lanes], dtype=torch.float64)
        penalised = [torch.full((size,), float("bias" not in name)) for (name, _), size in self._named()]
        self.decay_HP = decay_H[:, None] * torch.cat(penalised).double()
        self.groups = _grouped(lanes)

    def _named(self) -> list[tuple[tuple[str, torch.Size], int]]:
        return list(zip(self.shapes, self.sizes, strict=True))

    def begin(self) -> Tensor:
        """Where heads begin, (H, P)."""
        return torch.stack([torch.cat([value.flatten() for value in head.values()]) for head in self.heads])

    def heads_of(self, values: Sequence[Tensor]) -> list[HeadState]:
        """The heads that these numbers are, of all heads there were; float32."""
        found = []
        for value_P, lane in zip(values, self.lanes, strict=True):
            parts = torch.split(value_P, self.sizes)
            head = {name: part.view(shape) for (name, shape), part in zip(self.shapes, parts, strict=True)}
            found.append(unfolded(head, lane))
        return found

    def steepness(self, slope_HP: Tensor) -> Tensor:
        """The largest entry of the gradient of each head, (H,)."""
        return slope_HP.abs().amax(1)

    def keep(self, _places: Sequence[int], staying_H: Tensor) -> None:
        """Go on with some of the heads."""
        groups, begin = [], 0
        for group in self.groups:
            stays_G = staying_H[group.own]
            if count := int(stays_G.sum()):
                target_GCN, share_GN = group.target_GCN[stays_G], group.share_GN[stays_G]
                own = slice(begin, begin := begin + count)
                groups.append(group._replace(own=own, target_GCN=target_GCN, share_GN=share_GN))
        self.groups = groups
        self.decay_HP = self.decay_HP[staying_H]

    def measure(self, value_HP: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (H,) in nats and gradient (H, P)."""
        slope_HP = self.decay_HP * value_HP
        loss_H = (slope_HP * value_HP).sum(1) / 2
        for group in self.groups:
            parameters = self._parameters(value_HP[group.own])
            for start in range(0, len(group.rows_N), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                states = group.states(part)
                logits_GCN = self._logits(states, parameters)
                of_examples = of_difference if self.folded else of_logits
                losses_G, slopes_GCN = of_examples(
                    logits_GCN, group.target_GCN[:, :, part], group.share_GN[:, part]
                )
                loss_H[group.own] += losses_G
                slope_HP[group.own] += self._backward(states, parameters, slopes_GCN)
        return loss_H, slope_HP

    def _logits(self, states: Tensor, parameters: list[Tensor]) -> Tensor:
        if not self.linear:
            return scores(states, parameters, self.biased).transpose(1, 2)
        weight_GCD, bias_GC = parameters
        flat_GC_N = torch.addmm(bias_GC.reshape(-1, 1), weight_GCD.flatten(0, 1), states.T)
        return flat_GC_N.view(*bias_GC.shape, -1)

    def _backward(self, states: Tensor, parameters: list[Tensor], slopes_GCN: Tensor) -> Tensor:
        if not self.linear:
            given = backward(states, parameters, slopes_GCN.transpose(1, 2), self.biased)
            return torch.cat([each.flatten(1) for each in given], 1)
        weight = slopes_GCN.flatten(0, 1) @ states
        return torch.cat([weight.view(len(slopes_GCN), -1), slopes_GCN.sum(2)], 1)

    def _parameters(self, value_GP: Tensor) -> list[Tensor]:
        parts = torch.split(value_GP, self.sizes, 1)
        return [part.reshape(-1, *shape) for part, (_, shape) in zip(parts, self.shapes, strict=True)]


def is_linear(lane: Lane) -> bool:
    """Whether a head is one layer with biases, and not of pairs."""
    return f"{PREFIX}weight" in lane.head and f"{PREFIX}bias" in lane.head and len(lane.known.shape) == 1


def is_folded(lane: Lane) -> bool:
    """Whether a head is trained as the difference of two."""
    weight = lane.head.get(f"{PREFIX}weight")
    return weight is not None and len(weight) == _TWO and len(lane.known.shape) == 1


def as_folded(lane: Lane) -> HeadState:
    """A head as it is trained, float64."""
    if not is_folded(lane):
        return {name: value.double() for name, value in lane.head.items()}
    return {name: (value[1:] - value[:1]).double() for name, value in lane.head.items()}


def unfolded(head: HeadState, lane: Lane) -> HeadState:
    """The head that has been trained so, float32."""
    if is_folded(lane):
        head = {name: torch.cat([-value / 2, value / 2]) for name, value in head.items()}
        if not lane.recipe.weight_decay:
            # Nothing draws the mean of the two to zero, so it stays where it was.
            head = {name: value + lane.head[name].double().mean(0) for name, value in head.items()}
    return {name: value.float() for name, value in head.items()}


def decay_of(lane: Lane) -> float:
    """What a head's decay is of the weights that are trained."""
    # Two weights of w / 2 and -w / 2 have half the square of w.
    return lane.recipe.weight_decay * (0.5 if is_folded(lane) else 1.0)


def goals(lane: Lane, width: int) -> tuple[Tensor, Tensor]:
    """What a head is drawn to on all its examples, (C, N), and the share of each in its loss, (N,)."""
    target_CN = torch.zeros(width, len(lane.known), dtype=torch.float64)
    share_N = torch.zeros(len(lane.known), dtype=torch.float64)
    own_NC = dense(lane.labels, width).double()
    # The target does not look at the logits (`labels_only`).
    goal = find_loss(lane.loss).function(own_NC, own_NC, 1.0)
    target_CN[:, lane.rows_N] = goal.target_NC.clamp(min=0).T
    share_N[lane.rows_N] = goal.weight_N * torch.from_numpy(lane.labels.weight_N).double() / len(lane.rows_N)
    return target_CN, share_N


def of_logits(logits_GCN: Tensor, target_GCN: Tensor, share_GN: Tensor) -> tuple[Tensor, Tensor]:
    """The shared soft cross-entropy of each head, nats (G,), and its gradient by the logits."""
    log_probs_GCN = logits_GCN.log_softmax(1)
    losses_G = -((target_GCN * log_probs_GCN).sum(1) * share_GN).sum(1)
    slopes_GCN = log_probs_GCN.exp_().mul_(target_GCN.sum(1, keepdim=True)).sub_(target_GCN)
    return losses_G, slopes_GCN.mul_(share_GN[:, None])


def of_difference(logits_G1N: Tensor, target_GCN: Tensor, share_GN: Tensor) -> tuple[Tensor, Tensor]:
    """The same where there is but the difference of the logits of two classes."""
    other_GN, target_GN = target_GCN.unbind(1)
    logits_GN = logits_G1N[:, 0]
    total_GN = other_GN + target_GN
    log_prob_GN = functional.logsigmoid(logits_GN)
    # log(1 - p) is log(p) less the logit.
    losses_GN = other_GN * logits_GN - total_GN * log_prob_GN
    slopes_GN = (logits_GN.sigmoid().mul_(total_GN)).sub_(target_GN).mul_(share_GN)
    return (losses_GN * share_GN).sum(1), slopes_GN[:, None]


def _grouped(lanes: Sequence[Lane]) -> list[_Group]:
    """Heads by the states that they see."""
    groups = [[*same] for _, same in groupby(range(len(lanes)), lambda at: id(lanes[at].known))]
    known = [lanes[at].known for at, *_ in groups]
    hold = 8 * sum(len(each) * math.prod(each.shape) for each in known) <= _HELD_BYTES
    return [_group(lanes, slice(ats[0], ats[-1] + 1), hold) for ats in groups]


def _group(lanes: Sequence[Lane], own: slice, hold: bool) -> _Group:
    known, members = lanes[own.start].known, lanes[own]
    width = max(max(map(len, lane.labels.probs)) for lane in members)
    target_GCN = torch.zeros(len(members), width, len(known), dtype=torch.float64)
    share_GN = torch.zeros(len(members), len(known), dtype=torch.float64)
    for place, lane in enumerate(members):
        target_GCN[place], share_GN[place] = goals(lane, width)
    used_N = (share_GN > 0).any(0)
    rows_N = torch.arange(len(known))[used_N].numpy()
    held = known[rows_N].double() if hold else None
    return _Group(own, known, rows_N, held, target_GCN[:, :, used_N], share_GN[:, used_N])
