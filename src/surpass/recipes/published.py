"""Numbers that others have published for settings that recipes follow, to be shown beside measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from surpass.results import Results

RELEASED = "openai/weak-to-strong, README (several seeds; natural classes, other rows)"


class Published(NamedTuple):
    """What somebody has measured on one data set.

    Attributes:
        source: Where it stands, and what differs.
        accuracy: Of a model that learned the truth, as a fraction.
        pgr: Median over pairs, as a fraction, by method.
    """

    source: str
    accuracy: Mapping[str, float]
    pgr: Mapping[str, float]


def _gpt2(small: float, medium: float, large: float, xl: float) -> dict[str, float]:
    return {"gpt2": small, "gpt2-medium": medium, "gpt2-large": large, "gpt2-xl": xl}


PUBLISHED: dict[tuple[str, str], Published] = {
    ("text-openai", "sciq"): Published(
        RELEASED,
        _gpt2(0.6363, 0.6856, 0.7257, 0.7303),
        {"naive": 0.3322, "confidence_openai": 0.3102},
    ),
    ("text-openai", "boolq"): Published(
        RELEASED,
        _gpt2(0.6606, 0.7030, 0.7067, 0.7503),
        {"naive": 0.0484, "confidence_openai": -0.3545},
    ),
    ("text-openai", "cosmos_qa"): Published(
        RELEASED,
        _gpt2(0.6845, 0.7076, 0.7356, 0.7551),
        {"naive": 0.3518, "confidence_openai": 0.3693},
    ),
    ("text-openai", "amazon_polarity"): Published(
        RELEASED,
        _gpt2(0.9416, 0.9530, 0.9576, 0.9595),
        {"naive": 0.5757, "confidence_openai": 0.5207},
    ),
}
"""By recipe and task. The medians include models that supervise themselves and, there, Qwen models."""


def beside_published(study: str, results: Results) -> list[str]:
    """A line for each published number that a result can be held against.

    Args:
        study: The name of the study.
        results: Its results.
    """
    lines = []
    for task in dict.fromkeys(summary.key.task for summary in results.summary()):
        known = PUBLISHED.get((study, task))
        if known is None:
            continue
        measured: dict[str, float] = {}
        for summary in results.summary():
            measured[summary.key.weak_model] = summary.estimate.weak
            measured.setdefault(summary.key.strong_model, summary.estimate.ceiling)
        both = [
            f"{model} {100 * measured[model]:.1f} ({100 * accuracy:.1f})"
            for model, accuracy in known.accuracy.items()
            if model in measured
        ]
        if both:
            lines.append(f"accuracy on {task}, published in brackets: {', '.join(both)}; {known.source}")
        methods = {summary.key.method for summary in results.summary()} & known.pgr.keys()
        if methods:
            medians = ", ".join(f"{name} {100 * known.pgr[name]:.0f}" for name in sorted(methods))
            lines.append(f"published median PGR on {task}: {medians}; {known.source}")
    return lines
