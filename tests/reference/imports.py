"""Which module of Surpass imports which, read from the source; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = "surpass"
SOURCE = Path(__file__).parents[2] / "src" / PACKAGE


def module_name(path: Path) -> str:
    """`study` for src/surpass/study.py, `methods` for the package, "" for surpass itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported(source: str) -> set[str]:
    """Modules that some code imports, also within functions, but not for type checking only."""
    return {found for node in _running(ast.parse(source)) for found in _targets(node)}


def _running(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        children: Iterable[ast.AST] = node.orelse
    else:
        yield node
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _running(child)


def _targets(node: ast.AST) -> Iterator[str]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        whole = any(name.removeprefix(f"{PACKAGE}.") not in MODULES for name in inner)
        names = [*inner, *([node.module] if whole else [])]
    for name in names:
        short = "" if name == PACKAGE else name.removeprefix(f"{PACKAGE}.")
        if name.partition(".")[0] == PACKAGE and short in MODULES:
            yield short


@cache
def arrows() -> dict[str, set[str]]:
    """Each module and those that it imports."""
    return {module: imported(path.read_text()) - {module} for module, path in MODULES.items()}


def behind(module: str) -> set[str]:
    """All modules that a module takes from, directly or through others."""
    found: set[str] = set()
    ahead = [module]
    while ahead:
        new = arrows()[ahead.pop()] - found
        found |= new
        ahead += new
    return found
