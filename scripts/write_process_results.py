"""Write docs/results/process.md from a finished run of `processbench-small`, or process-world.md.

    python scripts/write_process_results.py STORE "processbench(source=FOLDER)"
    python scripts/write_process_results.py STORE process-world num_train=600

What the first page needs beside the study is computed into the same store, from states that are there: heads
that are trained by one step of next to nothing, and labels of validation examples.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import numpy as np

from surpass.analyses.finding import found
from surpass.analyses.step_metrics import (
    JudgedSteps,
    StepValues,
    by_step,
    guessing_f1,
    step_values,
    validation_labels,
)
from surpass.analyses.step_pool import Pool
from surpass.experiment import notes, run, run_stage
from surpass.models.sources import resolve
from surpass.recipes import find_recipe
from surpass.recipes.finding import find_study
from surpass.rows import JudgeScores
from surpass.stats import PgrEstimate
from surpass.stats.gap import Difference
from surpass.stats.values import value_difference
from surpass.store import Store
from surpass.study import Study
from surpass.tasks import find_task
from surpass.train.recipe import Recipe

WORLD_PAGE = Path(__file__).parents[1] / "docs" / "results" / "process-world.md"
WORLD_SAYS = """
## What it says, and what not

- There is no gap to recover: with 2,000 solutions `small` as a ceiling does not beat `tiny` on steps or first
  errors, and on best of 8 only within noise, so PGR is undefined for all four, and says why. What a judge
  learns here it learns from the labels: that `small` solves far more hardly helps it to judge.
- Both judges choose better than blindly, and find first errors far better than guessing. The student that
  learned from `tiny` is as good on steps and worse on best of 8; why was not looked into.
- One seed alone gave a ceiling of 80.0 % on best of 8, and a PGR; three seeds do not: the ceiling varies with
  what it is given. With 600 solutions and batches of 96 (`num_train=600 batch_size=96`) all judges
  were worse than blind on best of 8 (weak 51.9, student 47.0, ceiling 43.7 %).
- Each further seed took about a minute and a half of a busy machine.
"""
"""Written by hand from the table of 2026-11-30."""

PAGE = Path(__file__).parents[1] / "docs" / "results" / "process.md"
UNTRAINED = Recipe(epochs=1, batch_size=1 << 20, learning_rate=1e-12)
SAYS = """
## What it says, and what not

- Training tells something of problems that were never seen: balanced step accuracy is 10 to 13 points
  above untrained heads, beyond noise for both models. By F1 the larger judge beats its untrained self at
  threshold 0.5 (+7.5 points, 0.6 to 14.7), the smaller one with a threshold of its own (+11.7, 4.2 to 19.2);
  the other two of these four comparisons lie within noise. The best F1 is 24.8 %, and guessing has 16.4 %:
  frozen sentence encoders that see 128 tokens judge mathematics poorly.
- There is no gap to recover on F1 and on balanced accuracy: MiniLM-L6 as a ceiling does not beat MiniLM-L3
  beyond noise, so PGR is undefined there. On plain step accuracy it is 43 %, with an interval that says
  nothing. That measure is mostly about how often a judge calls a step correct.
- A threshold from 100 solutions varies: it helps the supervisor and the naive student, and hurts the
  ceiling and the student with the confidence loss.
- 92 % of the test steps have more before them than is read. More tokens, models that are fine-tuned, and
  causal models that read a solution in one pass are the way on; none of that was run here. The study took
  27 minutes of a machine that was busy with much else.
