"""Studies by name: functions that return a `Study`, with their source, time and expected numbers."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from surpass.errors import ConfigError
from surpass.recipes.chess import chess, chess_bootstrap, chess_methods, chess_triangle
from surpass.recipes.planted import planted, planted_many
from surpass.recipes.process import process_world, processbench_small
from surpass.recipes.text import (
    reward_paper,
    reward_small,
    text_eleuther,
    text_openai,
    text_paper,
    text_pythia,
    text_qwen,
    text_small,
    text_tuned,
)
from surpass.recipes.vision import vision_paper, vision_paper_vit, vision_small
from surpass.study import Study

RECIPES: dict[str, Callable[..., Study]] = {
    "chess": chess,
    "chess-triangle": chess_triangle,
    "planted": planted,
    "planted-many": planted_many,
    "chess-methods": chess_methods,
    "chess-bootstrap": chess_bootstrap,
    "text-small": text_small,
    "text-tuned": text_tuned,
    "reward-small": reward_small,
    "text-paper": text_paper,
    "text-openai": text_openai,
    "text-eleuther": text_eleuther,
    "text-pythia": text_pythia,
    "text-qwen": text_qwen,
    "reward-paper": reward_paper,
    "processbench-small": processbench_small,
    "process-world": process_world,
    "vision-small": vision_small,
    "vision-paper": vision_paper,
    "vision-paper-vit": vision_paper_vit,
}


def find_recipe(name: str, **given: Any) -> Study:
    """The study of this name.

    Args:
        name: A key of `RECIPES`.
        given: What a recipe on a user's own data has to be told, such as its `task`.

    Raises:
        ConfigError: There is none, or it has to be told more or less.
    """
    if name not in RECIPES:
        raise ConfigError(f"no study {name!r}; there are: {', '.join(sorted(RECIPES))}")
    missing = [what for what in needs(name) if what not in given]
    if missing:
        raise ConfigError(
            f"study {name} needs {missing[0]}=...: a data set, such as sst2, sst2(source=FOLDER) or cifar10, "
            "or yours, text:FILE or images:FOLDER (docs/data-sets.md lists what there is)"
        )
    return RECIPES[name](**given)


def settings_of(name: str) -> tuple[str, ...]:
    """What the recipe of this name can be told before it makes a study."""
    return tuple(signature(RECIPES[name]).parameters) if name in RECIPES else ()


def needs(name: str) -> tuple[str, ...]:
    """What it has to be told."""
    parameters = signature(RECIPES[name]).parameters.values()
    return tuple(entry.name for entry in parameters if entry.default is entry.empty)


__all__ = ["RECIPES", "find_recipe", "needs", "settings_of"]
