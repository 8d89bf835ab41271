"""Logistic regression on frozen states: many heads at once by L-BFGS, each on all of its examples.

Heads on the same examples are one matrix product. In float64, so that company makes no difference. States
are read in pieces, so that they need not fit into memory.

Shape suffixes: H heads, P numbers of a head, K the kept steps and changes of the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from surpass.errors import DataError, Stopped
from surpass.train.checkpoint import read_state, write_state
from surpass.train.lanes import Lane, Trained, saved_step
from surpass.train.objective import Objective

TOLERANCE = 1e-6
"""A head is done where no entry of its gradient is larger (nats per unit of a weight)."""

_KEPT = 10
_ENOUGH = 1e-4
_SHORTEST = 1e-12
_FEWER = 0.75
_BYTES_AT_ONCE = 1 << 30


def fit_full_batch(lanes: Sequence[Lane]) -> list[Trained | DataError]:
    """Train heads of one shape, each to the minimum of its mean loss plus decay / 2 x its squared weights.

    A head's losses are those of its iterations: at most as many as its recipe has epochs.

    Raises:
        Stopped: The first lane's `running.stop` said so; every head has saved where it is.
    """
    per_head = 8 * (2 * _KEPT + 8) * sum(value.numel() for value in lanes[0].head.values())
    size = max(1, _BYTES_AT_ONCE // per_head)
    trained: list[Trained | DataError] = []
    for start in range(0, len(lanes), size):
        trained += _Descent(lanes[start : start + size]).fit()
    return trained


class _Descent:
    """L-BFGS with steps cut until they pay (Armijo); heads that are done leave.

    Directions are found in the coordinates of the kept vectors, by their products.

    Source:
        Nocedal and Wright 2006, algorithm 7.4; Chen et al. 2014 (vector-free L-BFGS).
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = list(lanes)
        self.objective = Objective(lanes)
        self.at = list(range(len(lanes)))
        value_HP = self.objective.begin()
        num_heads, num_numbers = value_HP.shape
        self.state = {
            "value": value_HP,
            "kept": value_HP.new_zeros(num_heads, 2 * _KEPT, num_numbers),
            "products": value_HP.new_zeros(num_heads, 2 * _KEPT, 2 * _KEPT),
            "inverse": value_HP.new_zeros(num_heads, _KEPT),
            "scale": value_HP.new_zeros(num_heads),
        }
        # Where the next step goes in each half of what is kept: the first has steps, the second changes.
        self.slot = 0
        self.losses: list[list[float]] = [[] for _ in lanes]
        self.found: dict[int, Tensor] = {}
        for at, lane in enumerate(lanes):
            self._resume(at, lane)

    def fit(self) -> list[Trained | DataError]:
        """All iterations of all heads."""
        loss_H, slope_HP = self.objective.measure(self.state["value"])
        self._note(loss_H, torch.tensor([not own for own in self.losses]))
        while self.at:
            budget = [self.lanes[at].recipe.epochs - len(self.losses[at]) for at in self.at]
            active_H = (slope_HP.abs().amax(1) > TOLERANCE) & (torch.tensor(budget) > 0)
            if active_H.sum() < _FEWER * len(self.at) or not active_H.any():
                loss_H, slope_HP = loss_H[active_H], slope_HP[active_H]
                self._leave(active_H)
                continue
            loss_H, slope_HP = self._iterate(active_H, loss_H, slope_HP)
            self._note(loss_H, active_H)
            self._report()
        return [self._result(at) for at in range(len(self.lanes))]

    def _note(self, loss_H: Tensor, wanted_H: Tensor) -> None:
        for at, loss, wanted in zip(self.at, loss_H.tolist(), wanted_H.tolist(), strict=True):
            if wanted:
                self.losses[at].append(loss)

    def _report(self) -> None:
        running = self.lanes[0].running
        share = max(len(own) / lane.recipe.epochs for own, lane in zip(self.losses, self.lanes, strict=True))
        for lane in self.lanes:
            lane.running.report(min(share, 1.0))
        if running.stop():
            self._save()
            raise Stopped("stopped; run the same command again to go on from here")

    def _leave(self, staying_H: Tensor) -> None:
        """Let those heads go that are done."""
        for place, (at, stays) in enumerate(zip(self.at, staying_H.tolist(), strict=True)):
            if not stays:
                self.found[at] = self.state["value"][place]
        self.at = [at for at, stays in zip(self.at, staying_H.tolist(), strict=True) if stays]
        self.state = {name: value[staying_H] for name, value in self.state.items()}
        self.objective.keep(staying_H)

    def _iterate(self, active_H: Tensor, loss_H: Tensor, slope_HP: Tensor) -> tuple[Tensor, Tensor]:
        """A step of every head that is not done; one that cannot go lower is."""
        direction_HP = self._direction(slope_HP)
        descent_H = (direction_HP * slope_HP).sum(1)
        before_HP = self.state["value"]
        shorter_H = 1 / slope_HP.norm(dim=1).clamp(min=1.0)
        length_H = torch.where(self.state["scale"] > 0, torch.ones_like(loss_H), shorter_H)
        moving_H = active_H & (descent_H < 0)
        waiting_H, new_H, new_HP = moving_H, loss_H, slope_HP
        while waiting_H.any():
            tried_HP = before_HP + (length_H * moving_H)[:, None] * direction_HP
            seen_H, seen_HP = self.objective.measure(tried_HP, waiting_H)
            paid_H = waiting_H & (seen_H <= loss_H + _ENOUGH * length_H * descent_H)
            new_H, new_HP = torch.where(paid_H, seen_H, new_H), torch.where(paid_H[:, None], seen_HP, new_HP)
            moving_H = moving_H & (paid_H | ~waiting_H | (length_H >= _SHORTEST))
            waiting_H = waiting_H & ~paid_H & moving_H
            length_H = torch.where(waiting_H, _shorter(length_H, descent_H, seen_H - loss_H), length_H)
        self.state["value"] = before_HP + (length_H * moving_H)[:, None] * direction_HP
        self._remember(moving_H, self.state["value"] - before_HP, new_HP - slope_HP)
        # Where rounding leaves nothing to gain, the slope counts as none.
        stuck_H = active_H & ~moving_H
        return new_H, torch.where(stuck_H[:, None], torch.zeros_like(new_HP), new_HP)

    def _remember(self, moved_H: Tensor, step_HP: Tensor, change_HP: Tensor) -> None:
        kept, products, inverse = self.state["kept"], self.state["products"], self.state["inverse"]
        step, change = self.slot, _KEPT + self.slot
        kept[:, step], kept[:, change] = step_HP, change_HP
        new_HK2 = torch.bmm(kept, torch.stack([step_HP, change_HP], 2))
        for place, new_HK in zip((step, change), new_HK2.unbind(2), strict=True):
            products[:, place], products[:, :, place] = new_HK, new_HK
        product_H, square_H = products[:, step, change], products[:, change, change]
        curved_H = moved_H & (product_H > 0)
        inverse[:, step] = torch.where(curved_H, 1 / product_H, torch.zeros_like(product_H))
        self.state["scale"] = torch.where(curved_H, product_H / square_H, self.state["scale"])
        self.slot = (self.slot + 1) % _KEPT

    def _direction(self, slope_HP: Tensor) -> Tensor:
        """Where each head goes; a kept pair that does not count has an inverse of 0."""
        kept, products, inverse, scale_H = (
            self.state[name] for name in ("kept", "products", "inverse", "scale")
        )
        of_slope_HK = torch.bmm(kept, slope_HP[:, :, None])[:, :, 0]
        share_HK = torch.zeros_like(of_slope_HK)
        own_H = torch.ones_like(scale_H)
        weights = torch.zeros_like(inverse)
        oldest_first = [(self.slot + age) % _KEPT for age in range(_KEPT)]
        for step in reversed(oldest_first):
            along_H = (products[:, step] * share_HK).sum(1) + own_H * of_slope_HK[:, step]
            weights[:, step] = inverse[:, step] * along_H
            share_HK[:, _KEPT + step] -= weights[:, step]
        own_H = torch.where(scale_H > 0, scale_H, own_H)
        share_HK = share_HK * own_H[:, None]
        for step in oldest_first:
            change = _KEPT + step
            along_H = (products[:, change] * share_HK).sum(1) + own_H * of_slope_HK[:, change]
            share_HK[:, step] += weights[:, step] - inverse[:, step] * along_H
        return -(own_H[:, None] * slope_HP + torch.bmm(share_HK[:, None], kept)[:, 0])

    def _result(self, at: int) -> Trained | DataError:
        losses = torch.tensor(self.losses[at])
        head = self.objective.head_of(self.found[at], self.lanes[at])
        return self.lanes[at].diverged(losses) or Trained(head, losses)

    def _save(self) -> None:
        for place, at in enumerate(self.at):
            path = self.lanes[at].running.checkpoint
            if path is not None:
                state = {name: value[place : place + 1] for name, value in self.state.items()}
                order = torch.arange(_KEPT).roll(-self.slot)
                both = torch.cat([order, order + _KEPT])
                state["kept"], state["inverse"] = state["kept"][:, both], state["inverse"][:, order]
                state["products"] = state["products"][:, both][:, :, both]
                state["losses"] = torch.tensor(self.losses[at], dtype=torch.float64)
                write_state(path, {"step": len(self.losses[at]), "optimizer": "lbfgs"}, state)

    def _resume(self, at: int, lane: Lane) -> None:
        if not saved_step(lane):
            return
        assert lane.running.checkpoint is not None
        _, saved = read_state(lane.running.checkpoint)
        for name, value in self.state.items():
            value[at] = saved[name][0]
        self.losses[at] = saved["losses"].tolist()


def _shorter(length_H: Tensor, descent_H: Tensor, rise_H: Tensor) -> Tensor:
    """Where a parabola through what was seen is lowest, between a tenth and a half of the last length."""
    best_H = -descent_H * length_H**2 / (2 * (rise_H - descent_H * length_H))
    return torch.where(best_H.isfinite(), best_H, length_H / 2).clamp(length_H / 10, length_H / 2)
