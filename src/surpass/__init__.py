"""Surpass: weak-to-strong generalization, from three steps to honest intervals.

    import surpass

    study = surpass.find_recipe("chess")
    results = surpass.run(study.replace(seeds=(0, 1)))

Names are imported when they are first used, so that importing the package costs nothing; what
needs torch imports it when it runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surpass.engine.inline import Settings
    from surpass.errors import ConfigError, DataError, StoreError, SurpassError
    from surpass.experiment import run
    from surpass.recipes import RECIPES, find_recipe
    from surpass.results import Results
    from surpass.stats import PgrEstimate, estimate_pgr, pgr
    from surpass.store import Store
    from surpass.store.opening import open_store
    from surpass.study import Study
    from surpass.tasks.chess import ChessTask
    from surpass.train.recipe import Recipe

__version__ = "0.1.0"

_HOMES = {
    "surpass.engine.inline": ("Settings",),
    "surpass.errors": ("ConfigError", "DataError", "StoreError", "SurpassError"),
    "surpass.experiment": ("run",),
    "surpass.store.opening": ("open_store",),
    "surpass.recipes": ("RECIPES", "find_recipe"),
    "surpass.results": ("Results",),
    "surpass.stats": ("PgrEstimate", "estimate_pgr", "pgr"),
    "surpass.store": ("Store",),
    "surpass.study": ("Study",),
    "surpass.tasks.chess": ("ChessTask",),
    "surpass.train.recipe": ("Recipe",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "RECIPES",
    "ChessTask",
    "ConfigError",
    "DataError",
    "PgrEstimate",
    "Recipe",
    "Results",
    "Settings",
    "Store",
    "StoreError",
    "Study",
    "SurpassError",
    "estimate_pgr",
    "find_recipe",
    "open_store",
    "pgr",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'surpass' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
