"""Examples in fresh parts, with hints, as features and as truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from reference.bench import Bench, table_of
from reference.studies import CHESS
from surpass.errors import ConfigError, DataError
from surpass.labels import label_table, rows
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Examples, Features, Fit, Hint, Label, Stop, Truth
from surpass.tasks import Task
from surpass.tasks.planted import PlantedTask
from surpass.train.recipe import Recipe

PLANTED = PlantedTask(num_classes=3, num_features=6)
RECIPE = Recipe(epochs=1, batch_size=8, learning_rate=1e-3)
FIRST_SHARD = "states-00000.safetensors"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def ids_of(bench: Bench, examples: Examples | Hint) -> list[str]:
    inputs, truth = (table_of(bench.run(examples), name) for name in ("inputs", "truth"))
    assert inputs["id"].equals(truth["id"])
    assert bench.said == {"num_examples": inputs.num_rows}
    return inputs["id"].to_pylist()


def drawn(task: Task, size: int | None = 10, **fields: object) -> Examples:
    return Examples(**{"task": task, "part": "student", "size": size, "seed": 0} | fields)


class TestSkip:
    @pytest.mark.parametrize(
        ("task", "mix"), [(CHESS, "all"), (CHESS, "source"), (CHESS, "even"), (PLANTED, "all")]
    )
    @pytest.mark.parametrize("sizes", [(1, 1), (10, 10), (7, 20), (20, 7)])
    def test_parts_are_fresh_and_together_the_larger_draw(self, bench, task, mix, sizes):
        first, second = sizes
        whole = ids_of(bench, drawn(task, first + second, mix=mix))
        taken = ids_of(bench, drawn(task, first, mix=mix))
        fresh = ids_of(bench, drawn(task, second, skip=first, mix=mix))
        assert (len(taken), len(fresh)) == sizes
        assert not set(taken) & set(fresh)
        assert [name for name in whole if name not in set(taken)] == fresh

    @pytest.mark.parametrize("task", [CHESS, PLANTED])
    def test_a_chain_of_parts(self, bench, task):
        parts = [ids_of(bench, drawn(task, 6, skip=6 * number)) for number in range(4)]
        assert len({name for part in parts for name in part}) == 24
        assert set(ids_of(bench, drawn(task, 24))) == {name for part in parts for name in part}

    def test_rows_are_those_of_the_larger_draw(self, bench):
        whole, fresh = bench.run(drawn(CHESS, 20)), bench.run(drawn(CHESS, 12, skip=8))
        for name in ("inputs", "truth"):
            assert table_of(fresh, name).equals(table_of(whole, name)[8:])

    def test_more_than_there_are(self, bench):
        everything = drawn(CHESS, None, part="validation")
        count = len(ids_of(bench, everything))
        assert len(ids_of(bench, replace(everything, size=3, skip=count - 3))) == 3
        with pytest.raises(ConfigError, match=f"{count + 1} puzzles asked for and {count} in part"):
            bench.run(replace(everything, size=4, skip=count - 3))

    @pytest.mark.parametrize(("size", "skip"), [(10, -1), (None, 1)])
    def test_bad_values(self, size, skip):
        with pytest.raises(ConfigError, match=f"skip={skip} must be at least 0, and needs a size"):
            drawn(PLANTED, size, skip=skip)

    def test_id_and_label(self):
        plain, behind = drawn(PLANTED), drawn(PLANTED, skip=10)
        assert plain.id == drawn(PLANTED, skip=0).id != behind.id
        assert behind.label == "planted-student-10-behind-10-s0"


EXAMPLES = drawn(PLANTED, 24)
TAUGHT = Truth(examples=EXAMPLES)
HINT = Hint(examples=EXAMPLES, labels=TAUGHT)
IMITATION = Fit(model="linear:6", examples=HINT, labels=TAUGHT, recipe=RECIPE, seed=0)
OTHERS = drawn(PLANTED, 9, part="test")


class TestTruth:
    @pytest.mark.parametrize("task", [CHESS, PLANTED])
    def test_probability_one_on_the_right_candidate(self, bench, task):
        examples = drawn(task, 20)
        labels = table_of(bench.run_all(Truth(examples=examples)))
        inputs, truth = (table_of(bench.find(examples), name) for name in ("inputs", "truth"))
        assert labels["id"].equals(inputs["id"])
        for row, candidates, right in zip(
            rows(labels), inputs["candidates"].to_pylist(), truth["truth"].to_pylist(), strict=True
        ):
            assert row.tolist() == [float(place == right) for place in range(len(candidates))]

    def test_says_whose_truth_it_is_given(self):
        assert TAUGHT.truth_of is EXAMPLES
        assert TAUGHT.teacher == TRUTH
        assert TAUGHT.on(OTHERS) == Truth(examples=OTHERS)


class TestHint:
    def test_labels_as_a_column_joined_by_id(self, bench):
        bench.run(EXAMPLES)
        plain = table_of(bench.find(EXAMPLES), "inputs")
        names = plain["id"].to_pylist()
        probs = [np.roll(np.array([0.5, 0.25, 0.25], np.float32), k % 3) for k in range(24)]
        bench.put(TAUGHT, label_table(names[::-1], probs[::-1]))
        assert ids_of(bench, HINT) == names
        shown = table_of(bench.find(HINT), "inputs")
        assert shown.drop_columns("hint").equals(plain)
        assert shown["hint"].to_pylist() == [row.tolist() for row in probs]
        assert table_of(bench.find(HINT), "truth").equals(table_of(bench.find(EXAMPLES), "truth"))
        assert HINT.size == 24

    def test_of_examples_without_a_label(self, bench):
        bench.run(EXAMPLES)
        bench.put(TAUGHT, label_table(["student-0-1"], [np.array([1, 0, 0], np.float32)]))
        with pytest.raises(DataError, match=r"no labels for 'student-0-0', .* and 20 more; label all 24"):
            bench.run(HINT)

    def test_who_learned_with_hints_labels_with_hints(self, bench):
        label = Label(source=IMITATION, examples=EXAMPLES).on(OTHERS)
        assert label.examples == Hint(examples=OTHERS, labels=Truth(examples=OTHERS))
        assert IMITATION.sees(label.examples) is label.examples
        labels = table_of(bench.run_all(label))
        assert labels["id"].to_pylist() == table_of(bench.find(OTHERS), "inputs")["id"].to_pylist()
        assert table_of(bench.find(IMITATION), "curve").num_rows == 3

    def test_whose_truth_a_fit_on_hints_is_given(self):
        assert IMITATION.truth_of is None
        assert replace(IMITATION, labels=TRUTH).truth_of is EXAMPLES


class TestFeatures:
    @pytest.mark.parametrize(
        ("model", "task", "width"),
        [("ladder:chess-1", CHESS, 4), ("linear:2", PLANTED, 2), ("mlp:6x5", PLANTED, 5)],
    )
    @pytest.mark.parametrize("micro_batch", [None, 1, 7])
    def test_the_state_below_the_head_row_for_row(self, bench, model, task, width, micro_batch):
        stage = Features(source=model, examples=drawn(task, 20))
        bench.run(stage.examples)
        folder = bench.run(stage, micro_batch=micro_batch).path
        inputs = table_of(bench.find(stage.examples), "inputs")
        assert {path.name for path in folder.iterdir()} == {"index.parquet", FIRST_SHARD}
        assert table_of(bench.find(stage), "index").to_pydict() == {"id": inputs["id"].to_pylist()}
        assert load_file(folder / FIRST_SHARD).keys() == {"0"}
        features_ND = load_file(folder / FIRST_SHARD)["0"]
        assert features_ND.shape == (20, width)
        assert features_ND.dtype == np.float32
        assert bench.said == {"num_examples": 20, "num_features": width, "read_outs": [[None, None]]}
        if model == "linear:2":
            np.testing.assert_array_equal(features_ND, np.array(inputs["features"].to_pylist())[:, :2])

    def test_of_a_fitted_model(self, bench):
        examples = drawn(PLANTED, 20)
        fit = Fit(model="mlp:6x5", examples=examples, labels=TRUTH, recipe=RECIPE, seed=0)
        fitted, before = (
            load_file(bench.run_all(Features(source=source, examples=examples)).path / FIRST_SHARD)["0"]
            for source in (fit, "mlp:6x5")
        )
        assert not np.allclose(fitted, before)
        state = load_file(bench.folder(fit) / "model.safetensors")
        inputs_ND = np.array(table_of(bench.find(examples), "inputs")["features"].to_pylist())
        expected = np.maximum(inputs_ND @ state["body.weight"].T + state["body.bias"], 0)
        np.testing.assert_allclose(fitted, expected, atol=1e-5)

    def test_on_other_examples(self):
        stage = Features(source="linear:2", examples=EXAMPLES)
        assert stage.on(OTHERS) == Features(source="linear:2", examples=OTHERS)
        assert stage.id != stage.on(OTHERS).id
        assert stage.outside() == {"model": resolve("linear:2").digest}
        stop = Stop(fit=IMITATION, examples=OTHERS, labels=TRUTH)
        assert Features(source=stop, examples=EXAMPLES).outside() == {}
