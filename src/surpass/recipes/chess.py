"""Chess puzzles with the ladder (Burns et al. 2023, section 4.1 and appendix A.2).

Differs from the paper: the student chooses among legal moves instead of generating text, sees the
board instead of the game that led to it, and weak labels are soft by default (`labels=hard` gives
the paper's greedy ones).
"""

from __future__ import annotations

from surpass.models.sources import ladder_pairs
from surpass.study import Study
from surpass.tasks.chess import ChessTask
from surpass.train.recipe import Recipe

# Tuned once, on validation puzzles, for ceilings of all rungs alike; docs/LOG.md has the table.
FINE_TUNING = Recipe(epochs=3, batch_size=32, learning_rate=2e-3, schedule="linear", warmup_frac=0.05)


def chess() -> Study:
    """The quick study: two pairs, three seeds, a few minutes on two cores."""
    return Study(
        name="chess",
        task=ChessTask(),
        pairs=(("ladder:chess-1", "ladder:chess-3"), ("ladder:chess-3", "ladder:chess-5")),
        seeds=(0, 1, 2),
        num_train=6_000,
        num_test=6_000,
        train_mix="source",
        test_mix="source",
        recipe=FINE_TUNING,
    )


def chess_triangle() -> Study:
    """Every rung supervising every larger one: 27 minutes of two processes on two busy cores."""
    return Study(
        name="chess-triangle",
        task=ChessTask(),
        pairs=ladder_pairs(),
        seeds=(0, 1, 2, 3, 4),
        num_train=6_000,
        num_test=6_000,
        train_mix="source",
        test_mix="source",
        recipe=FINE_TUNING,
    )
