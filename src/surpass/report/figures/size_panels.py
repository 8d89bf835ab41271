"""Panels with the sizes of models below: a line for each supervisor, or for one student of several."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from surpass.report.figures.picture import Look, Marks, Panel, Value, spread
from surpass.report.figures.reading import Shown, Student, Variant, along, over_tasks
from surpass.report.figures.sizes import number

TRUTH = -1
APART = 0.12
"""Between lines at one named place, of the distance between places."""

ITSELF = "the supervisor itself"


@dataclass(frozen=True)
class Lines:
    """Marks of one panel with all values that are drawn, missing ones too."""

    marks: list[Marks]
    values: list[Value]
    undefined: list[float]


def lines(shown: Shown, variants: Sequence[Variant], what: str) -> Lines:
    """A line for each model and variant; colour says which model, dashes which variant.

    Args:
        shown: What there is.
        variants: Ways to train, in the order of their dashes.
        what: As `Student.value` takes it.
    """
    found = Lines([], [], [])
    role = "student" if shown.by_supervisor else "supervisor"
    number_of_lines = len(variants) * len(shown.lines)
    for dash, variant in enumerate(variants):
        for series, model in enumerate(shown.lines):
            values = along(shown, variant, model, what)
            if not values:
                continue
            places = [shown.sizes.at[place] for place in values]
            # On an axis of numbers every point stands where it belongs, on one of names beside the others.
            beside = APART * (dash * len(shown.lines) + series - (number_of_lines - 1) / 2)
            found.marks.append(
                Marks(
                    name=f"{role} {model}",
                    x=[at + beside if shown.sizes.scale == "names" else at for at in places],
                    y=[value.value for value in values.values()],
                    low=[value.low for value in values.values()],
                    high=[value.high for value in values.values()],
                    series=series,
                    look=_look(variant),
                    dash=dash,
                )
            )
            found.values.extend(values.values())
            found.undefined.extend(at for at, v in zip(places, values.values(), strict=True) if v.missing)
    found.undefined[:] = sorted(set(found.undefined))
    return found


def _look(variant: Variant) -> Look:
    return "oracle" if variant.oracle else "line"


def keys(shown: Shown, variants: Sequence[Variant]) -> list[Marks]:
    """Empty marks that name the dashes in the legend, where there are several ways to train."""
    if len(variants) < 2:
        return []
    return [
        Marks(name=shown.variant_name(variant), x=(), y=(), series=TRUTH, look=_look(variant), dash=place)
        for place, variant in enumerate(variants)
    ]


def accuracy_panel(shown: Shown, variants: Sequence[Variant], title: str = "") -> tuple[Panel, list[Value]]:
    """Accuracy of students, ceilings and supervisors against the size of the student."""
    found = lines(shown, variants, "student")
    truth = _ceilings(shown, variants)
    own = _supervisors(shown, variants)
    panel = _panel(
        shown,
        "accuracy",
        variants,
        title=title,
        y_label="test accuracy (%)" if len(shown.tasks) == 1 else "median test accuracy (%)",
        marks=[truth, *found.marks, *own, *keys(shown, variants)],
    )
    drawn = [
        Value(y, low, high)
        for marks in (truth, *own)
        for y, low, high in zip(marks.y, marks.low or marks.y, marks.high or marks.y, strict=True)
    ]
    values = [*found.values, *drawn]
    return replace(panel, y_range=accuracies(values)), values


def pgr_panel(shown: Shown, variants: Sequence[Variant], title: str = "") -> tuple[Panel, list[Value]]:
    """PGR of students against their size."""
    found = lines(shown, variants, "pgr")
    panel = _panel(
        shown,
        "pgr",
        variants,
        title=title,
        y_label="PGR (%)" if len(shown.tasks) == 1 else "median PGR (%)",
        marks=[*found.marks, *keys(shown, variants)],
        undefined=found.undefined,
        levels=(0.0, 1.0),
        y_range=spread([*found.values, Value(1.0)]),
    )
    return panel, found.values


def agreement_panel(shown: Shown, variants: Sequence[Variant], what: str, title: str) -> Panel:
    """How often students answer as their supervisor does, against their size."""
    found = lines(shown, variants, what)
    low, high = accuracies(found.values)
    room = max(0.1 - (high - low), 0.0) / 2
    return _panel(
        shown,
        what,
        variants,
        title=title,
        y_label="agreement with supervisor (%)",
        y_range=(max(low - room, -0.02), min(high + room, 1.02)),
        marks=[*found.marks, *keys(shown, variants)],
        undefined=found.undefined,
    )


def reading(shown: Shown, variants: Sequence[Variant]) -> str:
    """How panels of accuracy are read."""
    line = "the student" if shown.by_supervisor else "each supervisor"
    differ = "" if _one_ceiling(shown, variants) else "; where ceilings differ between lines, their median"
    return (
        f"A line for {line}; x: the supervisor itself; black: the ceiling, the same students trained on "
        f"truth{differ}."
    )


def _panel(shown: Shown, what: str, variants: Sequence[Variant], **more: Any) -> Panel:
    """A panel with sizes below; models are named, above where the axis has numbers."""
    role = "supervisor" if shown.by_supervisor else "student"
    several = shown.by_supervisor or shown.sizes.scale == "names"
    models = [
        m
        for m in shown.sizes.at
        if m in ({*shown.places} if several else {*shown.supervisors, *shown.strong})
    ]
    return Panel(
        x_label=shown.sizes.label.format(role=role),
        x_scale=shown.sizes.scale,
        x_names=models,
        x_places=[shown.sizes.at[model] for model in models],
        what=what,
        methods=[variant.method for variant in variants],
        **more,
    )


def accuracies(values: Sequence[Value]) -> tuple[float, float]:
    """Ends of an axis of accuracies, which holds every value and never goes far beyond all right."""
    shown = [v.value for v in values if not v.missing]
    least, most = min(shown, default=0.0), max(shown, default=1.0)
    lows = [max(v.low, least - 0.2, 0.0) for v in values if v.low == v.low]
    highs = [min(v.high, most + 0.2, 1.0) for v in values if v.high == v.high]
    low, high = min([least, *lows]), max([most, *highs])
    margin = 0.05 * ((high - low) or 0.1)
    return low - margin, high + margin


def _ceilings(shown: Shown, variants: Sequence[Variant]) -> Marks:
    """The ceiling at each place; the median where lines or variants have their own."""
    values: dict[str, Value] = {}
    for place in shown.places:
        groups = [
            shown.chosen(variant, *((place, line) if shown.by_supervisor else (line, place)))
            for variant in variants
            for line in shown.lines
        ]
        found = [over_tasks(students, "ceiling") for students in groups if students]
        if found:
            same = all(value == found[0] for value in found)
            values[place] = found[0] if same else Value(statistics.median(v.value for v in found))
    return Marks(
        name="ceiling",
        x=[shown.sizes.at[place] for place in values],
        y=[value.value for value in values.values()],
        low=[value.low for value in values.values()],
        high=[value.high for value in values.values()],
        series=TRUTH,
        look="ceiling",
    )


def _one_ceiling(shown: Shown, variants: Sequence[Variant]) -> bool:
    found: dict[tuple[str, str], set[float]] = {}
    for student in (s for variant in variants for s in shown.chosen(variant)):
        ceiling = number(student.entry["estimate"]["ceiling"])
        found.setdefault((student.task, student.strong), set()).add(ceiling)
    return all(len(values) == 1 for values in found.values())


def _supervisors(shown: Shown, variants: Sequence[Variant]) -> list[Marks]:
    """Each supervisor at its own size."""
    found: dict[str, Value] = {}
    for weak in shown.supervisors:
        tasks: dict[str, Student] = {}
        for student in (s for variant in variants for s in shown.chosen(variant, weak)):
            tasks.setdefault(student.task, student)
        if tasks:
            found[weak] = over_tasks(list(tasks.values()), "weak")
    key = Marks(name=ITSELF, x=(), y=(), series=TRUTH, look="supervisor", joined=False)
    marks = [
        Marks(
            name="",
            x=[shown.sizes.at[weak]],
            y=[own.value],
            series=TRUTH if shown.by_supervisor else shown.supervisors.index(weak),
            look="supervisor",
            joined=False,
        )
        for weak, own in found.items()
    ]
    return [*marks, key] if marks else []
