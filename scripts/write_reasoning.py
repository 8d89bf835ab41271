"""Write docs/results/reasoning.md and its picture from the results of a study of reward models.

    python scripts/write_reasoning.py FOLDER

The folder holds the `results.json` of a run (`surpass reasoning ... --out FOLDER`), `command.txt` with the
command line that made it, and `time.txt` with a sentence on how long it took.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from surpass.report.rewards import (
    efficiency_sentences,
    interval,
    percent,
    picture,
    rankers_of,
    shown_sizes,
    verdicts,
)

HEAD = """# Process against outcome supervision in the offline world

Made by `scripts/write_reasoning.py` from the results of a run. {time}

```
{command}
```

In the [offline world](../world.md) {about}; its checker rates each step and grades each answer. {labelled}
What the curves are, says [reward models of reasoning](../reasoning.md).

![Curves of best-of-n](reasoning.svg)

Bands: 95 % over problems; of the last panel, the range of the seeds.

"""
TAIL = """## What it says, and what not

- **As weights of votes, process beats outcome beats majority at n = 32, beyond noise**: 99.4, 90.8 and
  75.8 %. A vote forgives what a judge takes for right by mistake, and its weights know the
  misconceptions that many authors share, for which the majority falls.
- **Chosen alone, the one highest score keeps that order at n = 4**: process less outcome is +4.3 points
  [+0.6, +8.5], outcome less majority +13.0 [+8.3, +17.3]. At 8, process still beats the majority (+11.0
  [+3.8, +17.5]); behind that both fall below it: the more there are to choose from, the likelier it is
  that one fools the judge. Most of the wrong answers that are chosen no other sample gives: slips of
  one author, which a model of 447,264 parameters cannot check for sure.
- **More solutions to learn from lift the whole curve.** Learned from 6,000 problems instead of 1,500,
  in one epoch (`num_train=6000 train_samples=4 epochs=1 seeds=1`), the process reward model has 82.5 %
  at n = 8, 73.9 % at 16 and 64.2 % at 32, where its three seeds have 77.9, 68.2 and 56.1 % here. In the
  paper it gets better up to 1,860 samples; its models are large, and its labels 800,000.
- **Active choice does not help here.** The judges that learned from convincing wrong answers choose no
  better than those that learned from as many solutions as they come, and worse with one solution of
  each problem; the ratio of slopes says nothing (two sizes, three seeds), the ratio of data at equal
  accuracy is below 1 without being so beyond noise. The selecting model is itself weak: by its score
  alone the best of 32 is right in a third.
- **The shipped reasoner as generator** (`generator=reasoner:small num_train=300 per_problem=8 epochs=3
  batch_size=96 outcome_batch_size=24`, three seeds, 1,899 solutions, 22 % right): one sample is right
  in 38.5 %, majority of 32 in 52.5 % [43.3, 61.7], the best of 32 by process in 15.6 % [10.8, 21.1], by
  outcome in 13.6 % [9.2, 18.9]; as weights of votes 53.6 and 53.9 %. So few labels do not tell a model
  the errors that one of its own size makes, and a product favours solutions with few steps. Longer
  chains were not run this time.
