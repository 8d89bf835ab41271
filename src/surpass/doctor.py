"""What `surpass doctor` looks at: Python, packages, what ships with Surpass, the store, the machine."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, files, requires, version
from pathlib import Path
from typing import NamedTuple

from surpass.errors import SurpassError
from surpass.identity import file_digest

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


def _files() -> str:
    """What the wheel's own list of digests says; an editable installation has none."""
    listed = [file for file in files("surpass") or [] if file.hash is not None and file.parts[0] == "surpass"]
    for file in listed:
        path = Path(str(file.locate()))
        digest = urlsafe_b64encode(bytes.fromhex(file_digest(path))).decode().rstrip("=")
        if file.hash is not None and digest != file.hash.value:
            raise SurpassError(f"{path} is not as it was installed: install Surpass again")
    return f"{len(listed)} as they were installed" if listed else "editable installation"


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
    """Every rung looks at a position."""
    import torch

    from surpass.boards import pack_board, parse_fen
    from surpass.models.moves import MoveChoice
    from surpass.models.sources import ladder_names, resolve

    board = parse_fen("6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 0 1")
    boards_NB = torch.tensor([list(pack_board(board))], dtype=torch.uint8)
    for name in ladder_names():
        model = MoveChoice.load(resolve(f"ladder:{name}"))
        with torch.no_grad():
            finite = torch.isfinite(model.policy(boards_NB)).all()
        if not finite:
            raise SurpassError(f"ladder:{name} gives numbers that are not finite: install Surpass again")
    threads = torch.get_num_threads()
    return f"{torch.__version__} on {threads} thread{'s' if threads > 1 else ''}, {os.cpu_count()} processors"


def _allocator() -> str:
    """Which one workers have; without the package they are slower, and nothing is wrong."""
    from surpass.allocator import found, preloaded

    if preloaded():
        return f"tbbmalloc for workers: {found()[-1]}"
    return "as LD_PRELOAD says" if "LD_PRELOAD" in os.environ else "the system's"


def _store(folder: str) -> Callable[[], str]:
    def look() -> str:
        from surpass.report.listing import find_store

        store = find_store(folder)
        path = Path(folder).absolute()
        parent = next(place for place in (path, *path.parents) if place.exists())
        free = shutil.disk_usage(parent).free
        if not os.access(parent, os.W_OK):
            raise SurpassError(f"cannot write {parent}: name another folder with --store")
        if free < _LOW_DISK_BYTES:
            raise SurpassError(
                f"only {free / 1e9:.1f} GB free at {parent}: free some, or use --store elsewhere"
            )
        held = "not made yet" if store is None else f"{sum(1 for _ in store.artifacts()):,} artifacts"
        return f"{folder}: {held}, {free / 1e9:.0f} GB free"

    return look


def examine(store: str) -> list[Finding]:
    """Look at everything; a failure of one look does not stop the others."""
    looks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("packages", _packages),
        ("files", _files),
        ("puzzles", _puzzles),
        ("ladder", _ladder),
        ("torch", _torch),
        ("allocator", _allocator),
        ("store", _store(store)),
    ]
    findings = []
    for what, look in looks:
        try:
            findings.append(Finding(what, True, look()))
        except Exception as error:  # whatever is broken is the finding
            findings.append(Finding(what, False, " ".join(str(error).split()) or type(error).__name__))
    return findings


def print_findings(findings: Sequence[Finding]) -> None:
    """A line per finding, and what it comes to."""
    from rich.table import Table
    from rich.text import Text

    from surpass.report.listing import print_plain

    table = Table.grid("", "", "", padding=(0, 2, 0, 0))
    for finding in findings:
        mark = Text("ok", style="green") if finding.fine else Text("wrong", style="bold red")
        table.add_row(mark, finding.what, Text(finding.text))
    print_plain(table)
    wrong = [finding.what for finding in findings if not finding.fine]
    print_plain(Text(f"\nWrong: {', '.join(wrong)}." if wrong else "\nAll is well."))
