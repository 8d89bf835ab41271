"""What `surpass store` prints: room taken, what goes, why stages are to do, studies that were imported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from surpass.grouping import grouped
from surpass.report.analysis import errors_table
from surpass.report.listing import print_plain
from surpass.report.terminal import print_results
from surpass.store import Problem
from surpass.store.usage import Share, Usage
from surpass.upkeep.explain import ABSENT, DONE, Difference, Explanation, Name
from surpass.upkeep.importing import Imported
from surpass.upkeep.planning import ARTIFACT, DAMAGED, LEFT_OVER, SCRATCH, Entry

if TYPE_CHECKING:
    from surpass.upkeep.imported import ImportedStudy, Listed

_ID_DIGITS = 8
_MOST_LINES = 12
_DIGEST_DIGITS = 64
_REMEDIES = {
    "left over": "`surpass store clean` removes what was left over",
    "unknown": "move what is unknown out of the store",
    "not found under": "remove what has the wrong name; a run computes it again if it is needed",
    "": "the next run that needs a damaged stage computes it again",
}
"""What to do, by what reasons say; the last for all others."""


def in_words(num_bytes: float) -> str:
    """A size for people: 312 B, 4.1 kB, 93 MB, 1.1 GB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= 0.9995 * size:
            value = num_bytes / size
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return f"{num_bytes:.0f} B"


def print_problems(problems: Sequence[Problem], folder: str) -> None:
    """What `store verify` found, a line each, and what to do about it."""
    if not problems:
        print_plain(Text(f"{folder} is sound"))
        return
    for problem in problems:
        print_long(f"{_near(problem.path)}: {problem.reason}")
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    told = dict.fromkeys(
        next(remedy for mark, remedy in _REMEDIES.items() if mark in problem.reason) for problem in problems
    )
    print_plain(Text(f"\n{count}; {'; '.join(told)}"))


def print_usage(found: Usage, study: str | None) -> None:
    """Room by kind, the largest artifacts, and what is none."""
    table = Table.grid("", "", "", "", "", padding=(0, 2, 0, 0))
    for column in (1, 2, 3, 4):
        table.columns[column].justify = "right"
    if found.study is not None:
        table.add_row("", "", "", f"{study}", "", style="bold")
    for kind, share in [*found.kinds.items(), ("all", _sum(found.kinds))]:
        cells = [kind, f"{share.number:,}", in_words(share.bytes)]
        if found.study is not None:
            of_study = _sum(found.study) if kind == "all" else found.study.get(kind, Share())
            cells += [f"{of_study.number:,}", in_words(of_study.bytes)]
        table.add_row(*cells, style="bold" if kind == "all" else "")
    print_plain(table)
    rest = {"scratch": found.scratch, "left over": found.leftovers, "damaged": found.damaged}
    if any(share.number for share in rest.values()):
        print_plain(Text())
        others = Table.grid("", "", "", padding=(0, 2, 0, 0))
        for name, share in rest.items():
            if share.number:
                others.add_row(name, f"{share.number:,}", in_words(share.bytes))
        print_plain(others)
    if found.largest:
        print_plain(Text("\nLargest", style="bold"))
        sizes = Table.grid("", "", padding=(0, 2, 0, 0))
        sizes.columns[0].justify = "right"
        for one in found.largest:
            sizes.add_row(
                in_words(one.bytes), Text(f"{one.kind}/{one.name}", no_wrap=True, overflow="ellipsis")
            )
        print_plain(sizes)


def print_removal(gone: Sequence[Entry], stays: Sequence[Entry], *, removed: bool) -> None:
    """What goes or has gone, and what stays and why."""
    for_largest = sorted(gone, key=lambda entry: (-entry.bytes, entry.path))
    _print_some([(in_words(entry.bytes), _called(entry)) for entry in for_largest])
    for reason, group in grouped(stays, lambda entry: entry.reason).items():
        print_line(Text(f"{chr(10) if gone else ''}Stays: {reason}", style="bold"))
        _print_some([("", _called(entry)) for entry in group])
    size = in_words(sum(entry.bytes for entry in gone))
    parts = [
        f"{len(group):,} {_plural(what, len(group))}"
        for what, group in grouped(gone, lambda entry: entry.what).items()
    ]
    if not gone:
        print_plain(Text("Nothing to remove."))
    elif removed:
        print_plain(Text(f"\nRemoved {', '.join(parts)}: {size} freed."))
    else:
        print_plain(Text(f"\nWould remove {', '.join(parts)}: {size}; --yes removes it."))


