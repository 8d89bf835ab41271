"""The heads of a step in the order in which their losses are computed.

Heads whose batches are equally long make up a part; in it those of one loss lie side by side, those of losses
with targets first, so that the cross-entropy towards all targets is one.

Shape suffixes: P heads of a part, N examples of a batch, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from surpass.losses import Loss
from surpass.train.lanes import Lane


class Same(NamedTuple):
    """Heads of one loss.

    Attributes:
        loss: Which.
        part: Where they are among the heads of their part.
        places: Which heads of the stack they are.
    """

    loss: Loss
    part: slice
    places: list[int]


class Part(NamedTuple):
    """Heads whose batches are equally long.

    Attributes:
        groups: Numbers of their groups.
        slices: Where the heads of each group are, as they come.
        place_P: Which heads of the stack they are, by loss.
        order_P: From heads as they come to heads by loss.
        back_P: And back.
        group_P: From which of `groups` each has its batch, by loss.
        same: The losses.
        num_targets: How many of the heads, by loss, have targets; they are the first.
    """

    groups: list[int]
    slices: list[slice]
    place_P: Tensor
    order_P: Tensor
    back_P: Tensor
    group_P: Tensor
    same: list[Same]
    num_targets: int


def parts_of(
    sizes: Sequence[int], heads: Sequence[slice], lanes: Sequence[Lane], losses: Mapping[str, Loss]
) -> list[Part]:
    """The parts of a step.

    Args:
        sizes: How many examples the batch of each group has.
        heads: Which heads of the stack each group is.
        lanes: The heads.
        losses: What their losses are called.
    """
    groups: dict[int, list[int]] = {}
    for number, size in enumerate(sizes):
        groups.setdefault(size, []).append(number)
    return [_part(numbers, heads, lanes, losses) for numbers in groups.values()]


def _part(
    groups: list[int], heads: Sequence[slice], lanes: Sequence[Lane], losses: Mapping[str, Loss]
) -> Part:
    counts = [heads[number].stop - heads[number].start for number in groups]
    ends = torch.tensor(counts).cumsum(0).tolist()
    places = [place for number in groups for place in range(heads[number].start, heads[number].stop)]
    members: dict[str, list[int]] = {}
    for at, place in enumerate(places):
        members.setdefault(lanes[place].loss, []).append(at)
    texts = sorted(members, key=lambda text: losses[text].per_example)
    order = [at for text in texts for at in members[text]]
    same, start = [], 0
    for text in texts:
        stop = start + len(members[text])
        same.append(Same(losses[text], slice(start, stop), [places[at] for at in members[text]]))
        start = stop
    order_P = torch.tensor(order)
    return Part(
        groups=groups,
        slices=[slice(end - count, end) for end, count in zip(ends, counts, strict=True)],
        place_P=torch.tensor(places)[order_P],
        order_P=order_P,
        back_P=order_P.argsort(),
        group_P=torch.arange(len(groups)).repeat_interleave(torch.tensor(counts))[order_P],
        same=same,
        num_targets=sum(len(each.places) for each in same if not each.loss.per_example),
    )
