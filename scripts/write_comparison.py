"""Write the page that compares methods from a study's results and its analysis.

surpass run chess-methods --out results/methods
surpass analyse chess-methods --json > results/methods/analysis.json
python scripts/write_comparison.py chess-methods results/methods
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from surpass.recipes import find_recipe
from surpass.report.methods import ordered, p_text, percent
from surpass.report.terminal import headline, left_out_notes
from surpass.results import Results
from surpass.rows import Summary
from surpass.study import Study, sharing

HEAD = """# Methods compared: `{name}`

{sentence}

{description}{num_seeds} seeds, {num_train:,} training examples of either half, {num_test:,} test
examples that all share. `surpass run {name}` makes this page's numbers: {asked:,} fits are asked for and
{distinct:,} made, as equal stages are one ({saved:,} saved). Nothing is left out: methods that do
worse than naive fine-tuning stand below it, and those that do not apply stand at the end with the reason.

*vs naive*: mean difference of accuracy over the pairs in points, with a 95 % interval over seeds and test
examples; *p* is corrected for the number of methods (Holm). PGR is the median over pairs. Methods marked *
learn from truth that no supervisor has: bounds and controls. What each is: [methods](../methods.md).

## All pairs

| method | accuracy | vs naive, points | p | median PGR % |
|---|---:|---:|---:|---:|
"""


def rank_lines(results: Results) -> list[str]:
    """A line per method, best first."""
    lines = []
    for rank in ordered(results.ranks):
        name = f"`{rank.method}`{'*' if rank.oracle else ''}"
        undefined = f" ({rank.pgr.num_valid} of {rank.num_pairs} pairs)" if rank.pgr.num_invalid else ""
        compared = rank.comparison
        if compared is None:
            others = [other.comparison for other in results.ranks if other.comparison is not None]
            accuracy = percent(others[0].baseline_accuracy) if others else ""
            lines.append(f"| {name} | {accuracy} | | | {percent(rank.pgr.median)}{undefined} |\n")
            continue
        interval = f"[{100 * compared.low:+.1f}, {100 * compared.high:+.1f}]"
        most = max(other.num_pairs for other in results.ranks)
        pairs = f", {rank.num_pairs} of {most} pairs" if rank.num_pairs < most else ""
        lines.append(
            f"| {name} | {percent(compared.accuracy)} | {100 * compared.difference:+.1f} {interval}{pairs} "
            f"| {p_text(compared.adjusted_p)} | {percent(rank.pgr.median)}{undefined} |\n"
        )
    return lines


def cell(summary: Summary | None) -> str:
    """Student's accuracy and PGR with its interval, or why there is none."""
    if summary is None:
        return ""
    estimate = summary.estimate
    if not estimate.valid:
        return f"{percent(estimate.student)}, undefined"
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{percent(estimate.student)}, {100 * estimate.value:.0f} [{low:.0f}, {high:.0f}]"


def pair_lines(results: Results) -> list[str]:
    """Accuracy and PGR of every method on every pair."""
    cells = {(s.key.weak_model, s.key.strong_model, s.key.method): s for s in results.summary()}
    pairs = list(dict.fromkeys(place[:2] for place in cells))
    first = {pair: next(s.estimate for s in results.summary() if place_of(s) == pair) for pair in pairs}
    heads = [
        f"{' → '.join(pair)} (weak {percent(first[pair].weak)}, ceiling {percent(first[pair].ceiling)})"
        for pair in pairs
    ]
    lines = [f"| method | {' | '.join(heads)} |\n", "|---" * (len(pairs) + 1) + "|\n"]
    for rank in ordered(results.ranks):
        row = [cell(cells.get((*pair, rank.method))) for pair in pairs]
        lines.append(f"| `{rank.method}`{'*' if rank.oracle else ''} | {' | '.join(row)} |\n")
    return lines


def place_of(summary: Summary) -> tuple[str, str]:
    """The pair of a summary."""
    return summary.key.weak_model, summary.key.strong_model


