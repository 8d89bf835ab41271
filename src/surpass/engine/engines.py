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
    "auto": "surpass.engine.auto",
    "inline": "surpass.engine.inline",
    "pool": "surpass.engine.pool",
    "ray": "surpass.engine.ray_tasks",
    "slurm": "surpass.engine.slurm",
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


def find_engine(name: str | None, settings: Settings = Settings()) -> Engine:  # noqa: B008
    """The engine of a name; without one, what the settings ask for.

    Raises:
        ConfigError: There is none, or it has no such settings.
    """
    workers = settings.workers
    asked = {"ray": settings.address, "slurm": settings.slurm}
    meant = next((engine for engine, value in asked.items() if value), None)
    chosen = name or meant or ("inline" if workers is None else "pool")
    if chosen not in ENGINES:
        raise ConfigError(f"no engine {chosen!r}; choose from {', '.join(ENGINES)}")
    if chosen in ("auto", "inline") and workers is not None:
        raise ConfigError(
            f"engine {chosen} takes no workers, got workers={workers}; leave one of them out, or use pool"
        )
    if settings.mesh is not None and chosen not in ("auto", "inline", "ray"):
        raise ConfigError(
            f"mesh={settings.mesh} spreads each fit over several devices, and engine {chosen} gives "
            "each stage one; use inline or ray, or leave the mesh out"
        )
    for engine, value in asked.items():
        if value and chosen != engine:
            option = "address" if engine == "ray" else engine
            raise ConfigError(f"{option}={value} is for engine {engine}, got engine {chosen}; leave one out")
    return cast(Engine, import_module(ENGINES[chosen]).run)


def engine_of_command(name: str | None, settings: Settings) -> str | None:
    """The name of the engine that a command means: of none, auto, unless the settings ask for another.

    Raises:
        ConfigError: There is none, or it has no such settings.
    """
    asked = (settings.workers, settings.threads, settings.mesh, settings.address, settings.slurm or None)
    meant = name or ("auto" if all(value is None for value in asked) else None)
    find_engine(meant, settings)
    return meant
