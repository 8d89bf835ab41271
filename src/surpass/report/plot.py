"""Curves as a picture: SVG without any package, in colours that the colour-blind can tell apart, and dashes.

Source of the colours: Okabe & Ito 2008.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

BLUE, ORANGE, VERMILION, GREEN, SKY, PURPLE = (
    "#0072B2",
    "#E69F00",
    "#D55E00",
    "#009E73",
    "#56B4E9",
    "#CC79A7",
)
GREY = "#767676"

_WIDTH, _HEIGHT = 380, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 34, 46
_LINE_OF_LEGEND = 20
_FONT = "font-family='Helvetica, Arial, sans-serif'"
_MOST_TICKS = 6


class Line(NamedTuple):
    """A curve.

    Attributes:
        name: In the legend, once for all panels.
        colour: Such as `BLUE`.
        x: Where, ascending and above 0.
        y: What.
        low: Lower end of a band; () for none.
        high: Upper end.
        dash: Pattern of SVG, such as "6 3"; "" for a whole line.
        dots: Whether points are marked.
    """

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dash: str = ""
    dots: bool = False


class Panel(NamedTuple):
    """Curves over one another; x is logarithmic, y is shown in percent."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]


def svg(panels: Sequence[Panel], *, title: str, columns: int = 2) -> str:
    """A picture of several panels with one legend above, as SVG.

    Args:
        panels: From left to right, then down.
        title: What is shown, for those who cannot see it.
        columns: Panels in a row.
    """
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = columns * _WIDTH
    legend, used = _legend(panels, width)
    pieces = [
        _panel(panel, (place % columns) * _WIDTH, used + (place // columns) * _HEIGHT)
        for place, panel in enumerate(panels)
    ]
    height = used + rows * _HEIGHT
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' "
        f"height='{height}' role='img'><title>{escape(title)}</title>"
        f"<rect width='{width}' height='{height}' fill='white'/>"
    )
    return "\n".join([head, *legend, *pieces, "</svg>", ""])


def _legend(panels: Sequence[Panel], width: int) -> tuple[list[str], int]:
    """The legend, and how high it is."""
    lines = {line.name: line for panel in panels for line in reversed(panel.lines)}
    ordered = {line.name: lines[line.name] for panel in panels for line in panel.lines}
    pieces, x, y = [], 12, 16
    for name, line in ordered.items():
        needed = 44 + 6.6 * len(name)
        if x + needed > width - 8 and x > 12:
            x, y = 12, y + _LINE_OF_LEGEND
        pieces.append(
            f"<line x1='{x}' x2='{x + 26}' y1='{y - 4}' y2='{y - 4}' stroke='{line.colour}' "
            f"stroke-width='2.2'{_dashed(line)}/>" + _text(x + 31, y, name)
        )
        x += int(needed)
    return pieces, y + 8


def _panel(panel: Panel, left: float, top: float) -> str:
    values = [v for line in panel.lines for v in (*line.y, *line.low, *line.high) if math.isfinite(v)]
    places = [x for line in panel.lines for x in line.x]
    ticks = y_ticks(min(values), max(values))
    x0, x1 = left + _LEFT, left + _WIDTH - _RIGHT
    y0, y1 = top + _HEIGHT - _BOTTOM, top + _TOP
    span = math.log(max(places) / min(places)) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        along = math.log(x / min(places)) / span
        up = (y - ticks[0]) / (ticks[-1] - ticks[0])
        return x0 + along * (x1 - x0), y0 + up * (y1 - y0)

    pieces = [_text((x0 + x1) / 2, top + 20, panel.title, anchor="middle", size=13, weight="bold")]
    for tick in ticks:
        _, y = at(min(places), tick)
        pieces.append(f"<line x1='{x0:.1f}' x2='{x1:.1f}' y1='{y:.1f}' y2='{y:.1f}' stroke='#e4e4e4'/>")
        pieces.append(_text(x0 - 6, y + 4, f"{100 * tick:g}", anchor="end"))
    for tick in x_ticks(min(places), max(places)):
        x, _ = at(tick, ticks[0])
        pieces.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{y0:.1f}' y2='{y0 + 4:.1f}' stroke='#444'/>")
        pieces.append(_text(x, y0 + 17, f"{tick:,.0f}", anchor="middle"))
    pieces.append(f"<line x1='{x0:.1f}' x2='{x1:.1f}' y1='{y0:.1f}' y2='{y0:.1f}' stroke='#444'/>")
    pieces.append(_text((x0 + x1) / 2, y0 + 36, panel.x_label, anchor="middle"))
    turned = f" transform='rotate(-90 {left + 14:.1f} {(y0 + y1) / 2:.1f})'"
    pieces.append(_text(left + 14, (y0 + y1) / 2, panel.y_label, anchor="middle", more=turned))
    bands = [_band(line, at) for line in panel.lines if len(line.low)]
    return "\n".join([*pieces, *bands, *(_curve(line, at) for line in panel.lines)])


def _band(line: Line, at: object) -> str:
    assert callable(at)
    upper = [at(x, y) for x, y in zip(line.x, line.high, strict=True)]
    lower = [at(x, y) for x, y in zip(line.x, line.low, strict=True)]
    return f"<polygon points='{_points([*upper, *reversed(lower)])}' fill='{line.colour}' opacity='0.13'/>"


def _curve(line: Line, at: object) -> str:
    assert callable(at)
    points = [at(x, y) for x, y in zip(line.x, line.y, strict=True)]
    drawn = (
        f"<polyline points='{_points(points)}' fill='none' stroke='{line.colour}' stroke-width='2.2' "
        f"stroke-linejoin='round'{_dashed(line)}/>"
    )
    dots = "".join(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.2' fill='{line.colour}'/>" for x, y in points)
    return drawn + (dots if line.dots else "")


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _dashed(line: Line) -> str:
    return f" stroke-dasharray='{line.dash}'" if line.dash else ""


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 12,
    weight: str = "normal",
    more: str = "",
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' {_FONT} font-size='{size}' font-weight='{weight}' fill='#222' "
        f"text-anchor='{anchor}'{more}>{escape(text)}</text>"
    )


def y_ticks(low: float, high: float) -> list[float]:
    """Round places from at most the lowest to at least the highest value, at most six."""
    for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 1)
        if last - first < _MOST_TICKS:
            break
    return [round(place * step, 6) for place in range(first, last + 1)]


def x_ticks(low: float, high: float) -> list[float]:
    """Ends, and powers of two times the lowest between them, at most seven; the highest if it is apart."""
    powers = math.floor(math.log2(high / low) + 1e-9)
    every = max(1, math.ceil(powers / 6))
    ticks = [low * 2.0**power for power in range(0, powers + 1, every)]
    return ticks if ticks[-1] > high / 1.3 else [*ticks, high]
