from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import pytest

from reference import training as twin
from surpass.errors import ConfigError
from surpass.train.recipe import SCHEDULES, Recipe


def rates(num_steps: int = 10, **fields: object) -> list[float]:
    recipe = Recipe(learning_rate=2.0, **fields)  # type: ignore[arg-type]
    return [recipe.rate(step, num_steps) for step in range(num_steps)]


def test_constant():
    assert rates(schedule="constant", warmup_frac=0) == [2.0] * 10


def test_linear_starts_at_the_peak_and_would_be_zero_after_the_last_step():
    assert rates(schedule="linear", warmup_frac=0) == pytest.approx([2 - 0.2 * step for step in range(10)])


def test_cosine_end_points_and_middle():
    course = rates(schedule="cosine", warmup_frac=0)
    assert course[0] == 2.0
    assert course[5] == pytest.approx(1.0)
    assert course[9] == pytest.approx(1 - math.cos(math.pi / 10))
    assert all(a > b for a, b in pairwise(course))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_evenly_to_the_peak(schedule):
    course = rates(schedule=schedule, warmup_frac=0.4)
    assert course[:4] == pytest.approx([0.4, 0.8, 1.2, 1.6])
    assert course[4] == pytest.approx(2.0)
    assert max(course) == course[4]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup_frac", [0, 0.05, 0.33, 0.5, 0.99, 1])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 19, 20, 21])
def test_every_rate_is_above_zero_at_most_the_peak_and_as_the_twin_says(schedule, warmup_frac, num_steps):
    recipe = Recipe(learning_rate=3e-4, schedule=schedule, warmup_frac=warmup_frac)
    for step in range(num_steps):
        rate = recipe.rate(step, num_steps)
        assert 0 < rate <= 3e-4
        assert rate == pytest.approx(twin.rate(recipe, step, num_steps), rel=1e-9)


@pytest.mark.parametrize(("num_examples", "steps"), [(1, 1), (7, 1), (8, 1), (9, 2), (16, 2), (17, 3)])
def test_number_of_steps(num_examples, steps):
    assert Recipe(epochs=3, batch_size=8).num_steps(num_examples) == 3 * steps


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": "step"}, "no schedule 'step'; choose from constant, linear, cosine"),
        ({"epochs": 0}, "epochs=0 must be a whole number from 1 to 10000"),
        ({"epochs": 1.0}, "epochs=1.0 must be a whole number"),
        ({"batch_size": -1}, "batch_size=-1 must be a whole number from 1"),
        ({"batch_size": 1 << 21}, "batch_size=2097152 must be"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
        ({"learning_rate": math.inf}, "learning_rate=inf must be"),
        ({"learning_rate": math.nan}, "learning_rate=nan must be"),
        ({"warmup_frac": -0.1}, r"warmup_frac=-0.1 must be in \[0, 1\]"),
        ({"warmup_frac": 1.01}, r"warmup_frac=1.01 must be in \[0, 1\]"),
        ({"warmup_frac": math.nan}, "warmup_frac=nan must be"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 must be at least 0"),
        ({"weight_decay": math.inf}, "weight_decay=inf must be"),
    ],
)
def test_senseless_values(fields, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(**fields)


def test_a_change_is_checked_too_and_nothing_changes_in_place():
    with pytest.raises(ConfigError, match="epochs=0"):
        replace(Recipe(), epochs=0)
    with pytest.raises(FrozenInstanceError):
        Recipe().epochs = 3  # type: ignore[misc]
