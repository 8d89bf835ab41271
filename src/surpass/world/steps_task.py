"""Steps of solutions that authors of the offline world write, as a task of judging: made, not read."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from surpass.errors import ConfigError
from surpass.reasoning.solutions import Solution
from surpass.tasks.process import StepsTask
from surpass.tasks.process_table import NEUTRAL, StepTable, step_table
from surpass.tasks.tables import PROPORTIONS
from surpass.world.authors import solve
from surpass.world.checker import solution_of
from surpass.world.problems import kinds_of, part_of, problems
from surpass.world.writers import draw_author

MOST = 100_000
"""Solutions that are written at most."""


@dataclass(frozen=True)
class WorldStepsTask(StepsTask):
    """Steps of solutions in the offline world, each solution by another author, rated and graded.

    Parts are those of the world's problems, so none that a reasoner has read is in them. Equal solutions of
    a problem are there once; where judges choose the best of n, each counts.

    Attributes:
        name: What the task is called in tables.
        problems: How many there are, all parts together.
        solutions: How many are written for each; of those that are equal, one is kept.
        levels: From which families and levels problems are drawn: a mix of the world, such as all or long.
        classes: 2 (wrong, correct) or 3 (wrong, neutral, correct).
        neutral: What a neutral step counts as with two classes: "correct", "wrong", or "drop".
        split_seed: Another seed is other problems and authors.

    Raises:
        ConfigError: A setting makes no sense.
    """

    name: str = "world-steps"
    problems: int = 1000
    solutions: int = 16
    levels: str = "all"
    classes: int = 2
    neutral: str = NEUTRAL[0]
    split_seed: int = 0

    def __post_init__(self) -> None:
        self._check()
        kinds_of(self.levels)
        fewest = round(1 / min(PROPORTIONS.values()))
        if self.problems < fewest or self.solutions < 1 or self.problems * self.solutions > MOST:
            raise ConfigError(
                f"problems={self.problems} and solutions={self.solutions} must be at least {fewest} and 1, "
                f"and {MOST:,} solutions in all at most"
            )

    def digests(self) -> dict[str, str]:
        """Nothing: solutions are made, not read."""
        return {}

    @cached_property
    def table(self) -> StepTable:
        """All solutions, in the parts of their problems."""
        return step_table(
            self.name,
            [solution for part, share in PROPORTIONS.items() for solution in self._written(part, share)],
            num_classes=self.classes,
            neutral=self.neutral,
            split_seed=self.split_seed,
            notes={},
            part_of=lambda solution: part_of(solution.problem),
        )

    def _written(self, part: str, share: float) -> list[Solution]:
        found = []
        for problem in islice(
            problems(part, self.levels, seed=self.split_seed), round(share * self.problems)
        ):
            for number in range(self.solutions):
                rng = random.Random(f"steps/{self.split_seed}/{problem.id}/{number}")
                text = "\n".join(solve(problem.text, draw_author(rng), rng))
                solution = solution_of(problem.id, problem.text, text)
                assert solution is not None  # authors write at least one step
                found.append(solution)
        return found
