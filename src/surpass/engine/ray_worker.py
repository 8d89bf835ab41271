"""What Ray runs: one function that computes stages by their ids, in whatever process Ray has for it.

A process that has done it once still has torch and the stages. Messages for the driver are what the
function yields. It computes in a thread, so that they come when they are due.

To let stages save where they are, the driver cancels, and Ray interrupts the main thread. On a busy machine
some of these interrupts never come, so the driver also leaves a mark with the cluster, for which tasks look.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from surpass.engine.messages import Broken, Message, Setup
from surpass.engine.serving import Service, failure

_LOOK_SECONDS = 1.0
_MARKS = "surpass"


class _Computer:
    """The thread that computes in this process, for one run of one driver."""

    def __init__(self, run: str, setup: Setup) -> None:
        self.run = run
        self.messages: SimpleQueue[Message | None] = SimpleQueue()
        self.orders: SimpleQueue[Sequence[str] | None] = SimpleQueue()
        self.service = Service(setup, self.messages.put)
        self.thread = threading.Thread(target=self._compute, daemon=True)
        self.thread.start()

    def _compute(self) -> None:
        while (ids := self.orders.get()) is not None:
            try:
                self.service.obey(ids)
            except Exception as error:
                self.messages.put(Broken(failure("", error)))
            self.messages.put(None)

    def obey(self, ids: Sequence[str]) -> Iterator[Message]:
        """Compute stages; what there is to tell, while it goes on."""
        self.messages = self._emptied()
        self.service.halt.clear()
        self.orders.put(ids)
        ended, looked = False, time.monotonic()
        try:
            while not ended:
                try:
                    if time.monotonic() - looked > _LOOK_SECONDS:
                        looked = time.monotonic()
                        if is_halted(self.run):
                            self.service.halt.set()
                    message = self.messages.get(timeout=_LOOK_SECONDS)
                    if message is not None:
                        yield message
                    ended = message is None
                except Empty:
                    ended = not self.thread.is_alive()
                except KeyboardInterrupt:  # cancelled
                    self.service.halt.set()
        finally:  # nobody listens any more: what runs is saved all the same
            self.service.halt.set()
            while not ended and self.thread.is_alive():
                with suppress(Empty, KeyboardInterrupt):
                    ended = self.messages.get(timeout=_LOOK_SECONDS) is None

    def _emptied(self) -> SimpleQueue[Message | None]:
        while not self.messages.empty():
            self.messages.get()
        return self.messages

    def close(self) -> None:
        """End the thread."""
        self.orders.put(None)
        self.service.close()


def halt(run: str) -> None:
    """Leave the mark that a run is to stop, for tasks on all machines."""
    _marks()._internal_kv_put(run, b"halt", namespace=_MARKS)


def is_halted(run: str) -> bool:
    """Whether a run is to stop; a cluster that does not answer is asked again later."""
    try:
        return bool(_marks()._internal_kv_exists(run, namespace=_MARKS))
    except Exception:
        return False


def forget(run: str) -> None:
    """Take the mark away."""
    _marks()._internal_kv_del(run, namespace=_MARKS)


def _marks() -> Any:
    """What a cluster keeps for whoever asks any of its machines."""
    from ray.experimental import internal_kv

    return internal_kv


_computer: _Computer | None = None


def compute(run: str, paths: list[str], setup: list[Any], ids: list[str]) -> Iterator[Message]:
    """Compute stages, together if they are several.

    Args:
        run: Names the run of the driver; its first order to a process sets that up.
        paths: Where the driver finds modules.
        setup: A reference to the `Setup`, which is fetched once.
        ids: Which stages.

    Yields:
        What becomes of them; the last is `Ended`, `Halted` or `Broken`.
    """
    global _computer
    try:
        if _computer is None or _computer.run != run:
            if _computer is not None:
                _computer.close()
            _computer = _Computer(run, _fetched(paths, setup))
    except Exception as error:
        yield Broken(failure("", error))
        return
    yield from _computer.obey(ids)


def _fetched(paths: list[str], setup: list[Any]) -> Setup:
    import ray

    sys.path += [path for path in paths if path not in sys.path and os.path.exists(path)]
    fetched: Setup = ray.get(setup[0])
    return fetched