def entries_as_data(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The same as plain data."""
    return [entry._asdict() | {"path": str(entry.path)} for entry in entries]


def words(difference: Difference) -> str:
    """A difference as people say it."""
    field, here, there = difference.field, _value(difference.here), _value(difference.there)
    if field == "version":
        return f"version {here}, there {there}: it is computed in another way now"
    if difference.there == ABSENT:
        return f"{field} {here}, not set there"
    if difference.here == ABSENT:
        return f"{field} not set, there {there}"
    return f"{field} {here}, there {there}"


def print_explanations(found: Sequence[Explanation]) -> None:
    """Every cause once, the stages that it is the cause of counted."""
    missed = [one for one in found if one.state != DONE]
    if not missed:
        name = f"{found[0].stage.kind} {found[0].stage.label}: done" if found else "all done"
        print_plain(Text(name))
        return
    causes = [one for one in missed if one.stage in one.first]
    alike = grouped(causes, _cause)
    stages = f"{len(missed)} stage{'s' if len(missed) > 1 else ''} to do"
    print_plain(Text(f"{stages}, for {len(alike)} reason{'s' if len(alike) > 1 else ''}"))
    for group in alike.values():
        first = {one.stage for one in group}
        behind = sum(one.stage not in first and not first.isdisjoint(one.first) for one in missed)
        _print_cause(group, behind)


def _cause(one: Explanation) -> tuple[Any, ...]:
    """What is equal for stages that are missed for the same reason."""
    return tuple(words(difference) for difference in one.differences), one.note


def _print_cause(group: Sequence[Explanation], behind: int) -> None:
    first = group[0]
    print_plain(Text())
    print_line(_named(first.stage, bold=True))
    if len(group) > 1:
        print_plain(Text(f"  and {len(group) - 1} more of which the same is true"))
    if first.note:
        print_long(f"  {first.note}")
    if first.nearest is not None:
        same = ", same label" if first.nearest.label == first.stage.label else ""
        print_line(_named(first.nearest, before=f"  nearest{same}: "))
    for difference in first.differences:
        of = "" if difference.of == first.stage else f"of {difference.of.kind} {difference.of.label}: "
        print_long(f"  {of}{words(difference)}")
    if behind:
        print_plain(Text(f"  behind {'them' if len(group) > 1 else 'it'}: {behind} more to do"))


def explanations_as_data(found: Sequence[Explanation]) -> list[dict[str, Any]]:
    """The same as plain data, a stage each."""
    return [
        {
            "stage": one.stage._asdict(),
            "state": one.state,
            "note": one.note,
            "nearest": None if one.nearest is None else one.nearest._asdict(),
            "differences": [d._asdict() | {"of": d.of._asdict(), "words": words(d)} for d in one.differences],
            "because": [name._asdict() for name in one.because],
            "first": [name._asdict() for name in one.first],
        }
        for one in found
    ]


def print_imported(found: Imported) -> None:
    """What came of an archive, and how to look at it."""
    there = f"; {found.there} were there already" if found.there else ""
    print_plain(Text(f"{found.name}: {found.new} artifacts and {found.records} records are new{there}"))
    print_long(f"  surpass store show-results {found.name}")
    print_long(f"  surpass run {found.command}    (where its data and models can be found)")


def print_studies(listed: Sequence[Listed]) -> None:
    """A line per imported study."""
    if not listed:
        print_plain(Text("no study was imported"))
        return
    table = Table.grid("", "", "", padding=(0, 2, 0, 0))
    for one in listed:
        table.add_row(one.id[:_ID_DIGITS], one.name, Text(one.command, no_wrap=True, overflow="ellipsis"))
    print_plain(table)


def print_study(study: ImportedStudy) -> None:
    """The table of an imported study, and whose errors its students make."""
    noun = "test puzzles" if study.description.get("task") == "chess" else "test examples"
    print_results(study.results, noun=noun)
    print_plain(Text("\nWhose errors (% of test examples; docs/metrics.md)", style="bold"))
    print_plain(errors_table(study.results))


def print_long(line: str) -> None:
    """A line that a terminal folds and a file takes as it is."""
    from rich.console import Console

    console = Console(soft_wrap=True)
    console.print(Text(line))


def print_line(line: Text) -> None:
    """One line, cut where it is too narrow for it."""
    table = Table.grid()
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_row(line)
    print_plain(table)


def _print_some(rows: Sequence[tuple[str, str]]) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", width=max((len(size) for size, _ in rows), default=0))
    table.add_column()
    for size, name in rows[:_MOST_LINES]:
        table.add_row(size, Text(name, no_wrap=True, overflow="ellipsis"))
    if rows:
        print_plain(table)
    if len(rows) > _MOST_LINES:
        print_plain(Text(f"... and {len(rows) - _MOST_LINES:,} more (--json names all)"))


def _called(entry: Entry) -> str:
    reason = f" ({entry.reason})" if entry.reason and entry.what != ARTIFACT else ""
    return f"{entry.kind or entry.what} {entry.name}{reason}"


def _plural(what: str, number: int) -> str:
    one = {SCRATCH: "scratch folder", LEFT_OVER: "leftover", DAMAGED: "damaged folder", ARTIFACT: ARTIFACT}[
        what
    ]
    return one if number == 1 else f"{one}s"


def _sum(shares: dict[str, Share]) -> Share:
    return Share(sum(s.number for s in shares.values()), sum(s.bytes for s in shares.values()))


def _named(name: Name, *, before: str = "", bold: bool = False) -> Text:
    line = Text(f"{before}{name.id[:_ID_DIGITS]} ", no_wrap=True, overflow="ellipsis")
    return line.append(f"{name.kind} {name.label}", style="bold" if bold else "")


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "(" + ", ".join(map(_value, value)) + ")"
    text = "none" if value is None else str(value)
    return text[:_ID_DIGITS] if len(text) == _DIGEST_DIGITS else text


def _near(path: Path | str) -> str:
    """A path as seen from here, if it is below; URLs as they are."""
    here = isinstance(path, Path) and path.is_relative_to(Path.cwd())
    return os.path.relpath(path) if here else str(path)
