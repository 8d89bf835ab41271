"""Studies by name: functions that return a `Study`, with their source, time and expected numbers."""

from __future__ import annotations

from collections.abc import Callable

from surpass.errors import ConfigError
from surpass.recipes.chess import chess, chess_triangle
from surpass.study import Study

RECIPES: dict[str, Callable[[], Study]] = {
    "chess": chess,
    "chess-triangle": chess_triangle,
}


def find_recipe(name: str) -> Study:
    """The study of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in RECIPES:
        raise ConfigError(f"no study {name!r}; there are: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()


__all__ = ["RECIPES", "find_recipe"]
