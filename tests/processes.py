"""The command line in processes of its own, which can be killed, and how they end.

`cold` starts an interpreter. A `Nursery` forks processes from one that has imported everything, so
that a test need not wait seconds for torch each time; they run the same `surpass.cli.main`.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# COLUMNS of whoever runs the tests, or a store of their own, would change what is printed or used.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "SURPASS_STORE")}
ENVIRONMENT |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
PATIENCE_SECONDS = 120.0
# The smallest study with all its parts: 14 stages in about a second.
STUDY = ("chess", "pairs=1-2", "seeds=1", "num_train=64", "num_test=60", "epochs=1")


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code (minus the signal that killed it), output, seconds of processor."""

    code: int
    out: str
    err: str
    seconds: float

    def json(self) -> Any:
        """Standard output, parsed."""
        assert self.code == 0, self.err
        return json.loads(self.out)


def cold(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command, `python -m surpass` with arguments by default, from nothing."""
    words = (
        command if command[0].startswith("/") else (sys.executable, "-W", "error", "-m", "surpass", *command)
    )
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(words, cwd=cwd, env=ENVIRONMENT | dict(env or {}), stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return Ended(child.returncode, out.read(), err.read(), usage.ru_utime + usage.ru_stime)


class Child:
    """A running process of a nursery."""

    def __init__(self, nursery: Nursery, pid: int, folder: Path) -> None:
        self.nursery, self.pid, self.folder = nursery, pid, folder

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Wait for its end."""
        code, seconds = self.nursery.ask({"wait": self.pid})
        out, err = ((self.folder / name).read_text() for name in ("out", "err"))
        return Ended(code, out, err, seconds)

    def kill(self) -> Ended:
        """Kill it as `kill -9` does."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def has_ended(self) -> bool:
        """Tell whether it ended; `wait` is still to be called."""
        return bool(self.nursery.ask({"look": self.pid}))

    def outlives(self, seconds: float) -> bool:
        """Wait for so long, or until it ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.has_ended():
                return False
            time.sleep(0.005)
        return True

    def await_(self, condition: Callable[[], bool]) -> bool:
        """Wait until something is so; False if the process ended before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "nothing happens"
            if self.has_ended():
                return False
            time.sleep(0.005)
        return True


class Nursery:
    """Forks processes that run the command line."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.count = 0
        command = [sys.executable, "-W", "error", __file__]
        self.parent = subprocess.Popen(
            command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        """End the parent of all; its children were waited for."""
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.close()
        self.parent.wait()
        self.parent.stdout.close()
        self.folder.cleanup()

    def ask(self, question: dict[str, Any]) -> Any:
        """The answer of the parent of all."""
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.write(json.dumps(question) + "\n")
        self.parent.stdin.flush()
        return json.loads(self.parent.stdout.readline())

    def start(self, *arguments: str, cwd: Path, refuse: tuple[Path, int] | None = None) -> Child:
        """Start `surpass` with arguments.

        Args:
            arguments: What follows `surpass`.
            cwd: The folder it runs in.
            refuse: A folder in which every attempt to write fails with this errno.
        """
        self.count += 1
        folder = Path(self.folder.name) / str(self.count)
        folder.mkdir()
        refused = None if refuse is None else (str(refuse[0]), refuse[1])
        start = {"arguments": arguments, "cwd": str(cwd), "output": str(folder), "refuse": refused}
        return Child(self, self.ask({"start": start}), folder)

    def run(self, *arguments: str, cwd: Path, refuse: tuple[Path, int] | None = None) -> Ended:
        """Run `surpass` with arguments to its end."""
        return self.start(*arguments, cwd=cwd, refuse=refuse).wait()


@cache
def nursery() -> Nursery:
    """The one nursery of all tests."""
    made = Nursery()
    atexit.register(made.close)
    return made


def _serve() -> None:
    """Be the parent: import, then fork for each request."""
    import torch._dynamo  # noqa: F401 (what the first optimizer imports)

    import surpass.doctor
    import surpass.experiment
    import surpass.report.listing
    import surpass.report.terminal
    import surpass.train.run  # noqa: F401
    from surpass.cli import app
    from surpass.errors import ConfigError

    with suppress(ConfigError):  # parsing a command line imports more
        app(["store", "verify", "--store", f"{__file__}-none"], standalone_mode=False)
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            pid = os.fork()
            if pid == 0:
                _live(**request["start"])
            answer: Any = pid
        elif "look" in request:
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            answer = os.waitid(os.P_PID, request["look"], flags) is not None
        else:
            _, status, usage = os.wait4(request["wait"], 0)
            answer = [os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _live(arguments: list[str], cwd: str, output: str, refuse: tuple[str, int] | None) -> None:
    """Be the child."""
    from surpass.cli import main

    write_to(output, cwd)
    sys.argv = ["surpass", *arguments]
    if refuse is not None:
        _refuse_writing(*refuse)
    end_with(main)


def write_to(output: str, cwd: str) -> None:
    """Live in one folder and write what is printed into files of another."""
    os.chdir(cwd)
    flags = os.O_WRONLY | os.O_CREAT
    for descriptor, path, mode in (
        (0, os.devnull, os.O_RDONLY),
        (1, f"{output}/out", flags),
        (2, f"{output}/err", flags),
    ):
        os.dup2(os.open(path, mode), descriptor)


def end_with(run: Callable[[], int | None]) -> None:
    """End this process as a script would that runs this: with the code that it gives, or leaves by."""
    code = 1
    try:
        code = run() or 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _refuse_writing(folder: str, number: int) -> None:
    """Make every attempt of this process to write below a folder fail as on a read-only or full disk."""
    writing = os.O_WRONLY | os.O_RDWR

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.utime"):
            return
        if event == "open" and not arguments[2] & writing:
            return
        if event == "os.remove" and number == errno.ENOSPC:
            return
        path = os.path.abspath(os.fsdecode(arguments[0])) if isinstance(arguments[0], str | bytes) else ""
        if path.startswith(folder):
            raise OSError(number, os.strerror(number), path)

    sys.addaudithook(hook)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _serve()
