"""What `surpass doctor` looks at: Python, packages, what ships with Surpass, the store, the machine."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from surpass.errors import SurpassError

_LOW_DISK_BYTES = 2_000_000_000


class Finding(NamedTuple):
    """One thing that was looked at, and what to do if it is not fine."""

    what: str
    fine: bool
    text: str


def _python() -> str:
    return f"{platform.python_version()} at {sys.executable}"


def _packages() -> str:
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in requires("surpass") or []]
    found = []
    for requirement in (need for need in wanted if need.marker is None):
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            raise SurpassError(f"{requirement} is not installed: pip install '{requirement}'") from None
        if not requirement.specifier.contains(installed, prereleases=True):
            raise SurpassError(f"{requirement.name} {installed} is too old: pip install '{requirement}'")
        found.append(f"{requirement.name} {installed}")
    return ", ".join(found)


def _puzzles() -> str:
    from surpass.tasks.puzzles import shipped_puzzles

    return f"{len(shipped_puzzles()):,} puzzles"


def _ladder() -> str:
    from surpass.models.sources import ladder_names, resolve

    names = ladder_names()
    if not names:
        raise SurpassError("no rungs: install Surpass again")
    return ", ".join(f"{name} ({resolve(f'ladder:{name}').parameters:,})" for name in names)


def _torch() -> str:
    import torch

    from surpass.boards import pack_board, parse_fen
    from surpass.models.moves import MoveChoice
    from surpass.models.sources import ladder_names, resolve

    board = parse_fen("6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 0 1")
    model = MoveChoice.load(resolve(f"ladder:{ladder_names()[-1]}").path)
    with torch.no_grad():
        logits = model.policy(torch.tensor([list(pack_board(board))], dtype=torch.uint8))
    if not torch.isfinite(logits).all():
        raise SurpassError("the ladder's largest rung gives numbers that are not finite: install torch again")
    return f"{torch.__version__} on {torch.get_num_threads()} threads of {os.cpu_count()} processors"


def _store(folder: Path) -> Callable[[], str]:
    def look() -> str:
        from surpass.store import Store

        there = folder.exists()
        parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(parent).free
        if not os.access(parent, os.W_OK):
            raise SurpassError(f"cannot write {parent}: name another folder with --store")
        if free < _LOW_DISK_BYTES:
            raise SurpassError(
                f"only {free / 1e9:.1f} GB free at {parent}: free some, or use --store elsewhere"
            )
        held = f"{sum(1 for _ in Store(folder).artifacts())} artifacts" if there else "not made yet"
        return f"{folder}: {held}, {free / 1e9:.0f} GB free"

    return look


def examine(store: Path) -> list[Finding]:
    """Look at everything; a failure of one look does not stop the others."""
    looks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("packages", _packages),
        ("puzzles", _puzzles),
        ("ladder", _ladder),
        ("torch", _torch),
        ("store", _store(store)),
    ]
    findings = []
    for what, look in looks:
        try:
            findings.append(Finding(what, True, look()))
        except Exception as error:  # whatever is broken is the finding
            findings.append(Finding(what, False, " ".join(str(error).split()) or type(error).__name__))
    return findings


def print_findings(findings: list[Finding]) -> None:
    """A line per finding."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        mark = "[green]ok[/]" if finding.fine else "[red]wrong[/]"
        table.add_row(mark, finding.what, finding.text)
    Console().print(table)
