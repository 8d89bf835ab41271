from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.training import LinearChoice, averaged, problem, train_on_labels
from surpass.errors import ConfigError, Stopped
from surpass.losses import LOSSES, Target, per_example
from surpass.train import loop
from surpass.train.gradient import padded_probs
from surpass.train.loop import Labels, Running, batches, fit, label, snapshot_steps
from surpass.train.recipe import Recipe

RECIPE = Recipe(epochs=3, batch_size=4, learning_rate=0.05)
PLAIN = Running()
SIZES = [1, 3, 4, 5, 7, 8, 9]


COUNTS = np.array([0.0, 0.5, 1.0, 2.0, 0.25, 3.0, 1.0, 1.5, 0.0, 0.125], np.float32)


def evenly(num_examples: int) -> tuple[list[np.ndarray], Labels]:
    """The problem with every example counting once."""
    examples, probs = problem(num_examples)
    return examples, Labels(probs, np.ones(num_examples, np.float32))


def trained(
    num_examples: int = 10,
    recipe: Recipe = RECIPE,
    running: Running = PLAIN,
    loss: str = "xent",
    ema: float = 0.0,
    counts: np.ndarray | None = None,
    model: LinearChoice | None = None,
) -> tuple[Tensor, Tensor]:
    """Losses and weights of a linear model."""
    model = model or LinearChoice()
    examples, labels = evenly(num_examples)
    if counts is not None:
        labels = labels._replace(weight_N=counts)
    losses = fit(model, examples, labels, loss=loss, recipe=recipe, seed=5, ema=ema, running=running)
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
    assert padded_probs(probs).tolist() == [[1.0, 0.0, 0.0], [0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]
    assert padded_probs(probs).dtype == torch.float32
    assert padded_probs([]).shape == (0, 0)


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

    @pytest.mark.parametrize("micro_batch", [None, 1, 3])
    def test_weights_of_examples_equal_the_slow_twin(self, micro_batch):
        losses, weight = trained(counts=COUNTS, running=Running(micro_batch=micro_batch))
        slow = train_on_labels(*problem(10), RECIPE, seed=5, counts=COUNTS)
        np.testing.assert_allclose(losses, slow.losses, atol=1e-6, rtol=0)
        np.testing.assert_allclose(weight, slow.weight, atol=1e-6, rtol=0)
        assert not equal((losses, weight), trained())

    @pytest.mark.parametrize("loss", ["xent", "gce", "elr"])
    def test_an_example_of_weight_zero_pulls_nowhere(self, loss):
        recipe = replace(RECIPE, epochs=1, batch_size=10)
        ones = np.ones(9, np.float32)
        without = trained(9, recipe, loss=loss)
        _, weight = trained(10, recipe, loss=loss, counts=np.append(ones, np.float32(0)))
        # AdamW forgets the scale of a single gradient, 9 / 10 here.
        torch.testing.assert_close(weight, without[1], atol=1e-6, rtol=0)

    def test_no_weight_at_all_moves_nothing(self):
        losses, weight = trained(counts=np.zeros(10, np.float32))
        assert losses.tolist() == [0.0] * 9
        assert torch.equal(weight, LinearChoice().weight.detach())

    def test_what_wants_no_gradient_stays(self):
        class Biased(LinearChoice):
            def __init__(self) -> None:
                super().__init__()
                self.scale = torch.nn.Parameter(torch.ones((), dtype=torch.float64), requires_grad=False)

            def forward(self, examples: Any, rows: np.ndarray) -> Tensor:
                return super().forward(examples, rows) * self.scale

        model = Biased()
        recipe = replace(RECIPE, weight_decay=0.3)
        assert equal(trained(recipe=recipe, model=model), trained(recipe=recipe))
        assert model.scale == 1

    def test_learns(self):
        losses, _ = trained(recipe=replace(RECIPE, epochs=30))
        assert losses[-3:].mean() < 0.9 * losses[:3].mean()
        assert losses.dtype == torch.float32

    def test_the_seed_is_the_order(self):
        assert equal(trained(), trained())
        model = LinearChoice()
        other = fit(model, *evenly(10), loss="xent", recipe=RECIPE, seed=6)
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


@per_example(memory=True)
def remembering(
    logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, memory_NC: Tensor, keep: float = 0.5
) -> Tensor:
    """Made up: pulled towards the label and whatever the student has said before, which it counts."""
    present_NC = logits_NC.isfinite()
    target_NC = weak_probs_NC + memory_NC
    memory_NC.mul_(keep).add_(torch.softmax(logits_NC.detach(), 1))
    return -(target_NC * logits_NC.log_softmax(1).where(present_NC, 0.0)).sum(1)


@pytest.fixture
def awkward(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(LOSSES, "awkward", towards_itself)
    monkeypatch.setitem(LOSSES, "remembering", remembering)
    return "awkward"


class TestAccumulation:
    @pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 100])
    @pytest.mark.parametrize("loss", ["xent", "awkward", "gce", "elr", "remembering(keep=0.75)"])
    def test_only_memory_depends_on_the_micro_batch(self, awkward, loss, micro_batch):
        whole = trained(loss=loss, counts=COUNTS)
        parts = trained(loss=loss, counts=COUNTS, running=Running(micro_batch=micro_batch))
        torch.testing.assert_close(parts[0], whole[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(parts[1], whole[1], atol=1e-6, rtol=0)

    @pytest.mark.parametrize("loss", ["awkward", "gce", "elr"])
    def test_no_forward_pass_is_larger(self, awkward, loss):
        model = LinearChoice()
        trained(loss=loss, model=model, running=Running(micro_batch=3))
        assert max(model.calls) == 3

    @pytest.mark.parametrize(
        ("loss", "passes"), [("xent", 1), ("small_loss", 2), ("confidence", 2), ("gce", 1), ("elr", 1)]
    )
    def test_only_targets_that_look_at_logits_cost_a_second_pass(self, loss, passes):
        model, recipe = LinearChoice(), replace(RECIPE, epochs=1)
        trained(8, recipe, loss=loss, model=model, running=Running(micro_batch=2))
        assert model.calls == [2] * (4 * passes)
        model.calls.clear()
        trained(8, recipe, loss=loss, model=model)
        assert model.calls == [4, 4]


class Written(LinearChoice):
    """With a way back of its own, for some of its calls."""

    def __init__(self, every: int = 1) -> None:
        super().__init__()
        self.passes, self.written, self.every = 0, 0, every

    def passed(self, examples, rows):
        self.passes += 1
        if self.passes % self.every:
            return None
        with torch.no_grad():
            logits_NC = self(examples, rows)

        def backward(slopes_NC: Tensor) -> None:
            self.written += 1
            assert not slopes_NC.requires_grad
            seen = [torch.from_numpy(examples[row]) for row in rows]
            found = sum(slopes[: len(each)] @ each for slopes, each in zip(slopes_NC, seen, strict=True))
            self.weight.grad = found if self.weight.grad is None else self.weight.grad + found

        return logits_NC, backward


class TestWrittenGradients:
    """Models that know their gradients, against autograd."""

    @pytest.mark.parametrize("loss", ["xent", "confidence", "gce", "kl", "elr"])
    @pytest.mark.parametrize("micro_batch", [None, 3])
    @pytest.mark.parametrize("every", [1, 2])
    def test_the_same_fit(self, loss, micro_batch, every):
        running, model = Running(micro_batch=micro_batch), Written(every)
        ours = trained(running=running, loss=loss, model=model)
        assert model.written == model.passes // every > 0
        for mine, plain in zip(ours, trained(running=running, loss=loss), strict=True):
            torch.testing.assert_close(mine, plain)


def test_seeds_of_steps():
    ahead = list(islice(loop._step_seeds(3, 5), 150))
    assert ahead == [loop.step_seed(3, step) for step in range(5, 155)]
    assert len(set(ahead)) == 150


class TestMemory:
    def test_of_each_example_and_whatever_its_place_in_the_batch(self, monkeypatch):
        """Every example finds what it left there the epoch before, and zeros at first."""
        found: dict[int, list[list[float]]] = {}

        @per_example(memory=True)
        def counting(
            logits_NC: Tensor, weak_probs_NC: Tensor, progress: float, *, memory_NC: Tensor
        ) -> Tensor:
            assert memory_NC.dtype == torch.float32
            assert memory_NC.shape == weak_probs_NC.shape == logits_NC.shape
            for label_C, memory_C in zip(weak_probs_NC, memory_NC, strict=True):
                found.setdefault(mark(label_C), []).append(memory_C[label_C > 0].tolist())
            memory_NC.add_(weak_probs_NC)
            return logits_NC.logsumexp(1)

        def mark(label_C: Tensor) -> int:
            return next(n for n, row in enumerate(probs) if row.tolist() == label_C[: len(row)].tolist())

        _, probs = problem(10)
        monkeypatch.setitem(LOSSES, "counting", counting)
        trained(loss="counting", running=Running(micro_batch=3))
        singles = [number for number, row in enumerate(probs) if len(row) == 1]
        for number, seen in found.items():
            if number not in singles:
                assert seen == [(epoch * probs[number]).tolist() for epoch in range(3)]

    @pytest.mark.parametrize("loss", ["elr", "remembering"])
    def test_it_matters(self, awkward, loss):
        """Its loss is not that of a training that forgets after each step."""
        losses, _ = trained(loss=loss, recipe=replace(RECIPE, learning_rate=1e-9))
        assert abs(losses[:3].mean() - losses[6:].mean()) > 1e-2


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

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"ema": 0.9},
            {"loss": "elr"},
            {"loss": "remembering", "ema": 0.5, "counts": COUNTS},
            {"loss": "awkward", "counts": COUNTS},
        ],
    )
    def test_stopped_after_every_step(self, tmp_path, awkward, options):
        running = Running(checkpoint=tmp_path / "checkpoint", stop=lambda: True)
        for _ in range(9):
            with pytest.raises(Stopped):
                trained(running=running, **options)
        assert equal(trained(running=running, **options), trained(**options))

    @pytest.mark.parametrize("stop_after", [1, 4])
    def test_a_model_that_draws_at_random_draws_the_same(self, tmp_path, stop_after):
        class Dropout(LinearChoice):
            def forward(self, examples: Any, rows: np.ndarray) -> Tensor:
                return super().forward(examples, rows) * (0.5 + torch.rand(()))

        def train(running: Running) -> tuple[Tensor, Tensor]:
            model = Dropout()
            losses = fit(model, *evenly(10), loss="xent", recipe=RECIPE, seed=5, running=running)
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


