"""Results as a table for a terminal, a log file or a README: 80 columns, the same text everywhere."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from surpass.durations import duration
from surpass.grouping import grouped
from surpass.report.methods import NOTE as METHODS_NOTE
from surpass.report.methods import (
    ORACLE_MARK,
    Shortened,
    has_fair_ranking,
    has_ranking,
    methods_headline,
    methods_table,
    percent,
    table_of,
)
from surpass.report.steps import JUDGED, steps_table
from surpass.results import Results
from surpass.rows import Key, Summary
from surpass.stats import PgrEstimate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 80
PAIR_WIDTH = 18  # what the columns of numbers leave of 80
# Written out for the headline; any other method is "the <name> method".
SPOKEN_METHODS = {"naive": "naive fine-tuning"}


class _Names(NamedTuple):
    """How models and methods are called in one table."""

    models: dict[str, str]
    with_task: bool
    with_labels: frozenset[Key]
    arrow: str


def summary_table(results: Results, *, arrow: str = "→") -> Table:
    """Lay out the summaries: a heading for each pair, and below it a line for each method.

    Accuracies and PGR are percentages. The number behind an undefined PGR is that of its footnote.

    Args:
        results: What to show, in its own order.
        arrow: What stands between the weak and the strong model.
    """
    from rich.text import Text

    summaries = results.summary()
    names = _names(summaries, arrow)
    cells = _pgr_cells(summaries)
    table = table_of("pair, method", "weak", "student", "ceiling", _pgr_heading(summaries), "seeds", "time")
    for place, (lines, group) in enumerate(_by_pair(summaries, names).items()):
        if place:
            table.add_row()
        for line in lines:
            table.add_row(Text(line, style="bold", no_wrap=True, overflow="ellipsis"))
        for summary in group:
            estimate = summary.estimate
            table.add_row(
                _method(summary.key, names),
                *(f"{100 * mean:.1f}" for mean in (estimate.weak, estimate.student, estimate.ceiling)),
                Text(cells[summary.key], style=_colour(estimate)),
                str(estimate.num_seeds),
                duration(summary.seconds),
            )
    return table


def footnotes(results: Results) -> list[str]:
    """List what a reader of the table must know: missing values, oracles, single seeds."""
    summaries = results.summary()
    notes = [f"({number}) {reason}" for reason, number in _reason_numbers(summaries).items()]
    if any(summary.key.oracle for summary in summaries):
        notes.append(f"{ORACLE_MARK} used ground truth (oracle): not a weak-to-strong result")
    notes += sorted({note for summary in summaries if (note := summary.estimate.note)})
    return [*notes, *results.notes, *left_out_notes(results)]


def left_out_notes(results: Results) -> list[str]:
    """A line for each reason why methods were left out."""
    pairs = {(summary.key.weak_model, summary.key.strong_model) for summary in results.summary()}
    pairs |= {(left.weak_model, left.strong_model) for left in results.left_out}
    models = _shortened(chain.from_iterable(pairs))
    reasons: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (method, reason), group in grouped(results.left_out, lambda left: (left.method, left.reason)).items():
        where = [f"{models[left.weak_model]} -> {models[left.strong_model]}" for left in group]
        everywhere = len(where) == len(pairs)
        reasons.setdefault((reason, () if everywhere else tuple(where)), []).append(method)
    return [
        f"left out{f' for {_listed(where)}' if where else ''}: {_listed(methods)}: {reason}"
        for (reason, where), methods in reasons.items()
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def headline(results: Results, *, noun: str = "test examples") -> str:
    """Say in one sentence which pair and method recovered most of the gap.

    Only methods without ground truth and with a defined PGR compete.

    Args:
        results: What to sum up.
        noun: What the test examples are, such as "test puzzles".
    """
    summaries = results.summary()
    candidates = [summary for summary in summaries if summary.estimate.valid and not summary.key.oracle]
    if not summaries:
        return "No results."
    if not candidates:
        return "No PGR to report: none is both defined and free of ground truth."
    if has_fair_ranking(results):
        return methods_headline(results.ranks)
    best = max(candidates, key=lambda summary: summary.estimate.value)
    estimate, models = best.estimate, _short_names(summaries)
    method = SPOKEN_METHODS.get(best.key.method, f"the {best.key.method} method")
    low, high = f"{100 * estimate.low:.0f}", f"{100 * estimate.high:.0f}"
    seeds = "1 seed" if estimate.num_seeds == 1 else f"{estimate.num_seeds} seeds"
    return (
        f"{f'Best of {len(summaries)}: ' if len(summaries) > 1 else ''}"
        f"{models[best.key.weak_model]} supervising {models[best.key.strong_model]} recovers "
        f"{100 * estimate.value:.0f} % ({low} to {high} %) of the gap with {method}, "
        f"{seeds}, {estimate.num_examples:,} {noun}."
    )


def plain_text(results: Results, *, noun: str = "test examples", ascii_only: bool = False) -> str:
    """Render table, footnotes and headline without colour, at most 80 columns, no trailing blanks.

    Args:
        results: What to show.
        noun: What the test examples are, such as "test puzzles".
        ascii_only: For streams that cannot encode arrows and lines.
    """
    from io import StringIO

    from rich.console import Console

    if not len(results):
        return headline(results) + "\n"
    console = Console(file=StringIO(), width=WIDTH, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(summary_table(results, arrow="->" if ascii_only else "→"))
    blocks = [capture.get(), _wrapped(footnotes(results))]
    if (judged := steps_table(results.judged)) is not None:
        with console.capture() as capture:
            console.print(judged)
        blocks += [JUDGED, capture.get()]
    if has_ranking(results):
        with console.capture() as capture:
            console.print(methods_table(results.ranks))
        blocks += [capture.get(), _wrapped([METHODS_NOTE])]
    blocks.append(_wrapped([headline(results, noun=noun)]))
    lines = "\n\n".join(block.strip("\n") for block in blocks if block).splitlines()
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    return (
        text.replace("─", "-").replace("…", "~").encode("ascii", "replace").decode() if ascii_only else text
    )


def print_results(results: Results, console: Console | None = None, *, noun: str = "test examples") -> None:
    """Print table, footnotes and headline, in colour on a terminal and as `plain_text` elsewhere.

    Args:
        results: What to print.
        console: Where to; standard output by default.
        noun: What the test examples are, such as "test puzzles".
    """
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    if not console.is_terminal or not len(results):
        console.file.write(plain_text(results, noun=noun, ascii_only=not console.encoding.startswith("utf")))
        return
    console.print(summary_table(results))
    console.print()
    notes = footnotes(results)
    if notes:
        console.print(Text(_wrapped(notes), style="dim"), end="\n\n")
    if (judged := steps_table(results.judged)) is not None:
        console.print(Text(JUDGED, style="bold"))
        console.print(judged)
        console.print()
    if has_ranking(results):
        console.print(methods_table(results.ranks))
        console.print()
        console.print(Text(_wrapped([METHODS_NOTE]), style="dim"), end="\n\n")
    console.print(Text(_wrapped([headline(results, noun=noun)]), style="bold"))


def _wrapped(paragraphs: Iterable[str]) -> str:
    return "\n".join(textwrap.fill(paragraph, WIDTH) for paragraph in paragraphs)


def _names(summaries: Sequence[Summary], arrow: str) -> _Names:
    kinds: dict[tuple[object, ...], set[str]] = {}
    for summary in summaries:
        kinds.setdefault(_without_labels(summary.key), set()).add(summary.key.labels)
    ambiguous = frozenset(s.key for s in summaries if len(kinds[_without_labels(s.key)]) > 1)
    with_task = len({summary.key.task for summary in summaries}) > 1
    return _Names(_short_names(summaries), with_task, ambiguous, arrow)


def _without_labels(key: Key) -> tuple[object, ...]:
    return key.task, key.weak_model, key.strong_model, key.method, key.oracle


def _short_names(summaries: Sequence[Summary]) -> dict[str, str]:
    return _shortened(model for s in summaries for model in (s.key.weak_model, s.key.strong_model))


def _shortened(models: Iterable[str]) -> dict[str, str]:
    """Shorten model strings ("ladder:chess-2", "hub:org/name@rev") unless two would look the same."""
    short = {m: m.split("@")[0].rstrip("/").replace(":", "/").rsplit("/", 1)[-1] or m for m in models}
    taken = list(short.values())
    return {model: name if taken.count(name) == 1 else model for model, name in short.items()}


def _by_pair(summaries: Sequence[Summary], names: _Names) -> dict[tuple[str, ...], list[Summary]]:
    """Gather the summaries below headings of one or more lines."""
    groups: dict[tuple[str, ...], list[Summary]] = {}
    for summary in summaries:
        weak, strong = names.models[summary.key.weak_model], names.models[summary.key.strong_model]
        pair = f"{weak} {names.arrow} {strong}"
        lines = (pair,) if len(pair) <= PAIR_WIDTH else (weak, f"{names.arrow} {strong}")
        task = (f"{summary.key.task}:",) if names.with_task else ()
        groups.setdefault(task + lines, []).append(summary)
    return groups


def _method(key: Key, names: _Names) -> Shortened:
    labels = f" ({key.labels})" if key in names.with_labels else ""
    return Shortened(f"  {key.method}", f"{labels}{ORACLE_MARK if key.oracle else ''}")


def _reason_numbers(summaries: Sequence[Summary]) -> dict[str, int]:
    reasons = dict.fromkeys(s.estimate.reason for s in summaries if s.estimate.reason)
    return {reason: number for number, reason in enumerate(reasons, start=1)}


def _pgr_heading(summaries: Sequence[Summary]) -> str:
    level = summaries[0].estimate.level if summaries else 0.95
    return f"PGR % [{100 * level:g} %]"


def _pgr_cells(summaries: Sequence[Summary]) -> dict[Key, str]:
    """Write PGR and interval so that digits and brackets stand below each other."""
    numbers = _reason_numbers(summaries)
    valid = [s for s in summaries if s.estimate.valid]
    triples = {
        s.key: [percent(x) for x in (s.estimate.value, s.estimate.low, s.estimate.high)] for s in valid
    }
    widths = [max(map(len, column)) for column in zip(*triples.values(), strict=True)]
    cells = {s.key: f"undefined ({numbers[s.estimate.reason]})" for s in summaries if s.estimate.reason}
    for key, triple in triples.items():
        value, low, high = (text.rjust(width) for text, width in zip(triple, widths, strict=True))
        cells[key] = f"{value} [{low}, {high}]"
    return cells


def _colour(estimate: PgrEstimate) -> str:
    """Colour only what differs from 0 beyond noise."""
    if not estimate.valid:
        return "yellow"
    if estimate.low > 0:
        return "bold green"
    return "bold red" if estimate.high < 0 else ""
