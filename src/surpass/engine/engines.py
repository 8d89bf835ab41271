"""The engines by name. They all give the same results, each to rounding where numbers of threads differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Protocol, cast

from surpass.engine.progress import Display
from surpass.engine.work import Settings
from surpass.errors import ConfigError
from surpass.stages import Stage
from surpass.store import Store

ENGINES = {
    "inline": "surpass.engine.inline",
    "pool": "surpass.engine.pool",
    "ray": "surpass.engine.ray_tasks",
}
"""Modules with a function `run`, imported when they are asked for."""


class Engine(Protocol):
    """Computes whatever is missing for some stages, each once; see `engine.inline.run`."""

    def __call__(
        self,
        targets: Sequence[Stage],
        store: Store,
        *,
        settings: Settings = ...,
        display: Callable[[Sequence[Stage]], Display] = ...,
    ) -> int:
        """Run; gives how many stages were computed."""
        ...


def find_engine(name: str | None, workers: int | None = None) -> Engine:
    """The engine of a name; without one, what the number of workers asks for.

    Raises:
        ConfigError: There is none, or it has no workers.
    """
    chosen = name or ("inline" if workers is None else "pool")
    if chosen not in ENGINES:
        raise ConfigError(f"no engine {chosen!r}; choose from {', '.join(ENGINES)}")
    if chosen == "inline" and workers is not None:
        raise ConfigError(
            f"engine inline has no workers, got workers={workers}; leave one of them out, or use pool"
        )
    return cast(Engine, import_module(ENGINES[chosen]).run)
