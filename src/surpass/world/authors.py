"""Solutions as people write them, right ones and others."""

from __future__ import annotations

import random

from surpass.world.calculating import Calculation
from surpass.world.expressions import parse
from surpass.world.rearranging import Rearranging, terms
from surpass.world.writers import CAREFUL, Author


def solve(problem: str, author: Author = CAREFUL, rng: random.Random | None = None) -> list[str]:
    """The steps that an author writes for a problem of `problems`; the last states an answer.

    Args:
        problem: Its text.
        author: Who writes.
        rng: Where slips come from; not needed by one who makes none.
    """
    rng = rng or random.Random(0)
    line = parse(problem)
    if len(line[0]) == 1:
        return Calculation(line[0][0], author, rng).lines()
    return Rearranging([[terms(side) for side in equation] for equation in line], author, rng).lines()
