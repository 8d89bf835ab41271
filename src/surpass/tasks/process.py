"""Steps of solutions: is this step correct? For models that judge reasoning step by step.

Source: Lightman et al. 2023 (2305.20050), sections 2.4 to 2.6, for steps, their three labels and the cut
    behind the first error.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from surpass.data.loading import ROLES, digests
from surpass.data.solutions_catalog import FORMS
from surpass.data.solutions_reading import find_solutions, read_solutions
from surpass.errors import ConfigError
from surpass.identity import execution_field
from surpass.tasks.base import ExampleTables
from surpass.tasks.process_table import CLASSES, MIXES, NEUTRAL, StepTable, problem_key, step_table
from surpass.tasks.solution_pool import count_of, pool
from surpass.tasks.tables import PROPORTIONS, Classes, TableTask

PUBLISHED = ("processbench", "prm800k", "prm800k-candidates", "math-shepherd")
"""Sets of solutions with rated steps that are known by name."""

_ROLES = (("train",), ("test",))


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
    def _place(self) -> tuple[str, str]:
        """Where the solutions are, and in which form."""
        raise NotImplementedError

    def digests(self) -> dict[str, str]:
        """The sha256 of the files.

        Raises:
            ConfigError: They are not there.
        """
        return digests(find_solutions(*self._place))

    @cached_property
    def table(self) -> StepTable:
        """All solutions, cut into parts."""
        source, form = self._place
        published = FORMS[form].published
        has_test = any(files.train and files.test for files in published) and not os.path.isfile(source)
        read = [read_solutions(source, form, roles=roles) for roles in (_ROLES if has_test else (ROLES,))]
        notes = sum((Counter(each.notes) for each in read), Counter[str]())
        return step_table(
            self.name,
            [solution for each in read for solution in each.solutions],
            num_classes=self.classes,
            neutral=self.neutral,
            split_seed=self.split_seed,
            notes=notes,
            test=frozenset(map(problem_key, read[-1].solutions)) if has_test else frozenset(),
        )

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Steps of the solutions of one part, those of a solution side by side and in order.

        Only steps with a rating are examples: none behind the first wrong one is, in any part. With the mix
        "best-of-N" all steps of solutions are, to be judged: see `tasks.solution_pool`.

        Args:
            part: One of `parts`.
            size: How many solutions, not steps; None for all. A smaller size is a prefix of a larger one.
            seed: Chooses which, and their order.
            mix: "all", or "balanced": of the more frequent classes steps are left out, chosen by their ids,
                until each is as frequent in the whole part as the rarest; solutions with no step left are
                not among those that `size` counts. What was written before a step is read all the same.

        Returns:
            `inputs` with `id` string (`<solution>#<step>`), `solution` string, `step` int32 from 0,
            `num_steps` int32 (of the whole solution), `problem` string, `before` list<string> of the steps
            before it, `text` string (the step), `candidates` list<uint16>, and `source` string; `truth` with
            `id` and the class's place in `class_names`, int16.

        Raises:
            ConfigError: Part or mix is unknown, or there are fewer than `size` solutions.
            DataError: The data are missing or damaged, or a part lacks steps of a class.
        """
        count = count_of(mix)
        for what, value, known in (("part", part, tuple(PROPORTIONS)), ("mix", mix, MIXES)):
            if value not in known and not (what == "mix" and count):
                raise ConfigError(f"no {what} {value!r} in task {self.name}; choose from {', '.join(known)}")
        if count:
            return pool(self.table, self.name, part=part, count=count, size=size, seed=seed)
        return self.table.drawn(part=part, size=size, seed=seed, mix=mix)


@dataclass(frozen=True)
class ProcessTask(StepsTask):
    """Steps of solutions in a file of your own, cut into parts by problem.

    Attributes:
        path: The file.
        form: How it is written: a key of `data.solutions_catalog.FORMS`.
        name: What the task is called in tables.
        classes: 2 (wrong, correct) or 3 (wrong, neutral, correct).
        neutral: What a neutral step counts as with two classes: "correct", "wrong", or "drop".
        split_seed: Another seed is another cut into parts.

    Raises:
        ConfigError: A setting makes no sense.
    """

    path: str = execution_field()
    form: str = "solutions"
    name: str = "process"
    classes: int = 2
    neutral: str = NEUTRAL[0]
    split_seed: int = 0

    def __post_init__(self) -> None:
        self._check()
        if self.form not in FORMS:
            raise ConfigError(f"no form {self.form!r} of solutions; allowed are {', '.join(FORMS)}")

    @property
    def _place(self) -> tuple[str, str]:
        return self.path, self.form


@dataclass(frozen=True)
class PublishedProcessTask(StepsTask):
    """Steps of a published set of solutions, cut into parts by problem.

    Where authors publish a test, its problems are the test, and none of their solutions is learned from;
    else a share of all problems is.

    Attributes:
        name: One of `PUBLISHED`.
        source: Where its files are; empty for where `data.loading.find` looks.
        classes: 2 (wrong, correct) or 3 (wrong, neutral, correct).
        neutral: What a neutral step counts as with two classes: "correct", "wrong", or "drop".
        split_seed: Another seed is another cut into parts.

    Raises:
        ConfigError: There is no such set, or a setting makes no sense.
    """

    name: str
    source: str = execution_field("")
    classes: int = 2
    neutral: str = NEUTRAL[0]
    split_seed: int = 0

    def __post_init__(self) -> None:
        self._check()
        if self.name not in PUBLISHED:
            raise ConfigError(f"no set of solutions {self.name!r}; there are: {', '.join(PUBLISHED)}")

    @property
    def _place(self) -> tuple[str, str]:
        return self.source, self.name
