"""Figures that hold methods, tasks or models against one another: rankings, agreement, overlap of errors.

Source:
    Burns et al. 2023, figures 8 and 12, for agreement and for tasks.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from surpass.ranking import BASELINE
from surpass.report.figures.by_size import AGREEMENTS, beyond
from surpass.report.figures.captions import PGR, caption, lacking, missing, oracles, with_methods
from surpass.report.figures.picture import Grid, Marks, Panel, Picture, Value, spread
from surpass.report.figures.reading import Shown, Variant, over_tasks
from surpass.report.figures.sizes import number
from surpass.report.methods import NOTE, ORACLE_MARK

MOST_PANELS = 6
LINE_HEIGHT = 0.19
HEAD, LEAST_HEIGHT = 0.75, 1.3


def methods(shown: Shown) -> Picture:
    """Methods side by side: median PGR, and the difference to naive fine-tuning with its interval."""
    groups = [
        (study, _ordered([rank for rank in shown.document["ranks"] if rank["study"] == place]))
        for place, study in enumerate(shown.studies)
    ]
    groups = [(study, ranks) for study, ranks in groups if any(rank["comparison"] for rank in ranks)]
    if not groups:
        how = with_methods(shown, BASELINE, "confidence")
        raise lacking("methods", "no method to compare with naive fine-tuning", shown, how)
    titles = dict(zip(map(id, shown.studies), _titles(shown), strict=True)) if len(groups) > 1 else {}
    panels = [panel for study, ranks in groups for panel in _ranked(titles.get(id(study), ""), ranks)]
    used_truth = [Variant("", "", rank["oracle"], "") for _, ranks in groups for rank in ranks]
    pairs = max(rank["num_pairs"] for _, ranks in groups for rank in ranks)
    return Picture(
        name="methods",
        panels=panels,
        height=max(HEAD + LINE_HEIGHT * max(len(ranks) for _, ranks in groups), LEAST_HEIGHT),
        caption=caption(
            f"Methods on {shown.setting}, over {pairs} pair{'s' if pairs > 1 else ''}. Left: median {PGR}. "
            f"Right: {NOTE}",
            _undefined_ranks(groups),
            oracles(used_truth),
        ),
    )


def _ordered(ranks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """As the table has them: best first by the difference to naive; oracles behind the others."""

    def place(rank: Mapping[str, Any]) -> tuple[bool, float]:
        return rank["oracle"], -(rank["comparison"]["difference"] if rank["comparison"] else 0.0)

    return sorted(ranks, key=place)


def _titles(shown: Shown) -> list[str]:
    """Tasks, or how studies are called where several have the same."""
    names = shown.task_names
    return [
        name if names.count(name) == 1 else " ".join(study["called"])
        for name, study in zip(names, shown.studies, strict=True)
    ]


def _ranked(title: str, ranks: Sequence[Mapping[str, Any]]) -> list[Panel]:
    many = len({rank["labels"] for rank in ranks}) > 1
    names = [Variant(r["method"], r["labels"], r["oracle"], "").named(with_labels=many) for r in ranks]
    medians = [Value(number(rank["pgr"]["median"])) for rank in ranks]
    compared = [rank["comparison"] or {} for rank in ranks]
    differences = [
        Value(number(c.get("difference")), number(c.get("low")), number(c.get("high"))) for c in compared
    ]
    oracle = [bool(rank["oracle"]) for rank in ranks]
    left = dots(title, "median PGR (%)", names, {"": medians}, oracle=oracle)
    right = dots("", "difference to naive (points)", names, {"": differences}, oracle=oracle)
    methods = [rank["method"] for rank in ranks]
    return [
        replace(left, x_range=spread(medians), what="median pgr", methods=methods),
        replace(right, y_names=[""] * len(names), undefined=()),
    ]


def dots(
    title: str,
    x_label: str,
    names: Sequence[str],
    rows: Mapping[str, Sequence[Value]],
    *,
    oracle: Sequence[bool] = (),
    series: Sequence[int] = (),
) -> Panel:
    """Named lines from the top, in each a dot for each row of values.

    Args:
        title: Above it.
        x_label: With its unit.
        names: Of the lines; those that used ground truth last.
        rows: By their name in the legend, a value for each line.
        oracle: Which lines used ground truth; () for none.
        series: What colours and shapes go by; by default the place among the rows.
    """
    used = list(oracle) or [False] * len(names)
    marks = []
    for row, (name, values) in enumerate(rows.items()):
        shift = 0.0 if len(rows) == 1 else 0.5 * (row / (len(rows) - 1) - 0.5)
        for kind in (False, True):
            chosen = [
                (place + shift, value)
                for place, value in enumerate(values)
                if used[place] == kind and not value.missing
            ]
            if chosen:
                marks.append(
                    Marks(
                        name=name if not kind or all(used) else "",
                        x=[value.value for _, value in chosen],
                        y=[place for place, _ in chosen],
                        low=[value.low for _, value in chosen],
                        high=[value.high for _, value in chosen],
                        series=series[row] if series else row,
                        look="oracle" if kind else "line",
                        joined=False,
                    )
                )
    fair = used.count(False)
    return Panel(
        title=title,
        x_label=x_label,
        y_label="",
        marks=marks,
        y_names=names,
        x_percent=True,
        y_percent=False,
        x_zero=True,
        undefined=[float(p) for p in range(len(names)) if all(row[p].missing for row in rows.values())],
        apart=fair if 0 < fair < len(used) else 0,
    )


def _undefined_ranks(groups: Sequence[tuple[Any, Sequence[Mapping[str, Any]]]]) -> str:
    gone = [
        f"{rank['method']}: {rank['pgr']['num_invalid']} of {rank['num_pairs']}"
        for _, ranks in groups
        for rank in ranks
        if rank["pgr"]["num_invalid"]
    ]
    return f"Pairs without a PGR are left out of medians ({'; '.join(gone)})." if gone else ""


def agreement(shown: Shown) -> Picture:
    """Agreement of each method's students with their supervisor, where it is right and where it is wrong."""
    pairs = list(dict.fromkeys((student.task, student.weak, student.strong) for student in shown.students))
    several = len(pairs) > MOST_PANELS
    panels = [_agreement(shown, pair) for pair in ([None] if several else pairs)]
    columns = min(3, len(panels))
    panels = [
        replace(panel, y_names=[""] * len(panel.y_names))
        if place % columns and panel.y_names == panels[place - 1].y_names
        else panel
        for place, panel in enumerate(panels)
    ]
    return Picture(
        name="agreement",
        panels=panels,
        columns=columns,
        height=max(HEAD + (LINE_HEIGHT + 0.04) * max(len(p.y_names) for p in panels), LEAST_HEIGHT),
        caption=caption(
            f"How often students answer as their supervisor does, on {shown.setting}: on all test examples, "
            "on those that the supervisor answers rightly, and on those that it answers wrongly.",
            f"Medians over {len(pairs)} pairs." if several else "",
            oracles(shown.variants),
        ),
    )


