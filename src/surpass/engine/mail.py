"""Messages as lines of JSON in files, for a driver and workers that share nothing but a folder.

Each file has one writer, who closes it after each line, and one reader, who opens it anew each time: network
file systems show a file that is opened as it was when it was last closed.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

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
    Share,
    Started,
)

PULSE = "pulse"
"""The file in which a driver shows that it lives."""

_KINDS = {
    kind.__name__: kind
    for kind in (Hello, Started, Share, Finished, Record, Ended, Halted, Broken, Order, Halt)
}


class Outbox:
    """Where one writes.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def send(self, message: Message | Order | Halt) -> None:
        """Add a message.

        Raises:
            OSError: The file cannot be written.
        """
        line = json.dumps([type(message).__name__, *message])
        with self._lock, open(self._path, "a") as file:
            file.write(line + "\n")


class Inbox:
    """Where another writes.

    Args:
        path: The file; it may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def receive(self) -> list[Any]:
        """The messages that have come, in order.

        Raises:
            OSError: The file cannot be read.
            ValueError: It holds something else.
        """
        try:
            with open(self._path, "rb") as file:
                file.seek(self._read)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [_message(json.loads(line)) for line in whole.splitlines()]


def _message(parts: list[Any]) -> Any:
    name, *fields = parts
    if name not in _KINDS:
        raise ValueError(f"{name!r} is no message")
    message = _KINDS[name](*fields)
    if isinstance(message, Ended):
        return message._replace(failed=[Failure(*each) for each in message.failed])
    return Broken(Failure(*message.failure)) if isinstance(message, Broken) else message
