"""Logistic regression on frozen states: many heads at once by L-BFGS, each on all of its examples.

Heads on the same examples are one matrix product. In float64, so that company makes no difference. States
are read in pieces, so that they need not fit into memory.

Shape suffixes: H heads, P numbers of a head, K the kept steps and changes of the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from surpass.errors import DataError, Stopped
from surpass.train.checkpoint import read_state, write_state
from surpass.train.lanes import Lane, Trained, saved_step
from surpass.train.linear import PREFIX
from surpass.train.objective import Objective
from surpass.train.whitened import Coordinates, Whitened, coordinates_of

TOLERANCE = 1e-6
"""A head is done where about no entry of its gradient is larger (nats per unit of a weight)."""

_KEPT = 10
_ENOUGH = 1e-4
_SHORTEST = 1e-12
_FEWER = 0.75
_BYTES_AT_ONCE = 16 << 20
"""What all heads that are trained at once keep; more of them would not stay near the processor."""


def fit_full_batch(lanes: Sequence[Lane]) -> list[Trained | DataError]:
    """Train heads of one shape, each to the minimum of its mean loss plus decay / 2 x its squared weights.

    A head's losses are those of its iterations: at most as many as its recipe has epochs.

    Raises:
        Stopped: The first lane's `running.stop` said so; every head has saved where it is.
    """
    found: dict[object, Coordinates | None] = {}
    alike: dict[object, dict[object, list[int]]] = {}
    for at, lane in enumerate(lanes):
        ground = id(lane.known), lane.recipe.weight_decay
        if ground not in found:
            found[ground] = coordinates_of(lane)
        own = found[ground]
        shape = None if own is None else own.states_BN.shape
        alike.setdefault(shape, {}).setdefault(ground, []).append(at)
    trained: dict[int, Trained | DataError] = {}
    for grounds in alike.values():
        # Heads on the same ground side by side.
        places = [(at, found[ground]) for ground, ats in grounds.items() for at in ats]
        for some in _at_once(places, lanes[0]):
            same, coordinates = [lanes[at] for at, _ in some], [own for _, own in some if own is not None]
            objective = Whitened(same, coordinates) if coordinates else Objective(same)
            trained |= zip((at for at, _ in some), _Descent(same, objective).fit(), strict=True)
    return [trained[at] for at in range(len(lanes))]


def _at_once(
    places: Sequence[tuple[int, Coordinates | None]], lane: Lane
) -> Iterator[Sequence[tuple[int, Coordinates | None]]]:
    """So many heads that what they keep is not too much."""
    numbers = sum(value.numel() for value in lane.head.values())
    own = places[0][1]
    if own is not None:
        numbers = len(own.states_BN) * len(lane.head[f"{PREFIX}bias"])
    size = max(1, _BYTES_AT_ONCE // (8 * (2 * _KEPT + 8) * numbers))
    for start in range(0, len(places), size):
        yield places[start : start + size]


class _Descent:
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
            "kept": value_HP.new_zeros(num_heads, 2 * _KEPT, num_numbers),
            "products": value_HP.new_zeros(num_heads, 2 * _KEPT, 2 * _KEPT),
            "inverse": value_HP.new_zeros(num_heads, _KEPT),
            "scale": value_HP.new_zeros(num_heads),
        }
        # Where the next step goes in each half of what is kept: the first has steps, the second changes.
        self.slot_H = torch.zeros(num_heads, dtype=torch.long)
        # Where each head is, where it goes, and how far at most; `_aim` says what there is of it.
        self.way: dict[str, Tensor] = {}
        self.losses: list[list[float]] = [[] for _ in lanes]
        self.found: dict[int, Tensor] = {}
        for at, lane in enumerate(lanes):
            self._resume(at, lane)

    def fit(self) -> list[Trained | DataError]:
        """All iterations of all heads."""
        loss_H, slope_HP = self.objective.measure(self.state["value"])
        self._note(loss_H, torch.tensor([not own for own in self.losses]))
        self._aim(loss_H, slope_HP, torch.bmm(slope_HP[:, None], self.state["kept"].transpose(1, 2))[:, 0])
        while self.at:
            budget = [self.lanes[at].recipe.epochs - len(self.losses[at]) for at in self.at]
            active_H = (self.objective.steepness(self.way["slope"]) > TOLERANCE) & (torch.tensor(budget) > 0)
            if active_H.sum() < _FEWER * len(self.at) or not active_H.any():
                self._leave(active_H)
                continue
            paid_H = self._try(active_H)
            self._note(self.way["loss"], paid_H)
            self._report()
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
        change = _KEPT + step
        kept[head, step], kept[head, change] = step_HP[head], change_HP[head]
        new_H3K = torch.bmm(torch.stack([step_HP, change_HP, slope_HP], 1), kept.transpose(1, 2))
        for place, new_HK in zip((step, change), new_H3K[head].unbind(1)[:2], strict=True):
            products[head, place] = new_HK
            products[head, :, place] = new_HK
        product_H, square_H = products[head, step, change], products[head, change, change]
        curved_H = product_H > 0
        inverse[head, step] = torch.where(curved_H, 1 / product_H, torch.zeros_like(product_H))
        self.state["scale"][head] = torch.where(curved_H, product_H / square_H, self.state["scale"][head])
        self.slot_H[head] = (step + 1) % _KEPT
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
        counts_HK = (self.state["inverse"].gather(1, both_HK[:, :_KEPT]) > 0).double()
        counts_2K = torch.cat([counts_HK, counts_HK], 1)
        of_slope_HK = of_slope_HK.gather(1, both_HK) * counts_2K
        products = torch.take_along_dim(products, both_HK[:, :, None], 1)
        products = torch.take_along_dim(products, both_HK[:, None], 2)
        products = products * counts_2K[:, :, None] * counts_2K[:, None]
        crossed_HKK, squared_HKK = products[:, :_KEPT, _KEPT:], products[:, _KEPT:, _KEPT:]
        diagonal_HK = crossed_HKK.diagonal(dim1=1, dim2=2)
        upper_HKK = crossed_HKK.triu() + torch.diag_embed(1 - counts_HK)
        own_H11 = torch.where(scale_H > 0, scale_H, torch.ones_like(scale_H))[:, None, None]
        along_HK1, across_HK1 = torch.split(of_slope_HK[:, :, None], _KEPT, 1)
        first_HK1 = torch.linalg.solve_triangular(upper_HKK, along_HK1, upper=True)
        middle_HK1 = diagonal_HK[:, :, None] * first_HK1 + own_H11 * (squared_HKK @ first_HK1 - across_HK1)
        second_HK1 = torch.linalg.solve_triangular(upper_HKK.transpose(1, 2), middle_HK1, upper=False)
        share_HK = torch.zeros_like(of_slope_HK)
        share_HK.scatter_(1, both_HK, torch.cat([second_HK1, -own_H11 * first_HK1], 1)[:, :, 0])
        return -torch.baddbmm(slope_HP[:, None] * own_H11, share_HK[:, None], self.state["kept"])[:, 0]

    def _save(self) -> None:
        for place, at in enumerate(self.at):
            path = self.lanes[at].running.checkpoint
            if path is not None:
                state = {name: value[place : place + 1] for name, value in self.state.items()}
                both = _oldest_first(self.slot_H[place : place + 1])[0]
                state["kept"], state["inverse"] = state["kept"][:, both], state["inverse"][:, both[:_KEPT]]
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
    steps_HK = (slot_H[:, None] + torch.arange(_KEPT)) % _KEPT
    return torch.cat([steps_HK, _KEPT + steps_HK], 1)


def _chosen(wanted_H: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Of some heads what is new, of others what was."""
    return torch.where(wanted_H if new.dim() == 1 else wanted_H[:, None], new, old)


def _shorter(length_H: Tensor, descent_H: Tensor, rise_H: Tensor) -> Tensor:
    """Where a parabola through what was seen is lowest, between a tenth and a half of the last length."""
    best_H = -descent_H * length_H**2 / (2 * (rise_H - descent_H * length_H))
    return torch.where(best_H.isfinite(), best_H, length_H / 2).clamp(length_H / 10, length_H / 2)
