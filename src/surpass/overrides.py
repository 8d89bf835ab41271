"""Studies changed from the command line: `pairs=chess-2:chess-4 seeds=5 learning_rate=2e-3`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from itertools import chain
from typing import Any

from surpass.calls import split
from surpass.errors import ConfigError
from surpass.methods import method_names
from surpass.models.sources import ladder_pairs
from surpass.study import Pair, Study
from surpass.tasks import Task, find_task
from surpass.train.recipe import Recipe

_MOST_SEEDS = 10_000
_SEEDS = f"give a number of seeds from 1 to {_MOST_SEEDS}, a list 0,1,2 or a range 0-9"


def whole(text: str, name: str) -> int:
    """A whole number.

    Raises:
        ConfigError: It is none.
    """
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{name}={text} is no whole number") from None


def real(text: str, name: str) -> float:
    """A number.

    Raises:
        ConfigError: It is none.
    """
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{name}={text} is no number") from None


def _seeds(text: str, name: str) -> tuple[int, ...]:
    """`3` is 0, 1, 2; `4,7` is those; `2-5` is 2, 3, 4, 5."""
    if re.fullmatch(r"\d+", text):
        if not 1 <= int(text) <= _MOST_SEEDS:
            raise ConfigError(f"{name}={text}: {_SEEDS}")
        return tuple(range(int(text)))
    return whole_numbers(text, name, "seed", _SEEDS)


def whole_numbers(
    text: str, name: str, what: str = "whole number", hint: str = "give a list 1,2,3 or a range 1-6"
) -> tuple[int, ...]:
    """`4,7` is those; `2-5` is 2, 3, 4, 5.

    Raises:
        ConfigError: It is something else, or more than 10,000.
    """
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            raise ConfigError(f"{name}={text}: {part!r} is no {what}; {hint}")
        ranges.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    if not all(ranges) or sum(map(len, ranges)) > _MOST_SEEDS:
        raise ConfigError(f"{name}={text}: {hint}")
    return tuple(chain.from_iterable(ranges))


def model_name(text: str) -> str:
    """`3` and `chess-3` are short for `ladder:chess-3`."""
    if text.isdigit():
        text = f"chess-{text}"
    return text if ":" in text else f"ladder:{text}"


def _pairs(text: str, name: str) -> tuple[Pair, ...]:
    """`2-4,chess-3:chess-4`, `MODEL>MODEL`, or `all`: every rung supervising every larger one."""
    if text == "all":
        return ladder_pairs()
    pairs = []
    for part in split(text):
        match = re.fullmatch(r"(\d+)-(\d+)", part) or re.fullmatch(r"(.+?)\s*>\s*(.+)", part)
        match = match or re.fullmatch(r"([^:]+):([^:]+)", part)
        if match is None:
            raise ConfigError(
                f"pairs={text}: {part!r} is no pair; write 2-4, chess-2:chess-4, MODEL>MODEL, or all"
            )
        pairs.append((model_name(match[1]), model_name(match[2])))
    return tuple(pairs)


def _methods(text: str, name: str) -> tuple[str, ...]:
    """`all`, or a list such as `naive,confidence(alpha=0.75, warmup_frac=0.1),my_module:my_method`."""
    return method_names() if text == "all" else tuple(split(text))


def _models(text: str, name: str) -> tuple[str, ...]:
    return tuple(model_name(part) for part in split(text))


def _rates(text: str, name: str) -> tuple[tuple[str, float], ...]:
    """`package:mpnet=4e-5,package:minilm-l6=1e-4`: models with a learning rate of their own."""
    pairs = _by_model(text, name, "MODEL=4e-5")
    return tuple((model, real(rate, f"{name}={model}")) for model, rate in pairs)


def _adapters(text: str, name: str) -> tuple[tuple[str, str], ...]:
    """`cnn:16=full,package:mpnet=lora(rank=4)`: models with an adapter of their own."""
    return tuple(_by_model(text, name, "MODEL=full"))


def _by_model(text: str, name: str, example: str) -> list[tuple[str, str]]:
    """Models and what is said of each; an equals sign inside brackets belongs to a setting."""
    found = []
    for part in split(text):
        model, equals, value = part, "", ""
        for place in [at for at, letter in enumerate(part) if letter == "="]:
            if part.count("(", 0, place) == part.count(")", 0, place):
                model, equals, value = part[:place], "=", part[place + 1 :]
        if not equals:
            raise ConfigError(f"{name}={text}: {part!r} says nothing of a model; write {example}")
        found.append((model_name(model), value))
    return found


def _task(text: str, name: str) -> Task:
    return find_task(text)


def _whole_or_all(text: str, name: str) -> int | None:
    return None if text == "all" else whole(text, name)


def _text(text: str, name: str) -> str:
    return text


def yes_or_no(text: str, name: str) -> bool:
    """Whether it says yes.

    Raises:
        ConfigError: It says neither yes nor no.
    """
    if text not in ("yes", "no"):
        raise ConfigError(f"{name}={text} must be yes or no")
    return text == "yes"


_STUDY: dict[str, Callable[[str, str], Any]] = {
    "task": _task,
    "pairs": _pairs,
    "methods": _methods,
    "seeds": _seeds,
    "labels": _text,
    "num_train": _whole_or_all,
    "num_test": _whole_or_all,
    "num_validation": _whole_or_all,
    "between": _models,
    "train_mix": _text,
    "test_mix": _text,
    "test_part": _text,
    "early_stopping": yes_or_no,
    "best_of": whole,
    "learning_rates": _rates,
    "adapter": _text,
    "adapters": _adapters,
    "supervisor": _text,
}
_RECIPE: dict[str, Callable[[str, str], Any]] = {
    "epochs": whole,
    "batch_size": whole,
    "learning_rate": real,
    "schedule": _text,
    "warmup_frac": real,
    "weight_decay": real,
    "optimizer": _text,
}
# How a task's own settings are read, by their annotation; others cannot be named.
_TASK_TYPES: dict[str, Callable[[str, str], Any]] = {
    "str": _text,
    "str | None": _text,
    "int": whole,
    "float": real,
}
assert set(_RECIPE) == {field.name for field in fields(Recipe)}


def override(study: Study, texts: Sequence[str]) -> Study:
    """The study with `name=value` texts applied; of two for one name the last counts.

    Raises:
        ConfigError: A text is no `name=value`, the name is unknown, or the value makes no sense.
    """
    study_changes: dict[str, Any] = {}
    recipe_changes: dict[str, Any] = {}
    task_changes: dict[str, Any] = {}
    pieces = [_pieces(text) for text in texts]
    # A task first, whose settings the others may be.
    for name, value in sorted(pieces, key=lambda piece: piece[0] != "task"):
        of_task = _task_settings(study_changes.get("task", study.task))
        for readers, changes in ((_STUDY, study_changes), (_RECIPE, recipe_changes), (of_task, task_changes)):
            if name in readers:
                changes[name] = readers[name](value, name)
                break
        else:
            raise ConfigError(_unknown(name, study_changes.get("task", study.task)))
    if task_changes:
        task = study_changes.get("task", study.task)
        study_changes["task"] = replace(task, **task_changes)
    if recipe_changes:
        study_changes["recipe"] = replace(study.recipe, **recipe_changes)
    return study.replace(**study_changes)


def given(names: Collection[str], texts: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The values of some settings of studies that texts give, and the other texts.

    Raises:
        ConfigError: A text is no `name=value`, or the value makes no sense.
    """
    values: dict[str, Any] = {}
    others = []
    for text in texts:
        name, value = _pieces(text)
        if name in names:
            values[name] = _STUDY[name](value, name)
        else:
            others.append(text)
    return values, others


def _pieces(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise ConfigError(f"{text!r} is no override; write name=value, for example seeds=5")
    return name, value


def _task_settings(task: Task) -> dict[str, Callable[[str, str], Any]]:
    """The fields of a task that a text can change."""
    if not is_dataclass(task):
        return {}
    types = {field.name: str(field.type) for field in fields(task)}
    return {name: _TASK_TYPES[kind] for name, kind in types.items() if kind in _TASK_TYPES}


def _unknown(name: str, task: Task) -> str:
    names = [*_STUDY, *_RECIPE, *_task_settings(task)]
    close = get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names)}"
    return f"no setting {name!r}; {hint}"
