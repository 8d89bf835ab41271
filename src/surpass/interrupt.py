"""Ctrl-C and SIGTERM: save first, then end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import typer

from surpass.errors import Stopped


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
