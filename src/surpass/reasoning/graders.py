r"""Whether an answer is right: one function each, and one line in `GRADERS`.

`grade` takes an answer or a whole solution. A grader takes two answers; it never fails on what a model wrote,
and never works on it for more than `SECONDS` of processor time: what cannot be read or decided is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Literal, NamedTuple

from surpass.calls import find
from surpass.errors import DataError
from surpass.reasoning.answers import extract_answer
from surpass.reasoning.latex_text import as_in_math, as_in_prm800k, is_whole, without_thousands
from surpass.reasoning.limited import WORKER, Kind, require
from surpass.reasoning.solutions import Solution

Grader = Callable[[str, str], "bool | None"]
"""Takes an answer and the true one; None where the time was not enough to decide, which counts as wrong."""

SECONDS = 5.0
"""Processor time that computer algebra gets for one pair of answers."""
LONGEST = 1000
"""Characters of an answer that are looked at: a longer one is right only if it is the reference's text."""

_BRACKETS = "()[]"
_FRACTION = re.compile(r"-?[0-9]+.?/0*[1-9][0-9]*.?")
_ENDLESS = re.compile(r"\^\{|\^\(|\^[0-9]+\^|\^[0-9][0-9]")
# Quotes, escapes and underscores have no place in a formula, and sympy's parser runs what it reads.
_NO_FORMULA = re.compile(r"[\"'`\\_#;@]")
_MOST_LETTERS = 2

Why = Literal["equal", "different", "no answer", "not decided"]


class Grade(NamedTuple):
    """A verdict, and what it is about.

    Attributes:
        correct: Whether the answer is right.
        answer: The answer that was graded, None where there was none.
        why: "equal" and "different" are the grader's; "no answer" and "not decided" are wrong without it.
    """

    correct: bool
    answer: str | None
    why: Why


def exact(answer: str, reference: str) -> bool:
    """The same text, apart from white space at both ends."""
    return answer.strip() == reference.strip()


def prm800k(answer: str, reference: str) -> bool | None:
    """The grader that was released with PRM800K: texts in two normal forms, then sympy, within narrow limits.

    Fractions have to be reduced as the reference is, an integer has to be written as one, tuples and
    intervals are compared element by element in order, and formulas of more than two letters or with powers
    of more than one digit are compared as text.

    Source:
        Lightman et al. 2023, section 4.1 and the released grader. Differs: written anew; nothing is decided
        after `SECONDS`, or of more than `LONGEST` characters.
    """
    require("sympy", "sympy")
    require("pylatexenc", "pylatexenc")
    if as_in_math(reference) == as_in_math(answer):
        return True
    wanted, said = (as_in_prm800k(text, seconds=SECONDS) for text in (reference, answer))
    if wanted is None or said is None:
        return None
    if wanted == said:
        return True
    if not said:
        return False
    parts, said_parts = _elements(wanted), _elements(said)
    if len(parts) != len(said_parts):
        return False
    if len(parts) > 1 and (wanted[0], wanted[-1]) != (said[0], said[-1]):
        return False
    undecided = False
    for part, said_part in zip(parts, said_parts, strict=True):
        equal = _equal_elements(part, said_part)
        if equal is False:
            return False
        undecided = undecided or equal is None
    return None if undecided else bool(parts)


def _elements(text: str) -> list[str]:
    """The elements of a tuple or an interval without further brackets inside; else the text alone."""
    text = without_thousands(text)
    inside = text[1:-1]
    bracketed = len(text) > 2 and text[0] in _BRACKETS and text[-1] in _BRACKETS
    if bracketed and not any(bracket in inside for bracket in _BRACKETS):
        return [element.strip() for element in inside.split(",")]
    return [text] if text else []


def _equal_elements(wanted: str, said: str) -> bool | None:
    if _FRACTION.fullmatch(wanted) and _FRACTION.fullmatch(said):
        return wanted == said
    if is_whole(wanted) != is_whole(said):
        return False
    difference = f"({wanted})-({said})"
    letters = {char for char in difference.replace("sqrt", "").replace("frac", "") if char.isalpha()}
    if len(letters) > _MOST_LETTERS or _ENDLESS.search(difference) or _NO_FORMULA.search(difference):
        return False
    return _asked("zero", difference.replace("^", "**"), "")


