"""Forks the processes that a fault is done to, from one that has imported everything.

They run a study by the real command line, or the graph of made-up stages by an engine.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # the folder of this file is not to be seen; `tests` is
    sys.path[0] = str(Path(__file__).parent.parent)

from processes import ENVIRONMENT, Child, Nursery, _serve, end_with, write_to


class Farm(Nursery):
    """A nursery whose children may have more in their environment, and may run the graph."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.count = 0
        command = [sys.executable, "-W", "error", __file__]
        self.parent = subprocess.Popen(
            command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, arguments: list[str], *, cwd: Path, env: Mapping[str, str]) -> Child:
        """Start `surpass` with arguments, or the graph with `graph` and its own."""
        self.count += 1
        folder = Path(self.folder.name) / str(self.count)
        folder.mkdir()
        start = {"arguments": arguments, "cwd": str(cwd), "output": str(folder), "env": dict(env)}
        return Child(self, self.ask({"start": start}), folder)


def live(arguments: list[str], cwd: str, output: str, env: dict[str, str]) -> None:
    """Be the child."""
    write_to(output, cwd)
    os.environ.update(env)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
    faulthandler.register(signal.SIGUSR2, all_threads=True)  # asked where it hangs
    end_with(partial(_told, arguments))


def _told(arguments: list[str]) -> int:
    from faults.shims import install

    install()
    if arguments[0] == "graph":
        sys.argv = ["surpass", "run", "graph"]
        return run_graph(*arguments[1:])
    from surpass.cli import main

    sys.argv = ["surpass", *arguments]
    main()
    return 0


def run_graph(engine: str, store: str, log: str, told: str) -> int:
    """Compute the graph by an engine; answers to signals and errors as the command line does."""
    import typer

    from faults.stages import graph
    from surpass.engine.engines import find_engine
    from surpass.engine.work import Settings
    from surpass.errors import StoreError, SurpassError
    from surpass.interrupt import stop_on_signals
    from surpass.store.opening import open_store

    try:
        with stop_on_signals() as stop:
            settings = Settings(**json.loads(told), stop=stop)
            computed = find_engine(engine, settings)(graph(log), open_store(store), settings=settings)
            sys.stdout.write(f"{computed}\n")
    except typer.Exit as end:
        return end.exit_code
    except SurpassError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, StoreError) else 1
    return 0


def _warm() -> Any:
    """Import what children will; threads of others must not be there when they are forked."""
    import s3fs  # noqa: F401

    import surpass.engine.pool  # noqa: F401


if __name__ == "__main__":
    import processes

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _warm()
    processes._live = live
    _serve()
