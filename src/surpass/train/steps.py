"""The heads of a step: those whose batches are equally long make up a part.

Shape suffixes: P heads of a part, N examples of a batch, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from surpass.calls import is_outside
from surpass.losses import Loss
from surpass.train.lanes import Lane


class Same(NamedTuple):
    """Heads of one loss.

    Attributes:
        loss: Which.
        at: Where they are among the heads of their part.
        places: Which heads of all they are.
        outside: Whether it is somebody else's.
    """

    loss: Loss
    at: Tensor
    places: list[int]
    outside: bool


class Part(NamedTuple):
    """Blocks whose batches are equally long.

    Attributes:
        blocks: Their numbers.
        slices: Where the heads of each are.
        place_P: Which of all heads they are.
        same: The losses.
    """

    blocks: list[int]
    slices: list[slice]
    place_P: Tensor
    same: list[Same]


def parts_of(
    sizes: Sequence[int],
    heads: Sequence[slice],
    lanes: Sequence[Lane],
    losses: Mapping[str, Loss],
    apart: Sequence[bool],
) -> list[Part]:
    """The parts of a step.

    Args:
        sizes: How many examples a batch of each block has.
        heads: Which of all heads each block is.
        lanes: The heads.
        losses: What their losses are called.
        apart: Whether each block is a part of its own.
    """
    blocks: dict[tuple[int, int], list[int]] = {}
    for number, size in enumerate(sizes):
        blocks.setdefault((size, number if apart[number] else -1), []).append(number)
    return [_part(numbers, heads, lanes, losses) for numbers in blocks.values()]


def _part(
    blocks: list[int], heads: Sequence[slice], lanes: Sequence[Lane], losses: Mapping[str, Loss]
) -> Part:
    counts = [heads[number].stop - heads[number].start for number in blocks]
    ends = torch.tensor(counts).cumsum(0).tolist()
    places = [place for number in blocks for place in range(heads[number].start, heads[number].stop)]
    members: dict[str, list[int]] = {}
    for at, place in enumerate(places):
        members.setdefault(lanes[place].loss, []).append(at)
    return Part(
        blocks=blocks,
        slices=[slice(end - count, end) for end, count in zip(ends, counts, strict=True)],
        place_P=torch.tensor(places),
        same=[
            Same(losses[text], torch.tensor(at), [places[one] for one in at], is_outside(text))
            for text, at in members.items()
        ],
    )
