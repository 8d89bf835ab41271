"""Solutions that judges of steps choose among: several of each problem, with graded answers.

Source: Lightman et al. 2023, section 3: the best of n.
"""

from __future__ import annotations

import re
from collections import defaultdict

import pyarrow as pa

from surpass.errors import DataError
from surpass.tasks import splits
from surpass.tasks.base import ExampleTables
from surpass.tasks.process_table import StepTable, problem_key, step_tables

_MIX = re.compile(r"best-of-([1-9]\d*)")
_FEWEST = 2


def mix_of(count: int) -> str:
    """The mix by which a task of steps gives so many solutions of each problem."""
    return f"best-of-{count}"


def count_of(mix: str) -> int:
    """How many solutions of each problem a mix asks for; 0 for another mix."""
    match = _MIX.fullmatch(mix)
    return int(match[1]) if match else 0


def pool(table: StepTable, name: str, *, part: str, count: int, size: int | None, seed: int) -> ExampleTables:
    """All steps of all graded solutions of those problems that have as many as asked for.

    Args:
        table: Solutions, cut into parts.
        name: Of the task, for messages.
        part: Whose problems.
        count: Graded solutions that a problem needs at least; one with more gives all that it has.
        size: How many different solutions at most, whole problems of them; None for all.
        seed: Chooses which problems, and their order.

    Returns:
        `inputs` as `process_table.step_tables`, also of steps without a rating; `truth` with `id`, the class
        of the step, int16, 0 where it is not known, and of its solution `correct`, bool, whether the final
        answer is right, and `count`, int32, how many equal ones there are: each of them counts.

    Raises:
        DataError: Fewer than two problems have so many solutions.
    """
    problems: defaultdict[str, list[int]] = defaultdict(list)
    for number, solution in enumerate(table.solutions):
        if table.parts[number] == part and solution.correct is not None:
            problems[problem_key(solution)].append(number)
    sizes = {key: sum(table.counts[number] for number in numbers) for key, numbers in problems.items()}
    keys = [key for key, own in sizes.items() if own >= count]
    kept: list[int] = []
    num_problems = 0
    for place in splits.subsample(keys, None, seed):
        numbers = problems[keys[place]]
        if size is not None and len(kept) + len(numbers) > size:
            break
        kept += numbers
        num_problems += 1
    if num_problems < _FEWEST:
        raise DataError(
            f"best of {count}: in part {part!r} of {name} {len(keys)} of {len(problems)} problems have so "
            f"many solutions with a graded answer, and num_test={size} leaves {num_problems}; "
            f"{_FEWEST} are needed: ask for a smaller best_of, or leave it out"
        )
    steps = [(row, step) for row in kept for step in range(len(table.solutions[row].steps))]
    tables = step_tables(
        [(table.solutions[row], step) for row, step in steps],
        [table.classes[row][step] for row, step in steps],
        num_classes=table.num_classes,
    )
    correct = pa.array([bool(table.solutions[row].correct) for row, _ in steps], pa.bool_())
    counts = pa.array([table.counts[row] for row, _ in steps], pa.int32())
    truth = tables.truth.append_column("correct", correct).append_column("count", counts)
    return tables._replace(truth=truth)
