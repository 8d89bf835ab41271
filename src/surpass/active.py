"""Which solutions are worth a label: uniformly drawn ones, or wrong answers that convince a reward model.

Source: Lightman et al. 2023, section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor
from typing import NamedTuple

WRONG_SHARE = 0.8
"""Of what is chosen, the share that is kept for convincing wrong answers."""

RULES = ("uniform", "convincing")


class Candidate(NamedTuple):
    """A solution that may be chosen, of one problem; no two are equal solutions.

    Attributes:
        row: Where it is.
        mark: A number that says nothing of it, by which the order among equals is drawn.
        correct: Whether its final answer is right.
        score: What the selecting model says of it; 0 for those that go by none.
    """

    row: int
    mark: float
    correct: bool
    score: float = 0.0


def uniform(candidates: Iterable[Candidate], count: int) -> list[int]:
    """The rows of as many candidates as asked for, or of all there are, by their marks."""
    return [candidate.row for candidate in sorted(candidates, key=lambda each: each.mark)[:count]]


def convincing(
    candidates: Iterable[Candidate], count: int, *, wrong_share: float = WRONG_SHARE, rounding: float = 0.5
) -> list[int]:
    """The rows of the highest scored wrong answers, and of the highest scored of what remains.

    Args:
        candidates: Solutions of one problem.
        count: How many are chosen; fewer where there are not so many.
        wrong_share: The share of wrong answers that is looked for first; where there are fewer, what remains
            fills up.
        rounding: What is added before their number is rounded down: 0.5 gives the nearest number, and one
            drawn evenly from 0 to 1 for each problem keeps the share over all problems.
    """
    ranked = sorted(candidates, key=lambda each: (-each.score, each.mark))
    wrong = [each for each in ranked if not each.correct][: floor(wrong_share * count + rounding)]
    taken = {each.row for each in wrong}
    rest = [each for each in ranked if each.row not in taken][: count - len(wrong)]
    return [each.row for each in (*wrong, *rest)]
