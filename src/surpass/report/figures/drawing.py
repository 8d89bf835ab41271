"""Pictures drawn with matplotlib: the same bytes for the same picture, whatever a user's own settings are."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from surpass.errors import MissingExtraError
from surpass.report.figures.axes import ON_X, axis_above, printable, set_axes, short, short_title
from surpass.report.figures.picture import Grid, Marks, Panel, Picture
from surpass.report.figures.style import BLACK, DARK, DASHES, DOTTED, MIDDLE, PALE, STYLE, colour, shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LABELS = 3  # in a row that have room for long ones
_HANDLE, _LETTER = 0.6, 0.058  # inches in a legend
FORMATS = ("pdf", "svg", "png")
METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


def rendered(picture: Picture, format: str) -> bytes:
    """A picture as a file.

    Args:
        picture: Which.
        format: One of `FORMATS`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    stream = io.BytesIO()
    with _styled():
        drawn(picture).savefig(stream, format=format, metadata=METADATA[format])
    return stream.getvalue()


def drawn(picture: Picture) -> Figure:
    """A picture as a figure of matplotlib.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with _styled():
        from matplotlib.figure import Figure

        columns = min(picture.columns, len(picture.panels))
        rows = math.ceil(len(picture.panels) / columns)
        names = [m.name for p in picture.panels if isinstance(p, Panel) for m in p.marks if m.name]
        names = list(dict.fromkeys(names))
        lines = math.ceil(len(names) / _legend_columns(names, picture.width))
        size = (picture.width, rows * picture.height + 0.14 * lines + 0.1)
        figure = Figure(figsize=size, layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for ax, panel in zip(axes, picture.panels, strict=False):
            if isinstance(panel, Grid):
                _grid(ax, panel)
            else:
                _panel(ax, panel)
        _once(axes, picture.panels, columns)
        for ax in axes[len(picture.panels) :]:
            ax.remove()
        _legend(figure, picture)
        return figure


def _once(axes: Sequence[Axes], panels: Sequence[Panel | Grid], columns: int) -> None:
    """Of labels that neighbours share, leave those at the left and at the bottom; short in narrow panels."""
    for place, ax in enumerate(axes[: len(panels)]):
        if place % columns and ax.get_ylabel() == axes[place - 1].get_ylabel():
            ax.yaxis.label.set_visible(False)
        if place + columns < len(panels) and ax.get_xlabel() == axes[place + columns].get_xlabel():
            ax.xaxis.label.set_visible(False)
        if columns > _MOST_LABELS:
            ax.set_xlabel(ax.get_xlabel().split(" of the ")[0])


@contextmanager
def _styled() -> Iterator[None]:
    """Within, matplotlib has our settings and no others; names that a font cannot show are boxes."""
    try:
        import matplotlib
        from matplotlib import style
    except ImportError as error:
        raise MissingExtraError(
            f"figures are drawn with matplotlib, which is not installed ({error}); "
            "pip install 'surpass[figures]'"
        ) from None
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        assert matplotlib.rcParams["svg.hashsalt"] == STYLE["svg.hashsalt"]
        yield


def _panel(ax: Axes, panel: Panel) -> None:
    ax.set_title(short_title(panel.title), pad=4)
    ax.set_xlabel(panel.x_label)
    ax.set_ylabel(panel.y_label)
    for level in panel.levels:
        ax.axhline(level, color=DARK, linewidth=0.6, zorder=1.5)
    if panel.x_zero:
        ax.axvline(0.0, color=DARK, linewidth=0.6, zorder=1.5)
    if panel.diagonal:
        ax.plot([0, 1], [0, 1], color=MIDDLE, linewidth=0.7, zorder=1.5)
    above = axis_above(ax, panel)
    for marks in panel.marks:
        if len(marks.x):
            draw_marks(
                above if marks.above and above is not None else ax, marks, bars_along_x=bool(panel.y_names)
            )
    set_axes(ax, panel)
    _undefined(ax, panel)


def draw_marks(ax: Axes, marks: Marks, *, bars_along_x: bool = False) -> None:
    """Draw points, their line and their intervals; the line's gid is the marks' name."""
    ours, hollow = colour(marks.series), marks.look == "published"
    dashes = DOTTED if marks.look == "oracle" else DASHES[marks.dash % len(DASHES)]
    style: dict[str, Any] = {
        "color": MIDDLE if hollow else ours,
        "marker": {"supervisor": "x", "curve": "", "published": "o"}.get(marks.look, shape(marks.series)),
        "markerfacecolor": "white" if hollow else PALE if marks.look == "oracle" else ours,
        "clip_on": False,
        "markeredgewidth": 0.5 if marks.look in ("line", "ceiling") else 1.0,
        "linestyle": "-" if marks.joined else "",
        "zorder": {"published": 2.2, "ceiling": 2.4}.get(marks.look, 2.6),
        "linewidth": 0.7 if hollow else 1.2,
    }
    (line,) = ax.plot(marks.x, marks.y, **style)
    line.set_gid(printable(f"{marks.look}:{marks.name}"))
    if marks.joined and dashes:
        line.set_dashes(list(dashes))
    if not any(math.isfinite(low) for low in marks.low):
        return
    if marks.look == "curve":
        ax.fill_between(marks.x, marks.low, marks.high, color=ours, alpha=0.15, linewidth=0)
        return
    ends = zip(marks.x, marks.y, marks.low, marks.high, strict=True)
    for x, y, low, high in ends:
        if math.isfinite(low) and math.isfinite(high):
            along = ([low, high], [y, y]) if bars_along_x else ([x, x], [low, high])
            (bar,) = ax.plot(*along, color=ours, linewidth=0.8, alpha=0.8, marker="", zorder=2.3)
            bar.set_gid("interval")


def _undefined(ax: Axes, panel: Panel) -> None:
    """Grey crosses where there is no value: at the foot, or at the left of a named line."""
    if not panel.undefined:
        return
    places = list(panel.undefined)
    if panel.y_names:
        x, y, transform = [0.03] * len(places), places, ax.get_yaxis_transform()
    else:
        x, y, transform = places, [0.04] * len(places), ax.get_xaxis_transform()
    (line,) = ax.plot(x, y, transform=transform, linestyle="", marker="x", color=MIDDLE, clip_on=False)
    line.set_gid("undefined")


def _grid(ax: Axes, grid: Grid) -> None:
    """A square of numbers on shades of blue; negative ones on shades of orange."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("surpass", ["#E69F00", "#ffffff", "#0072B2"])
    ax.imshow(grid.values, cmap=shades, vmin=-1, vmax=1)
    ax.grid(visible=False)
    ax.set_title(short_title(grid.title), pad=4)
    names = [short(name, ON_X) for name in grid.names]
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    size = 6.5 if len(names) < 8 else 5.0 if len(names) < 20 else 3.5
    for row, values in enumerate(grid.values):
        for column, value in enumerate(values):
            text = "" if math.isnan(value) else f"{value + 0.0:.2f}"
            ink = "white" if value > 0.6 else BLACK
            ax.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)


