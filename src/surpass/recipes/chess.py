"""Chess puzzles with the ladder (Burns et al. 2023, section 4.1 and appendix A.2)."""

from __future__ import annotations

from surpass.models.sources import ladder_names
from surpass.study import Study
from surpass.tasks.chess import ChessTask
from surpass.train.recipe import Recipe

FINE_TUNING = Recipe(epochs=5, batch_size=64, learning_rate=1e-3)


def chess() -> Study:
    """The quick study."""
    return Study(
        name="chess",
        task=ChessTask(),
        pairs=(("ladder:chess-2", "ladder:chess-3"), ("ladder:chess-2", "ladder:chess-4")),
        num_train=6_000,
        num_test=4_000,
        test_mix="source",
        recipe=FINE_TUNING,
    )


def chess_triangle() -> Study:
    """Every rung supervising every larger one."""
    rungs = [f"ladder:{name}" for name in ladder_names()]
    return Study(
        name="chess-triangle",
        task=ChessTask(),
        pairs=tuple((weak, strong) for i, weak in enumerate(rungs) for strong in rungs[i + 1 :]),
        num_train=10_000,
        num_test=6_000,
        test_mix="source",
        recipe=FINE_TUNING,
    )
