"""What the command line shows of a run, and the command that computes one of its stages alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import typer

from surpass.commands.options import DEFAULT_STORE, print_json
from surpass.engine.logs import log_path
from surpass.engine.progress import Display, OnlyFailures
from surpass.engine.work import Settings
from surpass.invocation import command
from surpass.memory import in_words
from surpass.stages import Stage
from surpass.store import Store
from surpass.store.artifact import Artifact

_ID_DIGITS = 12


class Shown:
    """Makes the display of a run when its stages are known, and says afterwards what it came to."""

    def __init__(self, store: Store, alone: Callable[[Stage], str], *, quiet: bool) -> None:
        self._store, self._alone, self._quiet = store, alone, quiet
        self._display: Display | None = None
        self._began = time.monotonic()

    def __call__(self, to_do: Sequence[Stage]) -> Display:
        """Make it; rich is imported only now."""
        from rich.console import Console

        from surpass.engine.terminal import Terminal

        kind = OnlyFailures if self._quiet else Terminal
        log = partial(log_path, self._store)
        self._display = kind(to_do, Console(stderr=True), reproduce=self._alone, log=log)
        return self._display

    @property
    def failures(self) -> int:
        """How many stages have failed."""
        return 0 if self._display is None else self._display.failures

    def tally(self) -> str:
        """What was computed, how long it took, and the most memory that was held."""
        from surpass.engine.terminal import Terminal

        took = f"{time.monotonic() - self._began:.1f} s"
        done = "nothing to compute" if self._display is None else self._display.tally()
        most = 0
        if isinstance(self._display, Terminal) and self._display.count:
            most = self._display.memory.most()
        return f"{done}, {took}" + (f", {in_words(most)} at most" if most else "")


def reproducing(settings: Settings, store: str) -> Callable[[Stage], str]:
    """A function that gives, for a stage, the command that computes it alone in one process.

    Args:
        settings: Of the run; they say how its study is named.
        store: As it was named.
    """
    words = ["run", *settings.named]
    words += ["--store", store] if store != DEFAULT_STORE else []
    if settings.threads is not None:  # what one worker has
        words += ["--threads", str(max(1, settings.threads // (settings.workers or 1)))]
    words += ["--mesh", str(settings.mesh)] if settings.mesh else []
    words += ["--micro-batch", str(settings.micro_batch)] if settings.micro_batch is not None else []
    words += ["--save-memory"] if settings.save_memory else []
    return lambda stage: command([*words, "--stage", stage.id[:_ID_DIGITS]])


def print_stage(artifact: Artifact, tally: str, *, as_json: bool) -> None:
    """Say where the artifact of a stage is."""
    label = artifact.manifest["label"]
    if as_json:
        about = {"kind": artifact.kind, "label": label, "id": artifact.id}
        print_json(about | {"path": str(artifact.path)})
        return
    typer.echo(f"{artifact.kind} {label}: {artifact.path}")
    typer.echo(tally, err=True)
