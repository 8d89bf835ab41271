"""The parts of the page that are there without scripts: the answer, the tables, what the study was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from surpass.durations import duration
from surpass.grouping import grouped
from surpass.report.methods import ORACLE_MARK
from surpass.report.page_marks import marks
from surpass.report.page_text import breakable, names_of, number, percents, plain, shown, written

Record = Mapping[str, Any]

READING = (
    "PGR, the performance gap recovered, is (student \N{MINUS SIGN} weak) / (ceiling \N{MINUS SIGN} weak) of "
    "accuracies averaged over seeds: at 0 % the student is no better than its supervisor, at 100 % it is as "
    "good as the same model trained on truth. It is not clipped: below 0 and above 100 % are results too.",
    "It is undefined where the ceiling does not beat the supervisor beyond noise, and unsteady where it "
    "hardly does. Look at the accuracies as well: a large share of a small gap is little.",
    "An interval says how far a number could be off, not which of two methods is better: for that there is "
    "the comparison on the same examples and seeds. The best of many looks better than it is.",
)


def head_of(document: Record) -> str:
    """The title of the page: the names of the studies."""
    return f"{' and '.join(names_of(document))} · Surpass report"


def contents(document: Record) -> str:
    """The head of the page: what it is about, and the answer."""
    made = document["made"]
    names = shown(" and ".join(names_of(document)))
    date = str(made["on"])[:10]
    return (
        f'<p class="kicker">Surpass report, {shown(date)}</p><h1>{names}</h1>'
        f'<p class="answer">{shown(document["answer"], 2_000)}</p>'
    )


def results_section(document: Record) -> str:
    """One table for each study, with its notes, and how to read it."""
    indexed = list(enumerate(document["summaries"]))
    parts = []
    names = names_of(document)
    for place, study in enumerate(document["studies"]):
        own = [(index, summary) for index, summary in indexed if summary["study"] == place]
        heading = f"<h3>{shown(names[place])}</h3>" if len(names) > 1 else ""
        parts.append(f'<div class="study" data-study="{place}">{heading}{_table(own, names[place])}')
        parts.append(f"{_notes(study)}</div>")
    reading = "".join(f"<li>{line}</li>" for line in READING)
    return (
        f'{"".join(parts)}<p class="nothing" id="no-results" hidden>No result is left by the filters.</p>'
        f'<div class="reading"><h3>How to read PGR</h3><ul>{reading}</ul></div>'
    )


def _table(own: Sequence[tuple[int, Record]], called: str) -> str:
    if not own:
        return "<p>No results.</p>"
    level = own[0][1]["estimate"]["level"]
    cells = _Cells(own)
    head = "".join(
        f'<th scope="col"{extra}>{text}</th>'
        for text, extra in (
            ("method", ""),
            ("weak %", ' class="n"'),
            ("student %", ' class="n"'),
            ("ceiling %", ' class="n"'),
            (f"PGR % [{100 * level:g}&nbsp;%]", ' class="n"'),
            (f'<span class="unseen">PGR, drawn</span>{cells.scale}', ' class="drawn"'),
            ("seeds", ' class="n aside"'),
            ("time", ' class="n aside"'),
        )
    )
    bodies = []
    for (task, weak, strong), group in grouped(
        own, lambda pair: (pair[1]["task"], pair[1]["weak"], pair[1]["strong"])
    ).items():
        of_task = f"{shown(task)}: " if cells.many_tasks else ""
        name = f"{of_task}{shown(weak)} → {shown(strong)}"
        # Oracles stand behind the others, whatever their place in the study.
        rows = "".join(
            cells.row(index, summary) for index, summary in sorted(group, key=lambda pair: pair[1]["oracle"])
        )
        bodies.append(
            f'<tbody><tr class="pair"><th colspan="8" scope="rowgroup">{name}</th></tr>{rows}</tbody>'
        )
    unseen = f"Accuracies and PGR of {shown(called)}"
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{unseen}"><table class="results">'
        f'<caption class="unseen">{unseen}</caption>'
        f"<thead><tr>{head}</tr></thead>{''.join(bodies)}</table></div>"
    )


class _Cells:
    """The rows of one study's table."""

    def __init__(self, own: Sequence[tuple[int, Record]]) -> None:
        summaries = [summary for _, summary in own]
        reasons = dict.fromkeys(s["estimate"]["reason"] for s in summaries if s["estimate"]["reason"])
        self.reasons = {reason: place for place, reason in enumerate(reasons, start=1)}
        self.many_tasks = len({summary["task"] for summary in summaries}) > 1
        self.many_labels = {
            key
            for key, group in grouped(summaries, _without_labels).items()
            if len({summary["labels"] for summary in group}) > 1
        }
        self.scale, drawn = marks([summary["estimate"] for summary in summaries])
        self.marks = {index: mark for (index, _), mark in zip(own, drawn, strict=True)}

    def row(self, index: int, summary: Record) -> str:
        estimate = summary["estimate"]
        roles = "".join(
            f'<td class="n">{percents(estimate[role])}</td>' for role in ("weak", "student", "ceiling")
        )
        labels = f" ({shown(summary['labels'])})" if _without_labels(summary) in self.many_labels else ""
        star = (
            f'<abbr title="learned from truth: an oracle">{ORACLE_MARK}</abbr>' if summary["oracle"] else ""
        )
        return (
            f'<tr data-summary="{index}"{" class=oracle" if summary["oracle"] else ""}>'
            f'<th scope="row"><button type="button" class="from">{breakable(summary["method"])}'
            f"{labels}{star}</button></th>{roles}"
            f'<td class="n pgr">{self._pgr(estimate)}</td><td class="drawn">{self.marks[index]}</td>'
            f'<td class="n aside">{estimate["num_seeds"]}</td>'
            f'<td class="n aside">{duration(summary["seconds"])}</td></tr>'
        )

    def _pgr(self, estimate: Record) -> str:
        if not estimate["valid"]:
            place = self.reasons.get(estimate["reason"])
            return "undefined" if place is None else f"undefined ({place})"
        low, high = percents(estimate["low"]), percents(estimate["high"])
        beyond = number(estimate["low"]) > 0 or number(estimate["high"]) < 0
        value = percents(estimate["value"])
        return f"{f'<b>{value}</b>' if beyond else value} <span>[{low}, {high}]</span>"


