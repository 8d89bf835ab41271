"""Exact labels of steps: what each is worth, given the problem and the steps before it.

A step is **wrong** (-1) where it cannot be read, says something else than the problem does, or stands behind
the answer. It is **right** (+1) where it is true and nearer to the answer than all before it, and **neutral**
(0) where it is true and no nearer: a repetition, a mere rewriting, an equation blown up. Behind the
first wrong step nothing is rated.

What a step has to keep:

- *an expression* (`(7+5)*3-8`): its value. A line with `=` says something else.
- *equations* (`3x+5=2x-7`, `y=2x+1;x+y=13`): each equation of the step holds at the one solution of the
  problem, and together they leave one value of x. What is asked for is x.
- *an answer* (`# 28`): the value, in lowest terms.

How near a line is to the answer, `expressions.size` says; an answer has size 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from surpass.errors import DataError
from surpass.reasoning.solutions import Rating, Solution, split_steps
from surpass.world.expressions import Equation, Linear, Malformed, linear, parse, parse_answer, size

WRONG, NEUTRAL, RIGHT = -1, 0, 1


class Truth(NamedTuple):
    """What a problem means.

    Attributes:
        answer: The value of the expression, or x.
        y: The other unknown, where there is one.
        is_equation: Whether it is one, or several.
        size: How far it is from the answer.
    """

    answer: Fraction
    y: Fraction
    is_equation: bool
    size: int


@lru_cache(maxsize=4096)
def truth_of(problem: str) -> Truth:
    """What a problem means.

    Raises:
        DataError: It is none of the world: it cannot be read, or has no answer or more than one.
    """
    try:
        line = parse(problem)
        if len(line[0]) == 1:
            value = _value(line)
            return Truth(value, Fraction(0), False, _size(line))
        forms = _forms(line)
        x, y = _determined(forms)
        if not all(_holds(form, x, y) for form in forms):
            raise Malformed("its equations contradict each other")
        return Truth(x, y, True, _size(line))
    except Malformed as error:
        raise DataError(f"{problem!r} is no problem of the world ({error})") from None


def rate(problem: str, steps: Sequence[str]) -> tuple[Rating, ...]:
    """The rating of each step; None behind the first wrong one.

    Raises:
        DataError: The problem is none of the world.
    """
    truth = truth_of(problem)
    nearest = truth.size
    ratings: list[Rating] = []
    for place, step in enumerate(steps):
        found = None if nearest == 0 else size_of_step(truth, step)
        if found is None:
            return (*ratings, WRONG, *[None] * (len(steps) - place - 1))
        ratings.append(RIGHT if found < nearest else NEUTRAL)
        nearest = min(found, nearest)
    return tuple(ratings)


def size_of_step(truth: Truth, step: str) -> int | None:
    """How far a true step is from the answer; None for a step that is not true."""
    try:
        answer = parse_answer(step)
        if answer is not None:
            return 0 if answer == truth.answer else None
        line = parse(step)
        true = _implied(line, truth) if truth.is_equation else _value(line) == truth.answer
        return _size(line) if true else None
    except Malformed:
        return None


def answer_of(steps: Sequence[str]) -> str | None:
    """What the last step states behind `#`; None where it states nothing.

    A text behind `#` that is no number is an answer too, and a wrong one.
    """
    last = steps[-1].strip() if steps else ""
    return last[1:].strip() or None if last.startswith("#") else None


def is_right(problem: str, answer: str | None) -> bool:
    """Whether an answer is that of the problem: the same number, in lowest terms."""
    if answer is None:
        return False
    try:
        return parse_answer(f"# {answer}") == truth_of(problem).answer
    except Malformed:
        return False


def solution_of(problem_id: str, problem: str, text: str, *, source: str = "world") -> Solution | None:
    """A text of steps, rated and graded; None where it has no step at all.

    Args:
        problem_id: What the problem is called.
        problem: The problem's text.
        text: The steps, one a line; empty lines are left out.
        source: What wrote it.

    Raises:
        DataError: The problem is none of the world.
    """
    steps = split_steps(text)
    if not steps:
        return None
    answer = answer_of(steps)
    return Solution(
        problem_id=problem_id,
        problem=problem,
        steps=steps,
        ratings=rate(problem, steps),
        answer=answer,
        correct=is_right(problem, answer),
        reference=str(truth_of(problem).answer),
        source=source,
    )


def _value(line: tuple[Equation, ...]) -> Fraction:
    if len(line) != 1 or len(line[0]) != 1:
        raise Malformed("an expression has no = and no ;")
    form = linear(line[0][0])
    if not form.is_constant:
        raise Malformed("an unknown in an expression")
    return form.constant


def _forms(line: tuple[Equation, ...]) -> list[Linear]:
    """Each equation as a form that is zero."""
    if any(len(equation) != 2 for equation in line):
        raise Malformed("a line of equations has an expression in it")
    return [linear(left).plus(linear(right), -1) for left, right in line]


def _holds(form: Linear, x: Fraction, y: Fraction) -> bool:
    return form.constant + form.x * x + form.y * y == 0


def _determined(forms: Sequence[Linear]) -> tuple[Fraction, Fraction]:
    """The one solution; y is 0 where nothing is said of it.

    Raises:
        Malformed: There is not one.
    """
    if all(form.y == 0 for form in forms):
        with_x = [form for form in forms if form.x]
        if not with_x:
            raise Malformed("no equation has an x in it")
        return -with_x[0].constant / with_x[0].x, Fraction(0)
    for number, one in enumerate(forms):
        for other in forms[number + 1 :]:
            determinant = one.x * other.y - other.x * one.y
            if determinant:
                x = (one.y * other.constant - other.y * one.constant) / determinant
                y = (other.x * one.constant - one.x * other.constant) / determinant
                return x, y
    raise Malformed("its equations leave more than one solution")


def _implied(line: tuple[Equation, ...], truth: Truth) -> bool:
    """Whether each equation holds at the solution, and they leave one x."""
    forms = _forms(line)
    if not all(_holds(form, truth.answer, truth.y) for form in forms):
        return False
    alone = any(form.x and not form.y for form in forms)
    return alone or any(
        one.x * other.y != other.x * one.y
        for number, one in enumerate(forms)
        for other in forms[number + 1 :]
    )


def _size(line: tuple[Equation, ...]) -> int:
    return sum(size(side) for equation in line for side in equation)
