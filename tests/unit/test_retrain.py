"""Last-layer retraining: closed forms, a slow twin, and groups on a planted spurious attribute."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from reference import probing
from reference.bench import Bench, state_of, table_of
from surpass.errors import ConfigError, DataError, MissingExtraError, NotApplicable
from surpass.labels import label_table
from surpass.lineage import learns_truth
from surpass.methods import find_method
from surpass.stages import TRUTH, Context, Examples, Features, Label, Truth
from surpass.stages.retraining import Retrain
from surpass.study import Study
from surpass.tasks.planted import PlantedTask
from surpass.train import retrain
from surpass.train.recipe import Recipe
from surpass.train.retrain import (
    NO_CHANCE,
    STRENGTHS,
    Head,
    Held,
    averaged,
    balanced,
    best_of,
    fit,
    halves,
    tune,
)

SPURIOUS = PlantedTask(num_features=20, spurious=0.9)


def held_of(labels, groups=None, states=None, *, pairs=False, width=3) -> Held:
    label_N = np.array(labels, np.int64)
    states_ND = np.random.default_rng(0).normal(size=(len(label_N), width)) if states is None else states
    group_N = label_N if groups is None else np.array(groups, np.int64)
    return Held([f"e{n}" for n in range(len(label_N))], np.array(states_ND, float), label_N, group_N, pairs)


class TestDraws:
    GROUPS = (0, 0, 0, 0, 0, 1, 1, 1, 2, 2)

    def test_halves_of_every_group(self):
        first, second = halves(held_of([0] * 10, self.GROUPS), seed=0)
        assert sorted([*first, *second]) == list(range(10))
        groups = np.array(self.GROUPS)
        assert np.bincount(groups[first]).tolist() == [3, 2, 1]
        assert np.bincount(groups[second]).tolist() == [2, 1, 1]

    def test_balanced_subsets_hold_the_smallest_of_each(self):
        held = held_of([0] * 10, self.GROUPS)
        drawn = [balanced(held, number=number, seed=0) for number in range(6)]
        for rows in drawn:
            assert np.bincount(held.group_N[rows]).tolist() == [2, 2, 2]
            assert set(rows[-2:]) == {8, 9}
        assert len({tuple(rows) for rows in drawn}) > 1

    def test_draws_go_by_ids_not_by_places(self):
        held = held_of([0] * 10, self.GROUPS)
        mixed = held.some(np.random.default_rng(1).permutation(10))
        for draw in (lambda h: balanced(h, number=3, seed=5), lambda h: halves(h, seed=5)[0]):
            assert {held.ids[row] for row in draw(held)} == {mixed.ids[row] for row in draw(mixed)}

    def test_another_seed_draws_others(self):
        held = held_of([0] * 40, [0] * 30 + [1] * 10)
        assert balanced(held, number=0, seed=0).tolist() != balanced(held, number=0, seed=1).tolist()


class TestRegression:
    @pytest.mark.parametrize("strength", [1.0, 0.3, 0.1])
    @pytest.mark.parametrize("flipped", [0.0, 0.2])
    def test_one_feature_of_plus_and_minus_one_in_closed_form(self, strength, flipped):
        """Of N examples, on a share r of which the sign misleads: sigma(w) = 1 - r - 1 / (C N)."""
        sign = np.repeat([-1.0, 1.0], 50)
        label_N = np.where(np.arange(100) % 50 < 50 * flipped, sign < 0, sign > 0).astype(int)
        head = fit(held_of(label_N, states=sign[:, None]), strength=strength, num_classes=2)
        right = 1 - flipped - 1 / (strength * 100)
        expected = math.log(right / (1 - right))
        assert head.weight_CD.tolist() == pytest.approx(np.array([[-expected / 2], [expected / 2]]), abs=1e-4)
        assert head.bias_C.tolist() == pytest.approx([0, 0], abs=1e-4)

    def test_a_strong_penalty_leaves_nothing(self):
        sign = np.repeat([-1.0, 1.0], 10)
        head = fit(held_of(sign > 0, states=sign[:, None]), strength=0.1, num_classes=2)
        assert not head.weight_CD.any()

    def test_equals_the_slow_twin(self):
        held = held_of(np.random.default_rng(1).integers(0, 2, 60), width=6)
        held = held._replace(states_ND=held.states_ND + held.label_N[:, None] * np.linspace(-1, 1, 6))
        for strength in (1.0, 0.1):
            weights, bias = probing.regression(held.states_ND, held.label_N == 1, strength)
            head = fit(held, strength=strength, num_classes=2)
            np.testing.assert_allclose(head.weight_CD, np.stack([-weights, weights]) / 2, atol=1e-5)
            np.testing.assert_allclose(head.bias_C, [-bias / 2, bias / 2], atol=1e-5)

    def test_more_classes_are_each_against_the_others(self):
        held = held_of(np.arange(90) % 3, width=4)
        held = held._replace(states_ND=held.states_ND + 2 * np.eye(3, 4)[held.label_N])
        head = fit(held, strength=0.7, num_classes=3)
        for label in range(3):
            weights, bias = probing.regression(held.states_ND, held.label_N == label, 0.7)
            np.testing.assert_allclose(head.weight_CD[label], weights, atol=1e-5)
            assert head.bias_C[label] == pytest.approx(bias, abs=1e-5)

    def test_a_class_that_is_not_there_has_no_chance(self):
        held = held_of([0, 2] * 10)
        head = fit(held, strength=1.0, num_classes=3)
        assert head.bias_C[1] == NO_CHANCE
        assert not head.weight_CD[1].any()
        two = fit(held._replace(label_N=held.label_N // 2), strength=1.0, num_classes=2)
        np.testing.assert_allclose(head.weight_CD[[0, 2]], two.weight_CD)

    def test_one_class_alone_is_always_said(self):
        head = fit(held_of([1] * 5), strength=1.0, num_classes=3)
        assert not head.weight_CD.any()
        assert head.bias_C.tolist() == [NO_CHANCE, 0, NO_CHANCE]

    def test_pairs_have_no_intercept(self):
        rng = np.random.default_rng(2)
        apart_ND = rng.normal(size=(80, 3))
        label_N = (apart_ND[:, 0] + 0.3 * rng.normal(size=80) < 0).astype(int)
        head = fit(held_of(label_N, states=apart_ND, pairs=True), strength=1.0, num_classes=2)
        assert head.bias_C.tolist() == [0, 0]
        # The class 0 says that the first is better, so that its reward rises with the first feature.
        assert head.weight_CD[0, 0] > 0.5
        np.testing.assert_array_equal(head.weight_CD[0], -head.weight_CD[1])


class TestTuning:
    def test_the_best_in_the_worst_group_and_the_weakest_of_equals(self):
        assert best_of(dict.fromkeys(STRENGTHS, 0.5)) == 1.0
        assert best_of(dict.fromkeys(STRENGTHS, 0.5) | {0.1: 0.75, 0.03: 0.75}) == 0.1

    def test_worst_group_by_hand(self):
        head = Head(np.array([[-1.0], [1.0]]), np.zeros(2))
        held = held_of([1, 1, 0, 0], [0, 0, 1, 1], states=[[1.0], [-1.0], [-2.0], [-3.0]])
        assert head.worst_group(held) == 0.5

    def test_groups_of_one_example_cannot_be_judged(self):
        found = tune(held_of([0, 1]), num_classes=2, seed=0)
        assert list(found) == list(STRENGTHS)
        assert all(math.isnan(value) for value in found.values())
        assert best_of(found) == 1.0

    def test_the_mean_of_subsets(self):
        held = held_of([0] * 20 + [1] * 6)
        parts = [
            fit(held.some(balanced(held, number=number, seed=7)), strength=0.7, num_classes=2)
            for number in range(3)
        ]
        head = averaged(held, strength=0.7, num_subsets=3, num_classes=2, seed=7)
        np.testing.assert_allclose(head.weight_CD, np.mean([part.weight_CD for part in parts], axis=0))
        np.testing.assert_allclose(head.bias_C, np.mean([part.bias_C for part in parts], axis=0))


def study(**changes: object) -> Study:
    return Study(
        name="retrain",
        task=SPURIOUS,
        pairs=(("linear:10", "linear:all"),),
        seeds=(0,),
        num_train=1000,
        num_test=1500,
        num_validation=600,
        recipe=Recipe(epochs=3, learning_rate=1e-2),
    ).replace(**changes)


def setting(**changes: object):
    found = study(**changes)
    return found.setting(found.pairs[0], 0)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("retrain"))


def score(bench: Bench, method: str) -> dict[str, float]:
    bench.run_all(study().score(find_method(method)(setting())))
    return dict(bench.said["score"])


class TestStage:
    def test_it_raises_the_worst_group(self, bench):
        naive, retrained = score(bench, "naive"), score(bench, "dfr")
        assert naive["worst_group"] < 0.55 < 0.8 < retrained["worst_group"]
        assert retrained["mean_group"] > naive["mean_group"] + 0.1
        assert retrained["accuracy"] == pytest.approx(SPURIOUS.bayes_accuracy(), abs=0.04)

    def test_equals_the_slow_twin_with_groups(self, bench):
        stage = find_method("dfr")(setting())
        head = state_of(bench.run_all(stage))
        inputs, truth, _ = SPURIOUS.examples(part="validation", size=600, seed=0)
        label, attribute = truth["truth"].to_pylist(), inputs["attribute"].to_pylist()
        groups = [2 * one + other for one, other in zip(label, attribute, strict=True)]
        states = np.array(inputs["features"].to_pylist())
        weights, bias = probing.retrained(inputs["id"].to_pylist(), states, label, groups, 0)
        np.testing.assert_allclose(head["head.weight"][1] * 2, weights, atol=2e-4)
        assert float(head["head.bias"][1]) * 2 == pytest.approx(bias, abs=2e-4)
        assert bench.said["groups"] == {
            f"class {one}, attribute {other}": groups.count(2 * one + other)
            for one in (0, 1)
            for other in (0, 1)
        }
        tuning = table_of(bench.find(stage), "tuning")
        assert tuning["strength"].to_pylist() == list(STRENGTHS)
        assert bench.said["strength"] == best_of(dict(zip(*tuning.to_pydict().values(), strict=True)))

    def test_the_same_bits_again(self, bench):
        stage = find_method("dfr")(setting())
        one = bench.run_all(stage).file("model.safetensors").read_bytes()
        assert bench.run(stage).file("model.safetensors").read_bytes() == one

    def test_weak_labels_balance_in_place_of_truth(self, bench):
        stage = find_method("dfr_weak")(setting())
        bench.run_all(stage)
        said = [
            max((0, 1), key=row.__getitem__)
            for row in table_of(bench.find(stage.labels))["probs"].to_pylist()
        ]
        inputs = SPURIOUS.examples(part="validation", size=600, seed=0).inputs
        names = [
            f"class {one}, attribute {a}"
            for one, a in zip(said, inputs["attribute"].to_pylist(), strict=True)
        ]
        assert bench.said["groups"] == {name: names.count(name) for name in sorted(set(names))}

    def test_without_an_attribute_groups_are_classes(self, bench):
        stage = find_method("dfr")(setting(task=PlantedTask(num_features=20, imbalance=4.0)))
        bench.run_all(stage)
        assert set(bench.said["groups"]) == {"class 0", "class 1"}

    def test_what_it_is(self):
        w2s = setting()
        by_truth, by_weak = (find_method(name)(w2s) for name in ("dfr", "dfr_weak"))
        assert by_truth.model == "linear:all"
        assert by_truth.examples == w2s.validation
        assert by_truth.features_source == find_method("naive")(w2s)
        assert by_truth.labels == TRUTH
        assert by_truth.truth_of == w2s.validation
        assert by_weak.truth_of is None
        assert by_truth.upstream == (by_truth.features, w2s.validation)
        assert (by_truth.teacher, by_weak.teacher) == ("truth", "linear-10")
        assert "retrained-truth-s0" in by_truth.label
        assert "retrained-from-linear-10-s0" in by_weak.label
        assert learns_truth(by_truth, w2s.weak_examples)
        assert not learns_truth(by_weak, w2s.weak_examples)
        assert find_method("dfr(subsets=3)")(w2s).num_subsets == 3

    @pytest.mark.parametrize("count", [0, 1001])
    def test_too_few_or_many_subsets(self, count):
        with pytest.raises(ConfigError, match=f"num_subsets={count} must be from 1 to 1000"):
            find_method(f"dfr(subsets={count})")(setting())


class Given:
    """Three examples of validation, whose states and labels are given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, states: torch.Tensor) -> None:
        self.bench = Bench(folder)
        self.examples = Examples(task=SPURIOUS, part="validation", size=len(states), seed=0)
        self.labels = Label(source="linear:all", examples=self.examples)
        features = Features(source="linear:all", examples=self.examples)
        self.stage = Retrain(features=features, labels=self.labels, seed=0)
        self.bench.run(self.examples)
        self.ids = table_of(self.bench.find(self.examples), "inputs")["id"].to_pylist()
        place = {name: number for number, name in enumerate(self.ids)}

        def read(context: Context, of: Features, ids: list[str]) -> torch.Tensor:
            assert of == features
            return states[[place[name] for name in ids]]

        monkeypatch.setattr(retrain, "read_states", read)

    def label(self, labels: list[int | None]) -> None:
        rows = [(name, label) for name, label in zip(self.ids, labels, strict=True) if label is not None]
        probs = [np.eye(2, dtype=np.float32)[label] for _, label in rows]
        self.bench.put(self.labels, label_table([name for name, _ in rows], probs))


