"""How all figures look: one style for matplotlib, colours that the colour-blind tell apart, shapes for grey.

Source of the colours: Okabe & Ito 2008.
"""

from __future__ import annotations

from surpass.report.plot import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

BLACK, DARK, MIDDLE, PALE = "#000000", "#444444", "#8a8a8a", "#b9b9b9"

# Neighbours differ in lightness too, so that a copy in grey tells them apart together with the shapes.
COLOURS = (BLUE, VERMILION, SKY, GREEN, ORANGE, PURPLE, BLACK)
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*")
GREYS = (BLACK, MIDDLE, BLACK, DARK, MIDDLE)
GREY_SHAPES = ("h", "o", "*", "d", "s")
DASHES: tuple[tuple[float, ...], ...] = ((), (4.0, 2.0), (6.0, 2.0, 1.5, 2.0), (2.0, 1.5), (9.0, 3.0))
DOTTED = (1.0, 1.6)

STYLE: dict[str, object] = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.visible": False,
    "text.parse_math": False,
    "text.usetex": False,
    "text.hinting": "none",
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "surpass",
    "axes.unicode_minus": True,
}


def colour(series: int) -> str:
    """Of marks; below 0 black and greys."""
    return COLOURS[series % len(COLOURS)] if series >= 0 else GREYS[(-1 - series) % len(GREYS)]


def shape(series: int) -> str:
    """Of marks, as matplotlib names it; shapes and colours repeat after different numbers of series."""
    return SHAPES[series % len(SHAPES)] if series >= 0 else GREY_SHAPES[(-1 - series) % len(GREY_SHAPES)]
