"""Steps of solutions: is this step correct? For models that judge reasoning step by step.

Source: Lightman et al. 2023 (2305.20050), sections 2.4 to 2.6, for steps, their three labels and the cut
    behind the first error.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from surpass.data.files import FilePart, plain_files
from surpass.data.formats import rows_of
from surpass.errors import ConfigError, DataError
from surpass.identity import execution_field, remembered_digest
from surpass.reasoning.solutions import Solution, ratings_of_first_error
from surpass.tasks.base import ExampleTables
from surpass.tasks.process_table import CLASSES, MIXES, NEUTRAL, StepTable, step_table
from surpass.tasks.tables import PROPORTIONS, Classes, TableTask


class StepsTask(TableTask):
    """What tasks of steps share.

    A class is what a step is: wrong, correct, and of three classes neutral between them.
    """

    name: str
    classes: int
    neutral: str
    split_seed: int

    reads_steps = True

    def _check(self) -> None:
        """Refuse settings that make no task; `ConfigError`."""
        if self.classes not in CLASSES:
            raise ConfigError(
                f"classes={self.classes!r} must be 2 (wrong, correct) or 3 (wrong, neutral, correct)"
            )
        if self.neutral not in NEUTRAL:
            raise ConfigError(f"neutral={self.neutral!r} must be one of {', '.join(NEUTRAL)}")
        if self.classes == len(CLASSES[3]) and self.neutral != NEUTRAL[0]:
            raise ConfigError("with classes=3 neutral steps are a class of their own; leave neutral= out")

    @property
    def families(self) -> frozenset[str]:
        """Language models."""
        return frozenset({"causal", "encoder"})

    @property
    def mixes(self) -> tuple[str, ...]:
        """All steps, or as many of each class ("balanced")."""
        return MIXES

    @property
    def class_names(self) -> Classes:
        """What the classes are called, from the worst."""
        return CLASSES[self.classes]

    @property
    def table(self) -> StepTable:
        """All solutions, cut into parts."""
        raise NotImplementedError

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Steps of the solutions of one part, those of a solution side by side and in order.

        Only steps with a rating are examples: none behind the first wrong one is, in any part.

        Args:
            part: One of `parts`.
            size: How many solutions, not steps; None for all. A smaller size is a prefix of a larger one.
            seed: Chooses which, and their order.
            mix: "all", or "balanced": of the more frequent classes steps are left out, chosen by their ids,
                until each is as frequent in the whole part as the rarest; solutions with no step left are
                not among those that `size` counts. What was written before a step is read all the same.

        Returns:
            `inputs` with `id` string (`<solution>#<step>`), `solution` string, `step` int32 from 0,
            `problem` string, `before` list<string> of the steps before it, `text` string (the step),
            `candidates` list<uint16>, and `source` string; `truth` with `id` and the class's place in
            `class_names`, int16.

        Raises:
            ConfigError: Part or mix is unknown, or there are fewer than `size` solutions.
            DataError: The data are missing or damaged, or a part lacks steps of a class.
        """
        for what, value, known in (("part", part, tuple(PROPORTIONS)), ("mix", mix, MIXES)):
            if value not in known:
                raise ConfigError(f"no {what} {value!r} in task {self.name}; choose from {', '.join(known)}")
        return self.table.drawn(part=part, size=size, seed=seed, mix=mix)


@dataclass(frozen=True)
class ProcessTask(StepsTask):
    """Steps of solutions in a file, cut into parts by problem.

    Attributes:
        path: The file, or a folder of such files.
        name: What the task is called in tables.
        classes: 2 (wrong, correct) or 3 (wrong, neutral, correct).
        neutral: What a neutral step counts as with two classes: "correct", "wrong", or "drop".
        split_seed: Another seed is another cut into parts.

    Raises:
        ConfigError: A setting makes no sense.
    """

    path: str = execution_field()
    name: str = "process"
    classes: int = 2
    neutral: str = NEUTRAL[0]
    split_seed: int = 0

    def __post_init__(self) -> None:
        self._check()

    def digests(self) -> dict[str, str]:
        """The sha256 of each file.

        Raises:
            DataError: There is none.
        """
        return {f"solutions {os.path.basename(path)}": remembered_digest(path) for path in _files(self.path)}

    @cached_property
    def table(self) -> StepTable:  # type: ignore[override]
        """All solutions, cut into parts."""
        read = _read(self.path)
        return step_table(
            self.path,
            read.solutions,
            num_classes=self.classes,
            neutral=self.neutral,
            split_seed=self.split_seed,
            notes=read.notes,
        )


class _Read(NamedTuple):
    solutions: list[Solution]
    notes: Mapping[str, int]


def _files(path: str) -> list[str]:
    """The file, or those of a folder.

    Raises:
        DataError: There is none.
    """
    if Path(path).is_dir():
        found = [part.path for part in plain_files(path) if part.format]
    else:
        found = [path] if os.path.isfile(path) else []
    if not found:
        raise DataError(f"there are no solutions at {path!r}; name a file, or a folder of files")
    return found


def _read(path: str) -> _Read:
    solutions, notes = [], Counter[str]()
    for file in _files(path):
        for row in rows_of(FilePart(file)):
            steps = [step for step in row["steps"] if step.strip()]
            if len(steps) < len(row["steps"]) or not steps:
                notes["solutions with a step of nothing"] += 1
                continue
            solutions.append(
                Solution(
                    problem_id=row["id"],
                    problem=row["problem"],
                    steps=tuple(steps),
                    ratings=ratings_of_first_error(row["label"], len(steps)),
                    correct=row["final_answer_correct"],
                    source=os.path.basename(file).split(".")[0],
                )
            )
    return _Read(solutions, notes)
