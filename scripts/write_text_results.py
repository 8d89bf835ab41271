"""Write docs/results/text.md from the results of the studies on text.

    python scripts/write_text_results.py FOLDER...

Each folder holds the `results.json` of one run (`surpass run ... --out FOLDER`) and `command.txt` with the
command line that made it.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from surpass.report.terminal import footnotes
from surpass.results import Results
from surpass.rows import Summary

PAGE = Path(__file__).parents[1] / "docs" / "results" / "text.md"
HEAD = """# What small encoders show on text

Made by `scripts/write_text_results.py` on 2026-11-25. Packaged models, real data sets as published, three
seeds, two cores without an accelerator. PGR with its 95 % interval over test examples and seeds; differences
to naive fine-tuning as in [statistics](../statistics.md). Agreement: how often the student says what its
supervisor says; on its errors: the share of them that the student repeats. Calibration: the student's
calibration error, in bins of equal width.

"""
TAIL = """## What it says, and what not

- Sentiment passes from a weak encoder to a stronger one with frozen bodies: the student recovers most of
  the gap and repeats less than half of its supervisor's errors. The differences between methods are
  within noise.
- On deontology, with everything trained, the gap is as wide and nothing of it is recovered: at 53 % the
  supervisor knows next to nothing, and the student learns to say the same (nine answers in ten).
- On HH the heads of small encoders do not tell which completion is better with 500 comparisons: ceiling
  and supervisor cannot be told apart, so there is no PGR.
- SciQ has no study here yet. In single runs the ceilings stayed at chance with 280 rows and support
  (MiniLM-L6, everything trained) and with 400 rows without it (SmolLM2-135M, head alone); with 1,000 rows
  and support MiniLM-L6 reached 86 %, in a script outside Surpass.
"""


def number(value: float, *, percent: bool = True) -> str:
    """A share as a percentage, or a dash."""
    if math.isnan(value):
        return "-"
    return f"{100 * value:.1f}" if percent else f"{value:.3f}"


def row(summary: Summary) -> str:
    """A line of the table."""
    estimate, metrics = summary.estimate, summary.metrics
    pgr = (
        f"undefined: {estimate.reason}"
        if math.isnan(estimate.value)
        else f"{100 * estimate.value:.0f} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"
    )
    cells = [
        f"`{summary.key.method}`",
        *(number(mean) for mean in (estimate.weak, estimate.student, estimate.ceiling)),
        pgr,
        *(number(metrics[name]) for name in ("agreement", "inherited")),
        number(metrics["calibration_error"], percent=False),
    ]
    return f"| {' | '.join(cells)} |"


def section(folder: Path) -> str:
    """One study."""
    results = Results.from_json(folder / "results.json")
    summaries = results.summary()
    key = summaries[0].key
    command = (folder / "command.txt").read_text().strip()
    lines = [
        f"## {key.task}: {key.weak_model} supervises {key.strong_model}",
        "",
        f"```\n{command}\n```",
        "",
        "| method | weak | student | ceiling | PGR % | agreement | on its errors | calibration |",
        "|---|---:|---:|---:|---|---:|---:|---:|",
        *(row(summary) for summary in summaries),
        "",
    ]
    for rank in results.ranks:
        if rank.comparison is not None:
            said = rank.comparison
            lines.append(
                f"`{rank.method}` against naive: {100 * said.difference:+.1f} points "
                f"[{100 * said.low:+.1f}, {100 * said.high:+.1f}]."
            )
    lines += ["", *(f"- {note}" for note in footnotes(results)), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(HEAD + "\n".join([*(section(Path(name)) for name in sys.argv[1:]), TAIL]))
