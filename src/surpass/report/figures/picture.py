"""A figure before it is drawn: panels of marks as plain data, with the caption that belongs to them.

Fractions are fractions; whoever draws shows them in percent. Missing values are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

COLUMN, PAGE = 3.35, 6.9
"""Widths of a column and of a page of two columns, in inches."""

Scale = Literal["log", "linear", "names"]
Look = Literal["line", "curve", "ceiling", "oracle", "supervisor", "published"]
"""A student, one with a band for its interval, the ceiling, what used truth (dotted), who labelled, others'
published numbers (hollow)."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Points that belong together, of the same length in x and y.

    Attributes:
        name: In the legend, once for all panels; "" for none.
        x: Where; with named places their numbers from 0.
        y: What.
        low: Lower ends of intervals; () for none.
        high: Upper ends.
        series: What its colour and shape go by; below 0 black and greys.
        look: What they are, and so how they are drawn.
        dash: Pattern of the line: 0 whole, 1 dashed, ...
        joined: Whether the points are joined; where a value is missing there is a gap.
        above: Whether x is that of the second axis, above the panel.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    series: int = 0
    look: Look = "line"
    dash: int = 0
    joined: bool = True
    above: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Marks over one another.

    Attributes:
        title: Above it.
        x_label: With its unit.
        y_label: With its unit.
        marks: In the order of the legend.
        x_scale: "names" puts `x_names` at 0, 1, 2, ...
        x_names: Named places on x, or names of places on a numeric axis that are shown above it.
        x_places: Where these are, on a numeric axis.
        y_names: Named places on y, from the top; () where y is a number.
        undefined: Places on x at which something has no value, marked at the foot; on y where it has names.
        x_percent: Whether x is a fraction that is shown in percent.
        y_percent: Whether y is.
        x_zero: Whether there is a line at x = 0.
        levels: Heights of thin reference lines.
        diagonal: Whether there is a line x = y.
        y_range: Ends of the axis; None for what the marks need.
        x_range: The same for x.
        above_label: Of the second axis above.
        apart: After how many named places on y there is a line; 0 for none.
        what: What it shows, for those who lay others' numbers over it: "accuracy", "pgr" or a metric.
        methods: Whose students.
    """

    title: str
    x_label: str
    y_label: str
    marks: Sequence[Marks]
    x_scale: Scale = "linear"
    x_names: Sequence[str] = ()
    x_places: Sequence[float] = ()
    y_names: Sequence[str] = ()
    undefined: Sequence[float] = ()
    x_percent: bool = False
    y_percent: bool = True
    x_zero: bool = False
    levels: Sequence[float] = ()
    diagonal: bool = False
    y_range: tuple[float, float] | None = None
    x_range: tuple[float, float] | None = None
    above_label: str = ""
    apart: int = 0
    what: str = ""
    methods: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A square of numbers between -1 and 1, with names on both sides."""

    title: str
    names: Sequence[str]
    values: Sequence[Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure: panels from left to right, then down, and what stands below it.

    Attributes:
        name: As it is asked for.
        panels: At least one.
        caption: What is shown, what is missing, and why.
        columns: Panels in a row at most.
        height: Of a panel, in inches.
    """

    name: str
    panels: Sequence[Panel | Grid]
    caption: str
    columns: int = 2
    height: float = 2.4

    @property
    def width(self) -> float:
        """In inches: a column of a paper, or a page."""
        return COLUMN if min(self.columns, len(self.panels)) == 1 else PAGE


@dataclass(frozen=True)
class Value:
    """A number with its interval; NaN where there is none, and then why."""

    value: float
    low: float = math.nan
    high: float = math.nan
    reasons: tuple[str, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether there is no number."""
        return math.isnan(self.value)


def spread(values: Sequence[Value], *, least: float = -1.0, most: float = 2.0) -> tuple[float, float]:
    """Ends of an axis that shows every value, and intervals as far as they stay within bounds.

    Args:
        values: What is shown.
        least: Below this only values count, not the ends of their intervals.
        most: Above this likewise.
    """
    shown = [v.value for v in values if not v.missing]
    ends = [e for v in values if not v.missing for e in (v.low, v.high) if math.isfinite(e)]
    ends = [min(max(end, least), most) for end in ends]
    low, high = min([*shown, *ends, 0.0]), max([*shown, *ends, 0.0])
    margin = 0.06 * ((high - low) or 1.0)
    return low - margin, high + margin


def cut(values: Sequence[Value], ends: tuple[float, float]) -> bool:
    """Whether an interval goes beyond the ends of the axis."""
    return any(not v.missing and (v.low < ends[0] or v.high > ends[1]) for v in values)
