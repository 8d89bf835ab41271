"""Figures with the size of the student below: accuracy, PGR and agreement, a line for each supervisor.

Source:
    Burns et al. 2023, figures 3, 4, 5, 8, 12 and 15.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
from surpass.report.figures.picture import Picture, Value, cut, spread
from surpass.report.figures.reading import Shown, Variant
from surpass.report.figures.size_panels import accuracies, accuracy_panel, agreement_panel, pgr_panel, reading

MOST_PANELS = 12
BOOTSTRAP = ("bootstrap", "bootstrap_same")
CONFIDENCE = ("confidence", "confidence_openai", "adaptconf")
AGREEMENTS = {
    "agreement": "all test examples",
    "agreement_right": "supervisor right",
    "agreement_wrong": "supervisor wrong",
}


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
        panels=panels,
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
        height=2.4 if len(panels) < 3 else 1.9 if len(panels) < 13 else 1.5,
        caption=caption(
            f"Test accuracy against the size of the student, task by task: {shown.setting}.",
            reading(shown, variants),
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
            reading(shown, naive),
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
    accuracy, drawn = accuracy_panel(shown, variants)
    gap, values = pgr_panel(shown, variants)
    return Picture(
        name=name,
        panels=[accuracy, gap],
        caption=caption(
            f"{what} on {shown.setting}. Left: test accuracy. Right: {PGR}.",
            reading(shown, variants),
            intervals(shown, several=len(shown.tasks) > 1),
            missing(values),
            beyond(values, gap.y_range) or beyond(drawn, accuracy.y_range),
            oracles(variants),
        ),
    )


def _each_method(shown: Shown, name: str, what: str) -> Picture:
    panel_of = accuracy_panel if name == "size" else pgr_panel
    variants = shown.variants[:MOST_PANELS]
    left = len(shown.variants) - len(variants)
    made = [panel_of(shown, [variant], shown.variant_name(variant)) for variant in variants]
    values = [value for _, drawn in made for value in drawn]
    ends = spread([*values, Value(1.0)]) if name == "pgr" else accuracies(values)
    columns = min(3, len(made))
    panels = [replace(panel, y_range=ends) for panel, _ in made]
    return Picture(
        name=name,
        panels=panels,
        columns=columns,
        height=2.4 if len(panels) < 3 else 1.9,
        caption=caption(
            f"{what}, on {shown.setting}" + (", method by method." if len(panels) > 1 else "."),
            reading(shown, variants) if name == "size" else "",
            intervals(shown, several=len(shown.tasks) > 1),
            missing(values) if name == "pgr" else "",
            beyond(values, ends),
            oracles(variants),
            f"Not shown: {left} more methods; name those to show with methods=." if left else "",
        ),
    )


def beyond(values: Sequence[Value], ends: tuple[float, float] | None) -> str:
    """That intervals leave the axis, if they do."""
    return "Intervals that leave the axis are cut." if ends is not None and cut(values, ends) else ""
