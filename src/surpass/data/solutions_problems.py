"""Problems with their true answers: MATH in the forms in which it is passed on, and GSM8K."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from surpass.data.base import HubPlace, Published, Row
from surpass.data.completions import GSM8K
from surpass.data.solutions_forms import (
    NO_PROBLEM,
    STRANGE,
    MalformedRow,
    Notes,
    SolutionForm,
    counted,
    made,
    optional,
    problem_of,
    steps_of,
)
from surpass.reasoning.answers import extract_answer
from surpass.reasoning.solutions import Problem, Solution, problem_key, split_steps

NO_REFERENCE = "problems without a true answer"
_SUM = re.compile(r"<<[^<>]*>>")


def math_problem(row: Row, notes: Notes) -> Problem:
    r"""A row of MATH: `problem`, and `answer` or a `solution` with a \boxed{} answer; `level` 3 or "Level 3".

    Where both are there, `answer` is taken.
    """
    problem = problem_of(row["problem"])
    solution = optional(row, "solution", str)
    answer = optional(row, "answer", str)
    answer = extract_answer(solution or "") if answer is None else answer
    name = row.get("unique_id")
    return Problem(
        problem_id=name if isinstance(name, str) and name else problem_key(problem),
        problem=problem,
        reference=_reference(answer),
        solution=solution,
        level=_level(row.get("level")),
        subject=str(row.get("subject") or row.get("type") or ""),
        source="math",
    )


def gsm8k_problem(row: Row, notes: Notes) -> Problem:
    """A row of GSM8K: `question`, and an `answer` whose last line is #### and the number."""
    problem = problem_of(row["question"])
    answer = optional(row, "answer", str)
    if not answer or "####" not in answer:
        raise MalformedRow(NO_REFERENCE, f"there is no #### in {str(answer)[-60:]!r}")
    return Problem(
        problem_id=problem_key(problem),
        problem=problem,
        reference=_reference(answer.rpartition("####")[2].strip()),
        solution=_SUM.sub("", answer),
        source="gsm8k",
    )


def gsm8k_solution(row: Row, notes: Notes) -> Iterable[Solution]:
    """The solution that comes with a problem of GSM8K: right in each step, as its authors wrote it."""
    problem = gsm8k_problem(row, notes)
    steps = steps_of(problem.solution)
    yield made(
        steps,
        problem=problem.problem,
        ratings=(1,) * len(steps),
        answer=problem.reference,
        correct=True,
        reference=problem.reference,
        source="gsm8k",
        notes=notes,
    )


def math_solution(row: Row, notes: Notes) -> Iterable[Solution]:
    """The solution that comes with a problem of MATH, its lines, where there is one."""
    problem = math_problem(row, notes)
    if not problem.solution or not split_steps(problem.solution):
        counted(notes, "problems without a solution, left out")
        return
    steps = steps_of(problem.solution)
    yield made(
        steps,
        problem=problem.problem,
        problem_id=problem.problem_id,
        ratings=(1,) * len(steps),
        answer=problem.reference,
        correct=True,
        reference=problem.reference,
        source="math",
        notes=notes,
    )


def _reference(answer: str | None) -> str:
    if answer is None or not answer.strip():
        raise MalformedRow(NO_REFERENCE, repr(answer))
    return answer.strip()


def _level(value: Any) -> int | None:
    if value is None or value == "Level ?":
        return None
    number = re.fullmatch(r"(?:Level )?([1-9])", str(value))
    if number is None:
        raise MalformedRow(STRANGE, f"level is {value!r}; expected 1 to 9, or Level 1 to Level 9")
    return int(number[1])


_MATH_FILES = (
    Published(("math_splits/train.jsonl",), ("math_splits/test.jsonl",)),
    Published(("train.jsonl",), ("test.jsonl",)),
    Published(("cs336_train.jsonl",), ("math_oai_test500.jsonl",)),
)

MATH_SOLUTIONS = SolutionForm(
    name="math",
    title="MATH",
    columns=("problem",),
    read=math_solution,
    published=_MATH_FILES,
    hub=HubPlace("HuggingFaceH4/MATH-500", train=(), test=("test",)),
    licence="MIT",
    url="https://github.com/hendrycks/math",
    cite="Hendrycks et al. 2021",
)
GSM8K_SOLUTIONS = SolutionForm(
    name="gsm8k",
    title=GSM8K.title,
    columns=("question", "answer"),
    read=gsm8k_solution,
    published=GSM8K.published,
    hub=GSM8K.hub,
    licence=GSM8K.licence,
    url=GSM8K.url,
    cite=GSM8K.cite,
)
PROBLEMS = {"math": (MATH_SOLUTIONS, math_problem), "gsm8k": (GSM8K_SOLUTIONS, gsm8k_problem)}
"""Sources of problems: where their rows are, and how one is read."""

__all__ = [
    "GSM8K_SOLUTIONS",
    "MATH_SOLUTIONS",
    "NO_PROBLEM",
    "NO_REFERENCE",
    "PROBLEMS",
    "gsm8k_problem",
    "math_problem",
]
