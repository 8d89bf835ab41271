"""Rows of Math-Shepherd, ProcessBench, TRL's stepwise supervision and a user's own files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from surpass.data.base import Row
from surpass.data.solutions_forms import (
    BAD_RATING,
    NO_STEPS,
    STRANGE,
    UNEVEN,
    MalformedRow,
    Notes,
    made,
    optional,
    problem_of,
    rating_of,
    rating_of_label,
    steps_of,
)
from surpass.reasoning.solutions import Rating, Solution, ratings_of_first_error

_TAG = "ки"


def math_shepherd(row: Row, notes: Notes) -> Iterable[Solution]:
    """Math-Shepherd: in `input` a tag ends each step, in `label` its place has + or -.

    The sign of a step says whether any roll-out from it reached the true answer; that of the last one,
    whether the solution itself did.
    """
    text, label = row["input"], row["label"]
    if not isinstance(text, str) or not isinstance(label, str):
        raise MalformedRow(STRANGE, "input and label have to be texts")
    *pieces, rest = text.split(_TAG)
    if not pieces:
        raise MalformedRow(NO_STEPS, f"there is no {_TAG} in {text[:60]!r}")
    if rest.strip():
        raise MalformedRow(UNEVEN, f"there is no {_TAG} behind the last step {rest.strip()[:60]!r}")
    ratings: list[Rating] = []
    place = 0
    for number, piece in enumerate(pieces):
        sign = label[place + len(piece) : place + len(piece) + 1]
        if label[place : place + len(piece)] != piece or not sign:
            raise MalformedRow(UNEVEN, f"input and label differ at step {number}")
        if sign not in "+-":
            raise MalformedRow(BAD_RATING, f"step {number} has the sign {sign!r}; expected + or -")
        ratings.append(1 if sign == "+" else -1)
        place += len(piece) + 1
    problem, mark, first = pieces[0].partition("Step 1:")
    if not mark:
        problem, _, first = pieces[0].strip().rpartition("\n")
    steps = steps_of([f"{mark}{first}".strip(), *(piece.strip() for piece in pieces[1:])])
    yield made(
        steps,
        problem=problem_of(problem.strip()),
        ratings=ratings,
        correct=ratings[-1] == 1,
        source=str(row.get("task") or "math-shepherd"),
        notes=notes,
    )


def processbench(row: Row, notes: Notes) -> Iterable[Solution]:
    """ProcessBench: `label` is the place of the first wrong step, -1 for none."""
    steps = steps_of(row["steps"])
    label = row["label"]
    if isinstance(label, bool) or not isinstance(label, int) or not -1 <= label < len(steps):
        raise MalformedRow(
            BAD_RATING, f"label {label!r} of {len(steps)} steps; expected -1 to {len(steps) - 1}"
        )
    yield made(
        steps,
        problem=problem_of(row["problem"]),
        ratings=ratings_of_first_error(label, len(steps)),
        correct=optional(row, "final_answer_correct", bool),
        source=str(row.get("generator") or "processbench"),
        notes=notes,
    )


def stepwise(row: Row, notes: Notes) -> Iterable[Solution]:
    """TRL's stepwise supervision: `prompt`, `completions` (one a step) and `labels` (true or false)."""
    steps = steps_of(row["completions"])
    labels = row["labels"]
    if not isinstance(labels, list | tuple):
        raise MalformedRow(UNEVEN, f"labels are {str(labels)[:60]!r}; expected a list")
    ratings = [rating_of_label(label, place) for place, label in enumerate(labels)]
    yield made(steps, problem=problem_of(row["prompt"]), ratings=ratings, notes=notes)


def own(row: Row, notes: Notes) -> Iterable[Solution]:
    """A user's own rows: `problem` and `steps`, and what is known of them (docs/reasoning-data.md)."""
    steps = steps_of(row["steps"])
    said = [name for name in ("ratings", "labels", "first_error") if row.get(name) is not None]
    if len(said) > 1:
        raise MalformedRow(UNEVEN, f"both {said[0]} and {said[1]} are given; give one of them")
    ratings: Sequence[Rating] | None = None
    if said == ["first_error"]:
        error = row["first_error"]
        if isinstance(error, bool) or not isinstance(error, int) or not -1 <= error < len(steps):
            raise MalformedRow(BAD_RATING, f"first_error {error!r} of {len(steps)} steps")
        ratings = ratings_of_first_error(error, len(steps))
    elif said:
        values = row[said[0]]
        if not isinstance(values, list | tuple):
            raise MalformedRow(UNEVEN, f"{said[0]} are {str(values)[:60]!r}; expected a list")
        of_one = rating_of if said == ["ratings"] else rating_of_label
        ratings = [of_one(value, place) for place, value in enumerate(values)]
    answer, reference = (optional(row, name, str, int, float) for name in ("answer", "reference"))
    name = optional(row, "problem_id", str, int)
    yield made(
        steps,
        problem=problem_of(row["problem"]),
        ratings=ratings,
        answer=None if answer is None else str(answer),
        reference=None if reference is None else str(reference),
        correct=optional(row, "correct", bool),
        problem_id="" if name is None else str(name),
        source=optional(row, "source", str) or "",
        notes=notes,
    )
