"""Axes of figures: their scales, ticks and names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from surpass.report.figures.picture import Panel
from surpass.report.figures.style import DARK, MIDDLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Formatter

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
IN_LEGEND, IN_TITLE, ON_X, ON_Y = 72, 60, 24, 36  # letters
_MOST_IN_A_ROW = 30
_ABOVE = (10**-7.6, 10**0.4)
_MINUS = "\N{MINUS SIGN}"


def set_axes(ax: Axes, panel: Panel) -> None:
    """Scales, ticks and ends."""
    if panel.y_names:
        ax.set_yticks(range(len(panel.y_names)), [short(name, ON_Y) for name in panel.y_names])
        ax.set_ylim(len(panel.y_names) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
        if panel.apart:
            ax.axhline(panel.apart - 0.5, color=MIDDLE, linewidth=0.6, linestyle=(0, (1, 2)))
    elif panel.y_percent:
        ax.yaxis.set_major_formatter(_percents())
    if panel.x_percent:
        ax.xaxis.set_major_formatter(_percents())
    if panel.x_scale == "names":
        _named_places(ax, panel)
    elif panel.x_scale == "log":
        _sizes(ax, panel)
    if panel.x_range is not None:
        ax.set_xlim(*panel.x_range)
    if panel.y_range is not None and not panel.y_names:
        ax.set_ylim(*panel.y_range)


def _named_places(ax: Axes, panel: Panel) -> None:
    names = [short(name, ON_X) for name in panel.x_names]
    ax.set_xticks(list(panel.x_places), names)
    ax.set_xlim(-0.5, len(names) - 0.5)
    if sum(map(len, names)) > _MOST_IN_A_ROW or max(map(len, names), default=0) > 9:
        ax.tick_params(axis="x", labelrotation=30)
        for label in ax.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")


def _sizes(ax: Axes, panel: Panel) -> None:
    """A logarithmic axis whose ends leave room, with names of models above."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    places = list(panel.x_places)
    low, high = min(places), max(places)
    room = max((high / low) ** 0.07, 1.5)
    ax.set_xscale("log")
    ax.set_xlim(low / room, high * room)
    decades = math.log10(high * room) - math.log10(low / room)
    wide = decades > 2
    ax.xaxis.set_major_locator(LogLocator(numticks=6) if wide else LogLocator(subs=(1, 2, 5), numticks=9))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(_power))
    if any(marks.above for marks in panel.marks):
        return
    top = ax.secondary_xaxis("top")
    top.set_xscale("log")
    shown = _apart(list(zip(places, panel.x_names, strict=True)), (high / low) ** (1 / 14))
    top.set_xticks([place for place, _ in shown], [short(name, ON_X) for _, name in shown])
    top.xaxis.set_minor_locator(NullLocator())
    top.tick_params(axis="x", length=2, labelrotation=35, pad=1, labelsize=5.5, labelcolor=DARK)
    for label in top.get_xticklabels():
        label.set_horizontalalignment("left")
        label.set_rotation_mode("anchor")
    top.spines["top"].set_visible(False)


def _apart(places: Sequence[tuple[float, str]], factor: float) -> list[tuple[float, str]]:
    """Of names on a logarithmic axis those that do not run into one another."""
    kept: list[tuple[float, str]] = []
    for place, name in sorted(places):
        if not kept or place / kept[-1][0] > factor * 0.999:
            kept.append((place, name))
    return kept


def axis_above(ax: Axes, panel: Panel) -> Axes | None:
    """The axis above, for numbers of others, where there is one."""
    if not any(marks.above for marks in panel.marks):
        return None
    above = ax.twiny()
    above.set_xscale("log")
    above.set_xlim(*_ABOVE)
    above.set_xlabel(panel.above_label, color=DARK)
    above.tick_params(axis="x", colors=DARK)
    above.grid(visible=False)
    above.spines["top"].set_visible(True)
    above.spines["top"].set_color(MIDDLE)
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    above.xaxis.set_major_locator(LogLocator(numticks=6))
    above.xaxis.set_minor_locator(NullLocator())
    above.xaxis.set_major_formatter(FuncFormatter(_power))
    return above


def _percents() -> Formatter:
    """Fractions in percent, with the decimals that the ticks of the axis need."""
    from matplotlib.ticker import Formatter

    class Percents(Formatter):
        def format_ticks(self, values: Sequence[float]) -> list[str]:
            shares = [100 * float(value) for value in values]
            decimals = next((d for d in range(4) if all(abs(s - round(s, d)) < 1e-6 for s in shares)), 4)
            return [f"{round(s, 6) + 0.0:.{decimals}f}".replace("-", _MINUS) for s in shares]

        def __call__(self, x: float, pos: int | None = None) -> str:
            return self.format_ticks([x])[0]

    return Percents()


def _power(value: float, _: object) -> str:
    """A round number as a power of ten, such as 2·10⁹; below 10,000 as it is."""
    if 1 <= value < 10_000:
        return f"{value:,.0f}"
    exponent = math.floor(math.log10(value) + 1e-9)
    lead = value / 10.0**exponent
    power = f"10{str(exponent).translate(_SUPERSCRIPTS)}"
    return power if abs(lead - 1) < 1e-6 else f"{lead:.0f}·{power}"


def printable(text: str) -> str:
    """Text whose characters can all be printed; where one cannot, there is a sign for it."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def short(name: str, letters: int = IN_LEGEND) -> str:
    """A name as far as there is room for it, on one line."""
    name = printable(name.replace("\n", " "))
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def short_title(title: str) -> str:
    """Each line of a title as far as there is room for it."""
    return "\n".join(short(line, IN_TITLE) for line in title.split("\n")[-2:])
