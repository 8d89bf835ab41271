"""Relabelling rules that choose, combine and weigh: closed forms, edge sizes, and what is refused."""

from __future__ import annotations

import importlib
import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from surpass.errors import ConfigError, DataError
from surpass.labels import label_table, rows, weights
from surpass.rules import RULES, Given, find_rule

YES, NO = [0.0, 1.0], [1.0, 0.0]


def table(probs: list[list[float]], weight: list[float] | None = None, first: str = "e") -> pa.Table:
    ids = [f"{first}{row}" for row in range(len(probs))]
    stored = None if weight is None else np.array(weight, np.float32)
    return label_table(ids, [np.array(row, np.float32) for row in probs], stored)


def given(*labels: pa.Table, reference: tuple[pa.Table, ...] = (), **columns: Any) -> Given:
    """With fixed classes where all rows are of one length."""
    sizes = {len(row) for row in rows(labels[0])}
    inputs = pa.table({"id": labels[0]["id"], **columns}) if columns else None
    return Given(labels, inputs, None, reference, sizes.pop() if len(sizes) == 1 else None)


def lists(labels: pa.Table) -> list[list[float]]:
    return [pytest.approx(row.tolist(), abs=1e-6) for row in rows(labels)]


def kept(labels: pa.Table) -> set[int]:
    return {int(example[1:]) for example in labels["id"].to_pylist()}


def binary(*chances: float) -> pa.Table:
    return table([[1 - chance, chance] for chance in chances])


class TestNames:
    def test_settings_are_bound(self):
        assert find_rule("top_confident(frac=0.05)").keywords == {"frac": 0.05}

    def test_unknown_names_and_settings(self):
        with pytest.raises(ConfigError, match=r"no relabelling rule 'hardem'; did you mean harden"):
            find_rule("hardem")
        with pytest.raises(ConfigError, match=r"rule harden has no setting 'frac'; it has none"):
            find_rule("harden(frac=1)")


class TestWhatIsGiven:
    def test_too_many_tables(self):
        with pytest.raises(ConfigError, match="rule harden takes label tables: 1; it was given 2"):
            RULES["harden"](given(binary(0.1), binary(0.2)))
        with pytest.raises(ConfigError, match="rule simulate takes label tables: 2 to 3; it was given 1"):
            RULES["simulate"](given(binary(0.1)))

    def test_other_ids(self):
        other = binary(0.2, 0.1).take([1, 0])
        with pytest.raises(DataError, match="must have the same ids in the same order"):
            RULES["average"](given(binary(0.1, 0.2), other))
        with pytest.raises(DataError, match="reference tables of a rule must have the same ids"):
            RULES["calibrated"](given(binary(0.1), reference=(binary(0.1, 0.2), other)))

    def test_inputs_of_others(self):
        inputs = pa.table({"id": ["x", "y"], "length": [1, 2]})
        with pytest.raises(DataError, match="must have the same ids"):
            RULES["band"](given(binary(0.1, 0.2))._replace(inputs=inputs))

    def test_other_numbers_of_candidates(self):
        with pytest.raises(DataError, match=r"labels of 'e1' have \[2, 3\] candidates"):
            RULES["average"](given(table([YES, YES]), table([YES, [1, 0, 0]])))

    @pytest.mark.parametrize("shape", [(1, 2), (2,), (3, 2)])
    def test_features_of_other_shape(self, shape):
        features = np.zeros(shape, np.float32)
        with pytest.raises(DataError, match="there must be a row for each of 2"):
            RULES["knn"](given(binary(0.1, 0.2))._replace(features_ND=features))

    def test_features_that_are_no_numbers(self):
        features = np.full((2, 2), np.nan, np.float32)
        with pytest.raises(DataError, match="features hold NaN or infinity"):
            RULES["knn"](given(binary(0.1, 0.2))._replace(features_ND=features))

    def test_what_is_needed_is_named(self):
        with pytest.raises(ConfigError, match="rule knn needs features"):
            RULES["knn"](given(binary(0.1)))
        with pytest.raises(ConfigError, match="rule band needs the inputs"):
            RULES["band"](given(binary(0.1)))
        with pytest.raises(ConfigError, match=r"rule calibrated needs a reference of 2 tables.*given 0"):
            RULES["calibrated"](given(binary(0.1)))

    @pytest.mark.parametrize("name", ["adaboost_vote", "calibrated", "average(trust=accuracy)"])
    def test_an_empty_reference(self, name):
        nothing = table([], first="r")
        with pytest.raises(DataError, match=r"the reference of rule .* has no examples"):
            find_rule(name)(given(binary(0.1), reference=(nothing, nothing)))


