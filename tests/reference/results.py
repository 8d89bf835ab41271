"""A made-up study whose numbers are exact: right answers are counted out, not drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from surpass.results import Results
from surpass.rows import METRICS, LeftOut, Row

NUM_TEST = 400
UNDEFINED = "agreement_wrong"
"""The metric that is undefined in every row."""


def counted(num_right: int, num_test: int = NUM_TEST) -> np.ndarray:
    """Correctness of the first `num_right` examples."""
    return np.arange(num_test) < num_right


def metrics_of(seed: int) -> dict[str, float]:
    """A number of its own for each metric, exact in binary; in seed s, every one is s / 64 more."""
    values = {name: place / 32 + seed / 64 for place, name in enumerate(METRICS)}
    return values | {UNDEFINED: math.nan}


def study(
    pairs: Sequence[tuple[str, str, int, int]] = (("ladder:chess-2", "ladder:chess-4", 120, 200),),
    methods: Sequence[tuple[str, float, bool]] = (("naive", 0.25, False), ("ceiling-stop", 0.5, True)),
    *,
    num_seeds: int = 2,
    **fields: object,
) -> tuple[list[Row], dict[str, np.ndarray]]:
    """Rows and correctness of a study; in seed s, every model has s more answers right.

    Args:
        pairs: Weak model, strong model, right answers of the supervisor, right answers of the ceiling.
        methods: Name, PGR, whether it used ground truth.
        num_seeds: Seeds 0, 1, ...
        **fields: Fields of all rows.
    """
    rows, correct = [], {}
    for weak, strong, weak_right, ceiling_right in pairs:
        for method, share, oracle in methods:
            for seed in range(num_seeds):
                student_right = weak_right + round(share * (ceiling_right - weak_right))
                ids = [f"{weak}/{seed}", f"{weak}/{strong}/{method}/{seed}", f"{strong}/{seed}"]
                for score_id, right in zip(ids, (weak_right, student_right, ceiling_right), strict=True):
                    correct[score_id] = counted(right + seed)
                row = {
                    "task": "chess-puzzles",
                    "weak_model": weak,
                    "strong_model": strong,
                    "method": method,
                    "labels": "hard",
                    "seed": seed,
                    "oracle": oracle,
                    "weak_score_id": ids[0],
                    "student_score_id": ids[1],
                    "ceiling_score_id": ids[2],
                    "metrics": metrics_of(seed),
                    "seconds": 30.0,
                }
                rows.append(Row(**{**row, **fields}))
    return rows, correct


def results(*args: object, left_out: Sequence[LeftOut] = (), **fields: object) -> Results:
    return Results.build(*study(*args, **fields), left_out)
