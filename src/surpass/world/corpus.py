"""What reasoners are pretrained on: texts of many authors, a token for each character, a blank line between.

Most texts are a problem with steps below it. Some authors write the whole in one line (`2+3*4=2+12=14`), some
only the result (`7+5=12`), as texts of the web do, so that a pretrained model knows several forms.
Only problems of part `pretrain` are in it, and none of the levels of `problems.MIXES["long"]`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.models.texts import BETWEEN_SHOTS
from surpass.world.authors import solve
from surpass.world.problems import draw, part_of
from surpass.world.tokenizer import VOCABULARY
from surpass.world.writers import CAREFUL, draw_author

FAMILIES = {"arithmetic": 6, "algebra": 3, "systems": 1}
"""Families, and how often each comes up."""

WEIGHTS = {"arithmetic": (3, 3, 3, 2, 2, 2), "algebra": (2, 2, 1, 1), "systems": (1, 1)}
"""How often each level of a family comes up, from 1."""

RESULT_ALONE, ONE_LINE = 0.3, 0.07
"""Shares of the texts in other forms; both are of expressions with at most three operations."""

_LONGEST_ALONE = 3
_LOOKUP = np.zeros(256, np.uint8)
for _mark, _token in VOCABULARY.items():
    if len(_mark) == 1:
        _LOOKUP[ord(_mark)] = _token


def texts(seed: int) -> Iterator[str]:
    """Texts for ever, without the blank line between them."""
    rng = random.Random(f"world corpus/{seed}")
    while True:
        form = rng.random()
        if form < RESULT_ALONE + ONE_LINE:
            family, level = "arithmetic", rng.choice((1, 1, 1, 2, _LONGEST_ALONE))
        else:
            family = rng.choices(list(FAMILIES), list(FAMILIES.values()))[0]
            weights = WEIGHTS[family]
            level = rng.choices(range(1, len(weights) + 1), weights)[0]
        problem = draw(family, level, rng)
        if part_of(problem.text) != "pretrain":
            continue
        if form < RESULT_ALONE:
            yield f"{problem.text}={solve(problem.text, CAREFUL)[-1][2:]}"
            continue
        steps = solve(problem.text, draw_author(rng), rng)
        if form < RESULT_ALONE + ONE_LINE:
            yield "=".join([problem.text, *steps[:-1], steps[-1][2:]])
        else:
            yield "\n".join([problem.text, *steps])


class Rows(NamedTuple):
    """What is read: tokens uint8 (num_rows, width), and which of them are learned, bool of the same shape."""

    tokens_NT: npt.NDArray[np.uint8]
    learned_NT: npt.NDArray[np.bool_]


def rows(num_rows: int, width: int, seed: int) -> Rows:
    """The first rows of the corpus, each from the beginning of a problem; fewer are a prefix of more.

    A text that the end of a row cuts begins the next one too, unless it had the whole row. What follows from
    a problem is learned; problems are drawn, so nothing is to be learned of them.
    """
    tokens_NT = np.zeros((num_rows, width), np.uint8)
    learned_NT = np.zeros((num_rows, width), np.bool_)
    source, again = texts(seed), None
    for row in range(num_rows):
        place = 0
        while place < width:
            text = again or next(source)
            tokens = encode(text + BETWEEN_SHOTS)
            end = min(place + len(tokens), width)
            tokens_NT[row, place:end] = tokens[: end - place]
            learned_NT[row, place + _length_of_problem(text) : end] = True
            again = text if place and place + len(tokens) > width else None
            place = end
    return Rows(tokens_NT, learned_NT)


def _length_of_problem(text: str) -> int:
    """Of a text of any form: of its first line, or of what stands before the first sign of equality."""
    return text.index("\n" if "\n" in text else "=") + 1


def encode(text: str) -> npt.NDArray[np.uint8]:
    """The tokens of a text of the world, as the tokenizer gives them, and much faster."""
    return _LOOKUP[np.frombuffer(text.encode("ascii"), np.uint8)]
