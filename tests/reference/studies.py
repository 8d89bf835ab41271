"""Made-up models, tasks and stages: nothing is trained, and what runs is written down."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file

from surpass.identity import execution_field
from surpass.stages import Context, Examples, Stage
from surpass.tasks import ExampleTables
from surpass.tasks.chess import ChessTask

CHESS = ChessTask()
"""One task for all tests of a process: what it has read and cut is kept."""


@dataclass(frozen=True)
class ToyTask:
    """Examples with two candidates, the second always right."""

    split_seed: int = 0
    name: str = "toy"
    num_classes: int = 2
    difficulty: None = None

    @property
    def families(self) -> frozenset[str]:
        return frozenset({"policy", "tabular"})

    @property
    def parts(self) -> tuple[str, ...]:
        return "weak", "student", "validation", "test"

    @property
    def mixes(self) -> tuple[str, ...]:
        return "all", "even"

    def digests(self) -> dict[str, str]:
        return {}

    def examples(self, *, part: str, size: int | None, seed: int, mix: str) -> ExampleTables:
        ids = [f"{part}-{seed}-{number}" for number in range(size or 10)]
        truth = pa.table({"id": ids, "truth": pa.array([1] * len(ids), pa.int16())})
        return ExampleTables(pa.table({"id": ids, "candidates": [[3, 5]] * len(ids)}), truth)


def write_model(folder: Path, name: str, *, flops: float = 1e6, mark: int = 0) -> str:
    """A weights file that has a card but no use; returns the model's name."""
    card = {"name": name, "parameters": 1, "flops": flops, "training": {"flops": 1e9}, "mark": mark}
    path = folder / f"{name}.safetensors"
    save_file({"weight": np.zeros(1, np.float32)}, f"{path}.new", {"card": json.dumps(card)})
    os.replace(f"{path}.new", path)
    return f"dir:{path}"


def some_examples(**fields: Any) -> Examples:
    return Examples(**{"task": ToyTask(), "part": "weak", "size": 10, "seed": 0} | fields)


@dataclass(frozen=True, kw_only=True)
class Note(Stage):
    """Writes its name, and what it takes from, into a file and a line of the log.

    Attributes:
        log: A file that every run of every process appends to.
        seconds: How long it takes.
    """

    kind: ClassVar[str] = "note"
    version: ClassVar[int] = 1

    name: str
    before: tuple[Stage, ...] = ()
    log: str = execution_field("")
    seconds: float = execution_field(0.0)

    @property
    def label(self) -> str:
        return self.name

    def run(self, context: Context) -> dict[str, Any]:
        inner = [(context.find(stage).file("note.txt")).read_text() for stage in self.before]
        time.sleep(self.seconds)
        context.report(1.0)
        (context.out / "note.txt").write_text(f"{self.name}({','.join(inner)})")
        line = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(line, f"{self.name}\n".encode())
        os.close(line)
        return {"name": self.name}


def diamonds(log: str, *, depth: int, seconds: float = 0.0) -> Note:
    """Diamond upon diamond: 1 + 3 x depth stages under one target."""
    top = Note(name="0", log=log)
    for level in range(depth):
        sides = tuple(
            Note(name=f"{level}{side}", before=(top,), log=log, seconds=seconds) for side in ("left", "right")
        )
        top = Note(name=str(level + 1), before=sides, log=log, seconds=seconds)
    return top
