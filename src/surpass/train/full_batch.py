"""Logistic regression on frozen states: many heads at once by L-BFGS, each on all of its examples.

Heads on the same examples are one matrix product. In float64, so that company makes no difference. States
are read in pieces, so that they need not fit into memory.

"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch

from surpass.errors import DataError, Stopped
from surpass.train.descent import KEPT, Descent
from surpass.train.lanes import Lane, Trained
from surpass.train.linear import PREFIX
from surpass.train.objective import Objective
from surpass.train.side_by_side import side_by_side
from surpass.train.whitened import Coordinates, Whitened, coordinates_of

_Ground = tuple[int, float]
"""Which states heads are on, and their decay: those of one have the same coordinates."""

_Placed = list[tuple[int, Coordinates | None]]
"""Heads by their places among all, with their coordinates."""

_BYTES_AT_ONCE = 16 << 20
"""What all heads that are trained at once keep; more of them would not stay near the processor."""


def fit_full_batch(lanes: Sequence[Lane]) -> list[Trained | DataError]:
    """Train heads of one shape, each to the minimum of its mean loss plus decay / 2 x its squared weights.

    A head's losses are those of its iterations: at most as many as its recipe has epochs. There are as many
    threads as torch has; which heads share one depends on their states alone.

    Raises:
        Stopped: The first lane's `running.stop` said so; every head has saved where it is.
    """
    grounds: dict[_Ground, list[int]] = {}
    for at, lane in enumerate(lanes):
        grounds.setdefault((id(lane.known), lane.recipe.weight_decay), []).append(at)
    num_threads = min(torch.get_num_threads(), len(grounds))
    found: dict[_Ground, Coordinates | None] = {}

    def learn(some: Sequence[_Ground]) -> None:
        found.update((ground, coordinates_of(lanes[grounds[ground][0]])) for ground in some)

    with side_by_side(num_threads) as run:
        run([partial(learn, [*grounds][number::num_threads]) for number in range(num_threads)])
        rows = [_Row(lanes, some) for some in _divided(lanes, grounds, found, num_threads)]
        while working := [row for row in rows if row.going]:
            run([row.go for row in working])
            _report(lanes, rows)
    trained = {at: each for row in rows for at, each in row.trained.items()}
    return [trained[at] for at in range(len(lanes))]


def _divided(
    lanes: Sequence[Lane],
    grounds: Mapping[_Ground, Sequence[int]],
    found: Mapping[_Ground, Coordinates | None],
    num_threads: int,
) -> list[list[_Placed]]:
    """For each thread one list after another of heads that are trained at once."""
    shapes: dict[object, list[_Ground]] = {}
    for ground in grounds:
        own = found[ground]
        shapes.setdefault(None if own is None else own.states_BN.shape, []).append(ground)
    rows: list[list[_Placed]] = [[] for _ in range(num_threads)]
    for same in shapes.values():
        parts: list[_Placed] = [[] for _ in range(num_threads)]
        for ground in sorted(same, key=lambda ground: -len(grounds[ground])):
            # Heads on the same ground side by side.
            min(parts, key=len).extend((at, found[ground]) for at in grounds[ground])
        rows.sort(key=lambda row: sum(map(len, row)))
        for row, part in zip(rows, sorted(parts, key=len, reverse=True), strict=True):
            row += _at_once(part, lanes[0]) if part else ()
    return rows


class _Row:
    """What one thread trains, some heads after the other."""

    def __init__(self, lanes: Sequence[Lane], waiting: Sequence[_Placed]) -> None:
        self._lanes, self._waiting = lanes, list(waiting)
        self.now: Descent | None = None
        self._places: list[int] = []
        self.trained: dict[int, Trained | DataError] = {}

    @property
    def going(self) -> bool:
        """Whether there is something left to do."""
        return self.now is not None or bool(self._waiting)

    def go(self) -> None:
        """Begin, or do one step of each head; take the results in where they were the last."""
        if self.now is None:
            some = self._waiting.pop(0)
            self._places = [at for at, _ in some]
            same, found = (
                [self._lanes[at] for at in self._places],
                [own for _, own in some if own is not None],
            )
            self.now = Descent(same, Whitened(same, found) if found else Objective(same))
            self.now.begin()
        else:
            self.now.go()
        if not self.now.at:
            self.trained |= zip(self._places, self.now.results(), strict=True)
            self.now = None


def _report(lanes: Sequence[Lane], rows: Sequence[_Row]) -> None:
    """Say how far heads have come, and stop where that is wanted."""
    working = [row.now for row in rows if row.now is not None]
    for descent in working:
        share = descent.share
        for lane in descent.lanes:
            lane.running.report(share)
    if working and lanes[0].running.stop():
        for descent in working:
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
