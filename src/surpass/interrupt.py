"""How runs end before their time: by Ctrl-C and SIGTERM, which save first, and by stages that failed."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import typer

from surpass.errors import Stopped, SurpassError
from surpass.invocation import again

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FIRST = "finishing the step and saving; Ctrl-C again to stop now"
_AT_ONCE = "stopped at once; run the same command again to go on from the last checkpoint"
_PATIENCE_SECONDS = 10.0


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM asks the run to save and stop, the second ends it at once.

    Either way it ends with the command that goes on, and with 128 plus the signal as its exit code.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        with _answered_at_once():
            yield lambda: bool(received)
    except (Stopped, KeyboardInterrupt) as stopped:
        how = str(stopped) or _AT_ONCE
        named = "\n" in how  # some name a command of their own
        typer.echo(how if named else f"{how}:\n  {again()}", err=True)
        raise typer.Exit(128 + received[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _answered_at_once() -> Iterator[None]:
    """Say that a signal has come even while the main thread is in a long computation.

    Python runs its own handlers between computations only, in the main thread; a thread hears of it from the
    system. It also ends the process where the second signal has not done so after a while.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        over = threading.Event()
        answering = threading.Thread(target=_answer, args=(ours, over), daemon=True)
        answering.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            over.set()
            with suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)
            answering.join(1.0)


def _answer(heard: socket.socket, over: threading.Event) -> None:
    count = 0
    while signals := heard.recv(1):
        if signals[0] not in _SIGNALS:
            continue
        count += 1
        if count == 1:
            with suppress(OSError, RuntimeError, ValueError):  # nobody reads it, or other output is under way
                sys.stderr.write(f"{_FIRST}\n")  # a live display puts it above itself
                sys.stderr.flush()
        elif not over.wait(_PATIENCE_SECONDS):
            os._exit(128 + signals[0])


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
