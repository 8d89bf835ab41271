"""How much of the world a language model solves: by family and level, alone and with several tries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import pyarrow as pa

from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.world.checker import solution_of
from surpass.world.problems import Kind, Problem, problems
from surpass.world.sampling import Draw, sample


class Solved(NamedTuple):
    """What a model solves of problems of one kind; all but the counts are shares, from 0 to 1.

    Attributes:
        family: Of the problems.
        level: Of the problems.
        num_problems: How many there were.
        alone: Of all samples, those with the right answer.
        steps_right: Of the rated steps, those that are not wrong.
        flawed: Of the samples with the right answer, those with a wrong step.
        majority: Of the problems, those whose most frequent answer is right; of equal ones the first.
        any: Of the problems, those with a right sample.
    """

    family: str
    level: int
    num_problems: int
    alone: float
    steps_right: float
    flawed: float
    majority: float
    any: float


def measure(
    name: str,
    kinds: Sequence[Kind],
    *,
    num_problems: int,
    num_samples: int,
    part: str = "test",
    temperature: float = 1.0,
    max_new_tokens: int = 250,
    seed: int = 0,
) -> list[Solved]:
    """What a model solves of each kind.

    Args:
        name: The model.
        kinds: Families with levels.
        num_problems: Of each kind.
        num_samples: Of each problem.
        part: Where the problems come from.
        temperature: Of the samples.
        max_new_tokens: Of a sample, at most.
        seed: Of problems and samples.

    Raises:
        ConfigError: There is no such model, part or kind, or a number is out of its range.
    """
    chosen = {kind: list(islice(problems(part, [kind], seed=seed), num_problems)) for kind in kinds}
    asked = [problem for kind in kinds for problem in chosen[kind]]
    inputs = pa.table(
        {
            "id": [problem.id for problem in asked],
            "prompt": [problem.text + "\n" for problem in asked],
            "max_new_tokens": pa.array([max_new_tokens] * len(asked), pa.int32()),
        }
    )
    model = load_model(resolve(name), inputs)
    model.eval()
    draws = [Draw(place, number) for place in range(len(asked)) for number in range(num_samples)]
    said = sample(
        model,
        model.encode(inputs).tokens,
        inputs["id"].to_pylist(),
        draws,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
    )
    texts = [one.text for one in said]
    by_problem = {
        problem.id: texts[place * num_samples : (place + 1) * num_samples]
        for place, problem in enumerate(asked)
    }
    return [_solved(kind, chosen[kind], by_problem) for kind in kinds]


def _solved(kind: Kind, asked: Sequence[Problem], by_problem: dict[str, list[str]]) -> Solved:
    count: Counter[str] = Counter()
    for problem in asked:
        answers: Counter[str] = Counter()
        right: set[str] = set()
        for text in by_problem[problem.id]:
            count["samples"] += 1
            solution = solution_of(problem.id, problem.text, text)
            if solution is None:
                continue
            ratings = [rating for rating in solution.ratings or () if rating is not None]
            count["steps"] += len(ratings)
            count["steps not wrong"] += len(ratings) - ratings.count(-1)
            if solution.answer is not None:
                answers[solution.answer] += 1
            if solution.correct:
                count["right"] += 1
                count["flawed"] += -1 in ratings
                right.add(str(solution.answer))
        count["majority"] += bool(answers) and answers.most_common(1)[0][0] in right
        count["any"] += bool(right)
    num_problems = len(asked)
    return Solved(
        *kind,
        num_problems,
        count["right"] / max(count["samples"], 1),
        count["steps not wrong"] / max(count["steps"], 1),
        count["flawed"] / max(count["right"], 1),
        count["majority"] / max(num_problems, 1),
        count["any"] / max(num_problems, 1),
    )
