"""Numbers of others behind ours, as hollow marks: where models are the same, or where asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from surpass.errors import ConfigError
from surpass.recipes.paper_numbers import (
    PAPER,
    PAPER_CURVES,
    PAPER_IMAGES,
    PAPER_MEDIANS,
    READING_ERROR,
    SAME_MODELS,
    PaperCurve,
    setting_of,
)
from surpass.report.figures.captions import caption
from surpass.report.figures.picture import Grid, Marks, Panel, Picture
from surpass.report.figures.reading import Shown

READ = f"(read from the figure, ±{100 * READING_ERROR:g} points)"
ABOVE = "compute of the paper's student (GPT-4: 1)"
HOLLOW = -2
_DASHES = {"truth": 0, "naive": 1}


def with_published(picture: Picture, shown: Shown, *, paper: bool = False) -> Picture:
    """The picture with published numbers where its models are theirs, or the paper's where asked for.

    Args:
        picture: Ours.
        shown: What it was made from.
        paper: Whether to draw those of Burns et al. 2023 although models differ.

    Raises:
        ConfigError: The paper is asked for, and has nothing like this figure.
    """
    name = str(shown.studies[0]["name"])
    if len(shown.tasks) == 1 and len(shown.studies) == 1 and not paper:
        if name in SAME_MODELS:
            return _laid(picture, lambda panel: _table(panel, shown), _TABLE)
        known = shown.studies[0].get("published")
        if known:
            source = f"published: {str(known['source']).split(' (')[0]}"
            about = f"Hollow: {known['source']}."
            return _laid(picture, lambda panel: _known(panel, shown, known, source), about)
    if not paper:
        return picture
    setting = setting_of(name)
    if setting is None:
        has = ", ".join(sorted(PAPER_CURVES))
        raise ConfigError(f"--paper: {PAPER} has no setting like {name}; it has {has}: leave --paper out")
    laid = _laid(picture, lambda panel: [*_curves(panel, setting), *_medians(panel, setting)], _DIFFER)
    if laid is picture:
        raise ConfigError(
            f"--paper: no number of {PAPER} for {picture.name} of {name} is known: leave it out"
        )
    return laid


_DIFFER = (
    f"Hollow: {PAPER}, whose models differ from these (the family of GPT-4; supervisors of 10^-7.1 to "
    "10^-1.6 of its compute, each a line where several of its students are known), so that neither sizes "
    "nor numbers can be compared one by one; their sizes are on the axis above."
)
_TABLE = (
    f"Hollow: {PAPER}, table {PAPER_IMAGES.table}, as printed; the released code with its schedule of rates "
    "put right gives other numbers."
)


def _laid(picture: Picture, marks_of: object, about: str) -> Picture:
    """The picture with what a function adds to each panel, and with a sentence on it if that is anything."""
    assert callable(marks_of)
    panels: list[Panel | Grid] = []
    for panel in picture.panels:
        more: list[Marks] = [] if isinstance(panel, Grid) else list(marks_of(panel))
        panels.append(panel if isinstance(panel, Grid) or not more else _with(panel, more))
    if panels == list(picture.panels):
        return picture
    return replace(picture, panels=panels, caption=caption(picture.caption, about))


def _with(panel: Panel, more: Sequence[Marks]) -> Panel:
    """The panel with further marks behind its own, and room for them."""
    above = ABOVE if any(marks.above for marks in more) else ""
    along_x = bool(panel.y_names)
    ends = panel.x_range if along_x else panel.y_range
    if ends is not None:
        values = [value for marks in more for value in (marks.x if along_x else marks.y)]
        margin = 0.04 * (max(ends[1], *values) - min(ends[0], *values))
        ends = min(ends[0], min(values) - margin), max(ends[1], max(values) + margin)
    changed = replace(panel, marks=[*panel.marks, *more], above_label=above)
    return replace(changed, x_range=ends) if along_x else replace(changed, y_range=ends)


def _hollow(name: str, points: Iterable[tuple[float, float]], *, above: bool = False, dash: int = 1) -> Marks:
    x, y = zip(*points, strict=True)
    return Marks(name=name, x=x, y=y, series=HOLLOW, look="published", dash=dash, joined=above, above=above)


def _curves(panel: Panel, setting: str) -> list[Marks]:
    """The paper's lines for what a panel shows, over its own sizes."""
    methods = {_plain(method) for method in panel.methods}
    chosen = [curve for curve in PAPER_CURVES[setting] if curve.what == panel.what]
    wanted = [curve for curve in chosen if curve.method in methods]
    truth = [curve for curve in chosen if curve.method == "truth"] if wanted else []
    return [
        _hollow(_source(curve), _sizes(curve), above=True, dash=_DASHES.get(curve.method, 3))
        for curve in (*truth, *wanted)
    ]


def _source(curve: PaperCurve) -> str:
    ceiling = ", ceiling" if curve.method == "truth" else ""
    return f"{PAPER}, figure {curve.figure}{ceiling} {READ}"


def _sizes(curve: PaperCurve) -> list[tuple[float, float]]:
    return [(10.0**size, value) for size, value in curve.points]


def _medians(panel: Panel, setting: str) -> list[Marks]:
    """The paper's medians by where training stops."""
    known = PAPER_MEDIANS.get(setting)
    if known is None or panel.what != "median pgr":
        return []
    name = f"{PAPER}, figure {known.figure} {READ}"
    return _by_method(panel, known.pgr, name)


def _known(panel: Panel, shown: Shown, known: Mapping[str, Mapping[str, float]], name: str) -> list[Marks]:
    """What a study's document has of published ceilings and medians."""
    if panel.what == "accuracy":
        at = shown.sizes.at
        points = [(at[model], value) for model, value in known["accuracy"].items() if model in at]
        return [_hollow(name, sorted(points))] if points else []
    return _by_method(panel, known["pgr"], name) if panel.what == "median pgr" else []


def _by_method(panel: Panel, values: Mapping[str, float], name: str) -> list[Marks]:
    points = [(float(p), values[method]) for p, method in enumerate(panel.methods) if method in values]
    if not points:
        return []
    return [_hollow(name, [(y, x) for x, y in points] if panel.y_names else points)]


def _table(panel: Panel, shown: Shown) -> list[Marks]:
    """The paper's table of images, for its own models."""
    if "naive" not in panel.methods or panel.what not in ("accuracy", "pgr"):
        return []
    at = shown.sizes.at
    values = PAPER_IMAGES.student if panel.what == "accuracy" else PAPER_IMAGES.pgr
    points = [
        (at[strong], value)
        for (weak, student), value in values.items()
        for strong in shown.strong
        if strong.startswith(student) and any(name.startswith(weak) for name in shown.supervisors)
    ]
    if panel.what == "accuracy":
        known = {**PAPER_IMAGES.weak, **PAPER_IMAGES.ceiling}
        points += [(at[m], value) for begin, value in known.items() for m in at if m.startswith(begin)]
    return [_hollow(f"{PAPER}, table {PAPER_IMAGES.table}", sorted(points))] if points else []


def _plain(method: str) -> str:
    return method.split("(")[0]
