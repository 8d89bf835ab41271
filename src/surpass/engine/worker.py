"""A worker of the pool: a process that computes the stages it is told to, until the driver ends."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import FrameType
from typing import Any

from surpass.engine.messages import Broken, Halt, Hello, Message, Order, Setup, cannot_be_sent
from surpass.engine.serving import Service, failure
from surpass.errors import SurpassError

_END_NOW = signal.SIGUSR1
_PATIENCE_SECONDS = 2.0
_LOOK_SECONDS = 1.0


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
        pipe.send(Broken(failure("", error)))
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
    service = Service(setup, pipe.send)
    terminated = threading.Event()

    def terminate(number: int, frame: FrameType | None) -> None:
        service.halt.set()
        terminated.set()

    signal.signal(signal.SIGTERM, terminate)
    orders: SimpleQueue[list[str]] = SimpleQueue()
    listening = (pipe.connection, setup.driver, orders, service.halt)
    threading.Thread(target=_listen, args=listening, daemon=True).start()
    with service.batch:
        try:
            while service.obey(orders.get()) or not terminated.is_set():
                pass
        finally:
            signal.signal(_END_NOW, signal.SIG_IGN)  # what follows cleans up


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
