"""Early stopping: a fit as it was when it agreed best with labels of others."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.bench import Bench, same_state, state_of, table_of
from surpass import labels as lb
from surpass.errors import ConfigError, DataError, Stopped
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Examples, Fit, Label, Stop
from surpass.tasks.planted import PlantedTask
from surpass.train.loop import Labels, Running, fit
from surpass.train.recipe import Recipe
from surpass.train.run import INITIAL_WEIGHTS
from surpass.train.way import Way

TASK = PlantedTask(num_classes=3, num_features=6)
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.03)
EXAMPLES = Examples(task=TASK, part="student", size=40, seed=0)
HELD_OUT = Examples(task=TASK, part="validation", size=30, seed=0)
FIT = Fit(model="mlp:6x5", examples=EXAMPLES, labels=TRUTH, recipe=RECIPE, seed=1)
BY_TRUTH = Stop(fit=FIT, examples=HELD_OUT, labels=TRUTH, snapshots=5)
WEAK = Label(source="linear:2", examples=HELD_OUT)
BY_WEAK = replace(BY_TRUTH, labels=WEAK)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    for stage in (EXAMPLES, HELD_OUT):
        bench.run(stage)
    return bench


class Passed:
    """The states that a plain training passes, and what each answers, by hand."""

    def __init__(self, bench: Bench, stage: Stop) -> None:
        inputs = table_of(bench.find(EXAMPLES), "inputs")
        truth_N = table_of(bench.find(EXAMPLES), "truth")["truth"].to_numpy()
        torch.manual_seed(stage.fit.seed + INITIAL_WEIGHTS)
        model = load_model(resolve(stage.fit.model), inputs)
        probs = list(np.eye(3, dtype=np.float32)[truth_N])
        self.states: list[dict[str, Tensor]] = []

        def keep(_: int) -> None:
            self.states.append({name: value.clone() for name, value in model.state_dict().items()})

        fit(
            model,
            model.encode(inputs),
            Labels(probs, np.ones(len(probs), np.float32)),
            loss="xent",
            recipe=stage.fit.recipe,
            seed=stage.fit.seed,
            running=Running(snapshots=stage.snapshots, snapshot=keep),
        )
        features_ND = np.array(table_of(bench.find(HELD_OUT), "inputs")["features"].to_pylist())
        self.answers = [
            (
                np.maximum(features_ND @ state["body.weight"].numpy().T + state["body.bias"].numpy(), 0)
                @ state["head.weight"].numpy().T
                + state["head.bias"].numpy()
            ).argmax(1)
            for state in self.states
        ]


def weak(bench: Bench, answer_N: np.ndarray, rows: list[int]) -> None:
    """Labels of some held-out examples, most probable the given answers."""
    ids = table_of(bench.find(HELD_OUT), "inputs")["id"].to_pylist()
    probs = [np.roll(np.array([0.5, 0.3, 0.2], np.float32), answer_N[row]) for row in rows]
    bench.put(WEAK, lb.label_table([ids[row] for row in rows], probs))


class TestStop:
    def test_by_the_truth(self, bench):
        stopped = bench.run(BY_TRUTH)
        passed = Passed(bench, BY_TRUTH)
        truth_N = table_of(bench.find(HELD_OUT), "truth")["truth"].to_numpy()
        accuracies = [float((answers == truth_N).mean()) for answers in passed.answers]
        curve = table_of(stopped, "curve")
        assert curve["accuracy"].to_pylist() == pytest.approx(accuracies)
        assert curve["step"].to_pylist() == [2, 4, 6, 8, 10]
        best = int(np.argmax(accuracies))
        assert {
            name: bench.said[name] for name in ("best", "best_accuracy", "last_accuracy")
        } == pytest.approx(
            {"best": best + 1, "best_accuracy": max(accuracies), "last_accuracy": accuracies[-1]}
        )
        assert bench.said["num_steps"] == 10
        assert bench.said["num_examples"] == 40
        assert same_state(state_of(stopped), passed.states[best])

    @pytest.mark.parametrize("seed", range(6))
    def test_by_labels_the_best_is_kept(self, bench, seed):
        """Labels are the answers of one of the states, so that state is the best."""
        passed = Passed(bench, BY_WEAK)
        answer_N = passed.answers[seed % 5]
        weak(bench, answer_N, list(range(30)))
        stopped = bench.run(BY_WEAK)
        best = next(number for number, answers in enumerate(passed.answers) if (answers == answer_N).all())
        assert bench.said["best"] == best + 1
        assert same_state(state_of(stopped), passed.states[best])

    @pytest.mark.parametrize("rows", [[0], [29, 3, 7], list(range(29)), list(range(30))[::-1]])
    def test_examples_without_a_label_do_not_count(self, bench, rows):
        answer_N = np.random.default_rng(0).integers(0, 3, 30)
        weak(bench, answer_N, rows)
        curve = table_of(bench.run(BY_WEAK), "curve")
        expected = [(answers == answer_N)[rows].mean() for answers in Passed(bench, BY_WEAK).answers]
        assert curve["accuracy"].to_pylist() == pytest.approx(expected)

    def test_without_any_label(self, bench):
        bench.put(WEAK, lb.SCHEMA.empty_table())
        with pytest.raises(DataError, match=r"no example of planted-validation-30-s0 has a label to stop by"):
            bench.run(BY_WEAK)

    def test_the_truth_stays_sealed_where_labels_decide(self, bench):
        weak(bench, np.ones(30, int), list(range(30)))
        (bench.folder(HELD_OUT) / "truth.parquet").unlink()
        bench.run(BY_WEAK)
        assert BY_TRUTH.truth_of is HELD_OUT
        assert BY_WEAK.truth_of is EXAMPLES
        taught = replace(FIT, labels=Label(source="linear:2", examples=EXAMPLES))
        assert replace(BY_WEAK, fit=taught).truth_of is None

    @pytest.mark.parametrize(("snapshots", "steps"), [(1, [10]), (4, [3, 5, 8, 10]), (20, None)])
    def test_steps_where_snapshots_do_not_divide_them(self, bench, snapshots, steps):
        curve = table_of(bench.run(replace(BY_TRUTH, snapshots=snapshots)), "curve")
        assert curve["step"].to_pylist() == (steps or [-(-number // 2) for number in range(1, 21)])

    def test_a_micro_batch_changes_nothing_but_rounding(self, bench):
        curve = table_of(bench.run(BY_TRUTH), "curve")
        assert table_of(bench.run(BY_TRUTH, micro_batch=7), "curve").equals(curve)

    @pytest.mark.parametrize("snapshots", [0, 101])
    def test_how_often(self, snapshots):
        with pytest.raises(ConfigError, match=f"snapshots={snapshots} must be from 1 to 100"):
            replace(BY_TRUTH, snapshots=snapshots)

    def test_labels_like_any_model(self, bench):
        bench.run(BY_TRUTH)
        best = bench.said["best"]
        probs = lb.rows(table_of(bench.run(Label(source=BY_TRUTH, examples=HELD_OUT))))
        assert [row.argmax() for row in probs] == Passed(bench, BY_TRUTH).answers[best - 1].tolist()

    def test_looking_disturbs_nothing(self, bench):
        often = bench.run(replace(BY_TRUTH, snapshots=10))
        plain = bench.run(FIT)
        if bench.manifests[replace(BY_TRUTH, snapshots=10).id]["said"]["best"] == 10:
            assert same_state(state_of(often), state_of(plain))
        assert same_state(Passed(bench, BY_TRUTH).states[-1], state_of(plain))

    @pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"adapter": "lora(rank=2)"}, {"loss": "elr"}])
    @pytest.mark.parametrize("snapshots", [3, 10])
    def test_stopped_and_resumed_gives_the_same_bytes(self, bench, settings, snapshots):
        stage = replace(BY_TRUTH, fit=replace(FIT, **settings), snapshots=snapshots)
        undisturbed = Bench(bench.root / "other")
        undisturbed.root.mkdir()
        undisturbed.run_all(stage)
        for _ in range(4):
            asked = count(1)
            with pytest.raises(Stopped):
                bench.run(stage, stop=lambda asked=asked: next(asked) == 2)
            assert list(bench.folder(stage).iterdir()) == []
        bench.run(stage)
        for path in undisturbed.folder(stage).iterdir():
            assert path.read_bytes() == (bench.folder(stage) / path.name).read_bytes(), path.name

    def test_killed_behind_a_snapshot_and_before_a_checkpoint(self, bench):
        """What was noted behind the checkpoint is passed again, and noted as it was."""
        undisturbed = Bench(bench.root / "other")
        undisturbed.root.mkdir()
        undisturbed.run_all(BY_TRUTH)

        class Killed(Exception):
            pass

        def die(share: float) -> None:
            if share > 0.7:
                raise Killed

        with pytest.raises(Killed):
            bench.run(BY_TRUTH, report=die, checkpoint_seconds=1e9)
        bench.run(BY_TRUTH)
        for path in undisturbed.folder(BY_TRUTH).iterdir():
            assert path.read_bytes() == (bench.folder(BY_TRUTH) / path.name).read_bytes(), path.name


class TestWay:
    @pytest.mark.parametrize(
        ("accuracies", "best"),
        [((0.1, 0.2, 0.2, 0.1), 2), ((0.3, 0.3), 1), ((0.0,), 1), ((0.1, 0.2, 0.3), 3), ((0.5, 0.2, 0.6), 3)],
    )
    def test_the_first_of_the_best(self, tmp_path, accuracies, best):
        way = Way(tmp_path)
        for number, accuracy in enumerate(accuracies, 1):
            way.passed(number, accuracy, lambda path, number=number: path.write_text(str(number)))
        assert way.best == best
        assert way.weights.read_text() == str(best)
        assert Way(tmp_path).accuracies == list(accuracies)

    def test_goes_back_where_a_training_does(self, tmp_path):
        def save(number: int) -> Any:
            return lambda path: path.write_text(str(number))

        way = Way(tmp_path)
        for number, accuracy in enumerate((0.5, 0.4, 0.9), 1):
            way.passed(number, accuracy, save(number))
        again = Way(tmp_path)
        again.passed(2, 0.4, save(2))
        assert again.accuracies == [0.5, 0.4]
        again.passed(3, 0.9, save(3))
        assert (again.best, again.weights.read_text()) == (3, "3")
