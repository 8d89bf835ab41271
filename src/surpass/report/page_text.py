"""Text and numbers as they stand in the page."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

from surpass.report.methods import percent

LONGEST = 400
"""Characters of one piece of text that a table shows; the panel shows more."""

_LONGEST_NAME = 60


def plain(text: str) -> str:
    """Text for an attribute in double quotes, whole."""
    return html.escape(text.encode("utf-8", "replace").decode().replace("\0", "\ufffd"))


def shown(text: Any, longest: int = LONGEST) -> str:
    """Text that stands in the page as text, whatever it holds; what is too long for a reader is cut."""
    whole = "-" if text is None else str(text)
    cut = whole if len(whole) <= longest else f"{whole[:longest]}… ({len(whole):,} characters)"
    return plain(cut)


def breakable(name: Any) -> str:
    """A name that a narrow column may break behind its underscores."""
    return shown(name).replace("_", "_<wbr>")


def number(value: float | None) -> float:
    """A number of the document, where NaN is None."""
    return math.nan if value is None else float(value)


def percents(value: float | None) -> str:
    """A fraction of the document as the terminal prints it."""
    return percent(number(value))


def points(value: float) -> str:
    """A difference of accuracies in points, with its sign, as the terminal prints it."""
    return f"{100 * value:+.1f}"


def written(value: Any, kind: str) -> str:
    """A cell of a further table by its kind: text, percent, number or count."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if kind == "percent":
        return percent(float(value))
    if kind == "number":
        return f"{round(float(value), 2) + 0.0:.2f}"
    if kind == "count":
        return f"{round(value):,}"
    return str(value)


def names_of(document: Mapping[str, Any]) -> list[str]:
    """What each study is called on the page: its name, and with it what its namesakes do not have."""
    studies = document["studies"]
    names: list[str] = []
    for study in studies:
        words = [set(other["called"]) for other in studies if other["name"] == study["name"]]
        own = [word for word in study["called"] if word not in set.intersection(*words)]
        name = " ".join([str(study["name"]), *map(str, own)])
        name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        names.append(f"{name} ({names.count(name) + 1})" if name in names else name)
    return names
