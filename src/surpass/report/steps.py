"""The table of judges of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from surpass.grouping import grouped
from surpass.report.methods import ORACLE_MARK, Shortened, percent, table_of
from surpass.rows import JudgeScores

if TYPE_CHECKING:
    from rich.table import Table

JUDGED = "Judging steps (%, over problems; docs/process.md)"


def steps_table(found: Sequence[JudgeScores]) -> Table | None:
    """Each metric of each method: supervisor, student, ceiling, and PGR with its interval over problems."""
    if not found:
        return None
    from rich.text import Text

    table = table_of("pair, metric, method", "weak", "student", "ceiling", "PGR %", "95 %")
    for (*pair, metric), rows in grouped(
        found, lambda row: (row.weak_model, row.strong_model, row.metric)
    ).items():
        heading = f"{' → '.join(pair)}, {metric}"
        table.add_row(Text(heading, style="bold", no_wrap=True, overflow="ellipsis"))
        for row in rows:
            estimate = row.estimate
            table.add_row(
                Shortened(f"  {row.method}", ORACLE_MARK if row.oracle else ""),
                *(percent(mean) for mean in (estimate.weak, estimate.student, estimate.ceiling)),
                percent(estimate.value),
                f"{percent(estimate.low)} to {percent(estimate.high)}" if estimate.valid else "undefined",
            )
    return table


def plain_steps(found: Sequence[JudgeScores]) -> list[dict[str, Any]]:
    """The same as plain data; null where a number is undefined."""
    from dataclasses import asdict

    return [
        row._asdict() | {"estimate": {k: None if v != v else v for k, v in asdict(row.estimate).items()}}
        for row in found
    ]