class TestFiles:
    def test_scaling_is_folded_in(self, tmp_path, monkeypatch):
        rng = np.random.default_rng(3)
        states = torch.from_numpy(rng.normal(size=(40, 2)) * [1, 1000] + [50, 0]).float()
        given = Given(tmp_path, monkeypatch, states)
        labels = (states[:, 0] > 50).long().tolist()
        given.label(labels)
        head = state_of(given.bench.run(given.stage))
        logits = states @ head["head.weight"].T + head["head.bias"]
        assert (logits.argmax(dim=1) == torch.tensor(labels)).double().mean() > 0.9
        (tmp_path / "other").mkdir()
        other = Given(tmp_path / "other", monkeypatch, (states - 3) / 7)
        other.label(labels)
        moved = state_of(other.bench.run(other.stage))
        again = (states - 3) / 7 @ moved["head.weight"].T + moved["head.bias"]
        torch.testing.assert_close(again, logits, atol=1e-3, rtol=1e-3)

    def test_examples_without_a_label_are_left_out(self, tmp_path, monkeypatch):
        given = Given(tmp_path, monkeypatch, torch.randn(10, 3, generator=torch.Generator().manual_seed(0)))
        given.label([0, 1, 0, 1, None, None, 0, 1, None, 1])
        given.bench.run(given.stage)
        assert given.bench.said["num_examples"] == 7

    def test_pairs(self, tmp_path, monkeypatch):
        states = torch.randn(60, 2, 4, generator=torch.Generator().manual_seed(1))
        given = Given(tmp_path, monkeypatch, states)
        better = (states[:, 0, 1] < states[:, 1, 1]).long()
        given.label(better.tolist())
        head = state_of(given.bench.run(given.stage))
        assert list(head) == ["head.weight"]
        assert head["head.weight"].shape == (1, 4)
        rewards = (states @ head["head.weight"].T).squeeze(2)
        assert (rewards.argmax(dim=1) == better).double().mean() > 0.9

    def test_no_label_at_all(self, tmp_path, monkeypatch):
        given = Given(tmp_path, monkeypatch, torch.zeros(3, 2))
        given.bench.put(given.labels, label_table([], []))
        with pytest.raises(
            DataError, match="no example of planted-validation-3-s0 has a label to retrain by"
        ):
            given.bench.run(given.stage)

    def test_an_attribute_that_is_missing(self):
        table = pa.table({"id": ["a", "b"], "attribute": pa.array([1, None], pa.int16())})
        with pytest.raises(DataError, match="'b' has no attribute"):
            retrain._groups(np.array([0, 1]), table)


class TestWithoutScikit:
    def test_the_method_is_left_out(self, monkeypatch):
        monkeypatch.setattr("surpass.methods.probing.find_spec", lambda name: None)
        with pytest.raises(NotApplicable, match=r"pip install 'surpass\[probes\]'"):
            find_method("dfr")(setting())

    def test_the_stage_says_what_it_needs(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
        with pytest.raises(MissingExtraError, match=r"needs scikit-learn .*surpass\[probes\]"):
            fit(held_of([0, 1] * 3), strength=1.0, num_classes=2)


def test_of_examples_with_a_hint_the_truth_is_seen():
    w2s = setting()
    hinted = find_method("imitation")(w2s)
    stage = Retrain(features=Features.of(hinted, w2s.validation), labels=TRUTH, seed=0)
    assert stage.examples == hinted.sees(w2s.validation)
    assert stage.truth_of == w2s.validation
    assert stage.sees(w2s.validation) == stage.examples
    assert Truth(examples=w2s.validation).truth_of == stage.truth_of