"""
"""Written by hand from the tables of 2026-11-29."""


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f}"


def pgr(estimate: PgrEstimate) -> str:
    """PGR with its interval, or why there is none."""
    if not estimate.valid:
        return f"undefined: {estimate.reason}"
    return f"{100 * estimate.value:.0f} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


def points(found: Difference) -> str:
    """A difference in points, with its interval."""
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def metric_table(scores: list[JudgeScores]) -> list[str]:
    """All metrics and methods."""
    lines = ["| metric | method | weak | student | ceiling | PGR % |", "|---|---|---:|---:|---:|---|"]
    for score in scores:
        means = (percent(getattr(score.estimate, role)) for role in ("weak", "student", "ceiling"))
        cells = [score.metric, f"`{score.method}`", *means, pgr(score.estimate)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def against_untrained(trained: list[StepValues], untrained: list[StepValues]) -> list[str]:
    """Judges that learned the truth against untrained heads on the same states."""
    lines = ["| judge | metric | trained | untrained | difference, points |", "|---|---|---:|---:|---|"]
    first = {entry.metric: entry for entry in reversed(trained)}
    for entry in untrained:
        for role, model in (("weak", entry.weak_model), ("ceiling", entry.strong_model)):
            ours = first[entry.metric].values[role]
            difference = value_difference(ours, entry.values[role])
            cells = [model, entry.metric, percent(difference.a), percent(difference.b), points(difference)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def page(study: Study, store: Store) -> str:
    """The whole page but for what it says."""
    nothing = study.replace(name=f"{study.name}-untrained", methods=("naive",), recipe=UNTRAINED)
    run(nothing, store)
    for each in (study, nothing):
        for labels in validation_labels(each).values():
            run_stage(labels, store)
    steps = JudgedSteps.read(found(study.test_examples, store))
    assert steps.first_error_S is not None
    trained = [*step_values(study, store), *step_values(study, store, tuned=True)]
    untrained = [*step_values(nothing, store), *step_values(nothing, store, tuned=True)]
    weak, strong = (resolve(model).short_name for model in study.pairs[0])
    learned = found(study.setting(study.pairs[0], study.seeds[0]).student_examples, store)
    said = learned.manifest["said"]["num_examples"]
    wrong = float((steps.truth_K == 0).mean())
    with_error = int((steps.first_error_S >= 0).sum())
    lines = [
        f"# ProcessBench: {weak} supervises {strong}",
        "",
        "Made by `scripts/write_process_results.py` from",
        "",
        '```\nsurpass run processbench-small "task=processbench(source=FOLDER)"\n```',
        "",
        textwrap.fill(
            "Heads on frozen packaged encoders that read 128 tokens up to the end of each step; "
            f"{len(study.seeds)} seeds. Either half has {said:,} steps (seed 0), about as many wrong as "
            f"correct ones; no problem is in two parts. The test has {len(steps.truth_K):,} steps of "
            f"{len(steps.lengths_S):,} solutions of {steps.num_problems:,} problems; {percent(wrong)} % of "
            f"the steps are wrong, and {with_error:,} of the solutions have an error. Intervals (95 %) are "
            "over problems and seeds; PGR as in [statistics](../statistics.md). A step is called wrong "
            "where P(correct) is below 0.5, or below the threshold that is best for the judge on "
            f"{study.num_validation} validation solutions.",
            100,
        ),
        "",
        "## Weak to strong",
        "",
        *metric_table([*by_step(study, store), *by_step(study, store, tuned=True)]),
        "",
        "## Trained against untrained",
        "",
        textwrap.fill(
            "The judges trained on the truth of their half, against heads on the same states that are as "
            f"they were drawn. Calling every step correct has a step accuracy of {percent(1 - wrong)} % and "
            "an F1 of 0; guessing with the share of wrong calls that is best on this very test has an "
            f"expected F1 of {percent(guessing_f1(steps))} %.",
            100,
        ),
        "",
        *against_untrained(trained, untrained),
        "",
        *(f"- {note}" for note in notes(study, store)),
        "",
    ]
    return "\n".join(lines)


def world_page(study: Study, store: Store, changes: list[str]) -> str:
    """The page of `process-world` but for what it says."""
    assert study.pool is not None
    steps = JudgedSteps.read(found(study.test_examples, store))
    pool = Pool.read(found(study.pool, store), study.best_of)
    learned = found(study.setting(study.pairs[0], study.seeds[0]).student_examples, store)
    weak, strong = (resolve(model).short_name for model in study.pairs[0])
    said = learned.manifest["said"]["num_examples"]
    scores = by_step(study, store)
    right = np.array([pool.correct_S[pool.problem_S == number].any() for number in range(pool.num_problems)])
    drawn = pool.chosen(np.zeros(len(pool.lengths_S)))
    lines = [
        f"# Judges of steps offline: {weak} supervises {strong}",
        "",
        "Made by `scripts/write_process_results.py` from",
        "",
        f"```\nsurpass run {' '.join([study.name, *changes])}\n```",
        "",
        textwrap.fill(
            f"Reasoners of the [offline world](../world.md), everything trained; {len(study.seeds)} seeds. "
            f"Each learns from {study.num_train:,} different solutions of the world's authors ({said:,} "
            f"steps for the student of seed 0). The test has {len(steps.truth_K):,} rated steps of "
            f"{len(steps.lengths_S):,} solutions of {steps.num_problems} problems, "
            f"{percent(float((steps.truth_K == 0).mean()))} % of them wrong. For best of {study.best_of} all "
            f"judges rank the same {int(pool.counts_S.sum()):,} solutions, equal ones counted as often as "
            f"they are there; one drawn at random is right with {percent(float(drawn.mean()))} %, and of "
            f"{percent(float(right.mean()))} % of the problems any is. Intervals (95 %) are over problems "
            "and seeds; PGR as in [statistics](../statistics.md).",
            100,
        ),
        "",
        *metric_table(scores),
        "",
        f"Guessing has an expected F1 of {percent(guessing_f1(steps))} %.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    folder, task, *changes = sys.argv[1:]
    if task == "process-world":
        WORLD_PAGE.write_text(world_page(find_study(task, changes), Store(folder), changes) + WORLD_SAYS)
        sys.exit()
    text = page(find_recipe("processbench-small", task=find_task(task)), Store(folder))
    PAGE.write_text(text + SAYS)
