"""Which heads each thread trains: about as much work for each, and every loss in one of them."""

from __future__ import annotations

from collections.abc import Sequence

from surpass.calls import is_outside
from surpass.train.lanes import Lane
from surpass.train.many_losses import PLAIN

_LOSS = 3e7
"""What a step of one loss costs beside products, as multiplications and additions of floats."""

LARGE = 5e5
"""Multiplications of a head on a batch that keep a thread busy while others ask for Python."""


def shares_of(lanes: Sequence[Lane], num_threads: int) -> list[list[int]]:
    """Places of the heads of each thread; one share where threads do not pay.

    They do where products are large: of 10 classes, 1,280 features and 128 examples two threads took 0.75 to
    0.84 of one's time, of 2, 384 or 768 and 32 they took 1.4 to 1.8. Nor where a loss is somebody else's and
    may not bear threads.

    Losses are calls whose cost hardly depends on the number of heads, so that all heads of one are in one
    thread. Those with cross-entropy go where there is less to do, heads on the same batches together.
    """
    size = max(lane.recipe.batch_size * sum(value.numel() for value in lane.head.values()) for lane in lanes)
    if num_threads == 1 or size < LARGE or any(is_outside(lane.loss) for lane in lanes):
        return [list(range(len(lanes)))]
    units: dict[object, list[int]] = {}
    for at, lane in enumerate(lanes):
        key = (*lane.batch_key, lane.shape) if lane.loss == PLAIN else lane.loss
        units.setdefault(key, []).append(at)
    shares: list[list[int]] = [[] for _ in range(num_threads)]
    costs = [0.0] * num_threads
    ordered = sorted(
        ((lanes[own[0]].loss == PLAIN, -_cost([lanes[at] for at in own]), own) for own in units.values()),
        key=lambda unit: unit[:2],
    )
    for _, cost, own in ordered:
        least = costs.index(min(costs))
        shares[least] += own
        costs[least] -= cost
    return [sorted(share) for share in shares if share]


def _cost(lanes: Sequence[Lane]) -> float:
    """Of heads with one loss."""
    products = sum(
        4.0 * lane.recipe.epochs * len(lane.rows_N) * sum(value.numel() for value in lane.head.values())
        for lane in lanes
    )
    return products + (lanes[0].loss != PLAIN) * _LOSS * max(lane.num_steps for lane in lanes)
