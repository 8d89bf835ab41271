"""Write docs/results/text.md or docs/results/vision.md from the results of studies.

    python scripts/write_study_results.py text|vision FOLDER...

Each folder holds the `results.json` of one run (`surpass run ... --out FOLDER`) and `command.txt` with the
command line that made it.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import NamedTuple

from surpass.report.terminal import footnotes
from surpass.results import Results
from surpass.rows import Summary


class Page(NamedTuple):
    """What stands above the studies, and below them."""

    head: str
    tail: str


ABOUT = """PGR with its 95 % interval over test examples and seeds; differences to naive fine-tuning as in
[statistics](../statistics.md). Agreement: how often the student says what its supervisor says; on
its errors: the share of them that the student repeats. Calibration: the student's calibration
error, in bins of equal width.

"""
TEXT = Page(
    """# What small encoders show on text

Made by `scripts/write_study_results.py` on 2026-11-29. Packaged models, real data sets as
published, three seeds, two cores without an accelerator.

"""
    + ABOUT,
    """## What it says, and what not

- Sentiment passes from a weak encoder to a stronger one with frozen bodies: the student recovers
  most of the gap and repeats less than half of its supervisor's errors. The differences between
  methods are within noise.
- On SciQ (with the passage that answers) and on deontology, with everything trained, the gap is
  wide and nothing of it is recovered: the supervisor is at chance or just above, and its labels
  teach nothing. MiniLM-L6 alone learns the first from 1,000 rows of truth, but stays at chance with
  280.
- On HH heads of small encoders hardly tell which completion is better, with 3,400 comparisons as
  with 500: ceiling and supervisor cannot be told apart, so there is no PGR. Most completions are
  longer than the 128 tokens that are read.
""",
)
VISION = Page(
    """# What a small network shows a pretrained one

Made by `scripts/write_study_results.py` on 2026-11-29. CIFAR-10 as JPEG, three seeds, 2,000 images
for either half, 2,000 to test. The supervisor is a network of three residual stages trained from
scratch on its half, the student a head on EfficientNet-Lite0, pretrained on ImageNet and frozen;
its pictures are brought to 128 pixels. The whole study took four minutes of one thread on a busy
machine.

"""
    + ABOUT,
    """## What it says, and what not

- The gap is wide (32 points), and naive fine-tuning recovers a fifteenth of it. The student does
  not copy: it agrees with its supervisor on 45 % of the test images and repeats a third of its
  errors, but makes nearly as many of its own where the supervisor is right.
- AdaptConf recovers a quarter, beyond noise by its own interval; the difference to naive is not
  beyond noise once it is corrected for three methods (p = 0.12). The confidence loss varies from
  seed to seed.
- 2,000 images, one data set, one pair: with more images or a stronger supervisor the order may
  differ. The paper's own study (ImageNet, AlexNet, DINO) is `vision-paper`; it was not run, as its
  models were out of reach.
""",
)
PAGES = {"text": TEXT, "vision": VISION}


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
    name, *folders = sys.argv[1:]
    page = PAGES[name]
    path = Path(__file__).parents[1] / "docs" / "results" / f"{name}.md"
    path.write_text(page.head + "\n".join([*(section(Path(folder)) for folder in folders), page.tail]))