def _legend(figure: Figure, picture: Picture) -> None:
    """One legend for all panels, below them."""
    from matplotlib.lines import Line2D

    handles: dict[str, Line2D] = {}
    for marks in (m for p in picture.panels if isinstance(p, Panel) for m in p.marks):
        if marks.name and short(marks.name) not in handles:
            handles[short(marks.name)] = _handle(marks)
    if any(isinstance(p, Panel) and p.undefined for p in picture.panels):
        handles["undefined"] = Line2D([], [], linestyle="", marker="x", color=MIDDLE)
    if len(handles) > 1 or "undefined" in handles or any(n.startswith("supervisor") for n in handles):
        columns = _legend_columns(list(handles), picture.width)
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)


def _handle(marks: Marks) -> Any:
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    draw_marks(ax, Marks(**{**_fields(marks), "x": [0.0], "y": [0.0], "low": (), "high": ()}))
    line = ax.lines[0]
    line.remove()
    if not len(marks.x) and marks.look != "supervisor":
        line.set_marker("")
    return line


def _fields(marks: Marks) -> dict[str, Any]:
    return {name: getattr(marks, name) for name in ("name", "series", "look", "dash", "joined")}


def _legend_columns(names: Sequence[str], width: float) -> int:
    """As many columns as fit, each as wide as its longest name; matplotlib fills the first ones first."""
    for columns in range(len(names), 1, -1):
        each, more = divmod(len(names), columns)
        ends = [place * each + min(place, more) for place in range(columns + 1)]
        longest = [max(map(len, names[begin:end])) for begin, end in pairwise(ends)]
        if sum(_HANDLE + _LETTER * letters for letters in longest) < width:
            return math.ceil(len(names) / math.ceil(len(names) / columns))
    return 1