def error_lines(results: Results) -> list[str]:
    """Whose errors: means over pairs of what `surpass analyse` shows of each."""
    names = ("agreement", "agreement_right", "agreement_wrong", "corrected", "new_errors")
    numbers = ("error_kappa", "capa", "misfit", "gain")
    heads = ("agree", "where right", "where wrong", "corrected", "new", "kappa", "CAPA", "misfit", "gain")
    lines = [f"| method | {' | '.join(heads)} |\n", "|---" + "|---:" * len(heads) + "|\n"]
    for rank in ordered(results.ranks):
        group = [s.metrics for s in results.summary() if s.key.method == rank.method]
        mean = {name: _mean(metrics[name] for metrics in group) for name in names + numbers}
        cells = [percent(mean[name]) for name in names] + [f"{mean[name]:.2f}" for name in numbers]
        lines.append(f"| `{rank.method}`{'*' if rank.oracle else ''} | {' | '.join(cells)} |\n")
    return lines


def worth_lines(found: list[dict[str, Any]]) -> list[str]:
    """What the labels are worth, a column per pair."""
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for entry in found:
        effective = entry["effective"]
        sign = {"equal": "", "more": "more than ", "less": "less than "}[effective["relation"]]
        pair = entry["weak_model"], entry["strong_model"]
        cells.setdefault(entry["method"], {})[pair] = f"{sign}{effective['num_examples']:,.0f}"
    pairs = list(dict.fromkeys(pair for row in cells.values() for pair in row))
    lines = [
        f"| method | {' | '.join(' → '.join(pair) for pair in pairs)} |\n",
        "|---" + "|---:" * len(pairs) + "|\n",
    ]
    lines += [
        f"| `{name}` | {' | '.join(row.get(pair, '') for pair in pairs)} |\n" for name, row in cells.items()
    ]
    return lines


def curve_lines(found: list[dict[str, Any]]) -> list[str]:
    """Overfitting, mean over seeds."""
    lines = [
        "| pair | best | at | last | stopped by weak labels | at |\n|---|---:|---:|---:|---:|---:|\n",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for curve in found:
        groups.setdefault((curve["weak_model"], curve["strong_model"]), []).append(curve["points"])
    for pair, points in groups.items():
        best, last, stopped = (
            {field: _mean(point[name][field] for point in points) for field in ("accuracy", "progress")}
            for name in ("best", "last", "weak_stopped")
        )
        cells = [percent(best["accuracy"]), f"{100 * best['progress']:.0f} %", percent(last["accuracy"])]
        cells += [percent(stopped["accuracy"]), f"{100 * stopped['progress']:.0f} %"]
        lines.append(f"| {' → '.join(pair)} | {' | '.join(cells)} |\n")
    return lines


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def main() -> None:
    """Print the page."""
    study: Study = find_recipe(sys.argv[1])
    folder = Path(sys.argv[2])
    results = Results.from_json(folder / "results.json")
    analysis = json.loads((folder / "analysis.json").read_text())
    counted = sharing(study.rows())
    page = [
        HEAD.format(
            name=study.name,
            sentence=headline(results),
            description=f"{sys.argv[3]} " if len(sys.argv) > 3 else "",
            num_seeds=len(study.seeds),
            num_train=study.num_train,
            num_test=study.num_test or 0,
            asked=counted.asked,
            distinct=counted.distinct,
            saved=counted.asked - counted.distinct,
        ),
        *rank_lines(results),
        "\n## Pair by pair\n\nStudent's accuracy, then PGR with its 95 % interval, in percent.\n\n",
        *pair_lines(results),
        "\n## Whose errors\n\nMeans over the pairs; [metrics](../metrics.md) says what each is.\n\n",
        *error_lines(results),
    ]
    if analysis["worth"]:
        page += ["\n## What the weak labels are worth, in truth labels\n\n", *worth_lines(analysis["worth"])]
    if analysis["curves"]:
        page += [
            "\n## Overfitting to weak labels\n\nAccuracy on validation examples; *at*: share of training.\n\n"
        ]
        page += curve_lines(analysis["curves"])
    page += ["\n## Left out\n\n", *(f"- {note}\n" for note in left_out_notes(results))]
    sys.stdout.write("".join(page))


if __name__ == "__main__":
    main()
