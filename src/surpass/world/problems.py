"""Problems by seed: expressions, equations and pairs of equations, each family in levels.

    arithmetic   (7+5)*3-8          level = how many operations
    algebra      3(x+2)-5=2x+4      level = how many terms beside one x and one number
    systems      y=2x+1;3x+2y=16    level = how often y stands in the second equation

Every value on the way is a whole number: those of expressions from 0 to `LARGEST`, x from -5 to 5. Parts
share no problem: a hash of the text says which part it is of.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from surpass.errors import ConfigError
from surpass.hashing import unit
from surpass.world.expressions import Node, Tree, write

LARGEST = 20
"""The largest value in an expression."""

LARGEST_CONSTANT = 40
"""The largest number that stands alone in an equation, and the largest y."""

PARTS = {"pretrain": 0.5, "weak": 0.15, "student": 0.15, "validation": 0.05, "test": 0.15}
"""The share of each part. Reasoners read the first alone."""

LEVELS = {"arithmetic": range(1, 11), "algebra": range(1, 7), "systems": range(1, 4)}
"""The levels of each family. Of the highest, those of `MIXES["long"]`, no reasoner has seen any problem."""

_UNKNOWN = range(-5, 6)
_TRIES = 1000

Kind = tuple[str, int]
"""Family and level."""

MIXES: dict[str, tuple[Kind, ...]] = {
    "all": (
        *(("arithmetic", level) for level in range(2, 7)),
        *(("algebra", level) for level in range(1, 5)),
        ("systems", 1),
        ("systems", 2),
    ),
    "arithmetic": tuple(("arithmetic", level) for level in range(2, 7)),
    "algebra": tuple(("algebra", level) for level in range(1, 5)),
    "systems": (("systems", 1), ("systems", 2)),
    "long": (
        *(("arithmetic", level) for level in range(7, 11)),
        ("algebra", 5),
        ("algebra", 6),
        ("systems", 3),
    ),
}
"""From which families and levels problems are drawn, evenly; `long` is out of the reasoners' distribution."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem.

    Attributes:
        text: As a model reads it.
        family: A key of `LEVELS`.
        level: How hard it is.
    """

    text: str
    family: str
    level: int

    @property
    def id(self) -> str:
        """20 hexadecimal digits of a hash of its text."""
        return sha256(self.text.encode()).hexdigest()[:20]


def part_of(text: str) -> str:
    """The part that a problem is of, by a hash of its text; equal for every seed, size and machine."""
    place = unit(text, seed=0, purpose="world part")
    for part, share in PARTS.items():
        place -= share
        if place < 0:
            return part
    return next(reversed(PARTS))


def problems(part: str, mix: str | Sequence[Kind] = "all", *, seed: int = 0) -> Iterator[Problem]:
    """Problems of one part, for ever; kinds take turns, and none comes twice.

    Args:
        part: A key of `PARTS`.
        mix: A key of `MIXES`, or families with levels.
        seed: Another is another stream.

    Raises:
        ConfigError: There is no such part, mix, family or level, or a kind has no more problems.
    """
    if part not in PARTS:
        raise ConfigError(f"no part {part!r} of the world; there are: {', '.join(PARTS)}")
    kinds = kinds_of(mix)
    seen: set[str] = set()
    number = 0
    while True:
        for kind in kinds:
            found, number = _next(part, kind, seed, number, seen)
            yield found


def kinds_of(mix: str | Sequence[Kind]) -> tuple[Kind, ...]:
    """Families with levels.

    Raises:
        ConfigError: There is no such mix, family or level.
    """
    if isinstance(mix, str):
        if mix not in MIXES:
            raise ConfigError(f"no mix {mix!r} of the world; there are: {', '.join(MIXES)}")
        return MIXES[mix]
    for family, level in mix:
        if family not in LEVELS or level not in LEVELS[family]:
            known = ", ".join(f"{name} {levels[0]}-{levels[-1]}" for name, levels in LEVELS.items())
            raise ConfigError(f"the world has no {family!r} of level {level!r}; there are: {known}")
    if not mix:
        raise ConfigError("a mix of the world names at least one family with a level")
    return tuple(mix)


def _next(part: str, kind: Kind, seed: int, number: int, seen: set[str]) -> tuple[Problem, int]:
    for place in range(number, number + _TRIES):
        problem = draw(*kind, random.Random(f"world/{seed}/{place}"))
        if problem.text not in seen and part_of(problem.text) == part:
            seen.add(problem.text)
            return problem, place + 1
    raise ConfigError(
        f"{kind[0]} of level {kind[1]} has hardly more problems in part {part!r} than the {len(seen)} drawn; "
        "ask for fewer, or for higher levels"
    )


def draw(family: str, level: int, rng: random.Random, *, largest: int = LARGEST) -> Problem:
    """One problem of any part.

    Args:
        family: A key of `LEVELS`.
        level: How hard.
        rng: Where it comes from.
        largest: The largest value in an expression.

    Raises:
        ConfigError: There is no such family or level.
    """
    kinds_of([(family, level)])
    if family == "arithmetic":
        return Problem(write(_expression(level, largest, rng)), family, level)
    while True:
        text = _equation(level, rng) if family == "algebra" else _system(level, rng)
        if text is not None:
            return Problem(text, family, level)


def _expression(num_operations: int, largest: int, rng: random.Random) -> Tree:
    """A tree whose every value is from 0 to `largest`: values are split, from the result down."""
    leaves = [rng.randint(1, largest)]
    tree: Tree = leaves[0]
    for _ in range(num_operations):
        place = rng.randrange(len(leaves))
        left, op, right = _split(leaves[place], largest, rng)
        tree, _ = _replaced(tree, place, Node(op, left, right))
        leaves[place : place + 1] = [left, right]
    return tree


def _split(value: int, largest: int, rng: random.Random) -> tuple[int, str, int]:
    factors = [factor for factor in range(2, value // 2 + 1) if value % factor == 0]
    op = rng.choices("+-*", (4, 4, 4 if factors else 0))[0]
    if op == "*":
        factor = rng.choice(factors)
        return factor, "*", value // factor
    if (op == "+" and value >= 2) or value == largest:
        right = rng.randint(1, value - 1)
        return value - right, "+", right
    right = rng.randint(1, largest - value)
    return value + right, "-", right


def _replaced(tree: Tree, place: int, new: Node) -> tuple[Tree, int]:
    """The tree with another leaf at a place, counted from the left, and how many leaves it had."""
    if not isinstance(tree, Node):
        return (new if place == 0 else tree), 1
    left, count = _replaced(tree.left, place, new)
    right, more = _replaced(tree.right, place - count, new)
    return Node(tree.op, left, right), count + more


def _equation(level: int, rng: random.Random) -> str | None:
    """An equation with `level + 2` terms, or None where the draw was none."""
    x = rng.choice(_UNKNOWN)
    kinds = ["x", *(rng.choice("x1((") for _ in range(level))]
    sides: tuple[list[Tree], list[Tree]] = ([], [])
    values, slopes = [0, 0], [0, 0]
    for number, kind in enumerate(kinds):
        side = 0 if number == 0 else rng.randrange(2)
        sign, factor = rng.choice((1, 1, -1)), rng.randint(1 if kind != "(" else 2, 5)
        inner = rng.choice((1, 1, -1)) * rng.randint(1, 5)
        value, slope, term = {
            "1": (factor, 0, factor),
            "x": (factor * x, factor, _times(factor, "x")),
            "(": (factor * (x + inner), factor, _times(factor, _signed("x", inner))),
        }[kind]
        values[side] += sign * value
        slopes[side] += sign * slope
        sides[side].append(term if sign > 0 else Node("neg", term))
    left_over = values[0] - values[1]
    if slopes[0] == slopes[1] or left_over == 0 or abs(left_over) > LARGEST_CONSTANT:
        return None
    sides[1].append(left_over if left_over > 0 else Node("neg", -left_over))
    return "=".join(write(_sum(side)) for side in sides)


def _system(level: int, rng: random.Random) -> str | None:
    """`y=ax+b;cx+dy=e`, with y once or more often, or None where the draw was none."""
    x, slope = rng.choice(_UNKNOWN), rng.choice([-2, -1, 1, 2, 3])
    shift = rng.choice((1, -1)) * rng.randint(1, 5)
    y = slope * x + shift
    factors = [rng.choice((1, 1, -1)) * rng.randint(1 if level == 1 else 2, 3) for _ in range(level)]
    own = rng.randint(1, 5)
    value = own * x + sum(factors) * y
    if own + sum(factors) * slope == 0 or not value or max(abs(value), abs(y)) > LARGEST_CONSTANT:
        return None
    terms = [_times(own, "x"), *(_coefficient(factor, "y") for factor in factors)]
    first = _sum([_coefficient(slope, "x"), shift if shift > 0 else Node("neg", -shift)])
    return f"y={write(first)};{write(_sum(terms))}={write(value)}"


def _times(factor: int, tree: Tree) -> Tree:
    return tree if factor == 1 else Node("*", factor, tree)


def _coefficient(factor: int, tree: Tree) -> Tree:
    return _times(factor, tree) if factor > 0 else Node("neg", _times(-factor, tree))


def _signed(tree: Tree, number: int) -> Tree:
    return Node("+", tree, number) if number > 0 else Node("-", tree, -number)


def _sum(terms: Sequence[Tree]) -> Tree:
    """Terms, one behind the other, with the signs that they have."""
    whole: Tree | None = None
    for term in terms:
        negative = isinstance(term, Node) and term.op == "neg"
        bare = term.left if isinstance(term, Node) and negative else term
        whole = term if whole is None else Node("-" if negative else "+", whole, bare)
    assert whole is not None
    return whole


def levels_of(kinds: Sequence[Kind]) -> Mapping[str, list[int]]:
    """The levels of each family in a mix."""
    found: dict[str, list[int]] = {}
    for family, level in kinds:
        found.setdefault(family, []).append(level)
    return found