class TestAverage:
    @pytest.mark.parametrize("decay", [0.05, 0.5, 0.99])
    def test_equals_the_slow_twin(self, decay):
        losses, weight = trained(ema=decay)
        slow = train_on_labels(*problem(10), RECIPE, seed=5)
        expected = averaged(np.linspace(-1, 1, 4), slow.weights, decay)
        np.testing.assert_allclose(weight, expected, atol=1e-7, rtol=0)
        assert torch.equal(losses, trained()[0])
        assert not torch.equal(weight, trained()[1])


class Gallery:
    """Keeps what a model looks like at each snapshot, and after each step."""

    def __init__(self) -> None:
        self.model = LinearChoice()
        self.shown: dict[int, list[float]] = {}
        self.steps: list[list[float]] = []

    def train(self, snapshots: int, ema: float = 0.0, **running: Any) -> tuple[Tensor, Tensor]:
        def report(_: float) -> None:
            self.steps.append(self.model.weight.tolist())

        def snapshot(number: int) -> None:
            self.shown[number] = self.model.weight.tolist()

        plan = Running(report=report, snapshots=snapshots, snapshot=snapshot, **running)
        return trained(model=self.model, ema=ema, running=plan)


class TestSnapshots:
    @pytest.mark.parametrize(
        ("num_steps", "snapshots", "steps"),
        [
            (9, 0, []),
            (9, 1, [9]),
            (9, 2, [5, 9]),
            (9, 3, [3, 6, 9]),
            (9, 4, [3, 5, 7, 9]),
            (9, 9, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
            (9, 10, [1, 2, 3, 4, 5, 6, 7, 8, 9, 9]),
            (3, 6, [1, 1, 2, 2, 3, 3]),
            (1, 2, [1, 1]),
        ],
    )
    def test_steps(self, num_steps, snapshots, steps):
        assert snapshot_steps(num_steps, snapshots) == steps

    @pytest.mark.parametrize("snapshots", [1, 2, 4, 9, 10, 25])
    def test_the_model_as_it_stands_there(self, snapshots):
        gallery = Gallery()
        assert equal(gallery.train(snapshots), trained())
        steps = snapshot_steps(9, snapshots)
        assert gallery.shown == {n: gallery.steps[step - 1] for n, step in enumerate(steps, 1)}
        assert gallery.shown[snapshots] == gallery.model.weight.tolist()

    @pytest.mark.parametrize("ema", [0.0, 0.9])
    def test_the_same_when_stopped_after_every_step(self, tmp_path, ema):
        whole, parts = Gallery(), Gallery()
        whole.train(4, ema)
        for _ in range(9):
            parts.model = LinearChoice()
            with pytest.raises(Stopped):
                parts.train(4, ema, checkpoint=tmp_path / "checkpoint", stop=lambda: True)
        assert parts.shown == whole.shown

    def test_of_an_average_are_averages_and_disturb_nothing(self):
        gallery = Gallery()
        assert equal(gallery.train(9, 0.9), trained(ema=0.9))
        weights = [np.array(weight) for weight in gallery.steps]
        for number, shown in gallery.shown.items():
            expected = averaged(np.linspace(-1, 1, 4), weights[:number], 0.9)
            np.testing.assert_allclose(shown, expected, atol=1e-12)
        assert gallery.shown[9] == gallery.model.weight.tolist() != gallery.steps[-1]


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
