"""Sentences that stand below figures: what is drawn, what is missing and why, what used ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from surpass.errors import ConfigError
from surpass.report.figures.picture import Value
from surpass.report.figures.reading import Shown, Variant
from surpass.report.methods import ORACLE_MARK

PGR = "performance gap recovered (PGR): 0 % is the supervisor, 100 % the ceiling"


def lacking(figure: str, what: str, shown: Shown, how: str) -> ConfigError:
    """The error of a figure without data: what the study lacks, and how to get it.

    Args:
        figure: Its name.
        what: What there is none of.
        shown: The document.
        how: What to do.
    """
    return ConfigError(f"no data for {figure}: {shown.name} has {what}; {how}")


def with_methods(shown: Shown, *methods: str) -> str:
    """What to run so that a study has some methods beside its own."""
    study = shown.studies[0]
    reasons = [left for left in study.get("left_out", ()) if left["method"] in methods]
    if reasons:
        return f"left out: {reasons[0]['method']}: {reasons[0]['reason']}"
    own = [method for method in study["methods"] if method not in methods]
    words = [word for word in study["called"] if not word.startswith("methods=")]
    return f"run `{' '.join(('surpass run', *words))} methods={','.join((*own, *methods))}`"


def intervals(shown: Shown, *, several: bool) -> str:
    """What the bars are; over several tasks, what the points are."""
    if not several:
        return f"Bars: {shown.level} intervals over seeds and test examples."
    shown_from = "; bars: intervals of the median" if len(shown.tasks) > 5 else ", without bars"
    return f"Points are medians over {len(shown.tasks)} tasks, of pairs that all of them have{shown_from}."


def missing(values: Iterable[Value]) -> str:
    """Which PGR are undefined and so marked at the foot; "" if none."""
    reasons = list(dict.fromkeys(reason for value in values for reason in value.reasons))
    if not reasons:
        return ""
    listed = "; ".join(reasons[:6]) + (f"; and {len(reasons) - 6} more" if len(reasons) > 6 else "")
    return f"Grey crosses at the foot: undefined PGR ({listed})."


def oracles(variants: Sequence[Variant]) -> str:
    """That some used ground truth; "" if none."""
    if not any(variant.oracle for variant in variants):
        return ""
    return f"{ORACLE_MARK} used ground truth (oracle; dotted): not a weak-to-strong result."


def caption(*sentences: str) -> str:
    """The sentences that there are, as one paragraph."""
    return " ".join(sentence for sentence in sentences if sentence)
