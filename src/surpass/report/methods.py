"""Methods side by side as a table: median PGR over the pairs, and the difference to naive fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surpass.ranking import BASELINE, Rank

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    from surpass.results import Results

ORACLE_MARK = "*"
ALPHA = 0.05
NOTE = (
    "vs naive: mean difference of accuracy over the pairs, in points [95 %], with the p value corrected "
    "for the number of methods (Holm)."
)


@dataclass(frozen=True)
class Shortened:
    """A name in a table that gives way where a line is too narrow, but not what is behind it."""

    name: str
    behind: str = ""

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        return Measurement(1, len(self.name) + len(self.behind))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        room = options.max_width - len(self.behind)
        name = self.name if len(self.name) <= room else f"{self.name[: max(room - 1, 0)]}…"
        yield Text(name + self.behind, no_wrap=True, overflow="ellipsis")


def table_of(names: str, *numbers: str) -> Table:
    """An empty table: a column of names, which gives way on a narrow line, and columns of numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(names)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def ordered(ranks: Sequence[Rank]) -> list[Rank]:
    """Best first by the difference to naive; oracles behind the others."""

    def place(rank: Rank) -> tuple[bool, float]:
        difference = rank.comparison.difference if rank.comparison is not None else 0.0
        return rank.oracle, -difference

    return sorted(ranks, key=place)


def methods_table(ranks: Sequence[Rank]) -> Table:
    """Lay the ranks out, best first."""
    table = table_of("method", "pairs", "median PGR %", "acc. %", "vs naive, points", "p")
    many = len({rank.labels for rank in ranks}) > 1
    for rank in ordered(ranks):
        labels = f" ({rank.labels})" if many else ""
        table.add_row(
            Shortened(rank.method, f"{labels}{ORACLE_MARK if rank.oracle else ''}"),
            _pairs(rank),
            percent(rank.pgr.median),
            *_compared(rank, ranks),
            style="bold" if beyond_noise(rank) else "",
        )
    return table


def beyond_noise(rank: Rank) -> bool:
    """Whether a method differs from naive beyond noise, after correction."""
    return rank.comparison is not None and rank.comparison.adjusted_p < ALPHA


def has_ranking(results: Results) -> bool:
    """Whether there is a method to compare with naive fine-tuning."""
    return any(rank.comparison is not None for rank in results.ranks)


def has_fair_ranking(results: Results) -> bool:
    """Whether there is one without ground truth."""
    return any(rank.comparison is not None and not rank.oracle for rank in results.ranks)


def methods_headline(ranks: Sequence[Rank]) -> str:
    """Say in one sentence how many methods without truth beat naive fine-tuning, and which does best."""
    fair = [rank for rank in ordered(ranks) if not rank.oracle]
    compared = [rank.comparison for rank in fair if rank.comparison is not None]
    if not compared:
        return "No method without ground truth to compare with naive fine-tuning."
    better = sum(c.difference > 0 and c.adjusted_p < ALPHA for c in compared)
    worse = sum(c.difference < 0 and c.adjusted_p < ALPHA for c in compared)
    best = compared[0]
    total = f"{len(compared)} methods" if len(compared) > 1 else "1 method"
    return (
        f"Of {total} without ground truth, {better} beat{'s' if better == 1 else ''} naive fine-tuning "
        f"beyond noise and {worse} {'is' if worse == 1 else 'are'} worse; the best, {best.method}, differs "
        f"by {100 * best.difference:+.1f} points ({100 * best.low:+.1f} to {100 * best.high:+.1f}), "
        f"p {equation(best.adjusted_p)}, over {best.num_tasks} pair{'s' if best.num_tasks > 1 else ''} and "
        f"{best.num_seeds} seed{'s' if best.num_seeds > 1 else ''}."
    )


def _pairs(rank: Rank) -> str:
    """How many pairs, and of how many of them PGR is defined."""
    return str(rank.num_pairs) if not rank.pgr.num_invalid else f"{rank.pgr.num_valid}/{rank.num_pairs}"


def _compared(rank: Rank, ranks: Sequence[Rank]) -> tuple[str, str, str]:
    comparison = rank.comparison
    if comparison is None:
        accuracy = _own_accuracy(ranks, rank.labels) if rank.method == BASELINE else math.nan
        return percent(accuracy), "", ""
    low, high = 100 * comparison.low, 100 * comparison.high
    difference = f"{100 * comparison.difference:+.1f} [{low:+.1f}, {high:+.1f}]"
    return percent(comparison.accuracy), difference, p_text(comparison.adjusted_p)


def _own_accuracy(ranks: Sequence[Rank], labels: str) -> float:
    """What naive fine-tuning reaches, over as many pairs as any method is compared on."""
    same = [rank.comparison for rank in ranks if rank.comparison is not None and rank.labels == labels]
    return max(same, key=lambda comparison: comparison.num_tasks).baseline_accuracy if same else math.nan


def percent(value: float) -> str:
    """A share as a percentage, or a dash where there is none."""
    return "-" if math.isnan(value) else f"{round(100 * value, 1) + 0.0:.1f}"


def p_text(p_value: float) -> str:
    """A p value as it is printed."""
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def equation(p_value: float) -> str:
    """A p value as it stands in a sentence behind the letter p."""
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"
