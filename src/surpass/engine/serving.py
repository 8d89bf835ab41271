"""What every worker does with its orders, wherever it is and however it hears of them."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from surpass.engine.graph import Graph
from surpass.engine.logs import LOG
from surpass.engine.messages import Ended, Failure, Finished, Halted, Message, Record, Setup, Share, Started
from surpass.engine.progress import Silent
from surpass.engine.work import Settings, Work
from surpass.errors import Stopped, StoreError, SurpassError
from surpass.stages import Context, Stage
from surpass.store import Draft, Store
from surpass.store.batch import Batch
from surpass.store.layout import MARKER
from surpass.store.opening import open_store

_REPORT_SECONDS = 0.2


class Service:
    """Carries orders out, and tells what becomes of them.

    Attributes:
        halt: Set to let what runs save its state and stop.

    Raises:
        StoreError: The store is not there.
    """

    def __init__(self, setup: Setup, tell: Callable[[Message], None]) -> None:
        self.tell = tell
        self.halt = threading.Event()
        settings = Settings(**vars(setup.settings) | {"stop": self.halt.is_set})
        graph = Graph([], [], {}, setup.instead)
        self._work = _LoggedWork(_opened(setup.root), settings, _Told(tell), graph)
        self._stages = {stage.id: stage for stage in setup.stages}
        self._forward = _Forward(tell)
        self._forward.setLevel(setup.log_level)  # loggers may have levels of their own
        logging.getLogger().addHandler(self._forward)
        logging.getLogger().setLevel(setup.log_level)

    @property
    def batch(self) -> Batch:
        """The store's: open it where the worker ends only with the run, and settles then."""
        return self._work.store.batch

    def obey(self, ids: Sequence[str]) -> bool:
        """Compute stages; False where it was stopped, and has saved where it is."""
        try:
            got = self._work.attempt([self._stages[id] for id in ids])
        except Stopped:
            self.tell(Halted())
            return False
        finally:
            self._work.end_log()
        failed = [failure(stage.id, error) for stage, error in got.failed]
        self.tell(Ended([stage.id for stage in got.busy], [stage.id for stage in got.missing], failed))
        return True

    def close(self) -> None:
        """Pass nothing on any more."""
        logging.getLogger().removeHandler(self._forward)


def _opened(root: str) -> Store:
    """The store; a worker makes none, as it then would be another one than the driver's."""
    if "://" not in root and not (Path(root) / MARKER).exists():
        raise StoreError(
            f"{os.uname().nodename} sees no store at {root}: name a folder that all machines share"
        )
    return open_store(root)


class _Told(Silent):
    """Passes on what happens."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        super().__init__()
        self._tell = tell

    def started(self, stage: Stage) -> Callable[[float], None]:
        """A stage starts."""
        self._tell(Started(stage.id))
        last = time.monotonic()

        def report(share: float) -> None:
            nonlocal last
            if time.monotonic() - last > _REPORT_SECONDS:
                last = time.monotonic()
                self._tell(Share(stage.id, share))

        return report

    def finished(self, stage: Stage, seconds: float) -> None:
        """A stage is there."""
        self._tell(Finished(stage.id, seconds))


class _LoggedWork(Work):
    """Keeps what stages print beside their scratch, where their tracebacks are."""

    _errors = -1

    def prepare(self, stage: Stage) -> None:
        """Set the threads too, once there is a torch to set them in."""
        super().prepare(stage)
        if getattr(stage, "model", None) is not None:
            _import_torch()
        if "torch" in sys.modules and self.settings.threads is not None:
            import torch

            if torch.get_num_threads() != self.settings.threads:
                torch.set_num_threads(self.settings.threads)

    def context(self, stage: Stage, draft: Draft) -> Context:
        """From the first stage of a group on, into the log."""
        if self._errors < 0:
            self._output, self._errors = os.dup(1), os.dup(2)
            _redirect(self.store.work(stage.id) / LOG)
        return super().context(stage, draft)

    def end_log(self) -> None:
        """No stage runs."""
        if self._errors >= 0:
            sys.stdout.flush()
            sys.stderr.flush()
            for kept, place in ((self._output, 1), (self._errors, 2)):
                os.dup2(kept, place)
                os.close(kept)
            self._errors = -1


def _import_torch() -> None:
    """What stages with models do first. It leaves no garbage; to look for some takes a tenth of its time."""
    if "torch" not in sys.modules:
        gc.disable()
        try:
            import torch  # noqa: F401
        finally:
            gc.enable()


def _redirect(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    faulthandler.enable(2)


class _Forward(logging.Handler):
    """Warnings, such as of damaged artifacts, are the driver's to show."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on."""
        self._tell(Record(record.name, record.levelno, record.getMessage()))


def failure(id: str, error: Exception) -> Failure:
    """An error, as it can be told."""
    if isinstance(error, SurpassError):
        return Failure(id, type(error).__name__, str(error))
    return Failure(id, "", f"{type(error).__name__}: {error}")
