"""Diversified heads: closed forms, slow twins of loss and gradient, what is kept, and who chooses."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from reference import probing
from reference.bench import Bench, state_of, table_of
from surpass.errors import ConfigError, DataError, NotApplicable, Stopped
from surpass.labels import label_table
from surpass.lineage import learns_truth
from surpass.methods import find_method
from surpass.stages import TRUTH, Features, Label
from surpass.stages.diversify import Diversify
from surpass.study import Study
from surpass.tasks.planted import PlantedTask
from surpass.train import diversify
from surpass.train.diversify import (
    Heads,
    disputed,
    initial_heads,
    mutual_information,
    objective,
    target_batches,
)
from surpass.train.recipe import Recipe

SPURIOUS = PlantedTask(num_features=20, spurious=0.9)


def one_hot(*classes: int, of: int = 2) -> torch.Tensor:
    return torch.eye(of, dtype=torch.float64)[list(classes)]


class TestMutualInformation:
    def test_of_heads_that_say_the_same(self):
        """What is known of the other's answer is all of it: the entropy of one."""
        same = torch.stack([one_hot(0, 0, 0, 1)] * 2)
        assert float(mutual_information(same)) == pytest.approx(probing.entropy([0.75, 0.25]))

    def test_of_heads_that_always_contradict(self):
        opposite = torch.stack([one_hot(0, 1, 0, 1), one_hot(1, 0, 1, 0)])
        assert float(mutual_information(opposite)) == pytest.approx(math.log(2))

    def test_of_heads_that_are_independent(self):
        apart = torch.stack([one_hot(0, 0, 1, 1), one_hot(0, 1, 0, 1)])
        assert float(mutual_information(apart)) == pytest.approx(0, abs=1e-12)
        unsure = torch.full((2, 5, 3), 1 / 3, dtype=torch.float64)
        assert float(mutual_information(unsure)) == pytest.approx(0, abs=1e-12)

    def test_of_every_pair_in_turn(self):
        probs = torch.rand(3, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        probs /= probs.sum(dim=2, keepdim=True)
        rows = probs.tolist()
        expected = [probing.mutual_information(rows[i], rows[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert mutual_information(probs).tolist() == pytest.approx(expected)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Three heads, three classes, five labelled and four target examples."""
    generator = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "logits_HNC": draw(3, 5, 3),
        "labels_NC": draw(5, 3).softmax(dim=1),
        "weight_N": torch.tensor([1.0, 0.5, 2.0, 1.0, 0.0], dtype=torch.float64),
        "target_HMC": 2 * draw(3, 4, 3),
        "prior_C": torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
    }


class TestObjective:
    @pytest.mark.parametrize(("mutual", "prior"), [(0.0, 0.0), (10.0, 0.0), (0.0, 3.0), (2.5, 10.0)])
    def test_equals_the_loop(self, batch, mutual, prior):
        arrays = [tensor.numpy() for tensor in batch.values()]
        expected = probing.objective(*arrays, mutual=mutual, weight_of_prior=prior)
        assert float(objective(**batch, mutual=mutual, prior=prior)) == pytest.approx(expected)

    def test_its_gradient_is_the_one_worked_out_by_hand(self, batch):
        batch["weight_N"] = torch.ones(5, dtype=torch.float64)
        for name in ("logits_HNC", "target_HMC"):
            batch[name].requires_grad_()
        objective(**batch, mutual=10.0, prior=4.0).backward()
        arrays = {name: tensor.detach().numpy() for name, tensor in batch.items()}
        del arrays["weight_N"]
        found = probing.slopes(*arrays.values(), mutual=10.0, weight_of_prior=4.0)
        np.testing.assert_allclose(batch["logits_HNC"].grad, found[0], atol=1e-10)
        np.testing.assert_allclose(batch["target_HMC"].grad, found[1], atol=1e-10)

    def test_without_weights_it_is_the_sum_of_losses_of_heads_alone(self, batch):
        alone = sum(
            torch.nn.functional.cross_entropy(head, batch["labels_NC"], reduction="none")
            @ batch["weight_N"]
            / 5
            for head in batch["logits_HNC"]
        )
        assert float(objective(**batch, mutual=0.0, prior=0.0)) == pytest.approx(float(alone))

    def test_the_order_of_heads_and_examples_does_not_matter(self, batch):
        turned = batch | {
            "logits_HNC": batch["logits_HNC"].flip(0),
            "target_HMC": batch["target_HMC"].flip(0).flip(1),
        }
        one, other = (float(objective(**each, mutual=5.0, prior=5.0)) for each in (batch, turned))
        assert one == pytest.approx(other)

    def test_what_is_impossible_has_a_finite_price(self):
        sure = torch.tensor([[[1e4, -1e4], [1e4, -1e4]], [[-1e4, 1e4], [1e4, -1e4]]]).requires_grad_()
        loss = objective(
            sure,
            one_hot(0, 0).float(),
            torch.ones(2),
            sure,
            torch.tensor([1.0, 0.0]),
            mutual=10.0,
            prior=10.0,
        )
        loss.backward()
        assert loss.isfinite()
        assert sure.grad.isfinite().all()


class TestHeads:
    def test_logits_of_classes_and_of_pairs(self):
        states = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
        heads = initial_heads(2, 4, (3,), 0)
        assert heads(states[:, 0]).shape == (2, 5, 4)
        expected = states[:, 0] @ heads.weight_HCD[1].T
        torch.testing.assert_close(heads(states[:, 0])[1], expected)
        rewards = initial_heads(2, 2, (2, 3), 0)
        assert (rewards.weight_HCD.shape, rewards.bias_HC) == ((2, 1, 3), None)
        torch.testing.assert_close(rewards(states)[1], (states @ rewards.weight_HCD[1].T).squeeze(2))
        assert list(rewards.parts) == ["weight"]

    def test_they_begin_apart_by_the_seed(self):
        first, again, other = (initial_heads(2, 2, (3,), seed).weight_HCD for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first[0], first[1])

    def test_biases_move_logits(self):
        heads = Heads(torch.zeros(2, 2, 3), torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
        assert heads(torch.ones(1, 3))[:, 0].tolist() == [[0, 1], [2, 0]]


class TestBatches:
    @pytest.mark.parametrize(("count", "size"), [(7, 3), (6, 3), (2, 3), (3, 3)])
    def test_of_target_examples(self, count, size):
        found = list(islice(target_batches(count, size, seed=0), 6))
        assert {len(rows) for rows in found} == {min(size, count)}
        per_pass = count // min(size, count)
        seen = np.concatenate(found[:per_pass])
        assert len(set(seen.tolist())) == len(seen)
        assert all(len(set(rows.tolist())) == len(rows) for rows in found)

    def test_every_pass_has_an_order_of_its_own(self):
        first, second = islice(target_batches(30, 30, seed=0), 2)
        assert first.tolist() != second.tolist()


def test_disputed_examples_by_hand():
    probs = torch.tensor([[[0.5, 0.5], [1.0, 0.0], [0.9, 0.1]], [[0.5, 0.5], [0.0, 1.0], [0.6, 0.4]]])
    everyone = np.arange(3)
    assert disputed(probs, everyone, 2).tolist() == [1, 2]
    assert disputed(probs, everyone, 9).tolist() == [1, 2, 0]
    assert disputed(probs, np.array([0, 2]), 1).tolist() == [2]
    assert disputed(probs[[0, 0]], everyone, 2).tolist() == [0, 1], "of equals the first"


def study(**changes: object) -> Study:
    return Study(
        name="diversify",
        task=SPURIOUS,
        pairs=(("linear:10", "linear:all"),),
        seeds=(0,),
        num_train=1000,
        num_test=1500,
        num_validation=600,
        recipe=Recipe(epochs=3, learning_rate=1e-2),
    ).replace(**changes)


def stage_of(method: str = "divdis", **changes: object) -> Diversify:
    found = study(**changes)
    return find_method(method)(found.setting(found.pairs[0], 0))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("diversify"))


def score(bench: Bench, source: object) -> dict[str, float]:
    bench.run_all(study().score(source))
    return dict(bench.said["score"])


class TestStage:
    def test_heads_disagree_and_the_kept_one_beats_a_single_head(self, bench):
        stage = stage_of()
        bench.run_all(stage)
        said = bench.said
        assert said["disagreement"] > 0.3
        assert said["mutual_information"] < 0.05
        kept, single = score(bench, stage), score(bench, stage_of("probe"))
        assert kept["worst_group"] > single["worst_group"] + 0.2
        assert kept["accuracy"] > single["accuracy"] + 0.05

    def test_without_its_terms_heads_are_one(self, bench):
        bench.run_all(stage_of("divdis(mutual=0.0, prior=0.0)"))
        assert bench.said["disagreement"] < 0.05

    def test_files(self, bench):
        stage = stage_of()
        artifact = bench.run_all(stage)
        heads, head = state_of(artifact, "heads"), state_of(artifact)
        kept = bench.said["kept"]
        assert torch.equal(head["head.weight"], heads["weight"][kept])
        assert torch.equal(head["head.bias"], heads["bias"][kept])
        assert (heads["weight"].shape, heads["bias"].shape) == ((2, 2, 20), (2, 2))
        judged = table_of(artifact, "judged")["accuracy"].to_pylist()
        assert judged == bench.said["judged"]
        assert judged[kept] == max(judged)
        assert len(table_of(artifact, "curve")) == bench.said["num_steps"] == 3 * 32
        assert bench.said["num_judged"] == 64

    def test_the_same_bits_again(self, bench):
        stage = stage_of("divdis(heads=3)")
        one = bench.run_all(stage).file("heads.safetensors").read_bytes()
        assert bench.run(stage).file("heads.safetensors").read_bytes() == one

    def test_whoever_judges_chooses(self, bench):
        """A judge that contradicts the truth keeps the head that truth throws away."""
        truthful = stage_of("divdis_truth")
        bench.run_all(truthful)
        kept = bench.said["kept"]
        contrary = Label(source="linear:3", examples=truthful.target.examples)
        inputs, truth, _ = SPURIOUS.examples(part="validation", size=600, seed=0)
        probs = [np.eye(2, dtype=np.float32)[1 - right] for right in truth["truth"].to_pylist()]
        bench.put(contrary, label_table(inputs["id"].to_pylist(), probs))
        bench.run(replace(truthful, judge=contrary))
        assert bench.said["kept"] == 1 - kept

    def test_a_judge_that_says_little_is_asked_less(self, bench):
        stage = stage_of()
        some = Label(source="linear:5", examples=stage.target.examples)
        ids = SPURIOUS.examples(part="validation", size=600, seed=0).inputs["id"].to_pylist()[:10]
        bench.put(some, label_table(ids, [np.array([1, 0], np.float32)] * 10))
        bench.run(replace(stage, judge=some))
        assert bench.said["num_judged"] == 10
        bench.put(some, label_table([], []))
        with pytest.raises(
            DataError, match="no example of planted-validation-600-s0 has a label to choose a"
        ):
            bench.run(replace(stage, judge=some))

    def test_labels_that_were_dropped_are_not_learned(self, bench):
        stage = stage_of()
        some = Label(source="linear:6", examples=stage.examples)
        ids = SPURIOUS.examples(part="student", size=1000, seed=0).inputs["id"].to_pylist()
        bench.put(some, label_table(ids[:100], [np.array([0.25, 0.75], np.float32)] * 100))
        bench.run_all(replace(stage, labels=some))
        assert bench.said["num_examples"] == 100
        bench.put(some, label_table([], []))
        with pytest.raises(DataError, match="no example has a label left"):
            bench.run(replace(stage, labels=some))

    def test_it_says_that_it_diverged(self, bench):
        stage = stage_of()
        bad = replace(stage, recipe=replace(stage.recipe, learning_rate=1e38))
        with pytest.raises(
            DataError, match=r"training diverged at step \d+ of 96; lower learning_rate=1e\+38"
        ):
            bench.run(bad)

    def test_it_stops_when_it_is_told_to(self, bench):
        with pytest.raises(Stopped, match="begins anew"):
            bench.run(stage_of("divdis(prior=1.0)"), stop=lambda: True)

    def test_what_it_is(self):
        by_weak, by_truth = stage_of(), stage_of("divdis_truth")
        w2s = study().setting(study().pairs[0], 0)
        assert by_weak.model == by_weak.features_source == "linear:all"
        assert (by_weak.examples, by_weak.target.examples) == (w2s.student_examples, w2s.validation)
        assert (by_weak.truth_of, by_truth.truth_of) == (None, w2s.validation)
        assert by_truth.judge == TRUTH
        assert not learns_truth(by_weak, w2s.weak_examples)
        assert learns_truth(by_truth, w2s.weak_examples)
        assert by_weak.label == "linear-all-2-heads-from-linear-10-s0"
        assert set(by_weak.upstream) >= {w2s.student_examples, w2s.validation, by_weak.judge, by_weak.labels}


class TestPairs:
    def test_one_reward_for_each_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        bench, stage = Bench(tmp_path), stage_of()
        bench.run(stage.examples)
        bench.run(stage.target.examples)
        generator = torch.Generator().manual_seed(0)

        class Pairs:
            def __init__(self, count: int) -> None:
                self.states, self.shape = torch.randn(count, 2, 6, generator=generator), (2, 6)

            def __len__(self) -> int:
                return len(self.states)

            def __getitem__(self, rows: np.ndarray) -> torch.Tensor:
                return self.states[rows]

            def chunks(self, size: int):
                yield slice(None), self.states

        own, others = Pairs(1000), Pairs(600)
        monkeypatch.setattr(
            diversify, "states_of", lambda _, of, ids: own if of == stage.features else others
        )
        better = (own.states[:, 1, 0] > own.states[:, 0, 0]).long().tolist()
        ids = SPURIOUS.examples(part="student", size=1000, seed=0).inputs["id"].to_pylist()
        bench.put(stage.labels, label_table(ids, [np.eye(2, dtype=np.float32)[one] for one in better]))
        head = state_of(bench.run(replace(stage, judge=TRUTH, mutual=0.0)))
        assert list(head) == ["head.weight"]
        said = (own.states @ head["head.weight"].T).squeeze(2).argmax(dim=1)
        assert (said == torch.tensor(better)).double().mean() > 0.95


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_heads": 1}, "num_heads=1 must be a whole number from 2 to 64"),
        ({"num_heads": 65}, "num_heads=65 must be"),
        ({"num_heads": 2.0}, "num_heads=2.0 must be a whole number"),
        ({"queries": 0}, "queries=0 must be a whole number from 1 to 100000"),
        ({"mutual": -1.0}, "mutual=-1.0 must be at least 0 and finite"),
        ({"prior": math.inf}, "prior=inf must be at least 0 and finite"),
        ({"prior": math.nan}, "prior=nan must be"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ConfigError, match=message):
        replace(stage_of(), **settings)


def test_an_optimizer_without_batches():
    stage = stage_of()
    whole = Recipe(optimizer="lbfgs")
    with pytest.raises(ConfigError, match="optimizer=lbfgs cannot train diverse heads; use adamw"):
        replace(stage, recipe=whole)
    with pytest.raises(NotApplicable, match="optimizer=lbfgs takes none"):
        stage_of(recipe=whole)


def test_states_of_two_models_do_not_go_together():
    stage = stage_of()
    other = Features(source="linear:10", examples=stage.target.examples)
    with pytest.raises(
        ConfigError, match=r"need states of one model; these are linear-all-on-.* and linear-10-on"
    ):
        replace(stage, target=other)
