"""Tasks named by a text, as on the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

from surpass import calls
from surpass.errors import ConfigError
from surpass.tasks.base import Task

OWN_FILE = (
    "a file of your own is text:FILE, preference:FILE, generation:FILE, process:FILE, features:FILE or "
    "images:FOLDER"
)

_PATHS = ("path", "source", "puzzles")
_NONE: Mapping[str, str] = MappingProxyType({})
_FORM = re.compile(r"([A-Za-z_][\w.-]*(?::[A-Za-z_]\w*)?)\s*(\(.*\))?", re.DOTALL)


class _Place(NamedTuple):
    """Where a task's class is, and what its name says already."""

    module: str
    name: str
    said: Mapping[str, str] = MappingProxyType({})


FILES = {
    "text": _Place("surpass.tasks.text", "TextTask"),
    "preference": _Place("surpass.tasks.preference", "PreferenceTask"),
    "generation": _Place("surpass.tasks.generation", "GenerationTask"),
    "features": _Place("surpass.tasks.features", "FeaturesTask"),
    "images": _Place("surpass.tasks.images", "ImageTask"),
    "process": _Place("surpass.tasks.process", "ProcessTask"),
    "chess-pgn": _Place("surpass.tasks.chess_text", "ChessTextTask", {"form": "pgn"}),
}
"""Tasks that need a file."""

_BUILT_IN = {
    "chess": _Place("surpass.tasks.chess", "ChessTask"),
    "chess-fen": _Place("surpass.tasks.chess_text", "ChessTextTask", {"form": "fen"}),
    "planted": _Place("surpass.tasks.planted", "PlantedTask"),
    "world-steps": _Place("surpass.world.steps_task", "WorldStepsTask"),
} | {
    name: _Place("surpass.tasks.process", "PublishedProcessTask", {"name": name})
    for name in ("processbench", "prm800k", "prm800k-candidates", "math-shepherd")
}
_KINDS = {
    "choice": _Place("surpass.tasks.text", "ChoiceTask"),
    "preference": FILES["preference"],
    "generation": FILES["generation"],
    "image": FILES["images"],
}


def find_task(text: str) -> Task:
    r"""The task that a text names; its data are looked for later, when they are needed.

    Args:
        text: `chess`, a data set of the catalog such as `sst2`, `text:FILE` and others of `FILES`,
            `images:FOLDER(label=...)`, or `your_module:YourTask`. Fields of the task's class may be set in
            brackets, as in `sst2(source=FOLDER)` or `text(path=FILE, text="{premise}\n{hypothesis}",
            label=gold)`; what has a comma or a line break in it needs quotes.

    Raises:
        ConfigError: There is no such task, or it has no such setting.
    """
    kind, colon, path = text.partition(":")
    if colon and kind in FILES and path:
        if path.endswith(")") and not os.path.exists(path):
            if kind == "images":
                folder, _, rest = path.rpartition("(")
                settings = calls.parse(f"task({rest}").settings
                return _made(kind, FILES[kind], settings, {"path": folder})
            file, _, rest = path.partition("(")
            raise ConfigError(f"there is no file {path!r}; with settings, write {kind}(path={file}, {rest}")
        return _made(kind, FILES[kind], {"path": path})
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} names no task; write name or name(key=value); {OWN_FILE}")
    name, settings = match[1], calls.parse(f"task{match[2] or ''}").settings
    if ":" in name:
        kind_of_task: Any = calls.find(name, {}, "task").func
        if not is_dataclass(kind_of_task):
            raise ConfigError(f"task {name!r} is no frozen dataclass; see surpass.tasks.base.Task")
        return _made(name, kind_of_task, settings)
    return _made(name, _place(name), settings)


def _place(name: str) -> _Place:
    from surpass.data.catalog import DATA_SETS

    if name in DATA_SETS:
        found = _KINDS[DATA_SETS[name].kind]
        return found._replace(said={"name": name})
    known = _BUILT_IN | FILES
    if name not in known:
        names = [*known, *DATA_SETS]
        begun = [known for known in names if known.startswith(name)]
        close = begun or get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names)};"
        if os.path.isfile(name):
            hint = "that is a file:"
        raise ConfigError(f"no task {name!r}; {hint} {OWN_FILE}")
    return known[name]


def _made(name: str, place: Any, settings: dict[str, Any], given: Mapping[str, str] = _NONE) -> Task:
    """The task, with settings brought to the types of its fields; `given` cannot be set again."""
    said: dict[str, Any] = {}
    if isinstance(place, _Place):
        said = {**place.said, **{key: os.path.expanduser(value) for key, value in given.items()}}
        place = getattr(import_module(place.module), place.name)
    own = {field.name: field for field in fields(place)}
    for key, value in settings.items():
        if key not in own or key in said:
            close = get_close_matches(key, own.keys() - said.keys(), n=3)
            there = ", ".join(key for key in own if key not in said)
            hint = f"did you mean {' or '.join(close)}?" if close else f"it has {there}"
            raise ConfigError(f"task {name} has no setting {key!r}; {hint}")
        said[key] = _of_type(name, key, value, str(own[key].type))
    for key, field in own.items():
        if key not in said and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"task {name} needs {key}; write {name}({key}=...)")
    task: Task = place(**said)
    return task


def _of_type(name: str, key: str, value: str | int | float | bool, kind: str) -> Any:
    """A value as a field's annotation wants it."""
    if kind.startswith("str"):
        return os.path.expanduser(str(value)) if key in _PATHS else str(value)
    if kind == "Classes":
        parts = calls.split(str(value).strip("()[]"))
        return tuple(
            int(part) if re.fullmatch(r"-?\d+", part) else part.strip("'\"") for part in parts if part
        )
    if kind == "float" and type(value) is int:
        return float(value)
    if kind in ("int", "float", "bool") and type(value).__name__ != kind:
        raise ConfigError(
            f"{name}({key}={value}): {value!r} must be a {'whole number' if kind == 'int' else kind}"
        )
    return value
