"""Tables of probe analyses: accuracy by group, concept saliency, layer sweeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from surpass.analyses.saliency import Saliency
from surpass.analyses.worst_groups import Grouped
from surpass.grouping import grouped
from surpass.layers import Layer
from surpass.report.methods import ORACLE_MARK, Shortened, percent, table_of

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

END = "end"


def groups_table(found: Sequence[Grouped]) -> Table | None:
    """The worst group of supervisor, student and ceiling, and the student's accuracy in each group."""
    if not found:
        return None
    names = list(dict.fromkeys((group.truth, group.attribute) for row in found for group in row.groups))
    shown = names if len(names) <= _MOST_GROUPS else []
    headings = [f"{truth}/{attribute}" for truth, attribute in shown]
    table = table_of("pair, method", "weak, worst", "student", "ceiling", *headings)
    for pair, rows in grouped(found, lambda row: (row.weak_model, row.strong_model)).items():
        table.add_row(_heading(pair))
        for row in rows:
            accuracy = {(group.truth, group.attribute): group.student for group in row.groups}
            table.add_row(
                Shortened(f"  {row.method}", ORACLE_MARK if row.oracle else ""),
                *(percent(value) for value in (row.weak_worst, row.student_worst, row.ceiling_worst)),
                *(percent(accuracy.get(name, math.nan)) for name in shown),
            )
    return table


_MOST_GROUPS = 6


def saliency_table(found: Sequence[Saliency]) -> Table | None:
    """The five strategies of each pair, and the share of the gap that the fourth closes."""
    if not found:
        return None
    table = table_of("pair, strategy", "acc. %", "95 %")
    for entry in found:
        table.add_row(_heading((entry.weak_model, entry.strong_model)))
        for row in entry.strategies:
            accuracy = row.accuracy
            interval = f"{percent(accuracy.low)} to {percent(accuracy.high)}"
            table.add_row(Shortened(f"  {row.name}"), percent(accuracy.value), interval)
        closed = entry.closed
        if closed.reason is None:
            table.add_row(
                Shortened("  gap closed, %"),
                percent(closed.value),
                f"{percent(closed.low)} to {percent(closed.high)}",
            )
        else:
            table.add_row(Shortened("  gap closed: undefined"), "-", "")
    return table


def layers_table(found: Sequence[Layer]) -> Table | None:
    """Accuracy and PGR of each method by layer."""
    if not found:
        return None
    table = table_of("pair, method, layer", "weak", "student", "ceiling", "PGR %", "95 %")
    for pair, rows in grouped(found, lambda row: (row.weak_model, row.strong_model)).items():
        table.add_row(_heading(pair))
        for row in rows:
            layer = END if row.layer is None else str(row.layer)
            known = not math.isnan(row.pgr)
            table.add_row(
                Shortened(f"  {row.method}, {layer}", ORACLE_MARK if row.oracle else ""),
                *(percent(value) for value in (row.weak, row.student, row.ceiling, row.pgr)),
                f"{percent(row.low)} to {percent(row.high)}" if known else "",
            )
    return table


def _heading(pair: tuple[str, str]) -> Text:
    from rich.text import Text

    return Text(" → ".join(pair), style="bold", no_wrap=True, overflow="ellipsis")
