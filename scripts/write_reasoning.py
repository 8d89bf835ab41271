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

- **Alone, no reward model beats the majority here beyond a few samples.** Choosing the one highest score
  gets better up to four samples or eight, and then worse: the more there are to choose from, the likelier
  it is that one fools the judge. Most of its wrong choices are answers that no other sample gives, so slips
  of one author, which a model of 236,240 parameters cannot check; misconceptions, which many authors share,
  it knows. In the paper the process reward model gets better up to 1,860 samples; its models are large.
- **As weights of votes, both beat the majority by far**: a vote forgives single slips, and the weights know
  the misconceptions for which the majority falls. Process beats outcome beyond noise on the longer chains; on
  problems like those learned from the two cannot be told apart.
- `outcome, more` has hardly more: authors write few solutions of a problem that differ, and equal ones are
  labelled once.
- The shipped reasoner was not taken as generator: it has the right answer in a tenth of the samples, nearly
  always behind wrong steps.
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
