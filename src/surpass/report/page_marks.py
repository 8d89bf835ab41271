"""PGR and its interval as a small drawing in a cell of the table, all of a study on one scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from surpass.report.page_text import number

WIDTH, HEIGHT, MARGIN = 140, 16, 5
LOWEST, HIGHEST = -1.0, 2.0
"""Shares of the gap beyond which nothing is drawn: a wild interval must not flatten the others."""


def marks(estimates: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The scale for the head of the column, and a drawing for each estimate, empty where PGR is undefined."""
    valid = [estimate for estimate in estimates if estimate["valid"]]
    low = max(LOWEST, min([0.0, *(number(estimate["low"]) for estimate in valid)]))
    high = min(HIGHEST, max([1.0, *(number(estimate["high"]) for estimate in valid)]))

    def place(share: float) -> float:
        inside = min(max(share, low), high)
        return MARGIN + (WIDTH - 2 * MARGIN) * (inside - low) / (high - low)

    if not valid:
        return "", [""] * len(estimates)
    ends = "".join(
        f'<text x="{place(share):.1f}" y="12" text-anchor="middle">{100 * share:.0f}</text>'
        for share in (0.0, 1.0)
    )
    scale = f'<svg class="mark" width="{WIDTH}" height="{HEIGHT}" aria-hidden="true">{ends}</svg>'
    return scale, [
        _mark([place(number(estimate[name])) for name in ("low", "value", "high")], place)
        if estimate["valid"]
        else ""
        for estimate in estimates
    ]


def _mark(ends: list[float], place: Callable[[float], float]) -> str:
    low, value, high = ends
    middle = HEIGHT / 2
    rules = "".join(
        f'<line class="rule" x1="{place(share):.1f}" x2="{place(share):.1f}" y1="0" y2="{HEIGHT}"/>'
        for share in (0.0, 1.0)
    )
    return (
        f'<svg class="mark" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'aria-hidden="true">{rules}'
        f'<line class="bar" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
        f'<circle cx="{value:.1f}" cy="{middle}" r="3.5"/></svg>'
    )
