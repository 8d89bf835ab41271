"""One direction: what imports what, how long modules are, what an import costs, what is public."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import surpass
from reference.imports import MODULES, SOURCE, arrows, imported

LAYERS: dict[str, tuple[str, ...]] = {
    "errors": ("errors",),
    "arrays": ("ragged",),
    "leaves": (
        "disk",
        "owner",
        "identity",
        "boards",
        "geometry",
        "labels",
        "hashing",
        "grouping",
        "invocation",
        "memory",
        "durations",
        "environment",
        "allocator",
        "hub",
        "active",
        "clock",
    ),
    "chess": ("legality",),
    "calls": ("calls", "interrupt"),
    "losses": ("losses", "losses.*"),
    "metrics": ("metrics", "metrics.*"),
    "rules": ("rules", "rules.*"),
    "stats": ("stats", "stats.*"),
    "results": ("rows", "ranking", "results"),
    "store": ("store", "store.*"),
    "reasoning": ("reasoning", "reasoning.*"),
    "world": ("world", "world.*"),
    "data": ("data", "data.*"),
    "tasks": ("tasks", "tasks.*", "world.task", "world.steps_task"),
    "models": ("models", "models.*"),
    "train": ("train", "train.*"),
    "reasoners": (
        "world.tokenizer",
        "world.corpus",
        "world.reasoners",
        "world.sampling",
        "world.pretrain",
        "world.drawing",
        "world.measuring",
        "world.chess_lines",
    ),
    "running": ("running", "running.*"),
    "stages": ("stages", "stages.*"),
    "methods": ("methods", "methods.*"),
    "study": ("lineage", "study", "reward_study", "layers", "overrides"),
    "recipes": ("recipes", "recipes.*"),
    "engine": ("engine", "engine.*"),
    "trackers": ("trackers", "trackers.*"),
    "experiment": ("analyses", "analyses.*", "experiment", "reward_results", "profiling"),
    "upkeep": ("upkeep", "upkeep.*"),
    "report": ("report", "report.*"),
    "exporting": ("upkeep.exporting",),
    "options": ("commands", "commands.options"),
    "commands": ("ladder", "ladder.*", "world.commands", "models.commands"),
    "doctor": ("doctor",),
    "cli": ("commands.*", "cli", "__main__"),
    "public": ("",),
}
"""Bottom up. A module takes from its own layer and from those above it in this list, never below."""

EXCEPTIONS = {("cli", ""): "prints the version"}
"""Arrows that go the other way, and why they may."""

PUBLIC = [
    "ChessTask",
    "ConfigError",
    "DataError",
    "PgrEstimate",
    "RECIPES",
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

NO_TORCH = [
    "surpass.data.catalog",
    "surpass.data.loading",
    "surpass",
    "surpass.losses",
    "surpass.rules",
    "surpass.methods",
    "surpass.study",
    "surpass.stages",
    "surpass.overrides",
    "surpass.recipes",
    "surpass.engine.inline",
    "surpass.experiment",
    "surpass.report.terminal",
    "surpass.report.listing",
    "surpass.report.document",
    "surpass.commands.report",
    "surpass.doctor",
    "surpass.cli",
]


def layer_of(module: str) -> str:
    exact = [layer for layer, members in LAYERS.items() if module in members]
    package = f"{module.partition('.')[0]}.*"
    loose = [layer for layer, members in LAYERS.items() if package in members and "." in module]
    found = exact or loose
    assert len(found) == 1, f"{module or 'surpass'} is in layers {found}: place it in one of LAYERS"
    return found[0]


ORDER = list(LAYERS)
PACKAGES = {name.partition(".")[0] for name in MODULES if "." in name}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module or "surpass")
def test_arrows_go_one_way(module):
    for target in arrows()[module] - {to for origin, to in EXCEPTIONS if origin == module}:
        here, there = layer_of(module), layer_of(target)
        assert ORDER.index(there) <= ORDER.index(here), (
            f"{module} ({here}) imports {target} ({there}), which lies above it"
        )


def test_there_are_no_circles():
    graph = {module: targets - {""} for module, targets in arrows().items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize("module", LAYERS["leaves"])
def test_leaves_know_errors_and_arrays_only(module):
    assert arrows()[module] <= {"errors", "ragged"}


def test_every_layer_has_modules():
    assert {layer_of(module) for module in MODULES} == set(LAYERS)


def test_the_page_of_the_source_names_everything_at_the_top_from_below():
    page = (SOURCE.parents[1] / "docs" / "source.md").read_text()
    rows = [line.partition(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    named = [re.findall(r"`(\w+)(?:\.py|/)`", row) for row in rows]
    top = {name.partition(".")[0] for name in MODULES} - {"", "__main__"}
    assert sorted(name for row in named for name in row) == sorted(top)
    # Of a package in several layers that counts to which most of its modules belong.
    layers = [{layer_of(f"{name}.*" if name in PACKAGES else name) for name in row} for row in named]
    places = [min(map(ORDER.index, row)) for row in layers]
    assert places == sorted(places)


def test_how_imports_are_read():
    text = """
from typing import TYPE_CHECKING
import surpass.study
from surpass import labels as lb, __version__
from surpass.engine.graph import Graph
if TYPE_CHECKING:
    from surpass.results import Row
else:
    import surpass.stats
def f():
    from surpass.store import Store
"""
    assert imported(text) == {"study", "labels", "", "engine.graph", "stats", "store"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module or "surpass")
def test_modules_and_functions_stay_short(module):
    text = MODULES[module].read_text()
    assert len(text.splitlines()) <= 320
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            words = len((ast.get_docstring(node) or "").splitlines())
            assert (node.end_lineno or 0) - node.lineno - words < 60, node.name


def test_no_module_is_called_for_what_it_is_not():
    banned = {"utils", "common", "misc", "helpers", "manager"}
    assert not {part for module in MODULES for part in module.split(".")} & banned


def loaded_by(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_nothing_that_only_describes_imports_torch():
    code = f"""
import importlib, sys
for name in {NO_TORCH}:
    importlib.import_module(name)
    if "torch" in sys.modules:
        print(name)
        break
"""
    assert loaded_by(code) == []


def test_importing_surpass_costs_nothing():
    loaded = loaded_by("import sys, surpass; print(*sys.modules)")
    assert not {"torch", "numpy", "pyarrow", "chess", "rich", "typer"} & set(loaded)


class TestPublicNames:
    def test_the_list(self):
        assert sorted(surpass.__all__) == PUBLIC
        assert len(PUBLIC) <= 25

    @pytest.mark.parametrize("name", PUBLIC)
    def test_each_is_there_and_documented(self, name):
        value = getattr(surpass, name)
        assert name in dir(surpass)
        assert isinstance(value, dict) or value.__doc__

    def test_no_other(self):
        with pytest.raises(AttributeError, match="module 'surpass' has no attribute 'trainer'"):
            _ = surpass.trainer

    def test_the_package_says_that_it_is_typed(self):
        assert (Path(surpass.__file__).parent / "py.typed").exists()
