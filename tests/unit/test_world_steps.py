"""Steps that authors of the world write, as a task of judging."""

from __future__ import annotations

from collections import Counter

import pytest

from surpass.errors import ConfigError
from surpass.recipes.finding import find_study
from surpass.tasks import find_task
from surpass.tasks.solution_pool import mix_of
from surpass.world.checker import rate
from surpass.world.problems import part_of


@pytest.fixture(scope="module")
def task():
    return find_task("world-steps(problems=60, solutions=6)")


def test_steps_are_rated_exactly_and_parts_are_those_of_problems(task):
    for part in task.parts:
        inputs, truth, _ = task.examples(part=part, size=None, seed=0)
        classes = truth["truth"].to_pylist()
        for row, own in zip(inputs.to_pylist(), classes, strict=True):
            rating = rate(row["problem"], [*row["before"], row["text"]])[-1]
            assert own == int(rating != -1)
            assert part_of(row["problem"]) == part
        assert set(classes) == {0, 1}


def test_the_pool_counts_every_solution_that_was_written(task):
    pool = task.examples(part="test", size=None, seed=0, mix=mix_of(6))
    counted = Counter()
    for row, own in zip(pool.inputs.to_pylist(), pool.truth.to_pylist(), strict=True):
        if row["step"] == 0:
            counted[row["problem"]] += own["count"]
    assert set(counted.values()) == {6}
    assert len(counted) == 9
    rows = zip(pool.inputs.to_pylist(), pool.truth["correct"].to_pylist(), strict=True)
    right = {row["solution"]: (row["text"], correct) for row, correct in rows}
    assert {correct for _, correct in right.values()} == {True, False}
    assert all(text.startswith("# ") for text, _ in right.values())


def test_another_seed_is_other_solutions_and_neutral_is_a_class(task):
    other = find_task("world-steps(problems=200, solutions=6, split_seed=1, classes=3)")
    assert other.table.solutions != task.table.solutions
    assert {own for row in other.table.classes for own in row} == {0, 1, 2, None}


@pytest.mark.parametrize("settings", ["problems=10", "solutions=0", "problems=20000", "classes=4"])
def test_settings_that_make_no_task(settings):
    with pytest.raises(ConfigError, match="must be"):
        find_task(f"world-steps({settings})")
    with pytest.raises(ConfigError, match="no mix 'huge' of the world"):
        find_task("world-steps(levels=huge)")


def test_the_study_ranks_the_same_solutions_by_all_judges():
    study = find_study("process-world", ["best_of=4"])
    assert study.pool.mix == "best-of-4"
    pools = {labels.examples.id for row in study.rows() for labels in row.pooled}
    assert pools == {study.pool.id}
