"""Where a stage that failed left its traceback and what it printed."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path

from surpass.errors import SurpassError
from surpass.stages import Stage
from surpass.store import Store

LOG = "log.txt"
"""In a stage's scratch folder, until it succeeds."""


def log_path(store: Store, stage: Stage) -> Path:
    """The log of a stage; nothing is made."""
    return store.root / "work" / stage.id / LOG


def reason(error: Exception) -> str:
    """What an error says for people; a mistake of a program by its type too."""
    return str(error) if isinstance(error, SurpassError) else f"{type(error).__name__}: {error}"


def keep_traceback(store: Store, stage: Stage, error: Exception) -> None:
    """Add to a stage's log where it failed; a store that cannot be written keeps none."""
    with suppress(OSError), open(store.work(stage.id) / LOG, "a") as log:
        traceback.print_exception(error, file=log)
