"""A worker in a job of Slurm: finds the study by its name, and computes the stages it is told to."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

from surpass.engine.crew import with_upstream
from surpass.engine.graph import outstanding
from surpass.engine.mail import PULSE, Inbox, Outbox
from surpass.engine.messages import Broken, Halt, Halted, Hello, Order, Setup
from surpass.engine.serving import Service, failure
from surpass.engine.work import Settings
from surpass.errors import ConfigError, SurpassError
from surpass.recipes.finding import find_study
from surpass.study import targets

_LOOK_SECONDS = 0.25
_SILENT_SECONDS = 90.0
_TIME_IS_UP = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_Orders = SimpleQueue[list[str] | None]


def serve(folder: Path, name: str, task: dict[str, Any]) -> None:
    """Be a worker.

    Args:
        folder: Where messages are exchanged.
        name: This worker's.
        task: What the driver wrote down for all of them.
    """
    news, orders = Outbox(folder / f"{name}.news"), _Orders()
    try:
        service = Service(_setup(task), news.send)
        leaving = _answer_signals(service, orders)
        listening = (folder, name, orders, service.halt)
        threading.Thread(target=_listen, args=listening, daemon=True).start()
        news.send(Hello())
        while not leaving.is_set() and (ids := orders.get()) is not None:
            service.obey(ids)
        if leaving.is_set():
            news.send(Halted())  # an order may be on its way
    except Exception as error:
        if not isinstance(error, SurpassError):
            traceback.print_exc()
        news.send(Broken(failure("", error)))


def _answer_signals(service: Service, orders: _Orders) -> threading.Event:
    """Where time is up, let what runs save, and end; one that waits for orders ends at once."""
    leaving = threading.Event()

    def answer(number: int, frame: FrameType | None) -> None:
        leaving.set()
        service.halt.set()
        orders.put(None)

    for number in _TIME_IS_UP:
        signal.signal(number, answer)
    return leaving


def _setup(task: dict[str, Any]) -> Setup:
    """All that the driver may ask for.

    Raises:
        ConfigError: It cannot be found here, or is something else here.
    """
    study = find_study(task["named"][0], task["named"][1:])
    wanted = [stage for row in study.rows() for stage in targets(row)]
    graph = outstanding(wanted, lambda _: False)
    stages = with_upstream(graph)
    unknown = set(task["stages"]) - {stage.id for stage in stages}
    if unknown:
        raise ConfigError(
            f"{' '.join(task['named'])} expands to other stages in a job: {len(unknown)} of "
            f"{len(task['stages'])} are unknown there; is it the same code with the same data files?"
        )
    settings = Settings(**task["settings"])
    return Setup(0, task["root"], settings, stages, graph.instead, task["log_level"])


def _listen(folder: Path, name: str, orders: _Orders, halt: threading.Event) -> None:
    """Take orders; once the driver is done, or has given no sign for long, let no more come."""
    inbox = Inbox(folder / f"{name}.orders")
    pulse, felt = "", time.monotonic()
    while time.monotonic() - felt < _SILENT_SECONDS:
        for message in inbox.receive():
            if isinstance(message, Order):
                orders.put(message.ids)
            elif isinstance(message, Halt):
                halt.set()
        try:
            now = (folder / PULSE).read_text()
        except OSError:
            break
        if now != pulse:
            pulse, felt = now, time.monotonic()
        time.sleep(_LOOK_SECONDS)
    orders.put(None)
