"""Experiment trackers: where curves and results of a study are sent, beside the store, when asked.

A tracker is anything with `start`, `log` and `finish`; what it is told is the same for all (see `following`).
The packages are imported when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from surpass import calls
from surpass.errors import ConfigError
from surpass.trackers.adapters import MLflow, TensorBoard, Trackio, WandB

__all__ = ["TRACKERS", "Tracker", "find_trackers"]


class Tracker(Protocol):
    """What a tracker does; it is told of one run of a study, from one thread."""

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        """Begin a run.

        Args:
            name: The study and its short id.
            config: Plain data: the study's settings, overrides, versions.
        """
        ...

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add values; names have slashes, and a name's steps come in order, those of several names do not."""
        ...

    def finish(self) -> None:
        """End the run."""
        ...


TRACKERS: dict[str, Callable[..., Tracker]] = {
    "mlflow": MLflow,
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": WandB,
}
"""Trackers by name. Others are named `your_module:function`, which makes one."""


def find_trackers(asked: str | Tracker | Sequence[str | Tracker]) -> dict[str, Tracker]:
    """The trackers that are asked for, by name.

    Args:
        asked: Names with commas between them, such as `tensorboard(folder=runs),my_module:tracker`, or
            trackers themselves.

    Raises:
        ConfigError: There is none of a name.
        MissingExtraError: Its package is not installed.
    """
    if isinstance(asked, str):
        asked = calls.split(asked) if asked else ()
    each = asked if isinstance(asked, Sequence) else (asked,)
    found: dict[str, Tracker] = {}
    for entry in each:
        if isinstance(entry, str):
            found[entry] = calls.find(entry, TRACKERS, "tracker")()
        else:
            same = sum(name.partition(" ")[0] == type(entry).__name__ for name in found)
            found[type(entry).__name__ + (f" {same + 1}" if same else "")] = entry
    for name, tracker in found.items():
        if not all(callable(getattr(tracker, method, None)) for method in ("start", "log", "finish")):
            raise ConfigError(f"tracker {name} is a {type(tracker).__name__}; it needs start, log and finish")
    return found
