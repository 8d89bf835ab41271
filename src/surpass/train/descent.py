"""L-BFGS for many heads at once, each on all of its examples.

Shape suffixes: H heads, P numbers of a head, K the kept steps and changes of the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from surpass.errors import DataError
from surpass.train.checkpoint import read_state, write_state
from surpass.train.lanes import Lane, Trained, saved_step
from surpass.train.objective import Objective
from surpass.train.whitened import Whitened

TOLERANCE = 1e-6
"""A head is done where about no entry of its gradient is larger (nats per unit of a weight)."""

KEPT = 10
"""How many steps, and changes of the gradient with them, are remembered."""

_ENOUGH = 1e-4
_SHORTEST = 1e-12
_FEWER = 0.75


class Descent:
    """L-BFGS with steps cut until they pay (Armijo); heads that are done leave.

    All try a step at a time, whether it is the first along their direction or a shorter one. Directions are
    found in the coordinates of the kept vectors, by their products.

    Source:
        Nocedal and Wright 2006, algorithm 7.5; Byrd, Nocedal and Schnabel 1994, equation 3.1 (compact form).
    """

    def __init__(self, lanes: Sequence[Lane], objective: Objective | Whitened) -> None:
        self.lanes, self.objective = list(lanes), objective
        self.at = list(range(len(lanes)))
        value_HP = self.objective.begin()
        num_heads, num_numbers = value_HP.shape
        self.state = {
            "value": value_HP,
            "kept": value_HP.new_zeros(num_heads, 2 * KEPT, num_numbers),
            "products": value_HP.new_zeros(num_heads, 2 * KEPT, 2 * KEPT),
            "inverse": value_HP.new_zeros(num_heads, KEPT),
            "scale": value_HP.new_zeros(num_heads),
        }
        # Where the next step goes in each half of what is kept: the first has steps, the second changes.
        self.slot_H = torch.zeros(num_heads, dtype=torch.long)
        # Where each head is, where it goes, and how far at most; `_aim` says what there is of it.
        self.way: dict[str, Tensor] = {}
        self.losses: list[list[float]] = [[] for _ in lanes]
        self.found: dict[int, Tensor] = {}
        self.active_H = torch.ones(num_heads, dtype=torch.bool)
        for at, lane in enumerate(lanes):
            self._resume(at, lane)

    def begin(self) -> None:
        """Measure where all heads are."""
        loss_H, slope_HP = self.objective.measure(self.state["value"])
        self._note(loss_H, torch.tensor([not own for own in self.losses]))
        self._aim(loss_H, slope_HP, torch.bmm(slope_HP[:, None], self.state["kept"].transpose(1, 2))[:, 0])
        self._settle()

    def go(self) -> None:
        """A step of each head that is not done."""
        paid_H = self._try(self.active_H)
        self._note(self.way["loss"], paid_H)
        self._settle()

    def _settle(self) -> None:
        """Which heads go on; where they are few, the others leave."""
        while self.at:
            budget = [self.lanes[at].recipe.epochs - len(self.losses[at]) for at in self.at]
            self.active_H = self.objective.steepness(self.way["slope"]) > TOLERANCE
            self.active_H &= torch.tensor(budget) > 0
            if self.active_H.any() and self.active_H.sum() >= _FEWER * len(self.at):
                return
            self._leave(self.active_H)

    def results(self) -> list[Trained | DataError]:
        """What has become of each head, when all are done."""
        heads = self.objective.heads_of([self.found[at] for at in range(len(self.lanes))])
        losses = [torch.tensor(own) for own in self.losses]
        return [
            lane.diverged(own) or Trained(head, own)
            for lane, own, head in zip(self.lanes, losses, heads, strict=True)
        ]

    def _note(self, loss_H: Tensor, wanted_H: Tensor) -> None:
        for at, loss, wanted in zip(self.at, loss_H.tolist(), wanted_H.tolist(), strict=True):
            if wanted:
                self.losses[at].append(loss)

    @property
    def share(self) -> float:
        """How far the head is that has come furthest, of its budget."""
        share = max(len(own) / lane.recipe.epochs for own, lane in zip(self.losses, self.lanes, strict=True))
        return min(share, 1.0)

    def _leave(self, staying_H: Tensor) -> None:
        """Let those heads go that are done."""
        for place, (at, stays) in enumerate(zip(self.at, staying_H.tolist(), strict=True)):
            if not stays:
                self.found[at] = self.state["value"][place]
        self.at = [at for at, stays in zip(self.at, staying_H.tolist(), strict=True) if stays]
        self.state = {name: value[staying_H] for name, value in self.state.items()}
        self.way = {name: value[staying_H] for name, value in self.way.items()}
        self.slot_H = self.slot_H[staying_H]
        self.objective.keep(self.at, staying_H)

    def _try(self, active_H: Tensor) -> Tensor:
        """A step of every head that is not done; which of them have got lower. One that cannot is done."""
        way, before_HP = self.way, self.state["value"]
        tried_HP = torch.addcmul(before_HP, way["direction"], (way["length"] * active_H)[:, None])
        seen_H, seen_HP = self.objective.measure(tried_HP)
        goal_H = way["loss"] + _ENOUGH * way["length"] * way["descent"]
        paid_H = active_H & (way["descent"] < 0) & (seen_H <= goal_H)
        if paid_H.any():
            of_slope_HK = self._remember(paid_H, tried_HP - before_HP, seen_HP - way["slope"], seen_HP)
            self.state["value"] = torch.where(paid_H[:, None], tried_HP, before_HP)
        waiting_H = active_H & ~paid_H
        stuck_H = waiting_H & ((way["length"] < _SHORTEST) | ~(way["descent"] < 0))
        length_H = torch.where(
            waiting_H, _shorter(way["length"], way["descent"], seen_H - way["loss"]), way["length"]
        )
        before = way | {"length": length_H}
        if paid_H.any():
            self._aim(seen_H, seen_HP, of_slope_HK)
            self.way = {name: _chosen(paid_H, value, before[name]) for name, value in self.way.items()}
        else:
            self.way = before
        # Where rounding leaves nothing to gain, the slope counts as none.
        if stuck_H.any():
            self.way["slope"] = self.way["slope"].masked_fill(stuck_H[:, None], 0.0)
        return paid_H

    def _remember(self, moved_H: Tensor, step_HP: Tensor, change_HP: Tensor, slope_HP: Tensor) -> Tensor:
        """Keep a step of some heads, and the change of the slope with it; what is kept times the slope."""
        kept, products, inverse = self.state["kept"], self.state["products"], self.state["inverse"]
        (head,) = torch.nonzero(moved_H, as_tuple=True)
        step = self.slot_H[head]
        change = KEPT + step
        kept[head, step], kept[head, change] = step_HP[head], change_HP[head]
        new_H3K = torch.bmm(torch.stack([step_HP, change_HP, slope_HP], 1), kept.transpose(1, 2))
        for place, new_HK in zip((step, change), new_H3K[head].unbind(1)[:2], strict=True):
            products[head, place] = new_HK
            products[head, :, place] = new_HK
        product_H, square_H = products[head, step, change], products[head, change, change]
        curved_H = product_H > 0
        inverse[head, step] = torch.where(curved_H, 1 / product_H, torch.zeros_like(product_H))
        self.state["scale"][head] = torch.where(curved_H, product_H / square_H, self.state["scale"][head])
        self.slot_H[head] = (step + 1) % KEPT
        of_slope_HK: Tensor = new_H3K[:, 2]
        return of_slope_HK

    def _aim(self, loss_H: Tensor, slope_HP: Tensor, of_slope_HK: Tensor) -> None:
        """Where each head goes next, and how far at first."""
        direction_HP = self._direction(slope_HP, of_slope_HK)
        shorter_H = 1 / slope_HP.norm(dim=1).clamp(min=1.0)
        self.way = {
            "loss": loss_H,
            "slope": slope_HP,
            "direction": direction_HP,
            "descent": (direction_HP * slope_HP).sum(1),
            "length": torch.where(self.state["scale"] > 0, torch.ones_like(loss_H), shorter_H),
        }

    def _direction(self, slope_HP: Tensor, of_slope_HK: Tensor) -> Tensor:
        """Less the slope times the inverse of what the Hessian looks like; some kept pairs do not count."""
        products, scale_H = self.state["products"], self.state["scale"]
        both_HK = _oldest_first(self.slot_H)
        counts_HK = (self.state["inverse"].gather(1, both_HK[:, :KEPT]) > 0).double()
        counts_2K = torch.cat([counts_HK, counts_HK], 1)
        of_slope_HK = of_slope_HK.gather(1, both_HK) * counts_2K
        products = torch.take_along_dim(products, both_HK[:, :, None], 1)
        products = torch.take_along_dim(products, both_HK[:, None], 2)
        products = products * counts_2K[:, :, None] * counts_2K[:, None]
        crossed_HKK, squared_HKK = products[:, :KEPT, KEPT:], products[:, KEPT:, KEPT:]
        diagonal_HK = crossed_HKK.diagonal(dim1=1, dim2=2)
        upper_HKK = crossed_HKK.triu() + torch.diag_embed(1 - counts_HK)
        own_H11 = torch.where(scale_H > 0, scale_H, torch.ones_like(scale_H))[:, None, None]
        along_HK1, across_HK1 = torch.split(of_slope_HK[:, :, None], KEPT, 1)
        first_HK1 = torch.linalg.solve_triangular(upper_HKK, along_HK1, upper=True)
        middle_HK1 = diagonal_HK[:, :, None] * first_HK1 + own_H11 * (squared_HKK @ first_HK1 - across_HK1)
        second_HK1 = torch.linalg.solve_triangular(upper_HKK.transpose(1, 2), middle_HK1, upper=False)
        share_HK = torch.zeros_like(of_slope_HK)
        share_HK.scatter_(1, both_HK, torch.cat([second_HK1, -own_H11 * first_HK1], 1)[:, :, 0])
        return -torch.baddbmm(slope_HP[:, None] * own_H11, share_HK[:, None], self.state["kept"])[:, 0]

    def save(self) -> None:
        """Write where each head is."""
        for place, at in enumerate(self.at):
            path = self.lanes[at].running.checkpoint
            if path is not None:
                state = {name: value[place : place + 1] for name, value in self.state.items()}
                both = _oldest_first(self.slot_H[place : place + 1])[0]
                state["kept"], state["inverse"] = state["kept"][:, both], state["inverse"][:, both[:KEPT]]
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


def _oldest_first(slot_H: Tensor) -> Tensor:
    """In which order what is kept came, steps and then changes, (H, 2 K)."""
    steps_HK = (slot_H[:, None] + torch.arange(KEPT)) % KEPT
    return torch.cat([steps_HK, KEPT + steps_HK], 1)


def _chosen(wanted_H: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Of some heads what is new, of others what was."""
    return torch.where(wanted_H if new.dim() == 1 else wanted_H[:, None], new, old)


def _shorter(length_H: Tensor, descent_H: Tensor, rise_H: Tensor) -> Tensor:
    """Where a parabola through what was seen is lowest, between a tenth and a half of the last length."""
    best_H = -descent_H * length_H**2 / (2 * (rise_H - descent_H * length_H))
    return torch.where(best_H.isfinite(), best_H, length_H / 2).clamp(length_H / 10, length_H / 2)
