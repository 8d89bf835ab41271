from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.training import LinearChoice, problem, train_on_labels
from surpass.errors import ConfigError, Stopped
from surpass.losses import LOSSES, Target
from surpass.train import loop
from surpass.train.loop import Running, batches, fit, label, padded_probs
from surpass.train.recipe import Recipe

RECIPE = Recipe(epochs=3, batch_size=4, learning_rate=0.05)
PLAIN = Running()
SIZES = [1, 3, 4, 5, 7, 8, 9]


def trained(
    num_examples: int = 10, recipe: Recipe = RECIPE, running: Running = PLAIN, loss: str = "xent"
) -> tuple[Tensor, Tensor]:
    """Losses and weights of a linear model."""
    model = LinearChoice()
    losses = fit(model, *problem(num_examples), loss=loss, recipe=recipe, seed=5, running=running)
    return losses, model.weight.detach()


def equal(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


class TestBatches:
    @pytest.mark.parametrize("num_examples", SIZES)
    def test_every_example_once_per_epoch(self, num_examples):
        steps = list(batches(num_examples, RECIPE, seed=1))
        per_epoch = -(-num_examples // 4)
        assert len(steps) == RECIPE.num_steps(num_examples) == 3 * per_epoch
        for start in range(0, len(steps), per_epoch):
            epoch = steps[start : start + per_epoch]
            assert sorted(np.concatenate(epoch)) == list(range(num_examples))
            assert [len(rows) for rows in epoch[:-1]] == [4] * (per_epoch - 1)

    def test_every_epoch_and_every_seed_has_its_own_order(self):
        orders = [
            tuple(np.concatenate(list(batches(20, replace(RECIPE, epochs=1), seed)))) for seed in range(3)
        ]
        epochs = np.concatenate(list(batches(20, RECIPE, 0))).reshape(3, 20)
        assert len({*orders, *map(tuple, epochs)}) == 5
        assert orders[0] == tuple(epochs[0])

    @pytest.mark.parametrize("num_examples", SIZES)
    def test_a_start_in_the_middle_gives_the_tail(self, num_examples):
        whole = list(batches(num_examples, RECIPE, seed=1))
        for start in range(len(whole) + 1):
            tail = list(batches(num_examples, RECIPE, 1, start))
            assert [rows.tolist() for rows in tail] == [rows.tolist() for rows in whole[start:]]


def test_padded_probs():
    probs = [np.array([1.0], np.float32), np.array([0.5, 0.25, 0.25], np.float32), np.array([0.5, 0.5])]
    assert padded_probs(probs, np.array([2, 0])).tolist() == [[0.5, 0.5], [1.0, 0.0]]
    assert padded_probs(probs, np.array([1, 0, 1])).tolist()[1] == [1.0, 0.0, 0.0]
    assert padded_probs(probs, np.array([0])).dtype == torch.float32


class TestFit:
    @pytest.mark.parametrize("num_examples", SIZES)
    def test_equals_the_slow_twin(self, num_examples):
        losses, weight = trained(num_examples)
        slow = train_on_labels(*problem(num_examples), RECIPE, seed=5)
        np.testing.assert_allclose(losses, slow.losses, atol=1e-6, rtol=0)
        np.testing.assert_allclose(weight, slow.weight, atol=1e-7, rtol=0)

    @pytest.mark.parametrize(
        "changes",
        [
            {"schedule": "constant", "warmup_frac": 0.0},
            {"schedule": "cosine", "warmup_frac": 0.5},
            {"weight_decay": 0.3},
            {"batch_size": 1},
            {"batch_size": 64, "epochs": 8},
        ],
    )
    def test_equals_the_slow_twin_for_every_setting(self, changes):
        recipe = replace(RECIPE, **changes)
        losses, weight = trained(recipe=recipe)
        slow = train_on_labels(*problem(10), recipe, seed=5)
        np.testing.assert_allclose(losses, slow.losses, atol=1e-6, rtol=0)
        np.testing.assert_allclose(weight, slow.weight, atol=1e-7, rtol=0)

    def test_learns(self):
        losses, _ = trained(recipe=replace(RECIPE, epochs=30))
        assert losses[-3:].mean() < 0.9 * losses[:3].mean()
        assert losses.dtype == torch.float32

    def test_the_seed_is_the_order(self):
        assert equal(trained(), trained())
        model = LinearChoice()
        other = fit(model, *problem(10), loss="xent", recipe=RECIPE, seed=6)
        assert not equal(trained(), (other, model.weight.detach()))

    def test_reports_every_step(self):
        shares: list[float] = []
        trained(running=Running(report=shares.append))
        assert shares == pytest.approx([(step + 1) / 9 for step in range(9)])

    @pytest.mark.parametrize("micro_batch", [None, 2])
    def test_the_loss_is_told_the_progress(self, monkeypatch, micro_batch):
        told: list[float] = []

        def listening(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float) -> Target:
            told.append(progress)
            return Target(weak_probs_NC, torch.ones(len(weak_probs_NC)))

        monkeypatch.setitem(LOSSES, "listening", listening)
        trained(loss="listening", running=Running(micro_batch=micro_batch))
        assert told == pytest.approx([step / 9 for step in range(9)])

    def test_unknown_loss(self):
        with pytest.raises(ConfigError, match="no loss 'hinge'"):
            trained(loss="hinge")


def towards_itself(logits_NC: Tensor, weak_probs_NC: Tensor, progress: float) -> Target:
    """Made up, but with all that is awkward: student logits, a mean over the batch, progress."""
    probs_NC = torch.softmax(logits_NC, dim=1)
    confidence_N = probs_NC.max(1).values
    return Target((1 - progress) * weak_probs_NC + progress * probs_NC, confidence_N / confidence_N.mean())


@pytest.fixture
def awkward(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(LOSSES, "awkward", towards_itself)
    monkeypatch.setattr(loop, "NEEDS_LOGITS", frozenset({"awkward"}))
    return "awkward"


class TestAccumulation:
    @pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 100])
    @pytest.mark.parametrize("loss", ["xent", "awkward"])
    def test_only_memory_depends_on_the_micro_batch(self, awkward, loss, micro_batch):
        whole = trained(loss=loss)
        parts = trained(loss=loss, running=Running(micro_batch=micro_batch))
        torch.testing.assert_close(parts[0], whole[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(parts[1], whole[1], atol=1e-6, rtol=0)

    def test_no_forward_pass_is_larger(self, awkward):
        model = LinearChoice()
        running = Running(micro_batch=3)
        fit(model, *problem(10), loss="awkward", recipe=RECIPE, seed=5, running=running)
        assert max(model.calls) == 3

    def test_a_loss_that_ignores_logits_costs_one_pass(self):
        model = LinearChoice()
        recipe = replace(RECIPE, epochs=1)
        fit(model, *problem(8), loss="xent", recipe=recipe, seed=5, running=Running(micro_batch=2))
        assert model.calls == [2, 2, 2, 2]


class TestResume:
    @pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 8, 9])
    def test_stopped_and_resumed_is_undisturbed_to_the_bit(self, tmp_path, stop_after):
        checkpoint, steps = tmp_path / "checkpoint", 0

        def stop() -> bool:
            nonlocal steps
            steps += 1
            return steps == stop_after

        with pytest.raises(Stopped, match="run the same command again"):
            trained(running=Running(checkpoint=checkpoint, stop=stop))
        assert steps == stop_after
        shares: list[float] = []
        resumed = trained(running=Running(checkpoint=checkpoint, report=shares.append))
        assert len(shares) == 9 - stop_after
        assert equal(resumed, trained())

    def test_stopped_after_every_step(self, tmp_path):
        running = Running(checkpoint=tmp_path / "checkpoint", stop=lambda: True)
        for _ in range(9):
            with pytest.raises(Stopped):
                trained(running=running)
        assert equal(trained(running=running), trained())

    @pytest.mark.parametrize("stop_after", [1, 4])
    def test_a_model_that_draws_at_random_draws_the_same(self, tmp_path, stop_after):
        class Dropout(LinearChoice):
            def forward(self, examples: Any, rows: np.ndarray) -> Tensor:
                return super().forward(examples, rows) * (0.5 + torch.rand(()))

        def train(running: Running) -> tuple[Tensor, Tensor]:
            model = Dropout()
            losses = fit(model, *problem(10), loss="xent", recipe=RECIPE, seed=5, running=running)
            return losses, model.weight.detach()

        asked = iter(range(1, 10))
        with pytest.raises(Stopped):
            train(Running(checkpoint=tmp_path / "checkpoint", stop=lambda: next(asked) == stop_after))
        torch.manual_seed(123)
        assert equal(train(Running(checkpoint=tmp_path / "checkpoint")), train(PLAIN))

    @pytest.mark.parametrize("dies_at", [1, 4, 9])
    def test_killed_between_checkpoints(self, tmp_path, dies_at):
        """A step that was not saved is done again."""

        def die(share: float) -> None:
            if round(9 * share) == dies_at:
                raise KeyboardInterrupt

        often = Running(checkpoint=tmp_path / "checkpoint", checkpoint_seconds=0)
        with pytest.raises(KeyboardInterrupt):
            trained(running=replace(often, report=die))
        shares: list[float] = []
        assert equal(trained(running=replace(often, report=shares.append)), trained())
        assert len(shares) == 9 - (dies_at - 1)

    def test_a_damaged_checkpoint_starts_anew(self, tmp_path):
        checkpoint = tmp_path / "checkpoint"
        trained(running=Running(checkpoint=checkpoint, checkpoint_seconds=0))
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
        shares: list[float] = []
        assert equal(trained(running=Running(checkpoint=checkpoint, report=shares.append)), trained())
        assert len(shares) == 9

    def test_no_checkpoint_before_it_is_due(self, tmp_path):
        trained(running=Running(checkpoint=tmp_path / "checkpoint"))
        assert list(tmp_path.iterdir()) == []

    def test_stopped_without_a_checkpoint(self):
        with pytest.raises(Stopped):
            trained(running=Running(stop=lambda: True))


class TestLabel:
    @pytest.fixture(autouse=True)
    def small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loop, "LABEL_BATCH", 4)

    @pytest.mark.parametrize("num_examples", [0, *SIZES])
    def test_the_models_probabilities_in_order(self, num_examples):
        model, (examples, _) = LinearChoice(torch.float32), problem(num_examples)
        probs = label(model, examples, [len(candidates) for candidates in examples])
        assert len(probs) == num_examples
        weight = np.linspace(-1, 1, 4)
        for row, candidates in zip(probs, examples, strict=True):
            expected = np.exp(candidates @ weight)
            np.testing.assert_allclose(row, expected / expected.sum(), atol=1e-6)
            assert row.dtype == np.float32
            assert row.sum() == pytest.approx(1, abs=1e-6)
        assert model.calls == [4] * (num_examples // 4) + [num_examples % 4] * (num_examples % 4 > 0)

    def test_reports_and_leaves_no_gradient(self):
        model, (examples, _) = LinearChoice(), problem(9)
        shares: list[float] = []
        label(model, examples, [len(candidates) for candidates in examples], report=shares.append)
        assert shares == pytest.approx([4 / 9, 8 / 9, 1.0])
        assert all(a < b for a, b in pairwise(shares))
        assert model.weight.grad is None
        assert not model.training


def test_files_of_a_checkpoint_are_one(tmp_path: Path):
    with pytest.raises(Stopped):
        trained(running=Running(checkpoint=tmp_path / "checkpoint", stop=lambda: True))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
