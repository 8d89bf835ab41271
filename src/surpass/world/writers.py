"""Who writes what the reasoners read: people who reason in steps, slip, and believe wrong things.

A web text about arithmetic is not always right, and neither is this one. An author may *slip* in any step (a
result off by one or by ten, a sign, a number copied wrongly) and then goes on from there in good faith; and
may hold *misconceptions*, which strike every time that there is occasion:

    brackets     20-(3+4)    becomes  20-3+4
    order        2+3*4       becomes  5*4
    first        3(x+2)=12   becomes  3x+2=12
    moving       5x=2x+9     becomes  7x=9
"""

from __future__ import annotations

import random
from typing import NamedTuple

BELIEFS = {"brackets": 0.6, "order": 0.4, "first": 0.4, "moving": 0.15}
"""Misconceptions, and the share of authors who hold each."""

SLIPS = ((0.0, 0.6), (0.06, 0.25), (0.2, 0.15))
"""How often an author slips, per step, and the share of such authors."""

ORDERLY = 0.8
"""Share of authors who always take the first operation that can be done; others take any."""

REPEATS = 0.02
LARGEST = 999
"""Beyond this nobody counts: larger results are written as this."""


class Author(NamedTuple):
    """How somebody writes.

    Attributes:
        slip: Probability of a slip, in each step.
        beliefs: Misconceptions, of `BELIEFS`.
        orderly: Whether the first operation is always taken first.
        repeats: Probability that a line is written again, or turned round, in each step.
    """

    slip: float = 0.0
    beliefs: frozenset[str] = frozenset()
    orderly: bool = True
    repeats: float = 0.0


CAREFUL = Author()
"""Never wrong: writes the reference solutions."""


def draw_author(rng: random.Random) -> Author:
    """Somebody of those who wrote the corpus."""
    rates, shares = zip(*SLIPS, strict=True)
    return Author(
        slip=rng.choices(rates, shares)[0],
        beliefs=frozenset(name for name, share in BELIEFS.items() if rng.random() < share),
        orderly=rng.random() < ORDERLY,
        repeats=REPEATS,
    )


def slipped(value: int, rng: random.Random) -> int:
    """A wrong result, as people have them."""
    text = str(abs(value))
    turned = int(text[::-1]) * (1 if value >= 0 else -1)
    other = rng.choices(
        [value + rng.choice((1, -1)), value + rng.choice((10, -10)), -value, turned, value + 2],
        (5, 3, 1, 1, 1),
    )[0]
    return other if other != value else value + 1
