"""Tasks: where examples and their truth come from. One file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from surpass.tasks.base import ExampleTables, Task
from surpass.tasks.naming import find_task


def _build(module: str, name: str, **fields: Any) -> Task:
    task: Task = getattr(import_module(module), name)(**fields)
    return task


TASKS: dict[str, Callable[..., Task]] = {
    "chess": partial(_build, "surpass.tasks.chess", "ChessTask"),
    "planted": partial(_build, "surpass.tasks.planted", "PlantedTask"),
}
"""Tasks that need nothing from outside; `find_task` knows those that need files too."""

__all__ = ["TASKS", "ExampleTables", "Task", "find_task"]
