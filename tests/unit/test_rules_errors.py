"""Rules that put other errors in the place of a supervisor's: how many, where, and which."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from surpass.errors import ConfigError
from surpass.labels import label_table, rows
from surpass.rules import RULES, Given

STRUCTURES = ("random", "longest", "shortest", "unconfident", "confident", "labels")


def table(probs: Any) -> pa.Table:
    return label_table([f"e{row}" for row in range(len(probs))], [np.array(row, np.float32) for row in probs])


def hot(places: Any, sizes: Any) -> pa.Table:
    return table([np.eye(size)[place] for place, size in zip(places, sizes, strict=True)])


def best(labels: pa.Table) -> np.ndarray:
    return np.array([row.argmax() for row in rows(labels)])


def setting(*, classes: int | None = None, count: int = 300, wrong: float = 0.3, seed: int = 0) -> Given:
    """Truth, a weak supervisor, and a strong model."""
    rng = np.random.default_rng(seed)
    sizes = np.full(count, classes) if classes else rng.integers(1, 8, count)
    right = rng.integers(sizes)
    said = np.where(rng.random(count) < wrong, rng.integers(sizes), right)
    weak = table(
        [0.6 * np.eye(n)[k] + 0.4 * rng.dirichlet(np.ones(n)) for n, k in zip(sizes, said, strict=True)]
    )
    strong = table(
        [0.3 * np.eye(n)[k] + 0.7 * rng.dirichlet(np.ones(n)) for n, k in zip(sizes, right, strict=True)]
    )
    inputs = pa.table({"id": weak["id"], "length": rng.integers(1, 100, count)})
    return Given((hot(right, sizes), weak, strong), inputs, None, (), classes)


def num_errors(given: Given, labels: pa.Table) -> int:
    return int((best(labels) != best(given.labels[0])).sum())


@pytest.mark.parametrize("classes", [2, 5, None])
@pytest.mark.parametrize("wrong", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
class TestNumberOfErrors:
    def test_of_every_structure(self, classes, wrong, seed):
        given = setting(classes=classes, wrong=wrong)
        expected = num_errors(given, given.labels[1])
        for by in STRUCTURES:
            after = RULES["simulate"](given, by=by, seed=seed)
            assert num_errors(given, after) == expected
            assert all(sorted(row)[-1] == 1 and row.sum() == 1 for row in rows(after)), "hard labels"

    def test_of_every_noise(self, classes, wrong, seed):
        given = setting(classes=classes, wrong=wrong)
        expected = num_errors(given, given.labels[1])
        for kind in ("uniform", "instance", *(["class"] if classes else [])):
            after = RULES["noise"](given._replace(labels=given.labels[:2]), kind=kind, seed=seed)
            assert num_errors(given, after) == expected

    def test_of_a_matched_model(self, classes, wrong, seed):
        given = setting(classes=classes, wrong=wrong)
        after = RULES["match"](given, seed=seed)
        assert num_errors(given, after) == num_errors(given, given.labels[1])


def errors_of(given: Given, labels: pa.Table) -> np.ndarray:
    return np.flatnonzero(best(labels) != best(given.labels[0]))


class TestWhere:
    def test_the_longest_and_the_shortest(self):
        given = setting(classes=2)
        length = np.array(given.inputs["length"].to_pylist())
        for by, sign in (("longest", 1), ("shortest", -1)):
            chosen = errors_of(given, RULES["simulate"](given, by=by))
            others = np.setdiff1d(np.arange(300), chosen)
            assert (sign * length[chosen]).min() >= (sign * length[others]).max()

    def test_where_the_strong_model_is_unsure_or_sure(self):
        given = setting(classes=4)
        belief = np.array(
            [row[k] for row, k in zip(rows(given.labels[2]), best(given.labels[0]), strict=True)]
        )
        unsure = errors_of(given, RULES["simulate"](given, by="unconfident"))
        sure = errors_of(given, RULES["simulate"](given, by="confident"))
        assert belief[unsure].max() <= np.delete(belief, unsure).min()
        sees = best(given.labels[2]) == best(given.labels[0])
        assert sees[sure].all()
        assert belief[sure].min() >= belief[np.setdiff1d(np.flatnonzero(sees), sure)].max()

    def test_the_wrong_candidate_is_the_strong_models_likeliest(self):
        strong = [0.2, 0.1, 0.3, 0.4]
        given = Given((hot([3], [4]), hot([0], [4]), table([strong])), None, None, (), 4)
        for by in ("unconfident", "confident"):
            assert best(RULES["simulate"](given, by=by)) == [2]

    def test_too_few_that_the_strong_model_is_right_about(self):
        given = Given((hot([0, 0], [2, 2]), hot([1, 1], [2, 2]), hot([1, 0], [2, 2])), None, None, (), 2)
        assert best(RULES["simulate"](given, by="confident")).tolist() == [1, 1]

    def test_the_supervisors_own(self):
        given = setting(classes=3)
        after = RULES["simulate"](given, by="labels")
        assert best(after).tolist() == best(given.labels[1]).tolist()

    def test_class_noise_has_the_weak_confusion(self):
        given = setting(classes=4, count=400)
        after = RULES["noise"](given._replace(labels=given.labels[:2]), kind="class", seed=5)
        pairs = [(best(given.labels[0]), best(labels)) for labels in (given.labels[1], after)]
        tables = [np.histogram2d(truth, label, bins=range(5))[0] for truth, label in pairs]
        np.testing.assert_array_equal(*tables)
        assert set(errors_of(given, after)) != set(errors_of(given, given.labels[1]))

    def test_instance_noise_falls_where_the_supervisor_doubts(self):
        count = 2000
        doubts = np.where(np.arange(count) % 2, 0.1, 0.4)
        said = np.where(np.arange(count) % 5 == 0, 1, 0)  # 400 errors
        weak = [np.where(np.arange(2) == k, 1 - d, d) for k, d in zip(said, doubts, strict=True)]
        given = Given((hot([0] * count, [2] * count), table(weak)), None, None, (), 2)
        counts = []
        for seed in range(3):
            chosen = errors_of(given, RULES["noise"](given, kind="instance", seed=seed))
            counts.append([(chosen % 2 == odd).sum() for odd in (0, 1)])
        # In proportion to 0.4 and 0.1: 320 and 80 of 400.
        assert np.mean(counts, axis=0) == pytest.approx([320, 80], abs=15)

    def test_instance_noise_of_a_certain_supervisor_is_uniform(self):
        given = Given((hot([0] * 50, [3] * 50), hot([1] * 9 + [0] * 41, [3] * 50)), None, None, (), 3)
        after = RULES["noise"](given, kind="instance")
        assert len(errors_of(given, after)) == 9
        assert set(errors_of(given, after)) != set(range(9))

    def test_doubt_that_would_be_more_than_certain(self):
        # One example holds nearly all doubt, and three must be wrong.
        weak = table([[0.5, 0.5]] + [[0.001, 0.999]] * 3 + [[0.999, 0.001]] * 6)
        given = Given((hot([0] * 10, [2] * 10), weak), None, None, (), 2)
        for seed in range(5):
            chosen = errors_of(given, RULES["noise"](given, kind="instance", seed=seed))
            assert len(chosen) == 3
            assert 0 in chosen

    def test_a_seed_is_a_choice(self):
        given = setting(classes=3)
        pair = given._replace(labels=given.labels[:2])
        for name, each in (("simulate", given), ("noise", pair), ("match", given), ("mix_truth", pair)):
            first, again, other = (RULES[name](each, seed=seed) for seed in (0, 0, 1))
            assert first.equals(again)
            assert not first.equals(other)

    def test_wrong_candidates_are_even(self):
        given = Given((hot([1] * 3000, [4] * 3000), hot([0] * 3000, [4] * 3000)), None, None, (), 4)
        counts = np.bincount(best(RULES["simulate"](given)), minlength=4)
        assert counts[1] == 0
        assert counts[[0, 2, 3]] == pytest.approx([1000] * 3, abs=100)


class TestMatch:
    def test_what_the_model_gets_wrong_stays_wrong_as_far_as_it_goes(self):
        given = setting(classes=5, wrong=0.9)
        model = errors_of(given, given.labels[2])
        after = RULES["match"](given)
        assert set(model) < set(errors_of(given, after))
        assert (best(after)[model] == best(given.labels[2])[model]).all()

    def test_too_many_errors_are_mended(self):
        given = setting(classes=5, wrong=0.02)
        after = errors_of(given, RULES["match"](given))
        assert set(after) < set(errors_of(given, given.labels[2]))


class TestMixTruth:
    @pytest.mark.parametrize(("frac", "expected"), [(0, 0), (0.1, 1), (0.11, 2), (1, 10)])
    def test_how_many(self, frac, expected):
        weak, truth = table([[0.75, 0.25]] * 10), hot([1] * 10, [2] * 10)
        after = RULES["mix_truth"](Given((weak, truth), None, None, (), 2), frac=frac)
        assert sum(row[1] == 1 for row in rows(after)) == expected

    def test_errors_first(self):
        given = setting(classes=3)
        pair = given._replace(labels=(given.labels[1], given.labels[0]))
        wrong = errors_of(given, given.labels[1])
        after = RULES["mix_truth"](pair, frac=len(wrong) / 300, pick="errors")
        assert num_errors(given, after) == 0
        some = RULES["mix_truth"](pair, frac=(len(wrong) - 1) / 300, pick="errors")
        assert num_errors(given, some) == 1

    def test_more_truth_replaces_what_less_did(self):
        given = setting(classes=3)
        pair = given._replace(labels=(given.labels[1], given.labels[0]))
        less, more = (rows(RULES["mix_truth"](pair, frac=frac, seed=4)) for frac in (0.2, 0.4))
        truth = rows(given.labels[0])
        replaced = [{row for row in range(300) if (each[row] == truth[row]).all()} for each in (less, more)]
        assert replaced[0] < replaced[1]


class TestRefusals:
    def test_what_a_structure_needs(self):
        given = setting(classes=2)
        with pytest.raises(ConfigError, match=r"simulate\(by=confident\) takes a third label table"):
            RULES["simulate"](given._replace(labels=given.labels[:2]), by="confident")
        with pytest.raises(ConfigError, match=r"simulate\(by=longest\) needs the inputs"):
            RULES["simulate"](given._replace(inputs=None), by="longest")

    def test_class_noise_needs_fixed_classes(self):
        given = setting()
        with pytest.raises(ConfigError, match=r"noise\(kind=class\) needs fixed classes"):
            RULES["noise"](given._replace(labels=given.labels[:2]), kind="class")

    def test_a_single_candidate_is_never_wrong(self):
        truth = hot([0, 1], [1, 2])
        given = Given((truth, hot([0, 0], [1, 2]), truth), None, None, (), None)
        for by in ("random", "confident", "unconfident"):
            assert best(RULES["simulate"](given, by=by)).tolist() == [0, 0]
        assert best(RULES["match"](given)).tolist() == [0, 0]
        for kind in ("uniform", "instance"):
            after = RULES["noise"](given._replace(labels=given.labels[:2]), kind=kind)
            assert best(after).tolist() == [0, 0]