class TestHardness:
    def test_harden_takes_the_first_of_equals_and_keeps_weights(self):
        labels = table([[0.5, 0.5], [0.2, 0.4, 0.4], [1.0]], weight=[1, 2, 3])
        after = RULES["harden"](given(labels))
        assert lists(after) == [[1, 0], [0, 1, 0], [1]]
        assert weights(after).tolist() == [1, 2, 3]
        assert RULES["harden"](given(after)).equals(after)

    def test_soften_is_the_power(self):
        after = RULES["soften"](given(table([[0.2, 0.8], [1.0, 0.0], [1.0]])), temperature=2)
        assert lists(after) == [[1 / 3, 2 / 3], [1, 0], [1]]
        assert RULES["soften"](given(binary(0.3)), temperature=1).equals(binary(0.3))

    def test_soften_at_the_extremes(self):
        after = RULES["soften"](given(binary(0.3, 1e-30)), temperature=1e-3)
        assert lists(after) == [[1, 0], [1, 0]]
        assert lists(RULES["soften"](given(binary(0.3)), temperature=1e6)) == [[0.5, 0.5]]


class TestChoosing:
    @pytest.mark.parametrize(("count", "expected"), [(1, 1), (9, 1), (10, 1), (11, 2), (30, 3)])
    def test_shares_are_rounded_up(self, count, expected):
        chances = np.linspace(0.5, 0.9, count) + 0.01
        after = RULES["top_confident"](given(binary(*chances)), frac=0.1)
        assert kept(after) == set(range(count - expected, count))

    def test_the_most_confident_of_each_class(self):
        labels = binary(0.1, 0.2, 0.3, 0.4, 0.6, 0.65)
        assert kept(RULES["top_confident"](given(labels), frac=0.5)) == {0, 1, 5}
        ragged = given(labels)._replace(num_classes=None)
        assert kept(RULES["top_confident"](ragged, frac=0.5)) == {0, 1, 2}
        assert RULES["top_confident"](given(labels), frac=1).equals(labels)
        assert kept(RULES["top_confident"](given(labels), frac=0)) == set()

    def test_equal_ones_are_chosen_regardless_of_order_and_number(self):
        labels = binary(*[0.8] * 100)
        after = kept(RULES["top_confident"](given(labels), frac=0.5))
        assert len(after) == 50
        assert after == kept(RULES["top_confident"](given(labels[::-1]), frac=0.5))
        assert after != set(range(50)), "the number in an id favours nobody"

    def test_folds_part_the_examples(self):
        labels = binary(*np.linspace(0.1, 0.9, 400))
        parts = [kept(RULES["fold"](given(labels), keep=fold, of=5)) for fold in range(5)]
        assert sorted(row for part in parts for row in part) == list(range(400))
        assert all(55 <= len(part) <= 105 for part in parts)
        for fold, part in enumerate(parts):
            outside = RULES["outside"](given(labels), keep=fold, of=5)
            assert kept(outside) == set(range(400)) - part
        some = labels.take(list(range(0, 400, 7)))
        assert kept(RULES["fold"](given(some), keep=0, of=5)) == parts[0] & kept(some), "no one else matters"
        assert kept(RULES["fold"](given(labels), keep=0, of=5, seed=1)) != parts[0]

    def test_one_fold_is_everything(self):
        assert RULES["fold"](given(binary(0.1, 0.2)), of=1).num_rows == 2
        assert RULES["outside"](given(binary(0.1, 0.2)), of=1).num_rows == 0

    def test_stitch_takes_each_example_from_its_own_fold(self):
        tables = [table([[1 - fold / 4, fold / 4]] * 60, weight=[fold] * 60) for fold in range(3)]
        after = RULES["stitch"](given(*tables), of=3, seed=2)
        for fold in range(3):
            inside = kept(RULES["fold"](given(tables[0]), keep=fold, of=3, seed=2))
            assert {row for row in range(60) if rows(after)[row][1] == fold / 4} == inside
        assert weights(after).tolist() == [4 * row[1] for row in rows(after)]

    def test_stitch_needs_a_table_for_each_fold(self):
        with pytest.raises(
            ConfigError, match=r"stitch\(of=3\) takes 3 label tables, one for each fold, not 2"
        ):
            RULES["stitch"](given(binary(0.1), binary(0.2)), of=3)

    def test_no_such_fold(self):
        with pytest.raises(ConfigError, match="keep is 2; folds are numbered 0 to 1"):
            RULES["fold"](given(binary(0.1)), keep=2)

    @pytest.mark.parametrize("count", [1, 2, 9, 10, 11])
    def test_bands_that_adjoin_part_the_examples(self, count):
        labels = binary(*[0.5] * count)
        values = given(labels, rating=[1200 - (row // 2) for row in range(count)])
        bands = [
            kept(RULES["band"](values, by="rating", low=low, high=high))
            for low, high in ((0, 0.3), (0.3, 0.7), (0.7, 1))
        ]
        assert sorted(row for part in bands for row in part) == list(range(count))

    def test_the_easiest(self):
        values = given(binary(*[0.5] * 5), rating=[5, 1, 4, 2, 3])
        assert kept(RULES["easiest"](values, by="rating", frac=0.4)) == {1, 3}

    def test_the_easiest_for_models(self):
        """Models of growing size; example 1 is right from the second on, 2 from the first, 3 never last."""
        truth = binary(0.9, 0.9, 0.9, 0.9)
        small, middle, large = (
            binary(0.9, 0.1, 0.9, 0.9),
            binary(0.1, 0.9, 0.9, 0.9),
            binary(0.9, 0.9, 0.9, 0.1),
        )
        values = given(truth, small, middle, large)
        rule = RULES["easiest_for_models"]
        assert [kept(rule(values, frac=frac)) for frac in (0.25, 0.5, 0.75)] == [{2}, {1, 2}, {0, 1, 2}]

    def test_lengths(self):
        labels = binary(*[0.5] * 3)
        by_candidates = given(labels, candidates=[["a"] * 3, ["a"], ["a"] * 2])
        by_text = given(labels, text=["a", "aaa", "aa"], candidates=[["a"], ["b"], ["c"]])
        by_length = given(labels, length=[2, 3, 1], text=["a", "aaa", "aa"])
        found = [kept(RULES["easiest"](each, frac=0.3)) for each in (by_candidates, by_text, by_length)]
        assert found == [{1}, {0}, {2}]

    def test_columns_that_are_not_there(self):
        values = given(binary(0.5, 0.6), rating=[1, None], name=["a", "b"])
        with pytest.raises(ConfigError, match=r"no column of numbers 'name'; they have: length, rating"):
            RULES["band"](values, by="name")
        with pytest.raises(DataError, match="rating of 'e1' is missing"):
            RULES["band"](values, by="rating")
        with pytest.raises(ConfigError, match="inputs have no length, text, prompt or candidates"):
            RULES["band"](values)

    def test_a_band_must_not_be_empty(self):
        with pytest.raises(ConfigError, match=r"low is 0\.5 and high is 0\.5; low must be less"):
            RULES["band"](given(binary(0.5), length=[1]), low=0.5, high=0.5)

    def test_small_loss_keeps_what_the_peer_expects(self):
        after = RULES["small_loss"](given(table([YES, NO, YES, NO]), binary(0.9, 0.9, 0.2, 0.4)), keep=0.5)
        assert kept(after) == {0, 3}
        certain = RULES["small_loss"](given(table([YES, NO]), table([NO, NO])), keep=0.5)
        assert kept(certain) == {1}


class TestEnsembles:
    def test_means(self):
        both = given(binary(0.2), binary(0.8), binary(0.8))
        assert lists(RULES["average"](both)) == [[0.4, 0.6]]
        assert lists(RULES["vote"](both)) == [[1 / 3, 2 / 3]]
        odds = (0.25 * 4 * 4) ** (1 / 3)
        assert lists(RULES["log_average"](both)) == [[1 / (1 + odds), odds / (1 + odds)]]

    def test_no_supervisor_alone_excludes_a_candidate(self):
        after = RULES["log_average"](given(table([YES]), table([NO])))
        assert lists(after) == [[0.5, 0.5]]

    def test_trust_follows_accuracy(self):
        truth = table([YES, YES, YES, YES], first="r")
        always, once = table([YES] * 4, first="r"), table([YES, NO, NO, NO], first="r")
        both = given(binary(0.9), binary(0.4), reference=(truth, always, once))
        assert lists(RULES["average"](both, trust="accuracy")) == [[0.2, 0.8]]
        assert lists(RULES["vote"](both, trust="accuracy")) == [[0.2, 0.8]]
        nobody = given(binary(0.9), binary(0.3), reference=(truth, *[table([NO] * 4, first="r")] * 2))
        assert lists(RULES["average"](nobody, trust="accuracy")) == [[0.4, 0.6]]

    def test_bayesian_weights_are_high_where_all_agree(self):
        labels = [table([YES, YES, [0.5, 0.5]]), table([YES, NO, [0.5, 0.5]])]
        nothing = table([], first="r")
        after = RULES["bayesian"](given(*labels, reference=(nothing,) * 3))
        assert lists(after) == [[0, 1], [0.5, 0.5], [0.5, 0.5]]
        assert weights(after).tolist() == pytest.approx([1.5, 0, 1.5])

    def test_bayesian_trust_is_the_posterior_mean(self):
        truth = table([YES] * 8, first="r")
        reference = (truth, truth, table([NO] * 8, first="r"))
        after = RULES["bayesian"](given(binary(1.0), binary(0.0), reference=reference))
        assert lists(after) == [[0.1, 0.9]]
        assert weights(after).tolist() == [1]

    def test_a_reference_table_too_few(self):
        with pytest.raises(ConfigError, match=r"rule bayesian needs a reference of 3 tables.*given 2"):
            RULES["bayesian"](given(binary(0.1), binary(0.2), reference=(table([YES]),) * 2))

    def test_the_specialist_that_agrees_is_taken(self):
        student = binary(0.9, 0.1, 0.5)
        after = RULES["assign"](given(student, binary(0.8, 0.8, 0.7), binary(0.3, 0.3, 0.6)), reject=0.0)
        assert lists(after) == [[0.2, 0.8], [0.7, 0.3], [0.3, 0.7]]

    def test_the_least_consistent_are_rejected(self):
        student = binary(0.9, 0.1, 0.5)
        after = RULES["assign"](given(student, binary(0.8, 0.9, 0.7)), reject=0.34)
        assert kept(after) == {0, 2}
        assert RULES["assign"](given(student, student), reject=0.33).num_rows == 3, "rounded down"


class TestBoosting:
    def test_the_last_learner_is_no_better_than_chance_on_the_new_weights(self):
        truth = table([YES, YES, NO, NO])
        after = RULES["adaboost_weights"](given(truth, table([YES, NO, NO, NO])))
        assert after["probs"].equals(truth["probs"])
        assert weights(after).tolist() == pytest.approx([2 / 3, 2, 2 / 3, 2 / 3])

    def test_no_learner_no_weights(self):
        assert weights(RULES["adaboost_weights"](given(table([YES, NO])))).tolist() == [1, 1]

    @pytest.mark.parametrize("learner", [[YES, YES, NO, NO], [NO, NO, YES, YES], [YES, NO, NO, YES]])
    def test_perfect_hopeless_and_guessing_learners_change_nothing(self, learner):
        after = RULES["adaboost_weights"](given(table([YES, YES, NO, NO]), table(learner)))
        assert weights(after).tolist() == pytest.approx([1] * 4)

    def test_the_vote(self):
        truth = table([YES] * 4, first="r")
        good, poor = table([YES, YES, YES, NO], first="r"), table([NO, NO, YES, YES], first="r")
        both = given(binary(0.9), binary(0.2), reference=(truth, good, poor))
        # After the first, row 3 weighs 1/2 and the others 1/6: the second errs on 1/3.
        first, second = 0.5 * math.log(3), 0.5 * math.log(2)
        expected = (0.9 * first + 0.2 * second) / (first + second)
        assert lists(RULES["adaboost_vote"](both)) == [[1 - expected, expected]]
        hard = first / (first + second)
        assert lists(RULES["adaboost_vote"](both, votes="hard")) == [[1 - hard, hard]]

    def test_where_nobody_has_a_say_all_have(self):
        truth, wrong = table([YES] * 2, first="r"), table([NO] * 2, first="r")
        both = given(binary(0.9), binary(0.3), reference=(truth, wrong, wrong))
        assert lists(RULES["adaboost_vote"](both)) == [[0.4, 0.6]]

    def test_better_than_a_guess_among_many(self):
        truth = table([np.eye(4)[0].tolist()] * 5)
        two_right = table([np.eye(4)[right].tolist() for right in (0, 0, 1, 2, 3)])
        plain = RULES["adaboost_weights"](given(truth, two_right))
        many = RULES["adaboost_weights"](given(truth, two_right), multiclass=True)
        assert weights(plain).tolist() == pytest.approx([1] * 5)
        ratio = (0.4 / 0.6) * 3
        assert weights(many)[4] / weights(many)[0] == pytest.approx(ratio)


class TestReliability:
    def test_the_label_is_the_mean_and_unsteady_ones_go(self):
        variants = [binary(0.9, 0.9, 0.6), binary(0.9, 0.2, 0.6), binary(0.9, 0.1, 0.9)]
        after = RULES["reliability"](given(*variants), keep=0.6)
        assert kept(after) == {0, 2}
        assert lists(after) == [[0.1, 0.9], [0.3, 0.7]]
        assert kept(RULES["reliability"](given(*variants), keep=0.3)) == {0}, "the mean decides among equals"

    def test_weights_are_the_published_softmax_of_shares(self):
        variants = [binary(0.9, 0.9), binary(0.9, 0.8), binary(0.9, 0.1)]
        after = RULES["reliability"](given(*variants), use="weight")
        steady = 1.0
        torn = math.exp(2 / 3 / 0.2) / (math.exp(2 / 3 / 0.2) + math.exp(1 / 3 / 0.2))
        mean = (steady + torn) / 2
        assert weights(after).tolist() == pytest.approx([steady / mean, torn / mean])

    def test_calibrated_learns_what_confidence_is_worth(self):
        rng = np.random.default_rng(0)
        confidence = rng.uniform(0.5, 1, 4000)
        right = rng.random(4000) < confidence
        truth = table([YES if each else NO for each in right], first="r")
        supervisor = table([[1 - each, each] for each in confidence], first="r")
        labels = binary(0.5001, 0.6, 0.2, 0.99)
        after = RULES["calibrated"](given(labels, reference=(truth, supervisor)), l2=0.0)
        expected = np.array([0.5, 0.6, 0.8, 0.99])
        np.testing.assert_allclose(rows(after), rows(labels), atol=1e-6)
        assert weights(after).tolist() == pytest.approx((expected / expected.mean()).tolist(), abs=0.08)

    def test_calibrated_where_the_supervisor_is_always_or_never_right(self):
        for right in (YES, NO):
            reference = (
                table([right] * 3, first="r"),
                table([[0.3, 0.7], [0.1, 0.9], [0.2, 0.8]], first="r"),
            )
            after = RULES["calibrated"](given(binary(0.6, 0.9), reference=reference))
            assert weights(after).tolist() == pytest.approx([1, 1], abs=0.05)

    def test_weights_multiply(self):
        labels = table([[0.3, 0.7], [0.2, 0.8]], weight=[1, 3])
        reference = (table([YES] * 3, first="r"), table([[0.2, 0.8]] * 3, first="r"))
        assert weights(RULES["calibrated"](given(labels, reference=reference))).tolist() == [0.5, 1.5]
        nothing = RULES["calibrated"](given(table([YES, NO], weight=[0, 0]), reference=reference))
        assert weights(nothing).tolist() == [1, 1], "all 0 would teach nothing"


class TestPosterior:
    def test_one_round_by_hand(self):
        weak, prior = table([YES, YES]), binary(0.5, 0.8)
        after = RULES["em_posterior"](given(weak, prior), rounds=1, bins=1)
        accuracy = (0.5 + 0.8 + 1) / 4
        odds = accuracy / (1 - accuracy)
        expected = [odds / (1 + odds), 4 * odds / (1 + 4 * odds)]
        assert [row[1] for row in rows(after)] == pytest.approx(expected, abs=1e-6)

    def test_it_knows_better_than_either_source(self):
        rng = np.random.default_rng(1)
        right = rng.integers(3, size=2000)
        sure = rng.random(2000) < 0.5
        says = np.where(rng.random(2000) < np.where(sure, 0.95, 0.45), right, rng.integers(3, size=2000))
        weak = [
            (0.9 if s else 0.5) * np.eye(3)[k] + (0.1 if s else 0.5) / 3
            for s, k in zip(sure, says, strict=True)
        ]
        logits = rng.standard_normal((2000, 3)) + 1.2 * np.eye(3)[right]
        prior = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        both = given(table([row.tolist() for row in weak]), table(prior.tolist()))
        for channel in ("accuracy", "confusion"):
            after = RULES["em_posterior"](both, channel=channel)
            accuracy = np.mean([row.argmax() for row in rows(after)] == right)
            assert accuracy > max(np.mean(says == right), np.mean(prior.argmax(1) == right)) + 0.02

    def test_what_the_prior_excludes_stays_excluded(self):
        after = RULES["em_posterior"](given(table([YES, NO]), table([NO, NO])))
        assert lists(after) == [[1, 0], [1, 0]]

    def test_a_confusion_needs_fixed_classes(self):
        ragged = given(table([YES, [1.0]]), table([YES, [1.0]]))
        with pytest.raises(ConfigError, match="channel=confusion needs fixed classes"):
            RULES["em_posterior"](ragged, channel="confusion")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    both = given(binary(0.1, 0.9), binary(0.1, 0.9))
    monkeypatch.setattr("surpass.rules.rule.import_module", absent)
    with pytest.raises(ConfigError, match=r"needs cleanlab .*pip install 'surpass\[noise\]'"):
        RULES["confident_learning"](both)
    assert importlib.import_module is not absent


def test_random_choices_are_even() -> None:
    labels = binary(*[0.5] * 3000)
    counted = Counter(fold for fold in range(3) for _ in kept(RULES["fold"](given(labels), keep=fold, of=3)))
    assert all(abs(count - 1000) < 100 for count in counted.values())
