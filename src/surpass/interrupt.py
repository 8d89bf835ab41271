"""How runs end before their time: by Ctrl-C and SIGTERM, which save first, and by stages that failed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import typer

from surpass.errors import Stopped, SurpassError


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM asks the run to save and stop, the second ends it at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        with suppress(RuntimeError):  # it came in the middle of other output
            typer.echo("stopping after this step; press Ctrl-C again to stop at once", err=True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    except (Stopped, KeyboardInterrupt) as stopped:
        how = str(stopped) or "stopped at once; run the same command again to go on from the last checkpoint"
        typer.echo(how, err=True)
        raise typer.Exit(128 + received[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def end_with_failures(any_failed: Callable[[], bool]) -> Iterator[None]:
    """End with code 1 where stages failed while others went on; other errors are passed through.

    Args:
        any_failed: Whether one did.
    """
    try:
        yield
    except Stopped:
        raise
    except SurpassError as error:
        if not any_failed():
            raise
        typer.echo("error: " + " ".join(str(error).split()), err=True)
        raise typer.Exit(1) from error
