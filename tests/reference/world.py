"""The slow twin of the world's checker: texts are rewritten for Python, and its own grammar reads them."""

from __future__ import annotations

import ast
import re
from fractions import Fraction

_POINTS = [Fraction(-3), Fraction(0), Fraction(1), Fraction(7), Fraction(5, 3)]


def evaluated(text, **values):
    """The value of one side; None where it is no expression of the world."""
    if not re.fullmatch(r"[ 0-9xy()*/+-]*", text) or re.search(r"\d +\d", text):
        return None
    text = text.replace(" ", "")
    if not text or re.search(r"[-+*/(]\+|[-+*/]-|^\+|\(\)|\*\*|//|(?<!\d)0\d|x\d|y\d|\)\d", text):
        return None
    if any(len(digits) > 12 for digits in re.findall(r"\d+", text)):
        return None
    # What is written side by side binds as a product with a sign does.
    text = re.sub(r"(?<=[\dxy)])(?=[xy(])", "*", text)
    try:
        return _value(ast.parse(text, mode="eval").body, values)
    except (SyntaxError, ZeroDivisionError):
        return None


def _value(node, values):
    match node:
        case ast.Constant(value=int(number)):
            return Fraction(number)
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, values)
        case ast.BinOp(left=left, op=op, right=right):
            first, second = _value(left, values), _value(right, values)
            if isinstance(op, ast.Add):
                return first + second
            if isinstance(op, ast.Sub):
                return first - second
            return first * second if isinstance(op, ast.Mult) else first / second
    raise SyntaxError(ast.dump(node))


def solve(problem):
    """What x is (or the value) and y, by trying: the problems of the world have whole solutions."""
    if "=" not in problem:
        return evaluated(problem), Fraction(0)
    equations = problem.split(";")
    for x in range(-9, 10):
        ys = [Fraction(0)]
        if len(equations) == 2:
            ys = [evaluated(equations[0].partition("=")[2], x=Fraction(x))]
        for y in ys:
            if all(holds(equation, Fraction(x), y) for equation in equations):
                return Fraction(x), y
    raise AssertionError(problem)


def holds(equation, x, y):
    sides = [evaluated(side, x=x, y=y) for side in equation.split("=")]
    return (
        len(sides) == 2
        and None not in sides
        and sides[0] == sides[1]
        and all(map(is_linear, equation.split("=")))
    )


def is_linear(side):
    values = [evaluated(side, x=Fraction(x), y=Fraction(2)) for x in (1, 2, 3)]
    return None not in values and values[0] - 2 * values[1] + values[2] == 0


def is_true(problem, step):
    """Whether a step of whole lines keeps what the problem says."""
    value, y = solve(problem)
    if step.lstrip().startswith("#"):
        return step.strip()[1:].strip() == str(value)
    if "=" not in problem:
        return not re.search("[xy=;]", step) and evaluated(step) == value
    equations = step.split(";")
    if not all(holds(equation, value, y) for equation in equations):
        return False
    # Only equations that leave one x say it: elsewhere some of them has to fail, whatever y is.
    others = [point for point in _POINTS if point != value]
    if "y" not in step:
        return not any(all(holds(equation, x, y) for equation in equations) for x in others)
    return len(equations) > 1


def size(line):
    """How far a line that authors write is from the answer, counted in its text."""
    if line.startswith("#"):
        return 0
    numbers = len(re.findall(r"\d+", line)) - line.count("/")
    if "=" not in line:
        return numbers
    return (
        numbers
        + 2 * line.count("x")
        + 10 * line.count("y")
        + len(re.findall("-[xy]", line))
        + 2 * line.count("(")
    )


def rate(problem, steps):
    nearest, found = size(problem), []
    for step in steps:
        if nearest == 0 or not is_true(problem, step):
            return (*found, -1, *[None] * (len(steps) - len(found) - 1))
        found.append(1 if size(step) < nearest else 0)
        nearest = min(nearest, size(step))
    return tuple(found)
