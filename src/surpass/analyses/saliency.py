"""Concept saliency: how much of what fine-tuning on truth gains lies in the states after weak labels.

Five strategies, of probes (lp) and fine-tuning (ft) on the student's examples: lp(weak), lp(truth), ft(weak),
ft(weak) + lp(truth), which is a probe on truth over the states of the student, and ft(truth). If weak labels
make a concept salient, the fourth comes near the fifth.

Read from a finished study and its store; nothing is computed that takes a model.

Source: Burns et al. 2023, section 5.2.3 and figure 11, where the fourth closes 60 % of the gap between the
second and the fifth.

Shape suffixes: S seeds, N test examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.analyses.finding import found
from surpass.calls import parse
from surpass.errors import ConfigError
from surpass.grouping import grouped
from surpass.models.sources import resolve
from surpass.running.scoring import read_correct
from surpass.stats import MeanEstimate, estimate_pgr, mean_interval
from surpass.store import Store
from surpass.study import RowStages, Study

STRATEGIES = {
    "lp(weak)": "probe",
    "lp(truth)": "probe_truth",
    "ft(weak)": "naive",
    "ft(weak) + lp(truth)": "saliency",
    "ft(truth)": "fit_truth",
}
"""The method behind each."""

PROBES = ("probe", "probe_truth", "saliency")
_AS_RECIPE = {"rate_factor": 1.0, "epochs": 0}


class Strategy(NamedTuple):
    """One row: a strategy, and the accuracy of its student over seeds and test examples."""

    name: str
    method: str
    accuracy: MeanEstimate


class Closed(NamedTuple):
    """The share of the gap lp(truth) to ft(truth) that ft(weak) + lp(truth) closes, or why there is none.

    `value`, `low` and `high` are NaN where there is a `reason`. The interval is that of PGR with these three
    in place of supervisor, student and ceiling.
    """

    value: float
    low: float
    high: float
    level: float
    gap: float
    reason: str | None


class Saliency(NamedTuple):
    """The five strategies of a pair, in the order of `STRATEGIES`, and what they say."""

    weak_model: str
    strong_model: str
    strategies: tuple[Strategy, ...]
    closed: Closed


def saliency_study(study: Study, *, rate_factor: float = 1.0, epochs: int = 0) -> Study:
    """The same study with the five strategies as its methods.

    A probe that is trained too little makes the gap look larger than it is: give heads a rate of their own.

    Args:
        study: Its recipe is that of ft.
        rate_factor: Of the learning rate, for probes.
        epochs: Of probes; 0 for as many as the recipe says.

    Raises:
        ConfigError: It trains heads alone, so that fine-tuning would be a probe.
    """
    if _probes_only(study):
        raise ConfigError(f"adapter={study.adapter} trains heads alone; with full or lora there is an ft")
    own = {"rate_factor": rate_factor, "epochs": epochs}
    said = ", ".join(f"{name}={value}" for name, value in own.items() if value != _AS_RECIPE[name])
    methods = (f"{name}({said})" if said and name in PROBES else name for name in STRATEGIES.values())
    return study.replace(name=f"{study.name}-saliency", methods=tuple(methods))


def saliency(study: Study, store: Store) -> list[Saliency]:
    """Of each pair for which a study has all five strategies; none where it trains heads alone.

    Raises:
        StoreError: The study is not finished.
    """
    if _probes_only(study):
        return []
    entries = []
    for pair, rows in grouped(study.rows(), lambda row: row.pair).items():
        # Of several with other settings the first.
        named = {parse(method).name: method for method in reversed(study.methods)}
        taken = grouped(rows, lambda row: row.method)
        by_method = {name: taken[method] for name, method in named.items() if method in taken}
        if not by_method.keys() >= set(STRATEGIES.values()):
            continue
        correct = {method: _correct(by_method[method], store) for method in STRATEGIES.values()}
        strategies = tuple(
            Strategy(name, method, mean_interval(correct[method])) for name, method in STRATEGIES.items()
        )
        weak, strong = (resolve(model).short_name for model in pair)
        entries.append(Saliency(weak, strong, strategies, _closed(correct)))
    return entries


def _probes_only(study: Study) -> bool:
    return parse(study.adapter).name == "frozen"


def _closed(correct: dict[str, npt.NDArray[np.bool_]]) -> Closed:
    estimate = estimate_pgr(correct["probe_truth"], correct["saliency"], correct["fit_truth"])
    reason = None
    if not estimate.valid:
        interval = f"[{100 * estimate.gap_low:+.1f}, {100 * estimate.gap_high:+.1f}]"
        reason = (
            f"ft(truth) does not beat lp(truth) beyond noise: {100 * estimate.gap:+.1f} points {interval}"
        )
    values = (estimate.value, estimate.low, estimate.high) if reason is None else (math.nan,) * 3
    return Closed(*values, estimate.level, estimate.gap, reason)


def _correct(rows: Sequence[RowStages], store: Store) -> npt.NDArray[np.bool_]:
    """Correctness of the students of all seeds, (S, N)."""
    return np.stack([read_correct(found(row.student_score, store)) for row in rows])
