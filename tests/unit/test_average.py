"""Models chosen among snapshots, and averaged from several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from reference.bench import Bench, same_state, state_of, table_of
from reference.studies import CHESS
from surpass import labels as lb
from surpass.artifact import Artifact
from surpass.errors import ConfigError, DataError
from surpass.models.moves import MoveChoice
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Blend, Examples, Fit, Label, Stop, Truth
from surpass.tasks.planted import PlantedTask
from surpass.train.recipe import Recipe

TASK = PlantedTask(num_classes=3, num_features=6)
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.03)
EXAMPLES = Examples(task=TASK, part="student", size=40, seed=0)
HELD_OUT = Examples(task=TASK, part="validation", size=30, seed=0)
FIT = Fit(model="linear:6", examples=EXAMPLES, labels=TRUTH, recipe=RECIPE, seed=1, snapshots=5)
BY_TRUTH = Stop(fit=FIT, examples=HELD_OUT, labels=TRUTH)
WEAK = Label(source="linear:2", examples=HELD_OUT)
BY_WEAK = Stop(fit=FIT, examples=HELD_OUT, labels=WEAK)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.run_all(FIT)
    bench.run(HELD_OUT)
    return bench


def answers(bench: Bench, number: int) -> np.ndarray:
    """What a snapshot of the linear model answers on the held-out examples, computed by hand."""
    state = load_file(bench.folder(FIT) / f"snapshot-{number:02}.safetensors")
    features_ND = np.array(table_of(bench.find(HELD_OUT), "inputs")["features"].to_pylist())
    return (features_ND @ state["head.weight"].T + state["head.bias"]).argmax(1)


def truth(bench: Bench) -> np.ndarray:
    return table_of(bench.find(HELD_OUT), "truth")["truth"].to_numpy()


def always(bench: Bench, number: int, answer: int) -> None:
    """Put a snapshot there that gives one answer to everything; its weights tell it from others."""
    bias = np.zeros(3, np.float32)
    bias[answer] = 1 + number
    state = {"head.weight": np.zeros((3, 6), np.float32), "head.bias": bias}
    save_file(state, bench.folder(FIT) / f"snapshot-{number:02}.safetensors")


def weak(bench: Bench, answer_N: np.ndarray, rows: np.ndarray) -> None:
    """Labels of some held-out examples, most probable the given answers."""
    ids = table_of(bench.find(HELD_OUT), "inputs")["id"].to_pylist()
    probs = [np.roll(np.array([0.5, 0.3, 0.2], np.float32), answer_N[row]) for row in rows]
    bench.put(WEAK, lb.label_table([ids[row] for row in rows], probs))


class TestStop:
    def test_by_the_truth(self, bench):
        stopped = bench.run(BY_TRUTH)
        accuracies = [(answers(bench, number) == truth(bench)).mean() for number in range(1, 6)]
        curve = table_of(stopped, "curve")
        assert curve["accuracy"].to_pylist() == pytest.approx(accuracies)
        assert curve["step"].to_pylist() == [2, 4, 6, 8, 10]
        best = 1 + int(np.argmax(accuracies))
        assert bench.said == pytest.approx(
            {"best": best, "best_accuracy": max(accuracies), "last_accuracy": accuracies[-1]}
        )
        assert same_state(state_of(stopped), state_of(bench.find(FIT), f"snapshot-{best:02}"))

    @pytest.mark.parametrize(
        ("given", "best"),
        [((0, 1, 1, 2, 1), 2), ((1, 1, 1, 1, 1), 1), ((0, 2, 0, 2, 1), 5), ((0, 2, 0, 2, 0), 1)],
    )
    def test_the_first_of_the_best(self, bench, given, best):
        """Class 1 is the label of every example."""
        for number, answer in enumerate(given, 1):
            always(bench, number, answer)
        weak(bench, np.ones(30, int), np.arange(30))
        stopped = bench.run(BY_WEAK)
        assert bench.said["best"] == best
        assert same_state(state_of(stopped), state_of(bench.find(FIT), f"snapshot-{best:02}"))
        assert table_of(stopped, "curve")["accuracy"].to_pylist() == [float(answer == 1) for answer in given]

    @pytest.mark.parametrize("rows", [[0], [29, 3, 7], list(range(29)), list(range(30))[::-1]])
    def test_examples_without_a_label_do_not_count(self, bench, rows):
        answer_N = np.random.default_rng(0).integers(0, 3, 30)
        weak(bench, answer_N, np.array(rows))
        curve = table_of(bench.run(BY_WEAK), "curve")
        expected = [(answers(bench, number) == answer_N)[rows].mean() for number in range(1, 6)]
        assert curve["accuracy"].to_pylist() == pytest.approx(expected)

    def test_without_any_label(self, bench):
        bench.put(WEAK, lb.SCHEMA.empty_table())
        with pytest.raises(DataError, match=r"no example of planted-validation-30-s0 has a label to stop by"):
            bench.run(BY_WEAK)

    def test_the_truth_stays_sealed_where_labels_decide(self, bench):
        weak(bench, np.ones(30, int), np.arange(30))
        (bench.folder(HELD_OUT) / "truth.parquet").unlink()
        bench.run(BY_WEAK)
        assert BY_WEAK.truth_of is None
        assert BY_TRUTH.truth_of is HELD_OUT

    def test_steps_where_snapshots_do_not_divide_them(self, bench):
        fit = replace(FIT, snapshots=4)
        bench.run(fit)
        curve = table_of(bench.run(replace(BY_TRUTH, fit=fit)), "curve")
        assert curve["step"].to_pylist() == [3, 5, 8, 10]

    def test_reports_and_keeps_to_the_micro_batch(self, bench):
        shares: list[float] = []
        first = bench.run(BY_TRUTH, report=shares.append, micro_batch=7)
        assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
        curve = table_of(first, "curve")
        assert table_of(bench.run(BY_TRUTH), "curve").equals(curve)

    def test_of_a_fit_without_snapshots(self):
        with pytest.raises(ConfigError, match="chooses among snapshots: fit with snapshots=10, say"):
            Stop(fit=replace(FIT, snapshots=0), examples=HELD_OUT, labels=TRUTH)

    def test_labels_like_any_model(self, bench):
        label = Label(source=BY_TRUTH, examples=HELD_OUT)
        probs = lb.rows(table_of(bench.run_all(label)))
        assert [row.argmax() for row in probs] == answers(bench, bench_best(bench)).tolist()


def bench_best(bench: Bench) -> int:
    return int(bench.manifests[BY_TRUTH.id]["said"]["best"])


POSITIONS = Examples(task=CHESS, part="validation", size=16, seed=0)
TUNED = Fit(model="ladder:chess-1", examples=POSITIONS, labels=TRUTH, recipe=RECIPE, seed=1)
OTHER = replace(TUNED, seed=2)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("tuned"))
    bench.run_all(TUNED)
    bench.run(OTHER)
    return bench


def arrays(artifact: Artifact) -> dict[str, np.ndarray]:
    return load_file(artifact.file("model.safetensors"))


def blend(*weights: float) -> Blend:
    fits = (TUNED, OTHER)[: len(weights) - 1]
    return Blend(model="ladder:chess-1", examples=POSITIONS, fits=fits, weights=weights)


class TestBlend:
    @pytest.mark.parametrize(
        "weights", [(0.5, 0.5), (0.25, 0.75), (0.2, 0.3, 0.5), (0.0, 0.5, 0.5), (-0.5, 1.5)]
    )
    def test_equals_the_slow_twin(self, tuned, weights):
        pretrained = {
            name: value.numpy() for name, value in MoveChoice.load(resolve(TUNED.model)).state_dict().items()
        }
        states = [pretrained, arrays(tuned.find(TUNED)), arrays(tuned.find(OTHER))]
        blended = arrays(tuned.run(blend(*weights)))
        assert blended.keys() == pretrained.keys()
        for name, found in blended.items():
            expected = np.zeros(found.size)
            for weight, state in zip(weights, states, strict=False):
                for place, value in enumerate(state[name].ravel().tolist()):
                    expected[place] += weight * value
            np.testing.assert_array_equal(found.ravel(), expected.astype(np.float32))

    @pytest.mark.parametrize(("weights", "which"), [((0.0, 1.0), TUNED), ((0.0, 0.0, 1.0), OTHER)])
    def test_at_the_ends_is_one_of_them(self, tuned, weights, which):
        assert same_state(state_of(tuned.run(blend(*weights))), state_of(tuned.find(which)))
        fitted = state_of(tuned.run(blend(1.0, 0.0)))
        assert same_state(fitted, MoveChoice.load(resolve(TUNED.model)).state_dict())

    def test_labels_like_any_model(self, tuned):
        at_the_end = Label(source=blend(0.0, 1.0), examples=POSITIONS)
        plain = Label(source=TUNED, examples=POSITIONS)
        assert table_of(tuned.run_all(at_the_end)).equals(table_of(tuned.run(plain)))

    @pytest.mark.parametrize("weights", [(0.5, 0.4), (1.0,), (0.2, 0.3, 0.5), (0.5, 0.5 + 1e-6)])
    def test_bad_weights(self, weights):
        with pytest.raises(
            ConfigError, match=r"must be 2 numbers that sum to 1: of the pretrained model, then"
        ):
            Blend(model=TUNED.model, examples=POSITIONS, fits=(TUNED,), weights=weights)


def test_sees_and_learns_from_what_its_fit_does():
    assert BY_TRUTH.model == FIT.model
    assert BY_TRUTH.teacher == FIT.teacher == TRUTH
    assert blend(0.5, 0.5).teacher == TRUTH
    taught = replace(FIT, labels=Truth(examples=EXAMPLES))
    assert Stop(fit=taught, examples=HELD_OUT, labels=WEAK).label.endswith("-stopped-by-linear-2")
    assert BY_TRUTH.label == f"{FIT.label}-stopped-by-truth"
    assert blend(0.25, 0.75).label == f"{TUNED.label}-blend-0.25-0.75"
    assert BY_TRUTH.sees(HELD_OUT) is blend(0.5, 0.5).sees(HELD_OUT) is HELD_OUT