def _without_labels(summary: Record) -> tuple[object, ...]:
    return tuple(summary[name] for name in ("study", "task", "weak", "strong", "method", "oracle"))


def _notes(study: Record) -> str:
    notes = [str(note) for note in study["footnotes"]]
    if not any(note.startswith("left out") for note in notes):
        notes += [
            f"left out for {left['weak']} → {left['strong']}: {left['method']}: {left['reason']}"
            for left in study["left_out"]
        ]
    notes.append("PGR in bold: its interval does not hold 0")
    return f'<ul class="notes">{_items(notes)}</ul>'


def arrows_note(document: Record) -> str:
    """What the arrows on boards are; nothing where there is no board."""
    if not any(example.get("board") for example in document["examples"]):
        return ""
    from surpass.report.board_svg import ARROWS

    return f'<p class="about">Arrows on boards: {plain("; ".join(ARROWS.values()))}.</p>'


def studies_section(document: Record) -> str:
    """What each study was: its task, settings, stages, and the command that makes it again."""
    return "".join(map(_study, document["studies"], names_of(document)))


def _study(study: Record, called: str) -> str:
    stages = study["stages"]
    rows = [
        ("about", f"{study['task']['name']}: {study['task']['about']}"),
        ("labels", study["labels"]),
        ("seeds", ", ".join(map(str, study["seeds"]))),
        ("pairs", ", ".join(f"{weak} → {strong}" for weak, strong in study["pairs"])),
        ("methods", ", ".join(map(str, study["methods"]))),
        *((name, value) for name, value in study["settings"]),
        (
            "stages",
            f"{stages['distinct']:,} for {stages['asked']:,} asked for, {duration(stages['seconds'])}",
        ),
        ("study id", study["id"]),
    ]
    lines = "".join(f"<dt>{shown(name)}</dt><dd>{shown(value, 2_000)}</dd>" for name, value in rows)
    return (
        f"<h3>{shown(called)}</h3>"
        f'<p class="command"><code>{shown(study["command"], 2_000)}</code>'
        '<button type="button" class="copy">Copy</button></p>'
        f"<details><summary>Settings</summary><dl>{lines}</dl></details>{_published(study)}"
    )


def _published(study: Record) -> str:
    published = study.get("published")
    if not published:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{shown(name)}</th><td>{what}</td>'
        f'<td class="n">{written(value, "percent")}</td></tr>'
        for what, values in (("accuracy", published["accuracy"]), ("PGR", published["pgr"]))
        for name, value in values.items()
    )
    return (
        f"<details><summary>Published numbers</summary><p>{shown(published['source'])}</p>"
        '<table><thead><tr><th scope="col">what</th><th scope="col">number</th>'
        f'<th scope="col" class="n">%</th></tr></thead><tbody>{rows}</tbody></table></details>'
    )


def _items(texts: Iterable[str]) -> str:
    return "".join(f"<li>{shown(text, 1_000)}</li>" for text in texts)
