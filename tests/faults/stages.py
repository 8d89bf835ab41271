"""A graph of made-up stages without torch: each computes digests, one after another, and can go on.

What is begun and ended is written down, whoever does it, so that it can be counted what is computed twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from surpass.disk import atomic_write
from surpass.errors import Stopped
from surpass.identity import execution_field
from surpass.stages import Context, Stage

SAVE_STEPS = 5
STEP_SECONDS = 0.004


@dataclass(frozen=True, kw_only=True)
class Chain(Stage):
    """A digest of a digest, so many times, over what it takes from; saved on the way, and gone on from.

    Attributes:
        steps: How many times.
        log: A file in which every process writes down what it begins and ends.
    """

    kind: ClassVar[str] = "chain"
    version: ClassVar[int] = 1

    name: str
    before: tuple[Stage, ...] = ()
    steps: int = 2
    log: str = execution_field("")

    @property
    def label(self) -> str:
        return self.name

    def run(self, context: Context) -> dict[str, Any]:
        note(self.log, "begins", self)
        taken = [context.find(stage).file("curve/digest.txt").read_text() for stage in self.before]
        start = hashlib.sha256(json.dumps([self.name, taken]).encode()).hexdigest()
        state = context.work / "state.json" if self.steps > SAVE_STEPS else None
        step, digest = _saved(state, start)
        while step < self.steps:
            if context.stop() and state is not None:
                _save(state, start, step, digest)
                raise Stopped("stopped")
            if step % SAVE_STEPS == 0 and state is not None:
                _save(state, start, step, digest)
            time.sleep(STEP_SECONDS)
            step, digest = step + 1, hashlib.sha256(digest.encode()).hexdigest()
            context.report(step / self.steps)
        (context.out / "curve").mkdir()
        (context.out / "curve" / "digest.txt").write_text(digest)
        (context.out / "data.bin").write_bytes(bytes.fromhex(digest) * 64)
        note(self.log, "ends", self)
        return {"digest": digest}


@dataclass(frozen=True, kw_only=True)
class Joined(Chain):
    """Computed with others like it."""

    kind: ClassVar[str] = "joined"

    @property
    def together(self) -> str:
        return "joined"

    @staticmethod
    def run_all(stages: Sequence[Any], contexts: Sequence[Context]) -> list[Any]:
        return [stage.run(context) for stage, context in zip(stages, contexts, strict=True)]


def graph(log: str, steps: int = 30) -> list[Stage]:
    """18 stages: four of them long, four computed together; all of them are wanted."""
    first = Chain(name="first", log=log)
    long = [Chain(name=f"long-{n}", before=(first,), steps=steps, log=log) for n in range(4)]
    short = [Chain(name=f"short-{n}", before=(each,), log=log) for n, each in enumerate(long)]
    joined = [Joined(name=f"joined-{n}", before=(each,), log=log) for n, each in enumerate(short)]
    pairs = [Chain(name=f"pair-{n}", before=(joined[n], joined[n + 1]), log=log) for n in range(3)]
    last = [Chain(name="sum", before=tuple(pairs), log=log), Chain(name="all", before=tuple(short), log=log)]
    return [first, *long, *short, *joined, *pairs, *last]


def note(log: str, what: str, stage: Stage) -> None:
    """Write down, in one piece, what a process does."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{what} {stage.id} {os.getpid()}\n".encode())
    os.close(descriptor)


def noted(log: Path, what: str) -> list[str]:
    """The ids of the stages that were begun, or ended, so far."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.split()[1] for line in lines if line.startswith(f"{what} ")]


def _save(state: Path, start: str, step: int, digest: str) -> None:
    text = json.dumps([start, step, digest])
    atomic_write(state, json.dumps([text, hashlib.sha256(text.encode()).hexdigest()]).encode())


def _saved(state: Path | None, start: str) -> tuple[int, str]:
    """Where to go on; at the start where nothing sound is saved."""
    try:
        text, digest = json.loads(state.read_bytes()) if state is not None else ("", "")
        if text and hashlib.sha256(text.encode()).hexdigest() == digest:
            began, step, at = json.loads(text)
            if began == start:
                return int(step), str(at)
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        pass
    return 0, start
