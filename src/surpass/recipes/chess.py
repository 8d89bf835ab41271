"""Chess puzzles with the ladder (Burns et al. 2023, section 4.1 and appendix A.2).

Differs from the paper: the student chooses among legal moves instead of generating text, sees the
board instead of the game that led to it, and weak labels are soft by default (`labels=hard` gives
the paper's greedy ones).
"""

from __future__ import annotations

from typing import Any

from surpass.methods import method_names
from surpass.models.sources import ladder_pairs
from surpass.study import Pair, Study
from surpass.tasks.chess import ChessTask
from surpass.train.recipe import Recipe

# Tuned once, on validation puzzles, for ceilings of all rungs alike; docs/LOG.md has the table.
FINE_TUNING = Recipe(epochs=3, batch_size=32, learning_rate=2e-3, schedule="linear", warmup_frac=0.05)


def chess() -> Study:
    """The quick study: two pairs, three seeds, a few minutes on two cores."""
    return _study("chess", pairs=_pairs("1-3", "3-5"), seeds=(0, 1, 2), num_train=6_000, num_test=6_000)


def chess_triangle() -> Study:
    """Every rung supervising every larger one: 27 minutes of two processes on two busy cores."""
    return _study("chess-triangle", pairs=ladder_pairs(), num_train=6_000, num_test=6_000)


def chess_methods() -> Study:
    """Every method on four pairs and five seeds: 44 minutes of two processes on two busy cores."""
    learning_curve = tuple(f"truth_part(of={of})" for of in (2, 5, 20))
    return _study(
        "chess-methods",
        pairs=_pairs("1-3", "2-3", "2-4", "1-4"),
        methods=(*method_names(), *learning_curve),
        num_train=1_000,
        num_test=3_000,
    )


def chess_bootstrap() -> Study:
    """Bootstrapping over wide gaps, with fresh puzzles at each step as in the paper and with the same."""
    return _study(
        "chess-bootstrap",
        pairs=_pairs("1-4", "1-5", "2-5"),
        methods=("naive", "bootstrap", "bootstrap_same"),
        num_train=2_000,
        num_test=4_000,
    )


def _study(name: str, *, seeds: tuple[int, ...] = (0, 1, 2, 3, 4), **settings: Any) -> Study:
    """Puzzles in the mix of the sources, and the settings that all studies of the ladder share."""
    return Study(
        name=name,
        task=ChessTask(),
        seeds=seeds,
        train_mix="source",
        test_mix="source",
        recipe=FINE_TUNING,
        **settings,
    )


def _pairs(*texts: str) -> tuple[Pair, ...]:
    rungs = [text.split("-") for text in texts]
    return tuple((f"ladder:chess-{weak}", f"ladder:chess-{strong}") for weak, strong in rungs)
