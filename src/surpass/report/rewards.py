"""Results of reward models: a table for the terminal, sentences, and the curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from surpass.report.methods import table_of
from surpass.report.plot import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, Line, Panel, svg

Found = Mapping[str, Any]

_STYLES = {
    "process": (BLUE, ""),
    "outcome": (VERMILION, "7 3"),
    "outcome, more": (ORANGE, "3 3"),
    "majority": (GREEN, "10 3 2 3"),
    "process, roll-outs": (BLUE, "2 2"),
    "process, taught": (BLUE, "9 2 2 2"),
    "outcome, taught": (VERMILION, "2 2"),
    "vote weighed by process": (SKY, ""),
    "vote weighed by outcome": (PURPLE, "7 3"),
    "any of n": (GREY, "1 3"),
}
_BANDS = ("process", "outcome", "majority")
_TITLES = {"all": "Problems like those learned from", "long": "Longer chains than any seen"}
_WORDS = {
    "process": "the process reward model",
    "outcome": "the outcome reward model",
    "outcome, more": "an outcome reward model with more labels",
    "majority": "majority voting",
    "vote weighed by process": "a vote weighed by the process reward model",
    "vote weighed by outcome": "a vote weighed by the outcome reward model",
}


def shown_sizes(most: int) -> list[int]:
    """1, 2, 4, ... and the largest n."""
    sizes = [2**power for power in range(most.bit_length()) if 2**power <= most]
    return sizes if sizes[-1] == most else [*sizes, most]


def percent(value: float) -> str:
    """A share in percent, with a digit behind the point."""
    return f"{100 * value:.1f}"


def interval(found: Found, place: int = -1, *, signed: bool = False) -> str:
    """Mean and interval of a curve at one size, in percent or points."""
    form = "+.1f" if signed else ".1f"
    mean, low, high = (100 * found[name][place] for name in ("mean_N", "low_N", "high_N"))
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def rankers_of(test: Found) -> list[str]:
    """Rankers as they are shown: the largest accuracy first, and last what nobody can reach."""
    curves = test["curves"]
    return sorted(curves, key=lambda name: (name == "any of n", -curves[name]["mean_N"][-1]))


def verdict(test: Found, first: str, second: str) -> str:
    """Whether one ranker beats another at the largest n, in words."""
    found = test["differences"][f"{first} - {second}"]
    low, high = found["low_N"][-1], found["high_N"][-1]
    said = "beats" if low > 0 else "is beaten by" if high < 0 else "cannot be told from"
    return (
        f"{_WORDS[first]} {said} {_WORDS[second]}: {interval(found, signed=True)} points "
        f"at n = {test['num_samples']}"
    )


def verdicts(test: Found) -> list[str]:
    """What can be said of the rankers of a test."""
    return [verdict(test, *pair.split(" - ")) for pair in test["differences"]]


def print_rewards(found: Found) -> None:
    """Print the tables and sentences."""
    from rich.console import Console

    console = Console(width=100, highlight=False)
    for mix, test in found["tests"].items():
        sizes = shown_sizes(test["num_samples"])
        title = _TITLES.get(mix, mix)
        console.print(f"\n{title}: {test['num_problems']} problems, best of n, percent solved", style="bold")
        table = table_of("chosen by", *(str(size) for size in sizes[:-1]), f"{sizes[-1]} [95 %]")
        for name in rankers_of(test):
            curve = test["curves"][name]
            table.add_row(name, *(percent(curve["mean_N"][size - 1]) for size in sizes[:-1]), interval(curve))
        console.print(table)
        for sentence in verdicts(test):
            console.print(f"- {sentence}")
    if "selection" in found:
        _print_selection(console, found["selection"])


def _print_selection(console: Any, found: Found) -> None:
    console.print(
        f"\nChoosing what is labelled: percent solved at n = {found['size']}, mean of seeds", style="bold"
    )
    table = table_of("labelled solutions", "steps", "solved", "seeds")
    for rule, points in found["points"].items():
        for point in points:
            values = point["accuracy"]
            table.add_row(
                f"{point['solutions']:,.0f}, {rule}",
                f"{point['steps']:,.0f}" if point["steps"] else "-",
                percent(sum(values) / len(values)),
                " ".join(map(percent, values)),
            )
    console.print(table)
    for sentence in efficiency_sentences(found):
        console.print(f"- {sentence}")


def efficiency_sentences(selection: Found) -> list[str]:
    """What active choice is worth, in words."""
    sentences = []
    for which, found in selection.get("efficiency", {}).items():
        if "slopes" not in found:
            sentences.append(f"data efficiency ({which}): undefined, {found['reason']}")
            continue
        for what, name in (("slopes", "ratio of slopes"), ("data", "data at equal accuracy")):
            ratio = found[what]
            if ratio["value"] is None:
                sentences.append(f"{name} ({which}): undefined, {ratio['reason']}")
            else:
                sentences.append(
                    f"{name} ({which}): {ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
                )
    return sentences


def picture(found: Found) -> str:
    """Curves of best-of-n of each test, by difficulty, and of active choice, as SVG."""
    panels = [
        Panel(_TITLES.get(mix, mix), "n, samples chosen among", "problems solved, %", _curves(test))
        for mix, test in found["tests"].items()
    ]
    first = next(iter(found["tests"].values()))
    if "by_difficulty" in first:
        groups = first["by_difficulty"]
        for group, title in (("0", "The easiest fifth"), ("4", "The hardest fifth")):
            lines = [_line(name, groups[name][group], band=False) for name in _drawn(groups)]
            panels.append(Panel(title, "n, samples chosen among", "problems solved, %", lines))
    if "selection" in found:
        panels.append(_selection_panel(found["selection"]))
    return svg(panels, title=f"Best of n: {found['about']}")


def _drawn(curves: Mapping[str, Any]) -> list[str]:
    return [name for name in _STYLES if name in curves]


def _curves(test: Found) -> list[Line]:
    return [_line(name, test["curves"][name], band=name in _BANDS) for name in _drawn(test["curves"])]


def _line(name: str, curve: Found, *, band: bool) -> Line:
    colour, dash = _STYLES[name]
    ends: tuple[Sequence[float], Sequence[float]] = (curve["low_N"], curve["high_N"]) if band else ((), ())
    return Line(name, colour, curve["sizes_N"], curve["mean_N"], *ends, dash=dash)


def _selection_panel(found: Found) -> Panel:
    lines = []
    for rule, points in found["points"].items():
        values = [point["accuracy"] for point in points]
        name = "actively chosen" if rule == "convincing" else "uniformly chosen"
        lines.append(
            Line(
                name,
                PURPLE if rule == "convincing" else BLUE,
                [point["solutions"] for point in points],
                [sum(row) / len(row) for row in values],
                [min(row) for row in values],
                [max(row) for row in values],
                dash="" if rule == "convincing" else "6 3",
                dots=True,
            )
        )
    return Panel(
        f"Choosing what is labelled, n = {found['size']}", "labelled solutions", "problems solved, %", lines
    )
