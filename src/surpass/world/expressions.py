"""Lines of the world as trees: read by an own parser, written with few brackets, evaluated exactly.

    line     = "#" answer | system
    system   = equation { ";" equation }
    equation = sum [ "=" sum ]
    sum      = [ "-" ] product { ("+" | "-") product }
    product  = factor { ["*" | "/"] factor }        what has no sign between begins with a letter or a bracket
    factor   = digits | "x" | "y" | "(" sum ")"

Nothing of a text is ever executed.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import gcd
from typing import NamedTuple

VARIABLES = ("x", "y")
LONGEST_LINE = 400
DEEPEST = 30
_SIZES = {"x": 2, "y": 10}
_TOKEN = re.compile(r"\s*(?:(0|[1-9][0-9]{0,11})(?![0-9])|([xy+\-*/()=;]))", re.ASCII)
_ANSWER = re.compile(r"#\s*(-?(?:0|[1-9][0-9]{0,11})(?:/[1-9][0-9]{0,11})?)\s*", re.ASCII)
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 1}


class Malformed(Exception):
    """A text is no line of the world; the message says why."""


class Node(NamedTuple):
    """An operation.

    Attributes:
        op: `+`, `-`, `*`, `/`, or `neg` of the left alone.
        left: What it takes first.
        right: What it takes second.
    """

    op: str
    left: Tree
    right: Tree = 0


Tree = Node | int | str
"""An operation, a number, or the name of a variable; the parser gives numbers of at least 0."""

Equation = tuple[Tree, ...]
"""Left and right side, or one side alone where there is no sign of equality."""


class Linear(NamedTuple):
    """A linear form: `constant + x * X + y * Y`, exactly."""

    constant: Fraction
    x: Fraction = Fraction(0)
    y: Fraction = Fraction(0)

    @property
    def is_constant(self) -> bool:
        """Whether no variable is left in it."""
        return not (self.x or self.y)

    def plus(self, other: Linear, sign: int = 1) -> Linear:
        """The sum, or with sign -1 the difference."""
        return Linear(*(mine + sign * yours for mine, yours in zip(self, other, strict=True)))

    def times(self, factor: Fraction) -> Linear:
        """The multiple."""
        return Linear(*(mine * factor for mine in self))


def parse_answer(line: str) -> Fraction | None:
    """The number behind `#`, which is written in lowest terms; None where the line states no answer.

    Raises:
        Malformed: What is behind `#` is no such number.
    """
    if not line.lstrip().startswith("#"):
        return None
    match = _ANSWER.fullmatch(line.strip())
    if match is None or match[1] == "-0":
        raise Malformed("no number behind #")
    value = Fraction(match[1])
    if str(value) != match[1]:
        raise Malformed("the answer is not in lowest terms")
    return value


def parse(line: str) -> tuple[Equation, ...]:
    """The equations of a line; a bare expression is one of a single side.

    Raises:
        Malformed: It is no line of the grammar, or longer or deeper than is read.
    """
    return _Parser(_tokens(line)).system()


def _tokens(line: str) -> list[str]:
    if len(line) > LONGEST_LINE:
        raise Malformed(f"longer than {LONGEST_LINE} characters")
    found, place, text = [], 0, line.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise Malformed(f"cannot read {text[place : place + 10]!r}")
        found.append(match[1] or match[2])
        place = match.end()
    return found


class _Parser:
    """Recursive descent, from the left."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.place, self.depth = [*tokens, "end"], 0, 0

    @property
    def next(self) -> str:
        return self.tokens[self.place]

    def take(self, *wanted: str) -> str | None:
        """The next token, if it is one of these."""
        if self.next not in wanted:
            return None
        self.place += 1
        return self.tokens[self.place - 1]

    def system(self) -> tuple[Equation, ...]:
        found = [self.equation()]
        while self.take(";"):
            found.append(self.equation())
        if self.next != "end":
            raise Malformed(f"unexpected {self.next!r}")
        return tuple(found)

    def equation(self) -> Equation:
        left = self.sum()
        return (left, self.sum()) if self.take("=") else (left,)

    def sum(self) -> Tree:
        tree: Tree = Node("neg", self.product()) if self.take("-") else self.product()
        while op := self.take("+", "-"):
            tree = Node(op, tree, self.product())
        return tree

    def product(self) -> Tree:
        tree = self.factor()
        while True:
            if op := self.take("*", "/"):
                tree = Node(op, tree, self.factor())
            elif self.next in ("(", *VARIABLES):
                tree = Node("*", tree, self.factor())
            else:
                return tree

    def factor(self) -> Tree:
        if name := self.take(*VARIABLES):
            return name
        if self.next.isdigit():
            self.place += 1
            return int(self.tokens[self.place - 1])
        if not self.take("("):
            raise Malformed(f"unexpected {self.next!r}")
        self.depth += 1
        if self.depth > DEEPEST:
            raise Malformed(f"more than {DEEPEST} brackets deep")
        tree = self.sum()
        self.depth -= 1
        if not self.take(")"):
            raise Malformed("a bracket is not closed")
        return tree


