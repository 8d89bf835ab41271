"""One process of a mesh: it runs the stage that it is told, as the others do."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Client
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from surpass.environment import DEVICE
from surpass.errors import Stopped, SurpassError
from surpass.models.device import place
from surpass.store.artifact import Artifact
from surpass.train.mesh import Done, Failed, Halt, Halted, Record, Setup, Share
from surpass.train.ranks import Ranks

if TYPE_CHECKING:
    from surpass.stages import Stage

_REPORT_SECONDS = 0.2


def main(address: str) -> None:
    """Be the rank that the environment says, as torchrun would (`RANK`, `WORLD_SIZE`)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the starter's
    link = _Link(address)
    setup: Setup = link.connection.recv()
    faulthandler.enable(2)
    halt = threading.Event()
    threading.Thread(target=_listen, args=(link, halt, Path(address).parent), daemon=True).start()
    if link.rank == 0:
        logging.getLogger().addHandler(_Forward(link))
    logging.getLogger().setLevel(setup.log_level)
    try:
        link.send(Done(_run(setup, link, halt.is_set)))
    except Stopped:
        link.send(Halted())
    except Exception as error:
        known = isinstance(error, SurpassError)
        if not known:
            traceback.print_exc()
        said = str(error) if known else f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        link.send(Failed(type(error).__name__ if known else "", said))
        sys.stderr.flush()
        os._exit(1)  # others may wait for this one


def _run(setup: Setup, link: _Link, stop: Callable[[], bool]) -> dict[str, Any]:
    where = place()
    if where.device.type == "cuda":
        torch.cuda.set_device(where.device)
    # Models are read into main memory first: whole, they need not fit on one device.
    os.environ[DEVICE] = "cpu"
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if where.device.type == "cuda" else "gloo",
        init_method=setup.rendezvous,
        rank=link.rank,
        world_size=setup.mesh.size,
    )
    context = setup.context(
        find=_finder(setup),
        report=link.reporter() if link.rank == 0 else lambda _: None,
        stop=stop,
        ranks=Ranks(setup.mesh, where),
    )
    try:
        said: dict[str, Any] = setup.stage.run(context)
        dist.barrier()
        return said
    finally:
        if sys.exception() is None or isinstance(sys.exception(), Stopped):
            dist.destroy_process_group()


def _finder(setup: Setup) -> Callable[[Stage], Artifact]:
    def find(stage: Stage) -> Artifact:
        artifact: Artifact | None = setup.artifacts.get(stage.id)
        if artifact is None:
            raise SurpassError(f"{stage.kind} {stage.label} was lost while others used it: run again")
        return artifact

    return find


class _Link:
    """The rank's end, for all its threads."""

    def __init__(self, address: str) -> None:
        self.rank = int(os.environ["RANK"])
        self.connection = Client(address, "AF_UNIX")
        self.connection.send(self.rank)
        self._lock = threading.Lock()

    def send(self, message: Any) -> None:
        """Tell the starter."""
        with self._lock:
            self.connection.send(message)

    def reporter(self) -> Callable[[float], None]:
        """Passes on how much is done, now and then."""
        last = time.monotonic()

        def report(share: float) -> None:
            nonlocal last
            if time.monotonic() - last > _REPORT_SECONDS:
                last = time.monotonic()
                self.send(Share(share))

        return report


def _listen(link: _Link, halt: threading.Event, folder: Path) -> None:
    """Note a halt; when the starter is gone, end at once, and leave nothing behind."""
    try:
        while True:
            if isinstance(link.connection.recv(), Halt):
                halt.set()
    except (EOFError, OSError):
        rmtree(folder, ignore_errors=True)
        os._exit(1)


class _Forward(logging.Handler):
    """Warnings are the starter's to show."""

    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on."""
        self._link.send(Record(record.name, record.levelno, record.getMessage()))
