"""How authors work out an expression, one operation a line."""

from __future__ import annotations

import random
from collections.abc import Callable

from surpass.world.expressions import Node, Tree, write
from surpass.world.writers import LARGEST, Author, slipped


class Calculation:
    """An expression that becomes a number."""

    def __init__(self, tree: Tree, author: Author, rng: random.Random) -> None:
        self.tree, self.author, self.rng = folded(tree), author, rng

    def lines(self) -> list[str]:
        """All steps, the answer last."""
        found: list[str] = []
        while isinstance(self.tree, Node):
            if found and self.rng.random() < self.author.repeats:
                found.append(self._again(found[-1]))
                continue
            self.tree = self._believed(self.tree) or self._step()
            found.append(write(self.tree) if isinstance(self.tree, Node) else f"# {self.tree}")
        return found

    def _again(self, line: str) -> str:
        tree = self.tree
        if isinstance(tree, Node) and tree.op in "+*" and self.rng.random() < 0.5:
            self.tree = Node(tree.op, tree.right, tree.left)
            return write(self.tree)
        return line

    def _step(self) -> Tree:
        ready = num_ready(self.tree)
        place = 0 if self.author.orderly else self.rng.randrange(ready)
        slips = self.rng.random() < self.author.slip
        if slips and ready < _numbers(self.tree) - 1 and self.rng.random() < 0.15:
            other = self.rng.randrange(_numbers(self.tree))
            copied, _ = _changed(self.tree, other, lambda value: slipped(value, self.rng))
            assert isinstance(copied, Node)
            return _reduced(copied, min(place, num_ready(copied) - 1), lambda value: value)[0]
        return _reduced(self.tree, place, lambda value: slipped(value, self.rng) if slips else value)[0]

    def _believed(self, tree: Tree) -> Tree | None:
        """The tree after a misconception has struck, at the first occasion; None without any."""
        if not isinstance(tree, Node):
            return None
        left, right = tree.left, tree.right
        if isinstance(right, Node):
            if "brackets" in self.author.beliefs and tree.op == "-" and right.op in "+-":
                return Node(right.op, Node("-", left, right.left), right.right)
            if "order" in self.author.beliefs and tree.op in "+-" and right.op == "*":
                first = right.left
                if isinstance(left, int) and isinstance(first, int) and abs(left) + abs(first) < 100:
                    return Node("*", left + first if tree.op == "+" else left - first, right.right)
        if (new := self._believed(left)) is not None:
            return Node(tree.op, new, right)
        if (new := self._believed(right)) is not None:
            return Node(tree.op, left, new)
        return None


def folded(tree: Tree) -> Tree:
    """The tree with numbers below zero as numbers."""
    if not isinstance(tree, Node):
        return tree
    left = folded(tree.left)
    if tree.op == "neg":
        return -left if isinstance(left, int) else Node("neg", left)
    return Node(tree.op, left, folded(tree.right))


def num_ready(tree: Tree) -> int:
    """How many operations have nothing but numbers below them."""
    if not isinstance(tree, Node):
        return 0
    if isinstance(tree.left, int) and isinstance(tree.right, int):
        return 1
    return num_ready(tree.left) + num_ready(tree.right)


def _numbers(tree: Tree) -> int:
    return _numbers(tree.left) + _numbers(tree.right) if isinstance(tree, Node) else 1


def _changed(tree: Tree, place: int, change: Callable[[int], int]) -> tuple[Tree, int]:
    """The tree with one number changed, counted from the left, and how many it has."""
    if not isinstance(tree, Node):
        return (max(change(int(tree)), 0) if place == 0 else tree), 1
    left, count = _changed(tree.left, place, change)
    right, more = _changed(tree.right, place - count, change)
    return Node(tree.op, left, right), count + more


def _reduced(tree: Tree, place: int, change: Callable[[int], int]) -> tuple[Tree, int]:
    """The tree with one operation done, counted from the left, and how many were ready."""
    if not isinstance(tree, Node):
        return tree, 0
    left, right = tree.left, tree.right
    if isinstance(left, int) and isinstance(right, int):
        if place:
            return tree, 1
        value = {"+": left + right, "-": left - right, "*": left * right}[tree.op]
        return change(max(min(value, LARGEST), -LARGEST)), 1
    new_left, count = _reduced(left, place, change)
    new_right, more = _reduced(right, place - count, change)
    return Node(tree.op, new_left, new_right), count + more