def math_verify(answer: str, reference: str) -> bool | None:
    """Whether the package math-verify finds them equal; more lenient than `prm800k`, and the usual one today.

    Raises:
        MissingExtraError: It is not installed.
    """
    require("math_verify", "math-verify")
    return _asked("verify", _as_box(answer), _as_box(reference))


def _as_box(answer: str) -> str:
    """Math-verify reads LaTeX only where it is marked as such."""
    bare = answer.strip()
    if len(bare) > 2 and bare[0] == bare[-1] == "$" and "$" not in bare[1:-1]:
        bare = bare[1:-1]
    return f"\\boxed{{{bare}}}"


@lru_cache(maxsize=65536)
def _asked(kind: Kind, first: str, second: str) -> bool | None:
    answer = WORKER.ask(kind, first, second, seconds=SECONDS)
    return None if answer is None else bool(answer)


GRADERS: dict[str, Grader] = {
    "prm800k": prm800k,
    "math-verify": math_verify,
    "exact": exact,
}


def find_grader(name: str) -> Grader:
    """The grader that a name means, or `module:function` of somebody else's.

    Raises:
        ConfigError: There is none.
    """
    return GRADERS[name] if name in GRADERS else find(name, GRADERS, "grader")


def grade(answer: str | Solution | None, reference: str, *, grader: str = "prm800k") -> bool:
    """Whether an answer, or the answer of a whole solution, is right; `graded` also says why.

    Raises:
        DataError: The reference is empty.
        ConfigError: There is no such grader.
        MissingExtraError: The grader's packages are not installed.
    """
    return graded(answer, reference, grader=grader).correct


def graded(answer: str | Solution | None, reference: str, *, grader: str = "prm800k") -> Grade:
    """Grades an answer, or the answer of a whole solution.

    Args:
        answer: An answer; or a text with a mark of its answer (`answers.extract_answer`), of which that is
            taken; or a solution, whose `answer` is taken, else what its last mark says. A text of several
            lines without a mark has no answer, and None is none: both are wrong.
        reference: The true answer, or a text with a mark of it.
        grader: A key of `GRADERS`, or `module:function`.

    Raises:
        DataError: The reference is empty.
        ConfigError: There is no such grader.
        MissingExtraError: The grader's packages are not installed.
    """
    function = find_grader(grader)
    wanted = _answer_in(reference)
    if not wanted:
        raise DataError(
            f"the reference {reference[:80]!r} has no answer; give the true answer of the problem"
        )
    said = answer_of(answer) if isinstance(answer, Solution) else _answer_in(answer or "")
    if not said:
        return Grade(False, None, "no answer")
    if max(len(said), len(wanted)) > LONGEST:
        return Grade(exact(said, wanted), said, "equal" if exact(said, wanted) else "not decided")
    verdict = function(said, wanted)
    if verdict is None:
        return Grade(False, said, "not decided")
    return Grade(verdict, said, "equal" if verdict else "different")


def with_grade(solution: Solution, *, grader: str = "prm800k") -> Solution:
    """The solution with `answer` as it was graded and `correct` against its `reference`.

    Raises:
        DataError: The solution has no reference.
        ConfigError: There is no such grader.
        MissingExtraError: The grader's packages are not installed.
    """
    if solution.reference is None:
        raise DataError(f"a solution of {solution.problem_id!r} has no reference to be graded against")
    found = graded(solution, solution.reference, grader=grader)
    return replace(solution, answer=found.answer, correct=found.correct)


def answer_of(solution: Solution) -> str | None:
    """The final answer of a solution: its `answer`, else what the last mark in its steps says, else None."""
    return solution.answer if solution.answer is not None else extract_answer(solution.text)


def _answer_in(text: str) -> str | None:
    found = extract_answer(text)
    if found is not None:
        return found
    bare = text.strip()
    return bare if bare and "\n" not in bare else None
