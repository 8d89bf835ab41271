import random

import pyarrow as pa
import pytest

from surpass.errors import ConfigError
from surpass.hashing import unit, units
from surpass.tasks.splits import assign, group_keys, subsample

SHARES = {"weak": 0.44, "student": 0.44, "validation": 0.03, "test": 0.09}
KEYS = [f"key{number}" for number in range(20_000)]


def test_unit_is_uniform_and_differs_by_seed_and_purpose():
    marks = [unit(key, seed=0, purpose="split") for key in KEYS]
    assert 0 <= min(marks) < 0.001
    assert 0.999 < max(marks) < 1
    assert sum(marks) / len(marks) == pytest.approx(0.5, abs=0.01)
    assert unit("a", seed=0, purpose="split") != unit("a", seed=1, purpose="split")
    assert unit("a", seed=0, purpose="split") != unit("a", seed=0, purpose="order")


def test_unit_never_changes():
    assert unit("00sHx", seed=0, purpose="split") == 0.5142725456770931


def test_parts_have_their_shares():
    parts = assign(KEYS, SHARES, 0)
    for name, share in SHARES.items():
        assert parts.count(name) / len(KEYS) == pytest.approx(share, abs=0.012)


def test_a_part_depends_on_its_key_alone():
    parts = dict(zip(KEYS, assign(KEYS, SHARES, 0), strict=True))
    some = random.Random(0).sample(KEYS, 500)
    assert assign(some, SHARES, 0) == [parts[key] for key in some]
    assert assign(["key7", "key7"], SHARES, 0) == [parts["key7"]] * 2


def test_another_seed_is_another_split():
    first, second = assign(KEYS, SHARES, 0), assign(KEYS, SHARES, 1)
    same = sum(a == b for a, b in zip(first, second, strict=True)) / len(KEYS)
    assert same == pytest.approx(sum(share**2 for share in SHARES.values()), abs=0.02)


def test_split_and_order_are_independent():
    parts = assign(KEYS, {"low": 0.5, "high": 0.5}, 0)
    front = subsample(KEYS, 10_000, 0)
    assert sum(parts[row] == "low" for row in front) / 10_000 == pytest.approx(0.5, abs=0.02)


def test_share_of_zero_gets_nothing():
    assert set(assign(KEYS, {"none": 0.0, "some": 0.5, "void": 0.0, "rest": 0.5}, 0)) == {"some", "rest"}
    assert set(assign(KEYS, {"all": 1.0, "none": 0.0}, 0)) == {"all"}
    assert assign([], SHARES, 0) == []


@pytest.mark.parametrize("shares", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 0.6, "b": 0.6}])
def test_bad_proportions(shares):
    with pytest.raises(ConfigError, match="sum to 1"):
        assign(["key"], shares, 0)


def test_group_is_the_game_or_else_the_position():
    table = pa.table({"game": ["g", None, "g", ""], "fen": ["1", "2", "3", "4"]})
    assert group_keys(table) == ["g", "2", "g", "4"]


def test_smaller_samples_are_prefixes():
    whole = subsample(KEYS, None, 3)
    assert sorted(whole) == list(range(len(KEYS)))
    for size in (0, 1, 999, len(KEYS)):
        assert subsample(KEYS, size, 3) == whole[:size]
    assert subsample(KEYS, 100, 4) != whole[:100]


def test_sample_does_not_depend_on_the_order_of_ids():
    back = KEYS[::-1]
    assert [KEYS[row] for row in subsample(KEYS, 50, 0)] == [back[row] for row in subsample(back, 50, 0)]


@pytest.mark.parametrize("size", [-1, 4])
def test_sample_size_out_of_range_names_both_numbers(size):
    with pytest.raises(ConfigError, match=f"{size} examples asked for and 3 there"):
        subsample(["a", "b", "c"], size, 0)


def test_numbers_of_many_keys_are_those_of_each():
    keys = ["", "a", "ä/1", *map(str, range(500))]
    assert units(keys, seed=7, purpose="x") == [unit(key, seed=7, purpose="x") for key in keys]
    assert units([], seed=7, purpose="x") == []
