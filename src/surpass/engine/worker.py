"""A worker of the pool: a process that computes the stages it is told to, until the driver ends."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

from surpass.engine.graph import Graph
from surpass.engine.messages import (
    Broken,
    Ended,
    Failure,
    Finished,
    Halt,
    Halted,
    Hello,
    Message,
    Order,
    Record,
    Setup,
    Share,
    Started,
    cannot_be_sent,
)
from surpass.engine.progress import Silent
from surpass.engine.work import Attempt, Settings, Work
from surpass.errors import Stopped, SurpassError
from surpass.stages import Context, Stage
from surpass.store import Draft, Store

LOG = "log.txt"
"""In a stage's scratch folder: what it printed, until it succeeds."""

_END_NOW = signal.SIGUSR1
_PATIENCE_SECONDS = 2.0
_LOOK_SECONDS = 1.0
_REPORT_SECONDS = 0.2


def main(descriptor: int) -> None:
    """Be a worker; the descriptor is its end of the pipe."""
    os.dup2(2, 1)  # what stages print is no output of the command
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's
    signal.signal(_END_NOW, _end)
    pipe = _Pipe(Connection(descriptor))
    try:
        pipe.send(Hello())
        _serve(pipe, _received(pipe))
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError, EOFError):
        return
    except Exception as error:
        if not isinstance(error, SurpassError):
            traceback.print_exc()
        pipe.send(Broken(_failure("", error)))
    finally:
        signal.signal(_END_NOW, signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _received(pipe: _Pipe) -> Setup:
    try:
        setup: Setup = pipe.connection.recv()
    except (OSError, EOFError):
        raise
    except Exception as error:
        raise cannot_be_sent(error) from error
    return setup


def _serve(pipe: _Pipe, setup: Setup) -> None:
    halt, terminated = threading.Event(), threading.Event()

    def terminate(number: int, frame: FrameType | None) -> None:
        halt.set()
        terminated.set()

    signal.signal(signal.SIGTERM, terminate)
    orders: SimpleQueue[list[str]] = SimpleQueue()
    listening = (pipe.connection, setup.driver, orders, halt)
    threading.Thread(target=_listen, args=listening, daemon=True).start()
    logging.getLogger().addHandler(_Forward(pipe))
    logging.getLogger().setLevel(setup.log_level)
    settings = Settings(**vars(setup.settings) | {"stop": halt.is_set})
    work = _LoggedWork(Store(setup.root), settings, _Told(pipe), Graph([], [], {}, setup.instead))
    stages = {stage.id: stage for stage in setup.stages}
    while True:
        ids = orders.get()
        try:
            got = work.attempt([stages[id] for id in ids])
        except Stopped:
            pipe.send(Halted())
            if terminated.is_set():
                return
            continue
        finally:
            work.end_log()
        failed = [_failure(stage.id, error) for stage, error in got.failed]
        pipe.send(Ended([stage.id for stage in got.busy], [stage.id for stage in got.missing], failed))


def _listen(
    connection: Connection[Any, Any], driver: int, orders: SimpleQueue[list[str]], halt: threading.Event
) -> None:
    """Take orders; when the driver is gone, end: at once if possible, a moment later in any case."""
    try:
        while os.getppid() == driver:
            if connection.poll(_LOOK_SECONDS):
                message = connection.recv()
                if isinstance(message, Order):
                    orders.put(message.ids)
                elif isinstance(message, Halt):
                    halt.set()
    except (EOFError, OSError):
        pass
    os.kill(os.getpid(), _END_NOW)
    time.sleep(_PATIENCE_SECONDS)
    os._exit(1)


class _Pipe:
    """The worker's end, for all its threads."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self.connection = connection
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Tell the driver."""
        with self._lock:
            self.connection.send(message)


class _Told(Silent):
    """Passes on what happens."""

    def __init__(self, pipe: _Pipe) -> None:
        super().__init__()
        self._pipe = pipe

    def started(self, stage: Stage) -> Callable[[float], None]:
        """A stage starts."""
        self._pipe.send(Started(stage.id))
        last = time.monotonic()

        def report(share: float) -> None:
            nonlocal last
            if time.monotonic() - last > _REPORT_SECONDS:
                last = time.monotonic()
                self._pipe.send(Share(stage.id, share))

        return report

    def finished(self, stage: Stage, seconds: float) -> None:
        """A stage is there."""
        self._pipe.send(Finished(stage.id, seconds))


class _LoggedWork(Work):
    """Keeps what stages print, and where they crash, beside their scratch."""

    _errors = -1

    def attempt(self, group: Sequence[Stage]) -> Attempt:
        """Keep the tracebacks of mistakes."""
        got = super().attempt(group)
        for stage, error in got.failed:
            if not isinstance(error, SurpassError):
                with open(self.store.work(stage.id) / LOG, "a") as log:
                    traceback.print_exception(error, file=log)
        return got

    def prepare(self, stage: Stage) -> None:
        """Set the threads too, once there is a torch to set them in."""
        super().prepare(stage)
        if "torch" in sys.modules and self.settings.threads is not None:
            import torch

            if torch.get_num_threads() != self.settings.threads:
                torch.set_num_threads(self.settings.threads)

    def context(self, stage: Stage, draft: Draft) -> Context:
        """From the first stage of a group on, into the log."""
        if self._errors < 0:
            self._errors = os.dup(2)
            _redirect(self.store.work(stage.id) / LOG)
        return super().context(stage, draft)

    def end_log(self) -> None:
        """No stage runs."""
        if self._errors >= 0:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(self._errors, 1)
            os.dup2(self._errors, 2)
            os.close(self._errors)
            self._errors = -1


def _redirect(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    faulthandler.enable(2)


class _Forward(logging.Handler):
    """Warnings, such as of damaged artifacts, are the driver's to show."""

    def __init__(self, pipe: _Pipe) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on."""
        self._pipe.send(Record(record.name, record.levelno, record.getMessage()))


def _failure(id: str, error: Exception) -> Failure:
    if isinstance(error, SurpassError):
        return Failure(id, type(error).__name__, str(error))
    return Failure(id, "", f"{type(error).__name__}: {error}")
