"""Made-up stages that go wrong, each in its way; importable, so that workers know them too."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from reference.studies import Note
from surpass.errors import DataError, Stopped
from surpass.identity import execution_field
from surpass.stages import Context


def lines(log: str) -> list[str]:
    """What was written down so far."""
    return Path(log).read_text().split() if Path(log).exists() else []


def write(log: str, line: str) -> None:
    """Write something down, whoever writes too."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@dataclass(frozen=True, kw_only=True)
class Raising(Note):
    """Fails: with an error of the user's data, or with a mistake."""

    kind: ClassVar[str] = "raising"
    mistake: bool = execution_field(False)

    def run(self, context: Context) -> dict[str, Any]:
        sys.stderr.write("said before it failed\n")
        raise ZeroDivisionError("a mistake") if self.mistake else DataError("it went wrong")


@dataclass(frozen=True, kw_only=True)
class Deadly(Note):
    """Kills its process, so many times."""

    kind: ClassVar[str] = "deadly"
    times: int = execution_field(1)

    def run(self, context: Context) -> dict[str, Any]:
        if lines(self.log).count(f"{self.name}-dies") < self.times:
            write(self.log, f"{self.name}-dies")
            sys.stderr.write("last words\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(context)


@dataclass(frozen=True, kw_only=True)
class Joined(Note):
    """Runs with others like it, and writes down with how many; one that is `deadly` kills all of them."""

    kind: ClassVar[str] = "joined"
    deadly: bool = execution_field(False)
    fails: bool = execution_field(False)

    @property
    def together(self) -> str:
        return "joined"

    def run(self, context: Context) -> dict[str, Any]:
        return self.run_all([self], [context])[0]

    @staticmethod
    def run_all(stages: Sequence[Any], contexts: Sequence[Context]) -> list[Any]:
        write(stages[0].log, f"group-of-{len(stages)}")
        if any(stage.deadly for stage in stages):
            os.kill(os.getpid(), signal.SIGKILL)
        if any(stage.fails for stage in stages):
            raise ZeroDivisionError("one of them")
        return [Note.run(stage, context) for stage, context in zip(stages, contexts, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Long(Note):
    """Counts to `steps`, and saves how far it is when it is stopped."""

    kind: ClassVar[str] = "long"
    steps: int = execution_field(1000)

    def run(self, context: Context) -> dict[str, Any]:
        saved = context.work / "state"
        done = int(saved.read_text()) if saved.exists() else 0
        write(self.log, f"{self.name}-from-{min(done, 1)}")
        for step in range(done, self.steps):
            if context.stop():
                saved.write_text(str(step))
                raise Stopped("stopped")
            time.sleep(0.02)
        return super().run(context)


@dataclass(frozen=True, kw_only=True)
class LongTraining(Long):
    """Runs where models are trained: on a device, where there are some."""

    kind: ClassVar[str] = "long_training"
    runs_in: ClassVar[str] = "surpass.train.run"


@dataclass(frozen=True, kw_only=True)
class Surroundings(Note):
    """Says what its process has of the machine."""

    kind: ClassVar[str] = "surroundings"

    def run(self, context: Context) -> dict[str, Any]:
        said: dict[str, Any] = {"pid": os.getpid(), "parent": os.getppid()}
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "SURPASS_DEVICE"):
            said[name] = os.environ.get(name)
        time.sleep(self.seconds)
        return said


@dataclass(frozen=True, kw_only=True)
class TorchSurroundings(Surroundings):
    """Says how many threads torch has, too."""

    kind: ClassVar[str] = "torch_surroundings"
    runs_in: ClassVar[str] = "surpass.train.run"

    def run(self, context: Context) -> dict[str, Any]:
        import torch

        return super().run(context) | {"threads": torch.get_num_threads()}
