from __future__ import annotations

import enum
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surpass.errors import ConfigError
from surpass.identity import (
    canonical_json,
    digest_of,
    execution_field,
    file_digest,
    identity_field,
    identity_fields,
)

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars: st.SearchStrategy[Any] = st.none() | st.booleans() | numbers | st.text()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


def listed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [listed(item) for item in value]
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return value


@given(values)
def test_json_reads_back_to_the_same_value(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == listed(value)
    assert canonical_json(json.loads(text)) == text
    assert text.isascii()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_keep_their_bits(number: float) -> None:
    back = float(json.loads(canonical_json(number)))
    assert back.hex() == (number + 0.0).hex()  # adding 0.0 turns -0.0 into 0.0 and nothing else


@given(st.dictionaries(st.text(), scalars, min_size=2, max_size=6))
def test_order_of_keys_does_not_count(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical_json(turned) == canonical_json(value)


@given(st.integers(-(2**53), 2**53))
def test_equal_numbers_have_equal_text(number: int) -> None:
    assert canonical_json(float(number)) == canonical_json(number) == str(number)


@given(values, values)
def test_different_values_have_different_text(one: Any, other: Any) -> None:
    if listed(one) != listed(other):
        assert canonical_json(one) != canonical_json(other)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e-5, "1e-05"),
        (1e300, "1e+300"),
        (2.0**53, "9007199254740992"),
        (2.0**53 + 2, "9007199254740994.0"),
        (True, "true"),
        ((1, (2,)), "[1,[2]]"),
        ({"b": 1, "a": None}, '{"a":null,"b":1}'),
        ("é\ud800", '"\\u00e9\\ud800"'),
        ({}, "{}"),
        ([], "[]"),
    ],
)
def test_the_text_is_fixed(value: Any, text: str) -> None:
    assert canonical_json(value) == text


def test_true_one_and_their_names_differ() -> None:
    assert len({canonical_json(value) for value in (True, 1, "1", "true", [1])}) == 5


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "value is nan"),
        ({"lr": [0.1, math.inf]}, r"value\.lr\[1\] is inf"),
        ({"a": {1: 2}}, r"value\.a has the key 1: keys must be str"),
        (np.float64(0.5), "value is a float64"),
        (Colour.RED, "value is a Colour"),
        ([Path("x")], r"value\[0\] is a .*Path"),
        ({1, 2}, "value is a set"),
        (b"x", "value is a bytes"),
    ],
)
def test_what_has_no_json_is_refused_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        canonical_json(value)
    assert "\n" not in str(caught.value)


def test_golden_id() -> None:
    value = {
        "stage": "fit",
        "version": 3,
        "lr": 1e-5,
        "epochs": 2.0,
        "model": "ladder:chess-3",
        "on": [True, None],
    }
    text = '{"epochs":2,"lr":1e-05,"model":"ladder:chess-3","on":[true,null],"stage":"fit","version":3}'
    assert canonical_json(value) == text
    assert digest_of(value) == "6398dd92e367d1881db73c41ed28dd7e36b03aef442ef73328ef38977dbfb9b6"


@pytest.mark.parametrize("size", [0, 1, 2**18 - 1, 2**18, 2**18 + 1])
def test_file_digest_is_that_of_the_bytes(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "f").write_bytes(content)
    assert file_digest(tmp_path / "f") == hashlib.sha256(content).hexdigest()
    assert file_digest(str(tmp_path / "f")) == hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Recipe:
    lr: float
    epochs: int = 2
    device: str = execution_field("cpu")
    warmup: float = identity_field(0.0, since_default=True)


@dataclass(frozen=True)
class Fit:
    model: str
    recipe: Recipe
    chain: tuple[Recipe, ...] = ()
    extra: dict[str, Any] = identity_field(default_factory=dict, since_default=True)
    workers: list[str] = execution_field(default_factory=list)
    seed: int = identity_field(0)


def test_only_identity_fields_count() -> None:
    recipe = Recipe(0.1, device="cuda")
    assert identity_fields(recipe) == {"lr": 0.1, "epochs": 2}
    assert identity_fields(Fit("m", recipe, workers=["a"])) == {
        "model": "m",
        "recipe": {"lr": 0.1, "epochs": 2},
        "chain": [],
        "seed": 0,
    }


def test_fields_added_later_count_once_they_leave_their_default() -> None:
    assert identity_fields(Recipe(0.1, warmup=0)) == identity_fields(Recipe(0.1))
    assert identity_fields(Recipe(0.1, warmup=0.2))["warmup"] == 0.2
    assert identity_fields(Fit("m", Recipe(0.1), extra={"a": Recipe(0.2)}))["extra"] == {
        "a": {"lr": 0.2, "epochs": 2}
    }


def test_true_is_not_the_default_one() -> None:
    @dataclass(frozen=True)
    class Stage:
        times: Any = identity_field(1, since_default=True)

    assert identity_fields(Stage(1.0)) == {}
    assert identity_fields(Stage(True)) == {"times": True}


def test_dataclasses_in_containers_are_unfolded() -> None:
    fit = Fit("m", Recipe(0.1), chain=(Recipe(0.3, device="cuda"),))
    assert identity_fields(fit)["chain"] == [{"lr": 0.3, "epochs": 2}]
    assert len(digest_of(identity_fields(fit))) == 64


def test_unmarked_fields_made_with_dataclasses_field_count() -> None:
    @dataclass(frozen=True)
    class Stage:
        parts: list[int] = field(default_factory=lambda: [1], metadata={"unit": "steps"})

    assert identity_fields(Stage()) == {"parts": [1]}


def test_misuse_is_refused() -> None:
    @dataclass
    class Loose:
        lr: float = 0.1

    @dataclass(frozen=True)
    class Holder:
        inner: Loose

    with pytest.raises(TypeError, match="Loose must be frozen=True"):
        identity_fields(Holder(Loose()))
    with pytest.raises(TypeError, match="needs a dataclass instance"):
        identity_fields(Recipe)
    with pytest.raises(TypeError, match="needs the default"):
        identity_field(since_default=True)