def _agreement(shown: Shown, pair: tuple[str, str, str] | None) -> Panel:
    """Of one task and pair, or medians over all."""
    students = [s for s in shown.students if pair in (None, (s.task, s.weak, s.strong))]
    variants = [v for v in shown.variants if any(s.variant == v for s in students)]
    rows = {
        title: [_middle([s.value(what) for s in students if s.variant == v]) for v in variants]
        for what, title in AGREEMENTS.items()
    }
    task, weak, strong = pair or ("", "", "")
    title = "all pairs" if pair is None else f"{weak} → {strong}"
    panel = dots(
        f"{task}\n{title}" if pair and len(shown.tasks) > 1 else title,
        "agreement (%)",
        [shown.variant_name(variant) for variant in variants],
        rows,
        oracle=[variant.oracle for variant in variants],
    )
    return replace(panel, x_zero=False, x_range=(-0.02, 1.02))


def _middle(values: Sequence[Value]) -> Value:
    """The median of what there is."""
    there = [value.value for value in values if not value.missing]
    return Value(statistics.median(there)) if there else Value(float("nan"))


def tasks(shown: Shown) -> Picture:
    """PGR of each method, task by task."""
    if len(shown.tasks) < 2:
        raise lacking(
            "tasks",
            f"one task, {shown.tasks[0]}",
            shown,
            "put studies of several tasks into one report, and name its folder instead of a study",
        )
    variants = shown.variants[:MOST_PANELS]
    rows = {
        shown.variant_name(variant): [_median_pgr(shown.of_task(task), variant) for task in shown.tasks]
        for variant in variants
    }
    values = [value for row in rows.values() for value in row]
    ends = spread([*values, Value(1.0)])
    panel = dots("", "PGR (%)", shown.tasks, rows)
    several = len({(student.weak, student.strong) for student in shown.students}) > 1
    return Picture(
        name="tasks",
        panels=[replace(panel, x_range=ends)],
        height=HEAD + (LINE_HEIGHT + 0.04 * len(variants)) * len(shown.tasks) + 0.2,
        caption=caption(
            f"Task by task, {PGR}: {shown.setting}.",
            "Medians over pairs of models, without bars." if several else f"Bars: {shown.level} intervals.",
            missing(values),
            beyond(values, ends),
            oracles(variants),
            f"Not shown: {len(shown.variants) - len(variants)} more methods."
            if len(variants) < len(shown.variants)
            else "",
        ),
    )


def _median_pgr(shown: Shown, variant: Variant) -> Value:
    students = shown.chosen(variant)
    if not students:
        return Value(float("nan"))
    value = over_tasks(students, "pgr")
    return value if len(students) == 1 else replace(value, low=float("nan"), high=float("nan"))


def overlap(shown: Shown) -> Picture:
    """Whether models are right on the same examples: Cohen's kappa between each two of them."""
    oracle = {variant.method for variant in shown.variants if variant.oracle}
    grids = [
        Grid(
            title=f"{entry['weak']} → {entry['strong']}",
            names=[f"{name}{ORACLE_MARK if name in oracle else ''}" for name in entry["names"]],
            values=[[number(value) for value in row] for row in entry["kappa"]],
        )
        for entry in shown.document.get("overlap") or ()
    ]
    if not grids:
        raise lacking(
            "overlap", "no scores to compare", shown, "write its report again with `surpass report`"
        )
    most = max(len(grid.names) for grid in grids)
    columns = min(3 if most < 6 else 2, len(grids)) if most < 13 else 1
    return Picture(
        name="overlap",
        panels=grids,
        columns=columns,
        height={1: 3.0, 2: 3.1, 3: 2.3}[columns] if most < 13 else 6.0,
        caption=caption(
            f"Whether two models are right on the same test examples, on {shown.setting}: Cohen's kappa of "
            "being right, mean over seeds. 1: always both or neither; 0: as by chance.",
            oracles(shown.variants),
        ),
    )
