"""Questions to computer algebra that may never end, asked of another process with a limit.

Answers of models hold towers of powers and hundreds of brackets, and sympy and pylatexenc work on them for
hours, some of it inside single operations that no signal handler interrupts. The limit is one of processor
time, so that a busy machine gives the same grades as an idle one.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import IO, Any, Literal

from surpass.errors import MissingExtraError, SurpassError

_WORKER = Path(__file__).with_name("limited_worker.py")
_PATIENCE = 20.0  # wall time a second of processor time may take on a busy machine
_START = 120.0  # seconds for importing sympy

Kind = Literal["zero", "verify", "plain"]


class Worker:
    """The other process: started at the first question, and anew where a question ended it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: IO[bytes] | None = None
        self._owner = 0

    def ask(self, kind: Kind, first: str, second: str, *, seconds: float) -> bool | str | None:
        """The answer, or None where it was not there after so many seconds of processor time.

        Raises:
            SurpassError: The process cannot be started.
        """
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                self._start()
            assert self._process is not None
            assert self._process.stdin is not None
            try:
                line = json.dumps([kind, first, second, seconds]) + "\n"
                self._process.stdin.write(line.encode("ascii"))
                self._process.stdin.flush()
                said = self._line(_START + _PATIENCE * seconds)
            except BrokenPipeError:
                said = b""
            if said:
                answer: bool | str = json.loads(said)
                return answer
            self._end()
            return None

    def _line(self, seconds: float) -> bytes:
        assert self._answers is not None
        ready, _, _ = select.select([self._answers], [], [], seconds)
        return self._answers.readline() if ready else b""

    def _start(self) -> None:
        self._leave()
        read, write = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START_CODE, str(write), str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(write,),
            )
        except OSError as error:
            os.close(read)
            raise SurpassError(f"no process can be started to compare answers in: {error}") from None
        finally:
            os.close(write)
        self._process, self._owner = process, os.getpid()
        self._answers = os.fdopen(read, "rb")

    def _leave(self) -> None:
        """After a fork the process belongs to the parent: it is left alone, and only our ends are closed."""
        if self._process is not None:
            self._process.returncode = 0
            self._close_streams()

    def _end(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
            self._close_streams()

    def _close_streams(self) -> None:
        assert self._process is not None
        for stream in (self._process.stdin, self._answers):
            if stream is not None:
                _close(stream)
        self._process = self._answers = None

    def close(self) -> None:
        """End the process, if there is one; the next question starts another."""
        with self._lock:
            self._end()


_START_CODE = (
    "import os,runpy,sys; os.dup2(int(sys.argv[1]),3); runpy.run_path(sys.argv[2],run_name='__main__')"
)

WORKER = Worker()
atexit.register(WORKER.close)


def require(module: str, package: str) -> None:
    """Refuse where a package is not installed.

    Raises:
        MissingExtraError: It is not; the message says how it is installed.
    """
    if find_spec(module) is None:
        raise MissingExtraError(
            f"{package}, which compares answers of mathematics, is not installed; pip install 'surpass[math]'"
        )


def _close(stream: IO[Any]) -> None:
    try:
        stream.close()
    except OSError:  # what it was to be told is lost with it
        return
