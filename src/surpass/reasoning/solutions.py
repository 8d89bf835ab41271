"""A solution: a problem, the steps that were written for it, and what is known of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from surpass.errors import DataError

Rating = int | None
"""1 correct, 0 neutral (nothing wrong, no progress), -1 wrong; None where nobody said."""

RATINGS = (1, 0, -1)
NO_ERROR = -1
"""What `Solution.first_error` is where no step is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """Steps that were written for a problem.

    Attributes:
        problem_id: What the problem is called in its source; solutions of one problem share it.
        problem: The problem's text.
        steps: The text of each, at least one, none of them empty.
        ratings: Of each step, one of `RATINGS`, or None where it is not known; nothing is known of the steps
            behind the first wrong one. None where nothing is known of any step.
        answer: The final answer as it was extracted, None where the solution has none.
        correct: Whether the final answer is right, None where that was not graded.
        reference: The problem's true answer, None where it is not known.
        source: Where the solution comes from: a file's name, a generator.

    Raises:
        DataError: There is no step, or one of nothing; as many ratings as steps are not there; a rating is
            none of the three, or is behind the first wrong one (`cut_ratings` takes those away).
    """

    problem_id: str
    problem: str
    steps: tuple[str, ...]
    ratings: tuple[Rating, ...] | None = None
    answer: str | None = None
    correct: bool | None = None
    reference: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not self.steps:
            raise DataError(f"a solution of {self.problem_id!r} has no steps; leave it out")
        for place, step in enumerate(self.steps):
            if not step.strip():
                raise DataError(
                    f"step {place} of a solution of {self.problem_id!r} is empty; leave the step out, or "
                    "split the text with split_steps"
                )
        if self.ratings is not None:
            require_ratings(self.ratings, len(self.steps))

    @property
    def id(self) -> str:
        """20 hexadecimal digits, made of the problem's text and the steps: the same on every machine."""
        digest = hashlib.sha256()
        for text in (self.problem, *self.steps):
            content = text.encode("utf-8", "surrogatepass")
            digest.update(len(content).to_bytes(8, "big") + content)
        return digest.hexdigest()[:20]

    @property
    def first_error(self) -> int:
        """The place of the first step that is rated wrong, from 0; `NO_ERROR` (-1) where none is.

        -1 says that the solution is free of errors only where `is_fully_rated`.
        """
        return first_error_of(self.ratings or ())

    @property
    def is_fully_rated(self) -> bool:
        """Whether each step up to the first wrong one, or each step where none is wrong, has a rating."""
        if self.ratings is None:
            return False
        error = self.first_error
        known = self.ratings if error == NO_ERROR else self.ratings[:error]
        return None not in known

    @property
    def text(self) -> str:
        """The steps, one below the other."""
        return "\n".join(self.steps)

    def step_id(self, step: int) -> str:
        """What a step is called in tables: `<solution id>#<step>`."""
        return f"{self.id}#{step}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A problem with its true answer.

    Attributes:
        problem_id: What it is called in its source, else `problem_key` of its text.
        problem: The problem's text.
        reference: The true answer.
        solution: How it is solved, None where its source does not say.
        level: How hard it is, from 1; None where its source does not say.
        subject: What it is about; may be empty.
        source: Where it comes from.

    Raises:
        DataError: It has no text, or no answer.
    """

    problem_id: str
    problem: str
    reference: str
    solution: str | None = None
    level: int | None = None
    subject: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not self.problem.strip() or not self.reference.strip():
            raise DataError(f"{self.problem_id!r} has no text or no true answer; leave it out")


def problem_key(problem: str) -> str:
    """16 hexadecimal digits, made of a problem's text: its name where its source has none."""
    return hashlib.sha256(problem.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def first_error_of(ratings: Iterable[Rating]) -> int:
    """The place of the first -1, from 0; `NO_ERROR` where there is none."""
    return next((place for place, rating in enumerate(ratings) if rating == -1), NO_ERROR)


def cut_ratings(ratings: Sequence[Rating]) -> tuple[Rating, ...]:
    """The ratings up to the first wrong step, and None behind it.

    Source:
        Lightman et al. 2023, section 2.6: steps are supervised up to the first mistake only.
    """
    error = first_error_of(ratings)
    if error == NO_ERROR:
        return tuple(ratings)
    return (*ratings[: error + 1], *[None] * (len(ratings) - error - 1))


def ratings_of_first_error(first_error: int, num_steps: int) -> tuple[Rating, ...]:
    """What it says of each step that the first wrong one is at `first_error`, from 0, or that none is (-1).

    Raises:
        DataError: There is no such step.
    """
    if not NO_ERROR <= first_error < num_steps:
        raise DataError(
            f"the first error is said to be step {first_error} of {num_steps}; steps are counted from 0, and "
            f"{NO_ERROR} says that none is wrong"
        )
    if first_error == NO_ERROR:
        return (1,) * num_steps
    return (*[1] * first_error, -1, *[None] * (num_steps - first_error - 1))


def require_ratings(ratings: Sequence[Rating], num_steps: int) -> None:
    """Refuse ratings that are not those of a solution; see `Solution`.

    Raises:
        DataError: As `Solution` says.
    """
    if len(ratings) != num_steps:
        raise DataError(f"{num_steps} steps have {len(ratings)} ratings; each step needs one, or None")
    for place, rating in enumerate(ratings):
        # True is 1 for Python; a bool here means that somebody mixed up two kinds of labels.
        if rating is not None and (isinstance(rating, bool) or rating not in RATINGS):
            raise DataError(f"step {place} is rated {rating!r}; expected 1, 0, -1 or None")
    if tuple(ratings) != cut_ratings(ratings):
        raise DataError(
            f"there is a rating behind step {first_error_of(ratings)}, which is wrong; cut_ratings takes "
            "away what is behind the first error"
        )


def split_steps(text: str) -> tuple[str, ...]:
    """The steps of a text: its lines, without white space at both ends and without empty ones.

    Source:
        Lightman et al. 2023, section 2.2: steps are delimited by newlines.
    """
    return tuple(line.strip() for line in text.split("\n") if line.strip())
