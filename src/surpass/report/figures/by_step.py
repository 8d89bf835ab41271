"""Figures of training and of confidence: overfitting to weak labels, what early stopping gives, calibration.

Source:
    Burns et al. 2023, figures 7 and 13, for overfitting; appendix B says that weak labels are calibrated.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from surpass.errors import ConfigError
from surpass.grouping import grouped
from surpass.ranking import BASELINE
from surpass.report.figures.by_method import dots
from surpass.report.figures.captions import PGR, caption, lacking, missing, oracles, with_methods
from surpass.report.figures.picture import Look, Marks, Panel, Picture, Value, spread
from surpass.report.figures.reading import Shown, Variant, over_tasks
from surpass.report.figures.sizes import number

STOPPING = (BASELINE, "early_stop", "early_stop_truth")
POINTS = {"best": "best by truth", "weak_stopped": "stopped by weak labels", "last": "last"}
ROLES = ("weak", "student", "ceiling")
FEWEST = 10
BESIDE = 0.2
MOST_PANELS = 6


def overfitting(shown: Shown) -> Picture:
    """Accuracy and agreement with weak labels in the course of training, and where it is best to stop."""
    curves = _curves(shown, "overfitting")
    panels = [
        _course("accuracy", curves, "accuracy on validation (%)"),
        _course("agreement with weak labels", curves, "agreement on validation (%)", "weak_agreement"),
        _stopped(curves),
    ]
    return Picture(name="overfitting", panels=panels, columns=3, caption=_caption(shown, curves, panels))


def figure7(shown: Shown) -> Picture:
    """Overfitting (reward models): the course of training, best and last, and PGR by where it stops."""
    curves = _curves(shown, "figure7")
    gap, values = _stopping(shown, "figure7")
    panels = [_course("", curves, "accuracy on validation (%)"), _stopped(curves), gap]
    return Picture(
        name="figure7", panels=panels, columns=3, caption=_caption(shown, curves, panels, values=values)
    )


def figure13(shown: Shown) -> Picture:
    """Overfitting (text): the course of training, and PGR by where it stops."""
    curves = _curves(shown, "figure13")
    gap, values = _stopping(shown, "figure13")
    panels = [_course("", curves, "accuracy on validation (%)"), gap]
    return Picture(name="figure13", panels=panels, caption=_caption(shown, curves, panels, values=values))


def _curves(shown: Shown, figure: str) -> dict[str, list[Mapping[str, Any]]]:
    """The curves by task and pair.

    Raises:
        ConfigError: There is none.
    """
    found = shown.document.get("curves") or []
    if not found:
        how = with_methods(shown, *STOPPING)
        raise lacking(figure, "no curves: they come with early_stop and early_stop_truth", shown, how)
    several = len({shown.task_names[curve["study"]] for curve in found}) > 1

    def name(curve: Mapping[str, Any]) -> str:
        task = f"{shown.task_names[curve['study']]}: " if several else ""
        return f"{task}{curve['weak']} → {curve['strong']}"

    return grouped(found, name)


def _course(
    title: str, curves: Mapping[str, Sequence[Mapping[str, Any]]], y_label: str, what: str = "accuracy"
) -> Panel:
    """One line for each pair, mean over seeds, with a band from the lowest to the highest seed."""
    marks = []
    for series, (name, seeds) in enumerate(curves.items()):
        for dash, (steps, group) in enumerate(grouped(seeds, lambda curve: tuple(curve["steps"])).items()):
            columns = list(zip(*([number(v) for v in curve[what]] for curve in group), strict=True))
            several = len(group) > 1
            marks.append(
                Marks(
                    name=name if dash == 0 else "",
                    x=[float(step) for step in steps],
                    y=[statistics.fmean(column) for column in columns],
                    low=[min(column) for column in columns] if several else (),
                    high=[max(column) for column in columns] if several else (),
                    series=series,
                    look="curve",
                    dash=dash,
                )
            )
    return Panel(title=title, x_label="training step", y_label=y_label, marks=marks)


def _stopped(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Panel:
    """Accuracy at the best step, at the one that weak labels choose, and at the last; mean over seeds."""
    rows = {
        title: [
            Value(statistics.fmean(number(curve["points"][point]["accuracy"]) for curve in seeds))
            for seeds in curves.values()
        ]
        for point, title in POINTS.items()
    }
    # In grey, so that colours stay those of pairs; shapes tell the points of training apart.
    panel = dots("", "accuracy on validation (%)", list(curves), rows, series=(-3, -4, -5))
    return replace(panel, x_zero=False)


def _stopping(shown: Shown, figure: str) -> tuple[Panel, list[Value]]:
    """Median PGR over pairs, by where training stops."""
    chosen = [variant for name in STOPPING for variant in shown.of_method(name)]
    if not chosen:
        how = with_methods(shown, *STOPPING)
        raise lacking(figure, f"none of the methods {', '.join(STOPPING)}", shown, how)
    places = [{(s.task, s.weak, s.strong) for s in shown.chosen(variant)} for variant in chosen]
    same = set.intersection(*places)
    if not same:
        raise lacking(figure, "no pair with all of its ways to stop", shown, with_methods(shown, *STOPPING))
    medians, pairs, values = [], [], []
    for variant in chosen:
        students = [s for s in shown.chosen(variant) if (s.task, s.weak, s.strong) in same]
        found = [over_tasks([student], "pgr") for student in students]
        values += found
        there = [value.value for value in found if not value.missing]
        medians.append(Value(statistics.median(there) if there else float("nan")))
        pairs.append(there)
    names = [shown.variant_name(variant) for variant in chosen]
    marks = [
        Marks(
            name="" if place else "median over pairs",
            x=[float(place)],
            y=[median.value],
            series=-1,
            look=_look(variant),
            joined=False,
        )
        for place, (variant, median) in enumerate(zip(chosen, medians, strict=True))
    ]
    marks.append(
        Marks(
            name="a pair",
            x=[place - BESIDE for place, there in enumerate(pairs) for _ in there],
            y=[value for there in pairs for value in there],
            series=-2,
            look="line",
            joined=False,
        )
    )
    panel = Panel(
        title="",
        x_label="method",
        y_label="PGR (%)",
        marks=marks,
        x_scale="names",
        what="median pgr",
        methods=[variant.method for variant in chosen],
        x_names=names,
        x_places=[float(place) for place in range(len(names))],
        undefined=[float(place) for place, median in enumerate(medians) if median.missing],
        levels=(0.0,),
        y_range=spread([Value(value.value) for value in values]),
    )
    return panel, values


def _look(variant: Variant) -> Look:
    return "oracle" if variant.oracle else "line"


def _caption(
    shown: Shown,
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    panels: Sequence[Panel],
    values: Sequence[Value] = (),
) -> str:
    seeds = max(len(group) for group in curves.values())
    band = f"mean over {seeds} seeds, the band from the lowest to the highest" if seeds > 1 else "one seed"
    by_stop = f"Right: median {PGR}, by where training stops, and that of each pair." if values else ""
    used = [variant for name in STOPPING for variant in shown.of_method(name)] if values else []
    return caption(
        f"Overfitting to weak labels on {shown.setting}, on validation examples: {band}.",
        by_stop,
        missing(values),
        oracles(used),
    )


def calibration(shown: Shown) -> Picture:
    """Confidence and accuracy of supervisor, student and ceiling."""
    entries = shown.document.get("calibration") or []
    if not entries:
        raise no_confidence(shown)
    pairs = grouped(entries, lambda entry: _pair(shown, entry["summary"]))
    panels, used = [], set()
    for pair, group in list(pairs.items())[:MOST_PANELS]:
        marks = []
        for entry in sorted(group, key=lambda entry: ROLES.index(entry["role"])):
            student = shown.students[entry["summary"]]
            if entry["role"] == "student" and student.variant not in _followed(shown):
                continue
            used.add(student.variant)
            marks.append(_reliability(shown, entry))
        panels.append(
            Panel(
                title=pair,
                x_label="confidence (%)",
                y_label="accuracy (%)",
                marks=marks,
                x_percent=True,
                diagonal=True,
                x_range=(0.0, 1.0),
                y_range=(0.0, 1.0),
            )
        )
    left = len(pairs) - len(panels)
    return Picture(
        name="calibration",
        panels=panels,
        columns=min(3, len(panels)),
        height=2.5,
        caption=caption(
            f"Accuracy of answers by their confidence, on {shown.setting}, all seeds together; on the "
            f"diagonal confidence is accuracy. Bins with fewer than {FEWEST} answers are left out.",
            f"Not shown: {left} more pairs." if left else "",
            oracles([variant for variant in used if variant in _followed(shown)]),
        ),
    )


def no_confidence(shown: Shown) -> ConfigError:
    """The error where answers have no probabilities."""
    how = "its answers must have probabilities, as tasks of choices have; write its report again"
    return lacking("calibration", "no confidences", shown, how)


def _followed(shown: Shown) -> list[Variant]:
    """Naive fine-tuning and the confidence loss, or else what comes first."""
    return shown.of_method(BASELINE, "confidence") or shown.variants[:1]


def _pair(shown: Shown, summary: int) -> str:
    student = shown.students[summary]
    task = f"{student.task}\n" if len(shown.tasks) > 1 else ""
    return f"{task}{student.weak} → {student.strong}"


def _reliability(shown: Shown, entry: Mapping[str, Any]) -> Marks:
    student = shown.students[entry["summary"]]
    bins = [b for b in entry["bins"] if b["count"] >= FEWEST and b["accuracy"] is not None]
    look: Look = "line"
    name, series = "supervisor", 0
    if entry["role"] == "ceiling":
        name, series, look = "ceiling", -1, "ceiling"
    elif entry["role"] == "student":
        name = shown.variant_name(student.variant)
        series = 1 + _followed(shown).index(student.variant)
        look = _look(student.variant)
    return Marks(
        name=name,
        x=[float(b["confidence"]) for b in bins],
        y=[float(b["accuracy"]) for b in bins],
        series=series,
        look=look,
    )
