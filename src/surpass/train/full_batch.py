"""Logistic regression on frozen states: many heads at once by L-BFGS, each on all of its examples.

Heads on the same examples are one matrix product. In float64, so that company makes no difference. States
are read in pieces, so that they need not fit into memory.

"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from surpass.errors import DataError, Stopped
from surpass.train.descent import KEPT, Descent
from surpass.train.lanes import Lane, Trained
from surpass.train.linear import PREFIX
from surpass.train.objective import Objective
from surpass.train.side_by_side import side_by_side
from surpass.train.whitened import Coordinates, Whitened, coordinates_of

_Placed = list[tuple[int, Coordinates | None]]
"""Heads by their places among all, with their coordinates."""

_BYTES_AT_ONCE = 16 << 20
"""What all heads that are trained at once keep; more of them would not stay near the processor."""


def fit_full_batch(lanes: Sequence[Lane]) -> list[Trained | DataError]:
    """Train heads of one shape, each to the minimum of its mean loss plus decay / 2 x its squared weights.

    A head's losses are those of its iterations: at most as many as its recipe has epochs.

    Raises:
        Stopped: The first lane's `running.stop` said so; every head that has begun has saved where it is.
    """
    trained: dict[int, Trained | DataError] = {}
    for placed in _divided(lanes):
        some = [lanes[at] for at, _ in placed]
        found = [own for _, own in placed if own is not None]
        descent = Descent(some, Whitened(some, found) if found else Objective(some))
        descent.begin()
        _report(descent, lanes[0].running.stop)
        while descent.at:
            descent.go()
            _report(descent, lanes[0].running.stop)
        trained |= zip((at for at, _ in placed), descent.results(), strict=True)
    return [trained[at] for at in range(len(lanes))]


def _divided(lanes: Sequence[Lane]) -> Iterator[_Placed]:
    """One after another what heads are trained at once: those on as many examples and features."""
    grounds: dict[tuple[int, float], list[int]] = {}  # what heads have in common whose coordinates are equal
    for at, lane in enumerate(lanes):
        grounds.setdefault((id(lane.known), lane.recipe.weight_decay), []).append(at)
    shapes: dict[object, _Placed] = {}
    found = _coordinates([lanes[first] for first, *_ in grounds.values()])
    for places, own in zip(grounds.values(), found, strict=True):
        alike = shapes.setdefault(None if own is None else own.states_BN.shape, [])
        alike += [(at, own) for at in places]  # those with the same coordinates side by side
    for same in shapes.values():
        yield from _at_once(same, lanes[0])


def _coordinates(lanes: Sequence[Lane]) -> list[Coordinates | None]:
    """Those of each head; in threads, as what finds them gains little from a second one of its own."""
    num_threads = min(torch.get_num_threads(), len(lanes))
    found: list[Coordinates | None] = [None] * len(lanes)

    def find(number: int) -> None:
        found[number::num_threads] = map(coordinates_of, lanes[number::num_threads])

    with side_by_side(num_threads) as run:
        run([partial(find, number) for number in range(num_threads)])
    return found


def _report(descent: Descent, stop: Callable[[], bool]) -> None:
    """Say how far heads have come, and stop where that is wanted."""
    share = descent.share
    for lane in descent.lanes:
        lane.running.report(share)
    if descent.at and stop():
        descent.save()
        raise Stopped("stopped; run the same command again to go on from here")


def _at_once(places: _Placed, lane: Lane) -> Iterator[_Placed]:
    """So many heads that what they keep is not too much."""
    numbers = sum(value.numel() for value in lane.head.values())
    own = places[0][1]
    if own is not None:
        numbers = len(own.states_BN) * len(lane.head[f"{PREFIX}bias"])
    size = max(1, _BYTES_AT_ONCE // (8 * (2 * KEPT + 8) * numbers))
    for start in range(0, len(places), size):
        yield places[start : start + size]
