"""What early stopping has seen on its way, and the best that it has seen."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surpass.disk import atomic_write


class Way:
    """What early stopping has seen so far; in files, so that an interrupted training goes on.

    A snapshot that is passed again after an interruption gives what it gave before, to the bit.
    """

    def __init__(self, work: Path, *, write: bool = True) -> None:
        self._write = write
        self.weights = work / "best.safetensors"
        self._file = work / "accuracies.json"
        self.accuracies: list[float] = json.loads(self._file.read_text()) if self._file.exists() else []

    @property
    def best(self) -> int:
        """The number of the first of the best, from 1."""
        return int(np.argmax(self.accuracies)) + 1

    def passed(self, number: int, accuracy: float, save: Callable[[Path], None]) -> None:
        """Take note of a snapshot, and save it if it is better than all before."""
        self.accuracies = [*self.accuracies[: number - 1], accuracy]
        if self.best == number:
            draft = self.weights.with_suffix(".tmp")
            save(draft)
            if self._write:
                os.replace(draft, self.weights)
        if self._write:
            atomic_write(self._file, json.dumps(self.accuracies).encode())

    def written(self, steps: list[int], out: Path) -> dict[str, Any]:
        """Write the curve, and say what the manifest shall."""
        if self._write:
            pq.write_table(pa.table({"step": steps, "accuracy": self.accuracies}), out / "curve.parquet")
        best, accuracies = self.best, self.accuracies
        return {"best": best, "best_accuracy": accuracies[best - 1], "last_accuracy": accuracies[-1]}
