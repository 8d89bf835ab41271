"""The figures by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from surpass.errors import ConfigError
from surpass.report.figures.by_method import agreement, methods, overlap, tasks
from surpass.report.figures.by_size import figure3, figure4, figure5, figure8, figure12, figure15, pgr, size
from surpass.report.figures.by_step import calibration, figure7, figure13, overfitting
from surpass.report.figures.captions import lacking
from surpass.report.figures.picture import Picture
from surpass.report.figures.reading import Shown, damaged

FIGURES: dict[str, Callable[[Shown], Picture]] = {
    "size": size,
    "pgr": pgr,
    "methods": methods,
    "agreement": agreement,
    "overfitting": overfitting,
    "calibration": calibration,
    "overlap": overlap,
    "tasks": tasks,
    "figure3": figure3,
    "figure4": figure4,
    "figure5": figure5,
    "figure7": figure7,
    "figure8": figure8,
    "figure12": figure12,
    "figure13": figure13,
    "figure15": figure15,
}
"""Our own, then the paper's by number. Each refuses a document without its data, and says what to run."""


MEDIANS = frozenset({"size", "pgr", "figure3", "figure4", "figure5", "figure8", "figure15"})
"""Those that show medians where there are several tasks."""


class Offer(NamedTuple):
    """What a figure shows, and what keeps it from being drawn; None if nothing does."""

    name: str
    about: str
    lacks: str | None


def picture_of(name: str, shown: Shown) -> Picture:
    """The figure of a name.

    Raises:
        ConfigError: There is none, or the document lacks what it shows.
        DataError: The document is damaged.
    """
    if name not in FIGURES:
        raise ConfigError(f"no figure {name!r}; there are: {', '.join(FIGURES)} (`surpass figure list`)")
    if not shown.students:
        raise ConfigError(f"no data for {name}: {shown.name} has no results")
    try:
        return FIGURES[name](_comparable(name, shown))
    except (KeyError, TypeError, IndexError) as error:
        raise damaged(error) from None


def _comparable(name: str, shown: Shown) -> Shown:
    """What a figure may take medians of: of several tasks the students that all of them have.

    Raises:
        ConfigError: There is none.
    """
    if name not in MEDIANS or len(shown.tasks) == 1:
        return shown
    part = shown.on_all_tasks()
    if not part.students:
        how = "figure12 and tasks show them one by one"
        raise lacking(name, "no pair and method on all of its tasks, so no medians", shown, how)
    return part


def offers(shown: Shown | None) -> list[Offer]:
    """All figures, and for a document which of them it has data for."""
    return [Offer(name, about(name), None if shown is None else _lacks(name, shown)) for name in FIGURES]


def about(name: str) -> str:
    """What a figure shows."""
    return (FIGURES[name].__doc__ or "").split("\n")[0]


def _lacks(name: str, shown: Shown) -> str | None:
    try:
        picture_of(name, shown)
    except ConfigError as error:
        return str(error)
    return None
