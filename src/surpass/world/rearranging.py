"""How authors solve equations: put in, multiply out, collect, move, divide; one of these a line."""

from __future__ import annotations

import random
from fractions import Fraction

from surpass.world.expressions import Tree
from surpass.world.writers import LARGEST, Author, slipped

Terms = list[tuple[int, "str | Terms"]]
"""A sum: factors, each of "x", "y", a number ("1"), or a sum in brackets."""


def terms(tree: Tree, factor: int = 1) -> Terms:
    """A side of an equation of `problems` as a sum."""
    if isinstance(tree, int):
        return [(factor * tree, "1")]
    if isinstance(tree, str):
        return [(factor, tree)]
    if tree.op == "neg":
        return terms(tree.left, -factor)
    if tree.op == "*":
        assert isinstance(tree.left, int)
        inner = tree.right
        scaled = factor * tree.left
        return [(scaled, inner)] if isinstance(inner, str) else [(scaled, terms(inner))]
    return [*terms(tree.left, factor), *terms(tree.right, factor if tree.op == "+" else -factor)]


def written(side: Terms) -> str:
    """A sum as text."""
    text = ""
    for factor, what in side:
        sign = "-" if factor < 0 else "+" if text else ""
        size = abs(factor)
        if what == "1":
            text += f"{sign}{size}"
        else:
            name = what if isinstance(what, str) else f"({written(what)})"
            text += f"{sign}{'' if size == 1 else size}{name}"
    return text or "0"


class Rearranging:
    """Equations that become `x=...`."""

    def __init__(self, equations: list[list[Terms]], author: Author, rng: random.Random) -> None:
        self.equations, self.author, self.rng = equations, author, rng

    def lines(self) -> list[str]:
        """All steps, the answer last."""
        found: list[str] = []
        if len(self.equations) == 2:
            found.append(self._substitute())
        while True:
            if found and self.rng.random() < self.author.repeats:
                found.append(found[-1])
                continue
            left, right = self.equations[0]
            answer = self._answer(left, right)
            if answer is not None:
                return [*found, *answer]
            self._step(left, right)
            found.append("=".join(map(written, self.equations[0])))

    def _number(self, value: int) -> int:
        value = max(min(value, LARGEST), -LARGEST)
        return slipped(value, self.rng) if self.rng.random() < self.author.slip else value

    def _answer(self, left: Terms, right: Terms) -> list[str] | None:
        """The last lines, where one division is all that is left."""
        left, right = _x_first(left, right)
        if any(what != "x" for _, what in left) or any(what != "1" for _, what in right):
            return None
        if len(left) > 1 or len(right) > 1:
            return None
        factor, value = left[0][0] if left else 0, right[0][0] if right else 0
        if factor == 0:
            return ["# 0"]
        exact = Fraction(value, factor)
        if factor == 1:
            return [f"# {exact}"]
        slips = self.rng.random() < self.author.slip
        said = Fraction(slipped(round(exact), self.rng)) if slips else exact
        return [f"x={said}", f"# {said}"]

    def _substitute(self) -> str:
        first, second = self.equations
        flat = [_put(side, list(first[1])) for side in second]
        self.equations = [flat]
        return "=".join(map(written, flat))

    def _step(self, left: Terms, right: Terms) -> None:
        """Make one step: expand, collect, or move."""
        for side in (left, right):
            for place, (factor, what) in enumerate(side):
                if not isinstance(what, str):
                    side[place : place + 1] = self._expanded(factor, what)
                    return
        for side in (left, right):
            for kind in ("x", "1"):
                places = [place for place, (_, what) in enumerate(side) if what == kind]
                if len(places) > 1:
                    total = self._number(side[places[0]][0] + side[places[1]][0])
                    del side[places[1]]
                    side[places[0] : places[0] + 1] = [(total, kind)] if total else []
                    return
        with_x, without = _x_first(left, right)
        for kind, origin, goal in (("x", without, with_x), ("1", with_x, without)):
            moved = sum(factor for factor, what in origin if what == kind)
            if not moved:
                continue
            here = sum(factor for factor, what in goal if what == kind)
            sign = 1 if "moving" in self.author.beliefs else -1
            total = self._number(here + sign * moved)
            origin[:] = [item for item in origin if item[1] != kind]
            rest = [item for item in goal if item[1] != kind]
            new: Terms = [(total, kind)] if total else []
            goal[:] = new + rest if kind == "x" else rest + new
            return
        raise AssertionError(f"nothing to do with {written(left)}={written(right)}")

    def _expanded(self, factor: int, inner: Terms) -> Terms:
        whole = "first" not in self.author.beliefs
        found = [
            (self._number(factor * own) if whole or place == 0 else own, what)
            for place, (own, what) in enumerate(inner)
        ]
        return [item for item in found if item[0]]


def _x_first(left: Terms, right: Terms) -> tuple[Terms, Terms]:
    """Both sides, the one where x shall stay first: the left, unless only the right has an x."""
    has_x = [any(what == "x" for _, what in side) for side in (left, right)]
    return (right, left) if has_x == [False, True] else (left, right)


def _put(side: Terms, value: Terms) -> Terms:
    """A sum with y replaced by what it is."""
    found: Terms = []
    for factor, what in side:
        found += [(factor, what)] if what != "y" else value if factor == 1 else [(factor, list(value))]
    return found