"""
_TITLES = {"all": "Problems like those learned from", "long": "Longer chains than anybody has seen"}


def labelled(found: dict[str, Any]) -> str:
    """From what each reward model has learned."""
    said = [
        f"`{name}` learned from {arm['solutions']:,.0f} solutions ({percent(arm['correct'])} % right)"
        for name, arm in found["learned"].items()
    ]
    return f"{'; '.join(said)}, means of {len(found['seeds'])} seeds."


def test_section(mix: str, test: dict[str, Any]) -> list[str]:
    """Best-of-n on one kind of problems."""
    sizes = shown_sizes(test["num_samples"])
    lines = [
        f"## {_TITLES.get(mix, mix)}",
        "",
        f"{test['num_problems']} problems, {test['num_samples']} samples of each, of which "
        f"{percent(test['eligible'])} % ended with an answer. Percent of problems solved by the best of n:",
        "",
        f"| chosen by | {' | '.join(map(str, sizes[:-1]))} | {sizes[-1]} [95 %] | seeds at {sizes[-1]} |",
        f"|---|{'---:|' * len(sizes)}---|",
    ]
    for name in rankers_of(test):
        curve = test["curves"][name]
        cells = [percent(curve["mean_N"][size - 1]) for size in sizes[:-1]]
        seeds = " ".join(map(percent, test["seeds"].get(name, [])))
        lines.append(f"| {name} | {' | '.join(cells)} | {interval(curve)} | {seeds} |")
    lines += ["", *(f"- {sentence[0].upper()}{sentence[1:]}." for sentence in verdicts(test)), ""]
    others = ", ".join(
        f"{name.replace('_neutral_wrong', ' (neutral as wrong)')} {percent(curve['mean_N'][-1])}"
        for name, curve in test["reductions"].items()
    )
    shares = ", ".join(
        f"{percent(share)} % (`{name}`)"
        for name, share in test["wrong_and_alone"].items()
        if share is not None
    )
    return [
        *lines,
        f"Other reductions of steps at n = {sizes[-1]}: {others}.",
        "",
        f"Of the wrong answers with the highest score, no other of the {sizes[-1]} samples gives: {shares}.",
        "",
    ]


def difficulty(test: dict[str, Any]) -> list[str]:
    """At the largest n, by fifths."""
    if "by_difficulty" not in test:
        return []
    groups = test["by_difficulty"]
    names = [name for name in rankers_of(test) if name in groups]
    lines = [
        "## By difficulty",
        "",
        "Fifths of the problems like those learned from, by the share of right samples; at the largest n.",
        "",
        f"| fifth | one at random | {' | '.join(names)} |",
        f"|---|{'---:|' * (len(names) + 1)}",
    ]
    for group in sorted(groups[names[0]], key=int):
        first = percent(groups["any of n"][group]["mean_N"][0])
        cells = [percent(groups[name][group]["mean_N"][-1]) for name in names]
        lines.append(f"| {int(group) + 1} | {first} | {' | '.join(cells)} |")
    return [*lines, "", "The easiest fifth is the first.", ""]


def kinds(test: dict[str, Any]) -> list[str]:
    """At the largest n, by family and level."""
    if "by_kind" not in test:
        return []
    names = ["process", "outcome", "majority", "any of n"]
    lines = [
        f"| family and level | problems | one at random | {' | '.join(names)} |",
        f"|---|---:|---:|{'---:|' * len(names)}",
    ]
    for kind, row in test["by_kind"].items():
        cells = " | ".join(percent(row[name]) for name in ("pass_1", *names))
        lines.append(f"| {kind} | {row['num_problems']} | {cells} |")
    return [*lines, ""]


def selection(found: dict[str, Any]) -> list[str]:
    """Active against uniform choice."""
    lines = [
        "## Choosing what is labelled",
        "",
        f"Percent of problems solved at n = {found['size']} by process reward models that learned from so "
        "many solutions:",
        "",
        "| chosen | solutions | rated steps | solved | seeds |",
        "|---|---:|---:|---:|---|",
    ]
    for rule, points in found["points"].items():
        for point in points:
            values = point["accuracy"]
            lines.append(
                f"| {rule} | {point['solutions']:,.0f} | {point['steps']:,.0f} | "
                f"{percent(sum(values) / len(values))} | {' '.join(map(percent, values))} |"
            )
    sentences = [f"- {said[0].upper()}{said[1:]}." for said in efficiency_sentences(found)]
    return [*lines, "", *sentences, ""]


def page(folder: Path) -> str:
    """The whole page."""
    found = json.loads((folder / "results.json").read_text())
    first = next(iter(found["tests"].values()))
    time, command = ((folder / name).read_text().strip() for name in ("time.txt", "command.txt"))
    lines = [HEAD.format(time=time, command=command, about=found["about"], labelled=labelled(found))]
    for mix, test in found["tests"].items():
        lines += [*test_section(mix, test), *kinds(test)]
    lines += difficulty(first)
    lines += selection(found["selection"]) if "selection" in found else []
    return "\n".join([*lines, TAIL])


if __name__ == "__main__":
    given = Path(sys.argv[1])
    results = Path(__file__).parents[1] / "docs" / "results"
    (results / "reasoning.md").write_text(page(given))
    (results / "reasoning.svg").write_text(picture(json.loads((given / "results.json").read_text())))
