"""Figures with the size of the student below: accuracy, PGR and agreement, a line for each supervisor.

Source:
    Burns et al. 2023, figures 3, 4, 5, 8, 12 and 15.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from surpass.ranking import BASELINE
from surpass.report.figures.captions import (
    PGR,
    caption,
    intervals,
    lacking,
    missing,
    oracles,
    with_methods,
)
from surpass.report.figures.picture import Look, Marks, Panel, Picture, Value, cut, spread
from surpass.report.figures.reading import Shown, Student, Variant, by_strong, number, over_tasks

TRUTH = -1
BOOTSTRAP = ("bootstrap", "bootstrap_same")
CONFIDENCE = ("confidence", "confidence_openai", "adaptconf")
AGREEMENTS = {
    "agreement": "all test examples",
    "agreement_right": "supervisor right",
    "agreement_wrong": "supervisor wrong",
}


@dataclass(frozen=True)
class Lines:
    """Marks of one panel with all values that are drawn, missing ones too."""

    marks: list[Marks]
    values: list[Value]
    undefined: list[float]


def lines(shown: Shown, variants: Sequence[Variant], what: str) -> Lines:
    """A line for each supervisor and variant; colour says which supervisor, dashes which variant.

    Args:
        shown: What there is.
        variants: Ways to train, in the order of their dashes.
        what: As `Student.value` takes it.
    """
    found = Lines([], [], [])
    drawn: set[float] = set()
    for place, variant in enumerate(variants):
        for series, weak in enumerate(shown.supervisors):
            values = by_strong(shown, variant, weak, lambda students: over_tasks(students, what))
            if not values:
                continue
            at = [shown.sizes.at[strong] for strong in values]
            found.marks.append(
                Marks(
                    name=f"supervisor {weak}" if place == 0 else "",
                    x=at,
                    y=[value.value for value in values.values()],
                    low=[value.low for value in values.values()],
                    high=[value.high for value in values.values()],
                    series=series,
                    look=_look(variant),
                    dash=place,
                )
            )
            found.values.extend(values.values())
            for x, value in zip(at, values.values(), strict=True):
                (found.undefined.append if value.missing else drawn.add)(x)
    found.undefined[:] = sorted(set(found.undefined) - drawn)
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
    return panel, found.values


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
    return _panel(
        shown,
        what,
        variants,
        title=title,
        y_label="agreement with supervisor (%)",
        marks=[*found.marks, *keys(shown, variants)],
        undefined=found.undefined,
    )


def size(shown: Shown) -> Picture:
    """Accuracy against the size of the student, a panel for each method."""
    return _each_method(shown, "size", "Test accuracy of students against their size")


def pgr(shown: Shown) -> Picture:
    """PGR against the size of the student, a panel for each method."""
    return _each_method(shown, "pgr", f"Against the size of the student, {PGR}")


def figure3(shown: Shown) -> Picture:
    """Naive fine-tuning: accuracy and PGR against the size of the student."""
    variants = shown.of_method(BASELINE)
    if not variants:
        raise lacking("figure3", "no naive fine-tuning", shown, with_methods(shown, BASELINE))
    return _both(shown, "figure3", variants, "Naive fine-tuning on weak labels")


def figure4(shown: Shown) -> Picture:
    """Bootstrapping beside naive fine-tuning: accuracy and PGR."""
    return _beside_naive(shown, "figure4", BOOTSTRAP[:1], BOOTSTRAP, "Bootstrapping")


def figure5(shown: Shown) -> Picture:
    """The confidence loss beside naive fine-tuning: accuracy and PGR, medians over tasks."""
    return _beside_naive(shown, "figure5", CONFIDENCE[:1], CONFIDENCE, "The auxiliary confidence loss")


def figure8(shown: Shown) -> Picture:
    """Agreement with the supervisor: on all test examples, where it is right, where it is wrong."""
    naive = shown.of_method(BASELINE)
    if not naive:
        raise lacking("figure8", "no naive fine-tuning", shown, with_methods(shown, BASELINE))
    variants = [*shown.of_method(*CONFIDENCE), *naive]
    panels = [agreement_panel(shown, variants, what, title) for what, title in AGREEMENTS.items()]
    return Picture(
        name="figure8",
        panels=[panels[0], *(replace(panel, y_label="") for panel in panels[1:])],
        columns=3,
        caption=caption(
            f"How often students answer as their supervisor does, on {shown.setting}: on all test examples, "
            "on those that the supervisor answers rightly, and on those that it answers wrongly.",
            "" if len(shown.tasks) == 1 else f"Medians over {len(shown.tasks)} tasks.",
        ),
    )


def figure12(shown: Shown) -> Picture:
    """Accuracy against the size of the student, a panel for each task."""
    variants = [*shown.of_method(*CONFIDENCE), *shown.of_method(BASELINE)] or shown.variants[:2]
    panels, values = [], []
    for task in shown.tasks:
        panel, drawn = accuracy_panel(shown.of_task(task), variants, task)
        panels.append(panel)
        values += drawn
    return Picture(
        name="figure12",
        panels=panels,
        columns=min(4, len(panels)),
        height=1.9 if len(panels) > 2 else 2.4,
        caption=caption(
            f"Test accuracy against the size of the student, task by task: {shown.setting}.",
            _reading(shown, variants),
            intervals(shown, several=False),
            oracles(variants),
        ),
    )


def figure15(shown: Shown) -> Picture:
    """Zero-shot, bootstrapping and agreement (chess): as far as the study has them."""
    naive = shown.of_method(BASELINE)
    asked = {"zero-shot": shown.of_method("zero_shot"), "bootstrapping": shown.of_method(*BOOTSTRAP)}
    if not naive or not any(asked.values()):
        how = with_methods(shown, BASELINE, "zero_shot", "bootstrap")
        raise lacking("figure15", "neither zero_shot nor bootstrap beside naive", shown, how)
    panels = [
        accuracy_panel(shown, [*variants, *naive], title)[0] for title, variants in asked.items() if variants
    ]
    absent = [title for title, variants in asked.items() if not variants]
    panels.append(agreement_panel(shown, naive, "agreement", "agreement of naive"))
    return Picture(
        name="figure15",
        panels=panels,
        columns=len(panels),
        caption=caption(
            f"Students as pretrained, bootstrapping, and agreement with the supervisor, on {shown.setting}.",
            f"Not in this study: {', '.join(absent)}." if absent else "",
            _reading(shown, naive),
            intervals(shown, several=len(shown.tasks) > 1),
        ),
    )


def _beside_naive(
    shown: Shown, name: str, needed: Sequence[str], methods: Sequence[str], what: str
) -> Picture:
    ours, naive = shown.of_method(*methods), shown.of_method(BASELINE)
    if not ours or not naive:
        absent = [method for method, there in ((needed[0], ours), (BASELINE, naive)) if not there]
        how = with_methods(shown, BASELINE, *needed)
        raise lacking(name, f"no method {' or '.join(absent)}", shown, how)
    return _both(shown, name, [*ours, *naive], f"{what} beside naive fine-tuning")


def _both(shown: Shown, name: str, variants: Sequence[Variant], what: str) -> Picture:
    accuracy, _ = accuracy_panel(shown, variants)
    gap, values = pgr_panel(shown, variants)
    return Picture(
        name=name,
        panels=[accuracy, gap],
        caption=caption(
            f"{what} on {shown.setting}. Left: test accuracy. Right: {PGR}.",
            _reading(shown, variants),
            intervals(shown, several=len(shown.tasks) > 1),
            missing(values),
            beyond(values, gap.y_range),
            oracles(variants),
        ),
    )


def _each_method(shown: Shown, name: str, what: str) -> Picture:
    panel_of = accuracy_panel if name == "size" else pgr_panel
    made = [panel_of(shown, [variant], shown.variant_name(variant)) for variant in shown.variants]
    values = [value for _, drawn in made for value in drawn]
    ends = spread([*values, Value(1.0)]) if name == "pgr" else None
    columns = min(3, len(made))
    panels = [
        replace(panel, y_range=ends, y_label=panel.y_label if place % columns == 0 else "")
        for place, (panel, _) in enumerate(made)
    ]
    return Picture(
        name=name,
        panels=panels,
        columns=columns,
        height=2.4 if len(panels) < 3 else 1.9,
        caption=caption(
            f"{what}, on {shown.setting}" + (", method by method." if len(panels) > 1 else "."),
            _reading(shown, shown.variants) if name == "size" else "",
            intervals(shown, several=len(shown.tasks) > 1),
            missing(values) if name == "pgr" else "",
            beyond(values, ends),
            oracles(shown.variants),
        ),
    )


def beyond(values: Sequence[Value], ends: tuple[float, float] | None) -> str:
    """That intervals leave the axis, if they do."""
    return "Intervals that leave the axis are cut." if ends is not None and cut(values, ends) else ""


def _reading(shown: Shown, variants: Sequence[Variant]) -> str:
    text = (
        "A line for each supervisor; x: the supervisor itself; black: the ceiling, the same students trained "
        "on truth"
    )
    differ = "" if _one_ceiling(shown, variants) else "; where ceilings differ between lines, their median"
    return f"{text}{differ}."


def _panel(shown: Shown, what: str, variants: Sequence[Variant], **more: Any) -> Panel:
    """A panel with the sizes of students below; models are named, above where the axis has numbers."""
    models = [model for model in shown.sizes.at if model in {*shown.supervisors, *shown.strong}]
    return Panel(
        x_label=shown.sizes.label,
        x_scale=shown.sizes.scale,
        x_names=models,
        x_places=[shown.sizes.at[model] for model in models],
        what=what,
        methods=[variant.method for variant in variants],
        **more,
    )


def _ceilings(shown: Shown, variants: Sequence[Variant]) -> Marks:
    """The ceiling of each student's model; the median where supervisors or variants have their own."""
    at, values = [], []
    for strong in shown.strong:
        groups = [shown.chosen(variant, weak, strong) for variant in variants for weak in shown.supervisors]
        found = [over_tasks(students, "ceiling") for students in groups if students]
        if not found:
            continue
        at.append(shown.sizes.at[strong])
        middle = statistics.median(value.value for value in found)
        same = all(value == found[0] for value in found)
        values.append(found[0] if same else Value(middle))
    return Marks(
        name="ceiling",
        x=at,
        y=[value.value for value in values],
        low=[value.low for value in values],
        high=[value.high for value in values],
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
    marks = []
    for series, weak in enumerate(shown.supervisors):
        tasks: dict[str, Student] = {}
        for student in (s for variant in variants for s in shown.chosen(variant, weak)):
            tasks.setdefault(student.task, student)
        if tasks:
            own = over_tasks(list(tasks.values()), "weak")
            at = [shown.sizes.at[weak]]
            marks.append(Marks(name="", x=at, y=[own.value], series=series, look="supervisor", joined=False))
    key = Marks(name="the supervisor itself", x=(), y=(), series=TRUTH, look="supervisor", joined=False)
    return [*marks, key] if marks else []
