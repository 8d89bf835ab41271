"""Where models stand on an axis of sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from surpass.report.figures.picture import Scale


@dataclass(frozen=True)
class Sizes:
    """Where models stand on an axis of sizes; where sizes are unknown or equal, in a row.

    `label` has a place for the role of the models.
    """

    label: str
    scale: Scale
    at: Mapping[str, float]

    def order(self, model: str) -> float:
        """Where it comes among the others."""
        return self.at[model]


def sizes_of(models: Iterable[str], known: Mapping[str, Mapping[str, Any]]) -> Sizes:
    """Pretraining compute where all models have one of their own, else parameters, else the order.

    Args:
        models: Names as in summaries, the least accurate first.
        known: The document's models.
    """
    models = list(models)
    for field, label in (
        ("pretraining_flops", "pretraining FLOP of the {role}"),
        ("parameters", "parameters of the {role}"),
    ):
        at = {model: number((known.get(model) or {}).get(field)) for model in models}
        if all(size > 0 for size in at.values()) and len(set(at.values())) == len(at):
            return Sizes(label, "log", dict(sorted(at.items(), key=lambda item: item[1])))
    return Sizes(
        "{role}, by accuracy",
        "names",
        {model: float(place) for place, model in enumerate(models)},
    )


def number(value: Any) -> float:
    """A number of a document, in which null is missing."""
    return math.nan if value is None else float(value)
