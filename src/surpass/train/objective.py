"""What full-batch training minimises: the mean loss of each head over all of its examples, with a penalty.

Of two classes only the difference of their logits matters: a head of two is one of a single output here,
which at the minimum is the same, with weights of opposite sign.

Shape suffixes: H heads, G heads on the same examples, N examples, C outputs, P numbers of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from surpass.losses import find_loss
from surpass.train.features import Known, Rows
from surpass.train.lanes import Lane, dense
from surpass.train.linear import PREFIX, HeadState, backward, scores

_AT_ONCE = 8192
_HELD_BYTES = 256 << 20
"""What is remembered of states in float64; more are brought into it whenever they are wanted."""
_TWO = 2


class _Group(NamedTuple):
    """Heads on the same examples; one that has no label for an example gives it no share."""

    at_G: Tensor
    known: Known
    rows_N: Rows
    held: Tensor | None
    target_GNC: Tensor
    share_GN: Tensor

    def states(self, part: slice) -> Tensor:
        """Of some of the examples, float64."""
        return self.known[self.rows_N[part]].double() if self.held is None else self.held[part]


class Objective:
    """The objective of heads of one shape, in float64."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        first = lanes[0].head
        weight = first.get(f"{PREFIX}weight")
        self.folded = weight is not None and len(weight) == _TWO and len(lanes[0].known.shape) == 1
        self.biased = f"{PREFIX}bias" in first
        self.heads = [self._folded(lane.head) for lane in lanes]
        self.shapes = [(name, value.shape) for name, value in self.heads[0].items()]
        self.sizes = [shape.numel() for _, shape in self.shapes]
        decay_H = torch.tensor([lane.recipe.weight_decay for lane in lanes], dtype=torch.float64)
        penalised = [torch.full((size,), float("bias" not in name)) for (name, _), size in self._named()]
        # Two weights of w / 2 and -w / 2 have half the square of w.
        share = 0.5 if self.folded else 1.0
        self.decay_HP = share * decay_H[:, None] * torch.cat(penalised).double()
        self.groups = _grouped(lanes)

    def _named(self) -> list[tuple[tuple[str, torch.Size], int]]:
        return list(zip(self.shapes, self.sizes, strict=True))

    def _folded(self, head: HeadState) -> HeadState:
        if not self.folded:
            return {name: value.double() for name, value in head.items()}
        return {name: (value[1:] - value[:1]).double() for name, value in head.items()}

    def begin(self) -> Tensor:
        """Where heads begin, (H, P)."""
        return torch.stack([torch.cat([value.flatten() for value in head.values()]) for head in self.heads])

    def head_of(self, value_P: Tensor, lane: Lane) -> HeadState:
        """The head that these numbers are, float32."""
        parts = torch.split(value_P, self.sizes)
        head = {name: part.view(shape) for (name, shape), part in zip(self.shapes, parts, strict=True)}
        if self.folded:
            head = {name: torch.cat([-value / 2, value / 2]) for name, value in head.items()}
            if not lane.recipe.weight_decay:
                # Nothing draws the mean of the two to zero, so it stays where it was.
                head = {name: value + lane.head[name].double().mean(0) for name, value in head.items()}
        return {name: value.float() for name, value in head.items()}

    def keep(self, staying_H: Tensor) -> None:
        """Go on with some of the heads."""
        place_H = staying_H.long().cumsum(0) - 1
        self.groups = [
            group._replace(at_G=place_H[group.at_G]) for group in _of_wanted(self.groups, staying_H)
        ]
        self.decay_HP = self.decay_HP[staying_H]

    def measure(self, value_HP: Tensor, wanted_H: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Loss (H,) in nats and gradient (H, P); of heads that are not wanted both are worth nothing."""
        slope_HP = self.decay_HP * value_HP
        loss_H = (slope_HP * value_HP).sum(1) / 2
        for group in self.groups if wanted_H is None else _of_wanted(self.groups, wanted_H):
            parameters = self._parameters(value_HP[group.at_G])
            for start in range(0, len(group.rows_N), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                states = group.states(part)
                logits_GNC = scores(states, parameters, self.biased)
                if self.folded:
                    logits_GNC = torch.cat([-logits_GNC / 2, logits_GNC / 2], 2)
                losses_G, slopes_GNC = _of_logits(
                    logits_GNC, group.target_GNC[:, part], group.share_GN[:, part]
                )
                loss_H[group.at_G] += losses_G
                if self.folded:
                    slopes_GNC = (slopes_GNC[:, :, 1:] - slopes_GNC[:, :, :1]) / 2
                given = backward(states, parameters, slopes_GNC, self.biased)
                slope_HP[group.at_G] += torch.cat([each.flatten(1) for each in given], 1)
        return loss_H, slope_HP

    def _parameters(self, value_GP: Tensor) -> list[Tensor]:
        parts = torch.split(value_GP, self.sizes, 1)
        return [part.reshape(-1, *shape) for part, (_, shape) in zip(parts, self.shapes, strict=True)]


def _of_logits(logits_GNC: Tensor, target_GNC: Tensor, share_GN: Tensor) -> tuple[Tensor, Tensor]:
    """The shared soft cross-entropy of each head, nats (G,), and its gradient by the logits."""
    log_probs_GNC = logits_GNC.log_softmax(2)
    losses_G = -((target_GNC * log_probs_GNC).sum(2) * share_GN).sum(1)
    slopes_GNC = log_probs_GNC.exp_().mul_(target_GNC.sum(2, keepdim=True)).sub_(target_GNC)
    return losses_G, slopes_GNC.mul_(share_GN[:, :, None])


def _of_wanted(groups: Sequence[_Group], wanted_H: Tensor) -> list[_Group]:
    found = []
    for group in groups:
        wanted_G = wanted_H[group.at_G]
        if wanted_G.all():
            found.append(group)
        elif wanted_G.any():
            target_GNC, share_GN = group.target_GNC[wanted_G], group.share_GN[wanted_G]
            at_G = group.at_G[wanted_G]
            found.append(group._replace(at_G=at_G, target_GNC=target_GNC, share_GN=share_GN))
    return found


def _grouped(lanes: Sequence[Lane]) -> list[_Group]:
    """Heads by the states that they see."""
    members: dict[int, list[int]] = {}
    for at, lane in enumerate(lanes):
        members.setdefault(id(lane.known), []).append(at)
    numbers = sum(
        len(known) * math.prod(known.shape) for known in (lanes[at].known for at, *_ in members.values())
    )
    hold = 8 * numbers <= _HELD_BYTES
    return [_group([lanes[at] for at in ats], torch.tensor(ats), hold) for ats in members.values()]


def _group(lanes: Sequence[Lane], at_G: Tensor, hold: bool) -> _Group:
    known = lanes[0].known
    width = max(max(map(len, lane.labels.probs)) for lane in lanes)
    target_GNC = torch.zeros(len(lanes), len(known), width, dtype=torch.float64)
    share_GN = torch.zeros(len(lanes), len(known), dtype=torch.float64)
    for place, lane in enumerate(lanes):
        own_NC = dense(lane.labels, width).double()
        # The target does not look at the logits (`labels_only`).
        goal = find_loss(lane.loss).function(own_NC, own_NC, 1.0)
        target_GNC[place, lane.rows_N] = goal.target_NC.clamp(min=0)
        weight_N = torch.from_numpy(lane.labels.weight_N).double()
        share_GN[place, lane.rows_N] = goal.weight_N * weight_N / len(lane.rows_N)
    used_N = (share_GN > 0).any(0)
    rows_N = torch.arange(len(known))[used_N].numpy()
    held = known[rows_N].double() if hold else None
    return _Group(at_G, known, rows_N, held, target_GNC[:, used_N], share_GN[:, used_N])
