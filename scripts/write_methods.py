"""Write the page of all methods, from the code.

python scripts/write_methods.py > docs/methods.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from surpass.calls import settings_of
from surpass.errors import NotApplicable
from surpass.lineage import learns_truth
from surpass.losses import LOSSES
from surpass.methods import METHODS, Arms, WeakToStrong, describe_method, find_method
from surpass.models.sources import SKILLS
from surpass.stages import Examples, Stage
from surpass.tasks.planted import PlantedTask
from surpass.train.recipe import Recipe

HEAD = """# Methods

What `methods=` takes. Settings are given in brackets, `wise_ft(share=0.7)`, and have the defaults shown;
`all` is every method of this page with its defaults. A method whose needs are not met is left out, and the
reason is shown. The student of a method marked *oracle* learns from truth that no supervisor has: it is
a bound or a control, and is marked in results too. Sources: [papers](papers.md). What labels are
made of: [rules](rules.md). Methods of your own: [extending](extending.md).

`scripts/write_methods.py` writes this page from the code.
"""
LOSS_HEAD = """
## Losses

Every loss is a method too: fine-tuning on the weak labels with it. Formulas: [losses](losses.md).

| method | what it is | settings |
|---|---|---|
"""
NEEDS = {
    "classes": "the same classes for all examples",
    "difficulty": "a task that says how hard examples are",
    "between": "models between supervisor and student",
} | {skill: f"a model that can {words}" for skill, words in SKILLS.items()}


class Lenient(WeakToStrong):
    """An experiment that has whatever a method needs, and notes it."""

    needed: list[str] = []  # noqa: RUF012

    def need_classes(self) -> None:
        """Note it."""
        self.needed.append("classes")

    def need_difficulty(self) -> str:
        """Note it."""
        self.needed.append("difficulty")
        return "difficulty"

    def need(self, skill: str) -> None:
        """Note it."""
        self.needed.append(skill)


def setting() -> Lenient:
    """An experiment of planted examples; nothing of it is run."""

    def examples(part: str) -> Examples:
        return Examples(task=PlantedTask(num_classes=3, num_features=8), part=part, size=100, seed=0)

    return Lenient(
        weak_model="linear:2",
        strong_model="linear:all",
        between=("linear:4", "linear:6"),
        weak_examples=examples("weak"),
        student_examples=examples("student"),
        validation=examples("validation"),
        hard=False,
        recipe=Recipe(),
        seed=0,
    )


def needs(name: str) -> list[str]:
    """What a method asks for, of `NEEDS`."""
    w2s = setting()
    w2s.needed.clear()
    METHODS[name](w2s)
    found = list(w2s.needed)
    try:
        METHODS[name](replace(w2s, between=()))
    except NotApplicable:
        found.append("between")
    return list(dict.fromkeys(found))


def is_oracle(name: str) -> bool:
    """Whether its student learns from truth that no supervisor has."""
    w2s = setting()
    given = METHODS[name](w2s)
    student = given.student if isinstance(given, Arms) else given
    return isinstance(student, Stage) and learns_truth(student, w2s.weak_examples)


def settings(function: Callable[..., Any]) -> str:
    """Its settings with their defaults."""
    defaults = settings_of(function).items()
    return ", ".join(f"`{key}={f'{x:.4g}' if isinstance(x, float) else x}`" for key, x in defaults)


def row(cells: Iterable[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    modules = dict.fromkeys(inspect.getmodule(method) for method in METHODS.values())
    for module in modules:
        title = (inspect.getdoc(module) or "").split("\n")[0].rstrip(".")
        lines.append(f"\n## {title}\n\n| method | what it is | settings | needs |\n|---|---|---|---|\n")
        for name, method in METHODS.items():
            if inspect.getmodule(method) is module:
                wanted = ", ".join(NEEDS[need] for need in needs(name))
                what = ("*oracle*: " if is_oracle(name) else "") + describe_method(name)
                lines.append(row([f"`{name}`", what, settings(method), wanted]))
    lines.append(LOSS_HEAD)
    for name, loss in LOSSES.items():
        if name not in METHODS and name != "xent":
            assert find_method(name)
            lines.append(row([f"`{name}`", describe_method(name), settings(loss)]))
    return "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
