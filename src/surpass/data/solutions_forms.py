"""Forms in which solutions in steps are published: one function each, from a row to solutions.

A function raises `MalformedRow` with the kind of what is wrong, which is counted, and the detail.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from surpass.data.base import HubPlace, Published, Row
from surpass.errors import DataError
from surpass.reasoning.answers import extract_answer
from surpass.reasoning.solutions import (
    RATINGS,
    Rating,
    Solution,
    cut_ratings,
    first_error_of,
    problem_key,
    split_steps,
)

NO_PROBLEM = "rows without a problem"
NO_STEPS = "rows without steps"
EMPTY_STEP = "rows with a step of nothing"
NULL_STEP = "rows with a step that is null"
BAD_RATING = "rows with a rating outside its set"
UNEVEN = "rows whose labels do not fit their steps"
TOO_LONG = "rows that are too long"
STRANGE = "rows that do not read like the form"
NO_ANSWER = "solutions without a final answer, kept"
UNRATED = "steps without a rating, kept"

Notes = dict[str, int]


class MalformedRow(DataError):
    """A row that cannot be read as a solution.

    Attributes:
        kind: What it is counted under.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class SolutionForm:
    """A form.

    Attributes:
        name: What it is called.
        title: What its authors call it.
        columns: What a row must have.
        read: The solutions of a row; counts what it leaves out or keeps in spite of something.
        published: Names of the files in which it is published.
        hub: Where it lies on the hub.
        licence: As its source states it.
        url: Where it is described.
        cite: Authors and year.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    read: Callable[[Row, Notes], Iterable[Solution]]
    published: tuple[Published, ...] = field(default=())
    hub: HubPlace | None = None
    licence: str = ""
    url: str = ""
    cite: str = ""


def counted(notes: Notes, kind: str, times: int = 1) -> None:
    """Adds to a note."""
    if times:
        notes[kind] = notes.get(kind, 0) + times


def problem_of(text: object) -> str:
    """The text of a problem.

    Raises:
        MalformedRow: It is none.
    """
    if not isinstance(text, str) or not text.strip():
        raise MalformedRow(NO_PROBLEM, repr(text)[:80])
    return text


def steps_of(value: object) -> tuple[str, ...]:
    """Steps as they are published: a list of texts, or a text whose lines they are.

    Raises:
        MalformedRow: There are none, or one of them is null, empty or no text.
    """
    if isinstance(value, str):
        steps = split_steps(value)
    elif isinstance(value, Sequence):
        for place, step in enumerate(value):
            if step is None:
                raise MalformedRow(NULL_STEP, f"step {place}")
            if not isinstance(step, str):
                raise MalformedRow(STRANGE, f"step {place} is {str(step)[:60]!r}; expected a text")
            if not step.strip():
                raise MalformedRow(EMPTY_STEP, f"step {place} of {len(value)}")
        steps = tuple(value)
    elif value is None:
        steps = ()
    else:
        raise MalformedRow(STRANGE, f"steps are {str(value)[:60]!r}; expected a list of texts")
    if not steps:
        raise MalformedRow(NO_STEPS, repr(value)[:80])
    return steps


def rating_of(value: object, place: int) -> Rating:
    """A rating: 1, 0, -1 or None.

    Raises:
        MalformedRow: It is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in RATINGS:
        raise MalformedRow(BAD_RATING, f"step {place} is rated {value!r}; expected 1, 0, -1 or null")
    return int(value)


def rating_of_label(value: object, place: int) -> Rating:
    """A rating from whether a step is right: true or 1 is 1, false or 0 is -1, null is None.

    Raises:
        MalformedRow: It is something else.
    """
    if value is None:
        return None
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        raise MalformedRow(BAD_RATING, f"step {place} has the label {value!r}; expected true, false or null")
    return 1 if value else -1


def made(
    row_steps: tuple[str, ...],
    *,
    problem: str,
    ratings: Sequence[Rating] | None,
    notes: Notes,
    answer: str | None = None,
    correct: bool | None = None,
    reference: str | None = None,
    problem_id: str = "",
    source: str = "",
) -> Solution:
    """A solution, its ratings cut behind the first error; the answer is extracted where none is given.

    Raises:
        MalformedRow: There are not as many ratings as steps.
    """
    if ratings is not None:
        if len(ratings) != len(row_steps):
            raise MalformedRow(UNEVEN, f"{len(row_steps)} steps, {len(ratings)} labels")
        ratings = cut_ratings(ratings)
        error = first_error_of(ratings)
        counted(notes, UNRATED, ratings[: len(ratings) if error < 0 else error].count(None))
    answer = extract_answer("\n".join(row_steps)) if answer is None else answer
    counted(notes, NO_ANSWER, answer is None)
    return Solution(
        problem_id=problem_id or problem_key(problem),
        problem=problem,
        steps=row_steps,
        ratings=None if ratings is None else tuple(ratings),
        answer=answer,
        correct=correct,
        reference=reference,
        source=source,
    )


def optional(row: Row, name: str, *kinds: type) -> Any:
    """A value that may be missing or null.

    Raises:
        MalformedRow: It is of another kind.
    """
    value = row.get(name)
    if value is None or (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))):
        return value
    raise MalformedRow(
        STRANGE, f"{name} is {str(value)[:60]!r}; expected {' or '.join(k.__name__ for k in kinds)}"
    )


def row_text(row: Row) -> str:
    """A row as one would quote it, at most 80 characters."""
    return json.dumps(row, ensure_ascii=False, default=str)[:80]
