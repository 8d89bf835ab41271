"""What a job of Slurm runs. Nothing is imported here before the number of threads is set."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

TASK = "task.json"


def work(folder: str, name: str) -> None:
    """Compute what the driver orders, until it is done, is gone, or Slurm says that time is up.

    Args:
        folder: Where the task and the messages are.
        name: This worker's.
    """
    task = json.loads((Path(folder) / TASK).read_text())
    os.environ.update(task["environment"])
    sys.path += [path for path in task["paths"] if path not in sys.path]
    from surpass.engine.slurm_worker import serve

    serve(Path(folder), name, task)
