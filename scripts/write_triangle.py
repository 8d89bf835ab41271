"""Write the page of the whole triangle of pairs from a study's results.

surpass run chess-triangle --out results/triangle
surpass run chess-triangle pairs=3-5,1-3 seeds=10 --out results/ten
python scripts/write_triangle.py results/triangle/results.json results/ten/results.json
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from surpass.results import Results, Summary

HEAD = """# Every rung supervising every larger one

Naive fine-tuning on {labels} weak labels of the chess ladder, 6,000 training puzzles, {num_examples:,} test
puzzles in the mix of the sources, {num_seeds} seeds. Accuracies are means over seeds in percent; PGR is the
ratio of pooled means in percent, with a 95 % interval over test puzzles and seeds
([statistics](../statistics.md)). Nothing is left out: where the ceiling does not beat the supervisor beyond
noise, PGR is undefined and says so. Settings: `recipes/chess.py`, `chess_triangle`; each seed draws its own
training puzzles.

## PGR

"""


ACCURACIES = "| supervisor | student | weak | student | ceiling | PGR |\n|---|---|---:|---:|---:|---:|\n"


def cell(summary: Summary | None) -> str:
    """PGR with its interval, or why there is none."""
    if summary is None:
        return ""
    estimate = summary.estimate
    if not estimate.valid:
        return "undefined"
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def accuracy_row(summary: Summary) -> str:
    """A line of the table of accuracies."""
    key, estimate = summary.key, summary.estimate
    means = [f"{100 * mean:.1f}" for mean in (estimate.weak, estimate.student, estimate.ceiling)]
    return f"| {key.weak_model} | {key.strong_model} | {' | '.join(means)} | {cell(summary)} |\n"


def more_seeds(paths: Iterable[Path]) -> list[str]:
    """Tables of further results of the same settings with other numbers of seeds."""
    lines = []
    for path in paths:
        summaries = Results.from_json(path).summary()
        lines.append(f"\n## With {summaries[0].estimate.num_seeds} seeds\n\n{ACCURACIES}")
        lines += [accuracy_row(summary) for summary in summaries]
    return lines


def main() -> None:
    """Print the page."""
    summaries = Results.from_json(Path(sys.argv[1])).summary()
    by_pair = {(s.key.weak_model, s.key.strong_model): s for s in summaries}
    weak = sorted({pair[0] for pair in by_pair})
    strong = sorted({pair[1] for pair in by_pair})
    first = summaries[0]
    lines = [
        HEAD.format(
            labels=first.key.labels,
            num_examples=first.estimate.num_examples,
            num_seeds=first.estimate.num_seeds,
        ),
        "| supervisor | " + " | ".join(f"student {name}" for name in strong) + " |\n",
        "|---" * (len(strong) + 1) + "|\n",
    ]
    for name in weak:
        cells = [cell(by_pair.get((name, other))) for other in strong]
        lines.append(f"| {name} | {' | '.join(cells)} |\n")
    lines.append(f"\n## Accuracies\n\n{ACCURACIES}")
    lines += [accuracy_row(summary) for summary in summaries]
    lines += more_seeds(Path(other) for other in sys.argv[2:])
    for summary in summaries:
        if not summary.estimate.valid:
            key = summary.key
            lines.append(f"\n{key.weak_model} -> {key.strong_model}: {summary.estimate.reason}\n")
    sys.stdout.write("".join(lines))


if __name__ == "__main__":
    main()