def linear(tree: Tree) -> Linear:
    """What a tree stands for.

    Raises:
        Malformed: It is not linear, or divides by nothing.
    """
    if isinstance(tree, int):
        return Linear(Fraction(tree))
    if isinstance(tree, str):
        return Linear(Fraction(0), **{tree: Fraction(1)})
    left = linear(tree.left)
    if tree.op == "neg":
        return left.times(Fraction(-1))
    right = linear(tree.right)
    if tree.op in "+-":
        return left.plus(right, 1 if tree.op == "+" else -1)
    if tree.op == "/":
        if not right.is_constant or not right.constant:
            raise Malformed("a division by something that is no number, or zero")
        return left.times(1 / right.constant)
    if not (left.is_constant or right.is_constant):
        raise Malformed("a product of variables")
    return right.times(left.constant) if left.is_constant else left.times(right.constant)


def size(tree: Tree) -> int:
    """How far a tree is from a number or a variable: a step that makes progress makes it smaller.

    One for each number or fraction in lowest terms, two for each x, ten for each y (to put something in its
    place is progress), one for a minus that stands for a factor of -1, and two for each bracket with a
    variable that is to be multiplied: `2(x+3)` has 6, `2x+6` has 4, `-x` has 3. A minus in front of numbers
    counts nothing.
    """
    if not isinstance(tree, Node):
        return _SIZES.get(tree, 1) if isinstance(tree, str) else 1
    if tree.op == "neg":
        return size(tree.left) + _size_of_minus(tree.left)
    if tree.op == "/" and _in_lowest_terms(tree.left, tree.right):
        return 1
    grouped = tree.op in "*/" and any(
        isinstance(side, Node) and has_variable(side) for side in (tree.left, tree.right)
    )
    minus = _size_of_minus(tree.right) if tree.op == "-" else 0
    return size(tree.left) + size(tree.right) + 2 * grouped + minus


def _in_lowest_terms(above: Tree, below: Tree) -> bool:
    if not (isinstance(above, int) and isinstance(below, int)):
        return False
    return below > 1 and gcd(above, below) == 1


def _size_of_minus(tree: Tree) -> int:
    if not has_variable(tree) or (isinstance(tree, Node) and tree.op == "*"):
        return 0
    return 1 if isinstance(tree, str) else 2


def has_variable(tree: Tree) -> bool:
    """Whether there is a variable in it."""
    if isinstance(tree, Node):
        return has_variable(tree.left) or (tree.op != "neg" and has_variable(tree.right))
    return isinstance(tree, str)


def write(tree: Tree) -> str:
    """A tree as text, with no more brackets than reading it back needs."""
    if isinstance(tree, int) and tree < 0:
        tree = Node("neg", -tree)
    if not isinstance(tree, Node):
        return str(tree)
    mine = _PRECEDENCE[tree.op]
    if tree.op == "neg":
        return "-" + _inside(tree.left, mine + 1)
    left, right = _inside(tree.left, mine), _inside(tree.right, mine + 1)
    bare = tree.op == "*" and (right[0] == "(" or right in VARIABLES) and has_variable(tree)
    return left + ("" if bare else tree.op) + right


def _inside(tree: Tree, least: int) -> str:
    text = write(tree)
    op = tree.op if isinstance(tree, Node) else "neg" if isinstance(tree, int) and tree < 0 else None
    loose = op is not None and _PRECEDENCE[op] < least
    return f"({text})" if loose else text
