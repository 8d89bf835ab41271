"""PRM800K: solutions whose steps people rated, as the lines of its files say it.

A line holds, for each step, one or more completions with their ratings, and which of them the solution went
on with. What the paper learned from is what is left of the lines after these filters, each counted:

- lines of quality control and of screening, which all labelers saw, are left out;
- so are lines that were given up, and problems that were found to be bad;
- nothing is known of the steps behind the first that is rated -1.

Source:
    Lightman et al. 2023, section 2.4 and appendix A; the README of the released data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from surpass.data.base import Row
from surpass.data.solutions_forms import (
    EMPTY_STEP,
    NO_STEPS,
    NULL_STEP,
    STRANGE,
    MalformedRow,
    Notes,
    counted,
    made,
    problem_of,
    rating_of,
    steps_of,
)
from surpass.reasoning.answers import extract_answer
from surpass.reasoning.solutions import Rating, Solution

QUALITY_CONTROL = "lines of quality control, left out"
SCREENING = "lines of screening, left out"
UNFINISHED = {
    "give_up": "lines that were given up, left out",
    "bad_problem": "lines of bad problems, left out",
}
FLAGGED = "steps that a labeler was not sure of, kept"
HUMAN = "steps that a labeler wrote, kept"
_FINISHES = ("found_error", "solution", *UNFINISHED)


class _Step(NamedTuple):
    """One step: what the solution goes on with, and all that was rated in its place."""

    text: str
    rating: Rating
    rated: tuple[tuple[str, Rating], ...]


def prm800k(row: Row, notes: Notes, *, candidates: bool = False) -> Iterable[Solution]:
    """The solution of a line, or with `candidates` one solution for each rated completion.

    Args:
        row: A line.
        notes: Counts what is left out, and what is kept in spite of something.
        candidates: Whether each completion that was rated, at the place of its step, is a solution of the
            steps before it and itself, of which only the last is rated: phase 1 has several completions for a
            step. Else a line is one solution: the steps it went on with, and the rest of the generated steps
            behind the first error.
    """
    question, label = row["question"], row["label"]
    if not isinstance(question, Mapping) or not isinstance(label, Mapping):
        raise MalformedRow(STRANGE, "question and label have to be objects")
    finish = label.get("finish_reason")
    if finish not in _FINISHES:
        raise MalformedRow(STRANGE, f"finish_reason is {finish!r}; expected {', '.join(_FINISHES)}")
    left_out = _left_out(row, finish)
    if left_out:
        counted(notes, left_out)
        return []
    steps = _steps(label.get("steps"), notes)
    make = partial(_solution, question=question, generation=row.get("generation"))
    # That a prefix has no answer and unrated steps is no news.
    return (
        list(_candidates(steps, partial(make, notes={})))
        if candidates
        else [_whole(steps, partial(make, notes=notes), question)]
    )


def _left_out(row: Row, finish: str) -> str:
    if row.get("is_quality_control_question"):
        return QUALITY_CONTROL
    if row.get("is_initial_screening_question"):
        return SCREENING
    return UNFINISHED.get(finish, "")


def _steps(value: object, notes: Notes) -> list[_Step]:
    if not isinstance(value, list) or not value:
        raise MalformedRow(NO_STEPS, repr(value)[:80])
    steps = []
    for place, step in enumerate(value):
        if not isinstance(step, Mapping):
            raise MalformedRow(STRANGE, f"step {place} is {str(step)[:60]!r}; expected an object")
        completions = [_completion(entry, place, notes) for entry in step.get("completions") or ()]
        chosen = step.get("chosen_completion")
        human = _human(step.get("human_completion"), place)
        if chosen is not None:
            if isinstance(chosen, bool) or not isinstance(chosen, int) or not 0 <= chosen < len(completions):
                raise MalformedRow(
                    NULL_STEP, f"step {place} goes on with completion {chosen!r} of {len(completions)}"
                )
            text, rating = completions[chosen]
        elif human is not None:
            counted(notes, HUMAN)
            text, rating = human
        else:
            # The last step of a solution with an error: nothing was chosen, and what is wrong is the step.
            wrong = [entry for entry in completions if entry[1] == -1]
            if not wrong or place < len(value) - 1:
                raise MalformedRow(
                    NULL_STEP, f"step {place} has no completion that the solution went on with"
                )
            text, rating = wrong[0]
        steps.append(_Step(text, rating, tuple(completions)))
    return steps


def _completion(entry: object, place: int, notes: Notes) -> tuple[str, Rating]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("text"), str):
        raise MalformedRow(NULL_STEP, f"a completion of step {place} has no text")
    if not entry["text"].strip():
        raise MalformedRow(EMPTY_STEP, f"a completion of step {place}")
    counted(notes, FLAGGED, bool(entry.get("flagged")))
    return entry["text"], rating_of(entry.get("rating"), place)


def _human(value: object, place: int) -> tuple[str, Rating] | None:
    """What a labeler wrote, which is published as a text or as an object with one."""
    if value is None:
        return None
    text, rating = (value.get("text"), value.get("rating")) if isinstance(value, Mapping) else (value, None)
    if not isinstance(text, str) or not text.strip():
        raise MalformedRow(EMPTY_STEP, f"step {place}, which a labeler wrote")
    return text, rating_of(rating, place)


def _whole(steps: list[_Step], make: partial[Solution], question: Mapping[str, Any]) -> Solution:
    texts = tuple(step.text for step in steps)
    ratings: tuple[Rating, ...] = tuple(step.rating for step in steps)
    generated = question.get("pre_generated_steps")
    # Steps behind the first error were not rated; they are told by the generated solution alone.
    if (
        isinstance(generated, list)
        and len(generated) > len(texts)
        and tuple(generated[: len(texts)]) == texts
    ):
        texts = steps_of(generated)
        ratings += (None,) * (len(texts) - len(ratings))
    answer = question.get("pre_generated_answer")
    is_whole = isinstance(generated, list) and len(texts) == len(generated)
    return make(texts, ratings, answer=answer if is_whole and isinstance(answer, str) else None)


def _candidates(steps: list[_Step], make: partial[Solution]) -> Iterable[Solution]:
    before: tuple[str, ...] = ()
    for step in steps:
        for text, rating in step.rated:
            if rating is not None:
                # Of a prefix nothing is said here: its own steps are solutions of their own.
                yield make((*before, text), (*[None] * len(before), rating), answer=extract_answer(text))
        if step.rating == -1:
            return
        before = (*before, step.text)


def _solution(
    texts: tuple[str, ...],
    ratings: tuple[Rating, ...],
    *,
    answer: str | None,
    question: Mapping[str, Any],
    generation: object,
    notes: Notes,
) -> Solution:
    reference = question.get("ground_truth_answer")
    return made(
        texts,
        problem=problem_of(question.get("problem")),
        ratings=ratings,
        answer=answer,
        reference=reference if isinstance(reference, str) and reference.strip() else None,
        source="prm800k-1" if generation is None else f"prm800k-2-{generation}",
        notes=notes,
    )
