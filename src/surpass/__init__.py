"""Surpass: weak-to-strong generalization, from three steps to honest intervals.

    import surpass

    study = surpass.find_recipe("chess")
    results = surpass.run(study.replace(seeds=(0, 1)))

Importing this package imports no torch; what needs it does so when it runs.
"""

from __future__ import annotations

from surpass.errors import ConfigError, DataError, StoreError, SurpassError
from surpass.experiment import run
from surpass.recipes import RECIPES, find_recipe
from surpass.results import Results
from surpass.stats import PgrEstimate, estimate_pgr, pgr
from surpass.store import Store
from surpass.study import Study
from surpass.train.recipe import Recipe

__version__ = "0.1.0"

__all__ = [
    "RECIPES",
    "ConfigError",
    "DataError",
    "PgrEstimate",
    "Recipe",
    "Results",
    "Store",
    "StoreError",
    "Study",
    "SurpassError",
    "estimate_pgr",
    "find_recipe",
    "pgr",
    "run",
]
