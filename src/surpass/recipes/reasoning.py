"""Studies of reward models by name: functions that return a `RewardStudy`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from surpass.errors import ConfigError
from surpass.overrides import real, whole, whole_numbers, yes_or_no
from surpass.recipes.finding import made_elsewhere
from surpass.reward_study import RewardStudy
from surpass.stages.solutions import AUTHORS
from surpass.tasks import find_task
from surpass.train.recipe import Recipe
from surpass.world.task import WorldTask


def reasoning_world(*, generator: str = AUTHORS, model: str = "reasoner:small") -> RewardStudy:
    """Process against outcome supervision in the offline world (Lightman et al. 2023), on one thread.

    The world's authors solve; reward models begin as the shipped reasoner, whose own errors a model of its
    size hardly sees. `docs/results/reasoning.md` has what it shows.

    Args:
        generator: Who solves: "authors", who need no model, or a reasoner.
        model: What reward models begin as.
    """
    process = Recipe(epochs=2, batch_size=48, learning_rate=2e-3, warmup_frac=0.1)
    return RewardStudy(
        name="reasoning-world",
        task=WorldTask(),
        generator=generator,
        model=model,
        grader="world",
        num_train=1500,
        train_samples=12,
        num_test=120,
        test_samples=32,
        per_problem=4,
        budgets=(1, 2),
        recipe=process,
        outcome_recipe=replace(process, batch_size=12),
    )


REWARD_RECIPES: dict[str, Callable[..., RewardStudy]] = {"reasoning-world": reasoning_world}

_RECIPES = ("recipe", "outcome_recipe")
_OF_BOTH = ("epochs", "learning_rate", "warmup_frac", "weight_decay", "schedule")


def find_reward_study(name: str, overrides: Sequence[str] = ()) -> RewardStudy:
    """The study of reward models of a name, or of a function `module:function`, with overrides applied.

    Args:
        name: A key of `REWARD_RECIPES`, or `your_module:function`.
        overrides: Texts `name=value`: fields of `RewardStudy`; of training, for both kinds of reward models,
            `epochs`, `learning_rate`, `warmup_frac`, `weight_decay` and `schedule`; and `batch_size`, in
            steps, and `outcome_batch_size`, in solutions.

    Raises:
        ConfigError: There is no such study, or an override makes no sense.
    """
    return _changed(_named(name), overrides)


def _named(name: str) -> RewardStudy:
    if ":" in name:
        return made_elsewhere(name, RewardStudy, "a RewardStudy")
    if name not in REWARD_RECIPES:
        raise ConfigError(f"no study {name!r} of reward models; there are: {', '.join(REWARD_RECIPES)}")
    return REWARD_RECIPES[name]()


def _changed(study: RewardStudy, overrides: Sequence[str]) -> RewardStudy:
    kinds = {field.name: str(field.type) for field in fields(study) if field.name not in _RECIPES}
    recipe_kinds = {field.name: str(field.type) for field in fields(Recipe)}
    changes: dict[str, Any] = {}
    training: dict[str, dict[str, Any]] = {name: {} for name in _RECIPES}
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise ConfigError(f"{text!r} is no override; write name=value, for example num_train=100")
        if name in kinds:
            changes[name] = _read(kinds[name], name, value)
        elif name in _OF_BOTH:
            for each in training.values():
                each[name] = _read(recipe_kinds[name], name, value)
        elif name in ("batch_size", "outcome_batch_size"):
            which = "recipe" if name == "batch_size" else "outcome_recipe"
            training[which]["batch_size"] = _read("int", name, value)
        else:
            names = [*kinds, *_OF_BOTH, "batch_size", "outcome_batch_size"]
            close = get_close_matches(name, names, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names)}"
            raise ConfigError(f"no setting {name!r}; {hint}")
    recipes = {name: replace(getattr(study, name), **values) for name, values in training.items() if values}
    return replace(study, **changes, **recipes)


def _read(kind: str, name: str, value: str) -> Any:
    """A text as a value of the type that a field has."""
    plain = {"int": whole, "float": real, "bool": yes_or_no}
    if kind in plain:
        return plain[kind](value, name)
    if kind == "tuple[int, ...]":
        if value == "none":
            return ()
        if name == "seeds" and value.isdecimal():
            return tuple(range(int(value)))
        return whole_numbers(value, name)
    if kind == "tuple[str, ...]":
        return tuple(value.split(","))
    return find_task(value) if kind == "Task" else value
