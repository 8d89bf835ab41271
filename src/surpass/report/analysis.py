"""What `surpass analyse` prints: errors taken over, overfitting, what labels are worth, and power."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from surpass.analyses.analysis import Curve, Visible, Worth, curves, visible, worths
from surpass.analyses.saliency import saliency
from surpass.analyses.step_metrics import by_step
from surpass.analyses.worst_groups import by_group
from surpass.grouping import grouped
from surpass.layers import by_layer
from surpass.report.listing import print_plain
from surpass.report.methods import ORACLE_MARK, Shortened, percent, table_of
from surpass.report.probes import groups_table, layers_table, saliency_table
from surpass.report.steps import JUDGED, plain_steps, steps_table
from surpass.results import Results
from surpass.store import Store
from surpass.study import Study

if TYPE_CHECKING:
    from rich.table import Table

_ERRORS = {
    "agreement": "agree",
    "agreement_right": "right",
    "agreement_wrong": "wrong",
    "corrected": "fixed",
    "new_errors": "new",
}
_NUMBERS = {"error_kappa": "kappa", "capa": "CAPA", "misfit": "misfit", "gain": "gain"}


def analysis(results: Results, study: Study, store: Store) -> dict[str, Any]:
    """Everything as plain data."""
    return {
        "errors": [
            {
                "weak_model": summary.key.weak_model,
                "strong_model": summary.key.strong_model,
                "method": summary.key.method,
                "oracle": summary.key.oracle,
                **{name: None if math.isnan(value) else value for name, value in summary.metrics.items()},
            }
            for summary in results.summary()
        ],
        "curves": [
            curve._asdict() | {"points": {k: _plain(v) for k, v in curve.points._asdict().items()}}
            for curve in curves(study, store)
        ],
        "worth": [
            worth._asdict() | {"effective": worth.effective._asdict()} for worth in worths(study, store)
        ],
        "visible": [entry._asdict() for entry in visible(study, store)],
        "layers": [
            {name: None if value != value else value for name, value in row._asdict().items()}
            for row in by_layer(study, results)
        ],
        "groups": [
            row._asdict() | {"groups": [group._asdict() for group in row.groups]}
            for row in by_group(study, store)
        ],
        "steps": plain_steps(by_step(study, store)),
        "saliency": [
            entry._asdict()
            | {
                "strategies": [
                    row._asdict() | {"accuracy": asdict(row.accuracy)} for row in entry.strategies
                ],
                "closed": {
                    name: None if isinstance(value, float) and math.isnan(value) else value
                    for name, value in entry.closed._asdict().items()
                },
            }
            for entry in saliency(study, store)
        ],
    }


def print_analysis(results: Results, study: Study, store: Store) -> None:
    """The same for people."""
    from rich.text import Text

    print_plain(Text("Whose errors (% of test examples; docs/metrics.md)", style="bold"))
    print_plain(errors_table(results))
    blocks = (
        ("Accuracy by group (%; docs/probes.md)", groups_table(by_group(study, store))),
        (JUDGED, steps_table(by_step(study, store))),
        ("Concept saliency (docs/probes.md)", saliency_table(saliency(study, store))),
        ("Layers (docs/probes.md)", layers_table(by_layer(study, results))),
        ("What the labels are worth, in truth labels", worth_table(worths(study, store))),
        ("Overfitting to weak labels (validation examples, %)", curves_table(curves(study, store))),
        ("What differences to naive the study can show", visible_table(visible(study, store))),
    )
    for heading, table in blocks:
        if table is not None:
            print_plain(Text(f"\n{heading}", style="bold"))
            print_plain(table)


def errors_table(results: Results) -> Table:
    """Agreement with the supervisor, errors fixed and made, and similarity."""
    from rich.text import Text

    table = table_of("pair, method", *_ERRORS.values(), *_NUMBERS.values())
    for pair, group in grouped(results.summary(), lambda s: (s.key.weak_model, s.key.strong_model)).items():
        table.add_row(Text(" → ".join(pair), style="bold", no_wrap=True, overflow="ellipsis"))
        for summary in group:
            cells = [percent(summary.metrics[metric]) for metric in _ERRORS]
            cells += [_number(summary.metrics[metric]) for metric in _NUMBERS]
            mark = ORACLE_MARK if summary.key.oracle else ""
            table.add_row(Shortened(f"  {summary.key.method}", mark), *cells)
    return table


def worth_table(found: Sequence[Worth]) -> Table | None:
    """Effective data of each method, by pair."""
    if not found:
        return None
    from rich.text import Text

    table = table_of("pair, method", "weak labels", "worth truth labels")
    for pair, group in grouped(found, lambda worth: (worth.weak_model, worth.strong_model)).items():
        table.add_row(Text(" → ".join(pair), style="bold", no_wrap=True, overflow="ellipsis"))
        for worth in group:
            table.add_row(Shortened(f"  {worth.method}"), f"{worth.num_labels:,}", worth.effective.text)
    return table


def curves_table(found: Sequence[Curve]) -> Table | None:
    """Best, last and weak-stopped points, mean over seeds."""
    if not found:
        return None
    table = table_of("pair", "best", "at", "last", "stopped by weak", "at", "seeds")
    for pair, group in grouped(found, lambda curve: (curve.weak_model, curve.strong_model)).items():
        points = [curve.points for curve in group]
        table.add_row(
            f"{pair[0]} → {pair[1]}",
            percent(_mean(point.best.accuracy for point in points)),
            f"{100 * _mean(point.best.progress for point in points):.0f}",
            percent(_mean(point.last.accuracy for point in points)),
            percent(_mean(point.weak_stopped.accuracy for point in points)),
            f"{100 * _mean(point.weak_stopped.progress for point in points):.0f}",
            str(len(group)),
        )
    return table


def visible_table(found: Sequence[Visible]) -> Table | None:
    """The smallest visible difference, and the seeds that a point of accuracy takes; medians over methods."""
    if not found:
        return None
    table = table_of("pair", "seeds", "smallest, points", "seeds for 1 point")
    for entry in found:
        seeds = "over 1,000, or never" if entry.seeds is None else str(entry.seeds)
        table.add_row(
            f"{entry.weak_model} → {entry.strong_model}",
            str(entry.num_seeds),
            f"{100 * entry.smallest:.1f}",
            seeds,
        )
    return table


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value + 0.0:.2f}"


def _plain(value: Any) -> Any:
    return value._asdict() if hasattr(value, "_asdict") else value
