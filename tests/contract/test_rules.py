"""Being in RULES means being covered: what every relabelling rule promises."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from reference import rules as plain
from reference import rules_errors as errors
from reference import rules_probes as probes
from surpass.calls import settings_of
from surpass.errors import ConfigError
from surpass.labels import join, label_table, rows, weights
from surpass.rules import RULES, Given, find_rule

DOCS = (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")

TWINS: dict[str, plain.Twin] = {
    name: getattr(module, name)
    for name in RULES
    for module in (plain, errors, probes)
    if hasattr(module, name)
}


class Suit(NamedTuple):
    """What suits a rule: kinds of tables, whether classes must be fixed, and settings beside the defaults."""

    tables: str = "weak"
    reference: str = ""
    fixed_only: bool = False
    settings: tuple[dict[str, Any], ...] = ()


ERRORS_BY = ("longest", "shortest", "unconfident", "confident", "labels")
PROBE = ({"use": "relabel", "sure": 0.6}, {"use": "predict"}, {"drop": 0.4})
TRUST = ({"trust": "accuracy"},)
SUITS: dict[str, Suit] = {
    "adaboost_vote": Suit(
        "weak good bad", "truth weak good bad", False, ({"votes": "hard", "multiclass": True},)
    ),
    "adaboost_weights": Suit("truth weak good bad", settings=({"multiclass": True},)),
    "assign": Suit("good weak bad soft", settings=({"reject": 0.5}, {"reject": 0.0})),
    "average": Suit("weak good bad", "truth weak good bad", settings=TRUST),
    "band": Suit(settings=({"low": 0.25, "high": 0.75}, {"by": "rating", "low": 0.5, "high": 1.0})),
    "bayesian": Suit("weak good bad", "truth weak good bad", settings=({"prior": 20},)),
    "calibrated": Suit("weak", "truth weak"),
    "confident_learning": Suit("weak good", fixed_only=True, settings=({"use": "weight"},)),
    "easiest": Suit(settings=({"by": "rating", "frac": 0.3},)),
    "easiest_for_models": Suit("truth bad weak good", settings=({"frac": 0.3},)),
    "em_posterior": Suit("weak good", settings=({"rounds": 1, "bins": 3}, {"bins": 1})),
    "fold": Suit(settings=({"keep": 2, "of": 3, "seed": 1},)),
    "harden": Suit(),
    "knn": Suit(fixed_only=True, settings=({"k": 3}, {"k": 1}, *PROBE)),
    "log_average": Suit("weak good truth", "truth weak good truth", settings=TRUST),
    "logistic": Suit(fixed_only=True, settings=({"folds": 2, "l2": 0.1}, {"use": "predict"})),
    "match": Suit("truth weak good", settings=({"seed": 3},)),
    "mix_truth": Suit("weak truth", settings=({"pick": "errors", "frac": 0.35}, {"seed": 3, "frac": 0.6})),
    "noise": Suit("truth weak", settings=({"kind": "instance"}, {"seed": 3})),
    "outside": Suit(settings=({"keep": 2, "of": 3, "seed": 1},)),
    "overlap_density": Suit(settings=({"keep": 0.1}, {"keep": 0.9})),
    "reliability": Suit("weak good bad weak", settings=({"use": "weight"}, {"keep": 0.8})),
    "simulate": Suit("truth weak good", settings=tuple({"by": by} for by in ERRORS_BY)),
    "small_loss": Suit("weak good", settings=({"keep": 0.35},)),
    "soften": Suit(settings=({"temperature": 0.5},)),
    "stitch": Suit("weak good", settings=({"seed": 4},)),
    "top_confident": Suit(settings=({"frac": 0.5},)),
    "topological": Suit(
        fixed_only=True, settings=({"k": 4}, {"k": 3, "drop": 0.6}, {"k": 3, "use": "predict"})
    ),
    "vote": Suit("weak good bad", "truth weak good bad", settings=TRUST),
}
FIXED_SETTINGS = {
    "em_posterior": ({"channel": "confusion", "bins": 2},),
    "noise": ({"kind": "class"},),
}
"""Settings that fixed classes allow."""


def cases() -> Iterator[tuple[str, dict[str, Any], int | None]]:
    for name, suit in SUITS.items():
        ragged = () if suit.fixed_only else (None,)
        for classes in (2, 3, *ragged):
            yield name, {}, classes
        for place, settings in enumerate(suit.settings):
            for classes in (2 + place % 2, *ragged):
                yield name, settings, classes
        for settings in FIXED_SETTINGS.get(name, ()):
            yield name, settings, 3


CASES = [pytest.param(*case, id="-".join(map(str, case))) for case in cases()]

SHARE_OF_TRUTH = {"weak": 0.35, "good": 0.6, "bad": 0.1, "soft": 0.0, "truth": 1.0}


def tables(kinds: str, count: int, classes: int | None, seed: int, first: str) -> tuple[pa.Table, ...]:
    rng = np.random.default_rng([seed, 1])
    sizes = np.full(count, classes) if classes else rng.integers(1, 7, count)
    right = rng.integers(sizes)
    found = []
    for kind in kinds.split():
        share = SHARE_OF_TRUTH[kind]
        probs = [
            ((1 - share) * rng.dirichlet(np.ones(size)) + share * np.eye(size)[truth]).astype(np.float32)
            for size, truth in zip(sizes, right, strict=True)
        ]
        weight = rng.uniform(0.5, 2, count).astype(np.float32) if seed % 2 else None
        found.append(label_table([f"{first}{row}" for row in range(count)], probs, weight))
    return tuple(found)


@cache
def given_for(name: str, classes: int | None, *, count: int = 41, seed: int = 0) -> Given:
    suit, rng = SUITS[name], np.random.default_rng([seed, 2])
    labels = tables(suit.tables, count, classes, seed, "e")
    inputs = {
        "id": labels[0]["id"],
        "length": rng.integers(1, 12, count),
        "rating": rng.integers(500, 2000, count).astype(np.int16),
        "candidates": [["a"] * len(row) for row in rows(labels[0])],
    }
    side = np.array([row.argmax() for row in rows(labels[-1])])
    features_ND = rng.standard_normal((count, 3)) + side[:, None] * np.array([1.5, 0, -1])
    return Given(
        labels=labels,
        inputs=pa.table(inputs),
        features_ND=features_ND.astype(np.float32),
        reference=tables(suit.reference, 23, classes, seed, "r"),
        num_classes=classes,
    )


def rearranged(given: Given, change: Callable[[pa.Table], pa.Table], places: list[int]) -> Given:
    return given._replace(
        labels=tuple(change(table) for table in given.labels),
        inputs=change(given.inputs),
        features_ND=given.features_ND[places],
    )


def plainly(given: Given) -> plain.Plain:
    return plain.Plain(
        ids=given.labels[0]["id"].to_pylist(),
        tables=[[row.tolist() for row in rows(table)] for table in given.labels],
        table_weights=[
            weights(table).tolist() if "weight" in table.column_names else None for table in given.labels
        ],
        columns=given.inputs.to_pydict(),
        features=given.features_ND.tolist(),
        reference=[[row.tolist() for row in rows(table)] for table in given.reference],
        num_classes=given.num_classes,
    )


@pytest.mark.parametrize(("name", "settings", "classes"), CASES)
class TestRule:
    def test_labels_stay_labels(self, name, settings, classes):
        given = given_for(name, classes, seed=1)
        after = RULES[name](given, **settings)
        ids = given.labels[0]["id"].to_pylist()
        sizes = [len(row) for row in rows(given.labels[0])]
        joined = join(ids, sizes, after, subset=True)
        assert 0 < joined.num_rows <= len(ids)
        assert joined.equals(after), "the order of the examples is kept"
        assert [row.sum() for row in rows(after)] == pytest.approx([1] * after.num_rows, abs=1e-6)
        assert set(after.column_names) <= {"id", "probs", "weight"}

    def test_the_order_of_the_examples_does_not_matter(self, name, settings, classes):
        given = given_for(name, classes, seed=1)
        order = np.random.default_rng(7).permutation(given.labels[0].num_rows).tolist()
        other = rearranged(given, lambda table: table.take(order), order)
        other = other._replace(reference=tuple(table[::-1] for table in given.reference))
        after, again = (RULES[name](each, **settings) for each in (given, other))
        assert again["id"].to_pylist() == [
            f"e{row}" for row in order if f"e{row}" in set(after["id"].to_pylist())
        ]
        assert after.sort_by("id").equals(again.sort_by("id"))

    def test_pieces_are_as_good_as_the_whole(self, name, settings, classes):
        given = given_for(name, classes)
        count = given.labels[0].num_rows
        pieces = rearranged(
            given,
            lambda table: pa.concat_tables([table.slice(0, 5), table.slice(5, 0), table.slice(5)]),
            list(range(count)),
        )
        assert RULES[name](pieces, **settings).equals(RULES[name](given, **settings))

    def test_what_it_was_given_stays_as_it_was(self, name, settings, classes):
        given, untouched = (given_for.__wrapped__(name, classes) for _ in range(2))
        RULES[name](given, **settings)
        assert all(a.equals(b) for a, b in zip(given.labels, untouched.labels, strict=True))
        assert all(a.equals(b) for a, b in zip(given.reference, untouched.reference, strict=True))
        assert given.inputs.equals(untouched.inputs)
        np.testing.assert_array_equal(given.features_ND, untouched.features_ND)

    def test_few_examples(self, name, settings, classes):
        for count in range(4):
            given = given_for(name, classes, count=count, seed=count)
            after = RULES[name](given, **settings)
            sizes = [len(row) for row in rows(given.labels[0])]
            join(given.labels[0]["id"].to_pylist(), sizes, after, subset=True)

    def test_certain_labels(self, name, settings, classes):
        given = given_for(name, classes)
        hard = tuple(RULES["harden"](given._replace(labels=(table,))) for table in given.labels)
        after = RULES[name](given._replace(labels=hard), **settings)
        sizes = [len(row) for row in rows(given.labels[0])]
        join(given.labels[0]["id"].to_pylist(), sizes, after, subset=True)

    def test_equals_its_slow_twin(self, name, settings, classes):
        for seed in range(3):
            given = given_for(name, classes, seed=seed)
            after = RULES[name](given, **settings)
            expected = TWINS[name](plainly(given), **(settings_of(RULES[name]) | settings))
            assert after["id"].to_pylist() == [example for example, _, _ in expected]
            for found, (_, row, _) in zip(rows(after), expected, strict=True):
                assert found.tolist() == pytest.approx(row, abs=2e-6)
            found = weights(after).tolist() if "weight" in after.column_names else [None] * after.num_rows
            assert found == pytest.approx([weight for _, _, weight in expected], abs=1e-5)


@pytest.mark.parametrize("name", RULES)
class TestForm:
    def test_is_declared_here(self, name):
        assert name in SUITS, "say what suits it"
        assert name in TWINS, "write a slow twin in tests/reference"

    def test_says_where_it_is_from_and_what_it_takes(self, name):
        told = inspect.getdoc(RULES[name])
        assert "Source:" in told
        assert "given:" in told
        assert all(re.search(rf"\b{setting}: ", told) for setting in settings_of(RULES[name]))
        assert "Raises:" in told or not set(settings_of(RULES[name])) - {"seed", "multiclass"}

    def test_settings_are_keyword_only_with_defaults(self, name):
        first, *others = inspect.signature(RULES[name]).parameters.values()
        assert first.name == "given"
        assert [other.name for other in others] == list(settings_of(RULES[name]))

    def test_is_in_the_docs_with_its_settings(self, name):
        (line,) = re.findall(rf"^\| `{name}` \|.*", DOCS, re.MULTILINE)
        assert all(re.search(rf"\b{setting}\b", line) for setting in settings_of(RULES[name]))

    def test_is_found_by_name(self, name):
        assert find_rule(name).func is RULES[name]

    def test_texts_that_are_no_choice_are_refused(self, name):
        given = given_for(name, 2)
        for setting, default in settings_of(RULES[name]).items():
            if isinstance(default, str):
                with pytest.raises(ConfigError, match="nonesuch"):
                    RULES[name](given, **{setting: "nonesuch"})

    def test_shares_out_of_range_are_refused(self, name):
        given = given_for(name, 2)
        for setting, default in settings_of(RULES[name]).items():
            if isinstance(default, float) and setting not in ("temperature", "prior", "l2"):
                for value in (-0.1, 1.1, float("nan")):
                    with pytest.raises(ConfigError, match=f"{setting} is {value}"):
                        RULES[name](given, **{setting: value})

    def test_what_is_not_positive_is_refused(self, name):
        given = given_for(name, 2)
        for setting in settings_of(RULES[name]):
            if setting in ("temperature", "prior", "k", "rounds", "bins", "folds", "of", "l2"):
                for value in (-1, float("nan")) if setting == "l2" else (-1, 0):
                    with pytest.raises(ConfigError, match=f"{setting} is {value}|{setting}={value}"):
                        RULES[name](given, **{setting: value})

    def test_too_few_tables_are_refused(self, name):
        given = given_for(name, 2)
        with pytest.raises(ConfigError, match=f"rule {name} takes label tables: .* given 0"):
            RULES[name](given._replace(labels=()))

    def test_needs_fixed_classes_where_declared(self, name):
        given = given_for(name, 2)._replace(num_classes=None)
        if SUITS[name].fixed_only:
            with pytest.raises(ConfigError, match=f"rule {name} needs fixed classes"):
                RULES[name](given)
        else:
            RULES[name](given)


def test_nothing_is_left_over():
    assert SUITS.keys() == RULES.keys() == TWINS.keys()
