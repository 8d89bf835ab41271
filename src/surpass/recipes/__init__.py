"""Studies by name: functions that return a `Study`, with their source, time and expected numbers."""

from __future__ import annotations

from collections.abc import Callable

from surpass.errors import ConfigError
from surpass.recipes.chess import chess, chess_bootstrap, chess_methods, chess_triangle
from surpass.recipes.planted import planted, planted_many
from surpass.study import Study

RECIPES: dict[str, Callable[[], Study]] = {
    "chess": chess,
    "chess-triangle": chess_triangle,
    "planted": planted,
    "planted-many": planted_many,
    "chess-methods": chess_methods,
    "chess-bootstrap": chess_bootstrap,
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
