"""Steps of solutions as a table: which are examples, what their class is, and in which part they are.

Shape suffixes: N solutions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.errors import DataError
from surpass.hashing import unit
from surpass.reasoning.solutions import Solution
from surpass.tasks import protocol, splits
from surpass.tasks.base import ExampleTables
from surpass.tasks.tables import PROPORTIONS, candidates_column, draw

CLASSES = {2: ("wrong", "correct"), 3: ("wrong", "neutral", "correct")}
"""What classes are called, by how many there are."""

NEUTRAL = ("correct", "wrong", "drop")
"""What a neutral step can count as where there are two classes."""

BALANCED = "balanced"
MIXES = ("all", BALANCED)

REPEATED = "solutions that are there twice"
CONTRADICTED = "solutions that are there with different ratings"
UNRATED = "solutions of which no step has a rating"
BEHIND = "steps without a rating, most of them behind the first wrong one"
NEUTRAL_DROPPED = "neutral steps"


def class_of(rating: int | None, num_classes: int, neutral: str) -> int | None:
    """The class of a step; None where it is no example.

    Args:
        rating: 1, 0, -1, or None where it is not known.
        num_classes: 2, or 3 where neutral steps are a class of their own.
        neutral: Of `NEUTRAL`, for two classes.
    """
    if rating is None:
        return None
    if num_classes == len(CLASSES[3]):
        return rating + 1
    if rating == 0:
        return {"correct": 1, "wrong": 0}.get(neutral)
    return int(rating == 1)


@dataclass(frozen=True)
class StepTable:
    """Solutions cut into parts by their problem, with the class of each step.

    Attributes:
        solutions: Each once, each with a step that is an example.
        classes: Of the steps of each, None where one is no example.
        parts: The part of each.
        num_classes: 2 or 3.
        notes: What was left out, in words, with how many.
        counts: How often each solution was there before equal ones became one.
    """

    solutions: tuple[Solution, ...]
    classes: tuple[tuple[int | None, ...], ...]
    parts: tuple[str, ...]
    num_classes: int
    notes: Mapping[str, int]
    counts: tuple[int, ...]

    @cached_property
    def ids(self) -> list[str]:
        """Of the solutions."""
        return [solution.id for solution in self.solutions]

    @cached_property
    def _parts_N(self) -> npt.NDArray[np.str_]:
        return np.array(self.parts, np.str_)

    @cached_property
    def _everything(self) -> list[list[int]]:
        """The steps of each solution that are examples."""
        return [[step for step, own in enumerate(row) if own is not None] for row in self.classes]

    @cached_property
    def _balanced(self) -> list[list[int]]:
        """The same with as many of each class in every part; which are kept goes by their ids alone."""
        of_class: defaultdict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        for number, row in enumerate(self.classes):
            for step, own in enumerate(row):
                if own is not None:
                    of_class[self.parts[number], own].append((number, step))
        kept: list[list[int]] = [[] for _ in self.solutions]
        for part in dict.fromkeys(self.parts):
            places = [of_class[part, own] for own in range(self.num_classes)]
            least = min(map(len, places))
            for steps in places:
                for number, step in sorted(steps, key=self._mark)[:least]:
                    kept[number].append(step)
        return [sorted(steps) for steps in kept]

    def _mark(self, place: tuple[int, int]) -> float:
        number, step = place
        return unit(f"{self.ids[number]}#{step}", seed=0, purpose="balance")

    def drawn(self, *, part: str, size: int | None, seed: int, mix: str) -> ExampleTables:
        """The steps of so many solutions; see `ProcessTask.examples`.

        Raises:
            ConfigError: The part has fewer solutions.
        """
        kept = self._balanced if mix == BALANCED else self._everything
        parts_N = np.where([bool(steps) for steps in kept], self._parts_N, "")
        rows = draw(self.ids, parts_N, part=part, size=size, seed=seed).tolist()
        chosen = [(row, step) for row in rows for step in kept[row]]
        return step_tables(
            [(self.solutions[row], step) for row, step in chosen],
            [self.classes[row][step] for row, step in chosen],
            num_classes=self.num_classes,
            notes=self.notes,
        )


def step_tables(
    steps: Sequence[tuple[Solution, int]],
    classes: Sequence[int | None],
    *,
    num_classes: int = 2,
    notes: Mapping[str, int] | None = None,
) -> ExampleTables:
    """Steps as examples, those of a solution side by side.

    Each row holds all that a model needs to read of it, the steps before it among that, so that any of them
    can be left out. Models know by the column `solution` which can be read together.

    Args:
        steps: Solutions, and which of their steps, from 0.
        classes: Their truths; None where a truth is not known, which is then 0 and means nothing.
        num_classes: 2 or 3.
        notes: What was left out.
    """
    solutions = [solution for solution, _ in steps]
    ids = {id(solution): solution.id for solution in solutions}
    names = [ids[id(solution)] for solution in solutions]
    columns = {
        "id": pa.array([f"{name}#{step}" for name, (_, step) in zip(names, steps, strict=True)], pa.string()),
        "solution": pa.array(names, pa.string()),
        "step": pa.array([step for _, step in steps], pa.int32()),
        "num_steps": pa.array([len(solution.steps) for solution in solutions], pa.int32()),
        "problem": pa.array([solution.problem for solution in solutions], pa.string()),
        "before": pa.array([solution.steps[:step] for solution, step in steps], pa.list_(pa.string())),
        "text": pa.array([solution.steps[step] for solution, step in steps], pa.string()),
        "candidates": candidates_column(len(steps), num_classes),
        "source": pa.array([solution.source for solution in solutions], pa.string()),
    }
    truth = pa.array([own or 0 for own in classes], pa.int16())
    tables = pa.table(columns), pa.table({"id": columns["id"], "truth": truth})
    return ExampleTables(*tables, dict(notes or {}))


def step_table(
    name: str,
    solutions: Sequence[Solution],
    *,
    num_classes: int,
    neutral: str,
    split_seed: int,
    notes: Mapping[str, int],
    test: frozenset[str] = frozenset(),
    part_of: Callable[[Solution], str] | None = None,
) -> StepTable:
    """Solutions once each, cut into parts so that all of a problem are in one.

    Args:
        name: Of the data, for messages.
        solutions: With their ratings.
        num_classes: 2 or 3.
        neutral: What neutral steps count as, where there are two classes.
        split_seed: Another seed is another cut.
        notes: What was left out before.
        test: Problems that are the test, by `problem_key`; with none, a share of all is.
        part_of: Says of which part a solution is, in place of all that.

    Raises:
        DataError: A part lacks examples of a class.
    """
    left_out: Counter[str] = Counter()
    kept: list[Solution] = []
    counts: list[int] = []
    classes: list[tuple[int | None, ...]] = []
    for solution, count in _distinct(solutions, left_out):
        ratings = solution.ratings or (None,) * len(solution.steps)
        own = tuple(class_of(rating, num_classes, neutral) for rating in ratings)
        left_out[NEUTRAL_DROPPED] += sum(
            rating is not None and one is None for rating, one in zip(ratings, own, strict=True)
        )
        if all(one is None for one in own):
            left_out[UNRATED] += 1
            continue
        left_out[BEHIND] += ratings.count(None)
        kept.append(solution)
        counts.append(count)
        classes.append(own)
    keys = [problem_key(solution) for solution in kept]
    if part_of is not None:
        parts = [part_of(solution) for solution in kept]
    elif test:
        learned = splits.assign(keys, protocol.LEARNED, split_seed)
        parts = [protocol.TEST if key in test else part for key, part in zip(keys, learned, strict=True)]
    else:
        parts = splits.assign(keys, PROPORTIONS, split_seed)
    told = {**notes, **{what: count for what, count in left_out.items() if count}}
    if not kept:
        raise DataError(f"{name} has no solution with a rated step; left out: {told}")
    flat = [(one, part) for row, part in zip(classes, parts, strict=True) for one in row if one is not None]
    protocol.require_examples(
        name, [one for one, _ in flat], [part for _, part in flat], classes=CLASSES[num_classes], notes=told
    )
    return StepTable(tuple(kept), tuple(classes), tuple(parts), num_classes, told, tuple(counts))


def problem_key(solution: Solution) -> str:
    """What solutions of one problem share: its text, without regard to white space."""
    return " ".join(solution.problem.split())


def _distinct(solutions: Sequence[Solution], left_out: Counter[str]) -> list[tuple[Solution, int]]:
    """Of equal solutions the first, and how many there are; none if they are rated differently."""
    same: defaultdict[str, list[Solution]] = defaultdict(list)
    for solution in solutions:
        same[solution.id].append(solution)
    kept = []
    for group in same.values():
        if len({solution.ratings for solution in group}) > 1:
            left_out[CONTRADICTED] += len(group)
            continue
        left_out[REPEATED] += len(group) - 1
        kept.append((group[0], len(group)))
    return kept
