"""What reaches a rule: tables brought into one order, whatever order they were stored in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from reference.bench import Bench, table_of
from surpass.errors import ConfigError, DataError
from surpass.labels import label_table, rows
from surpass.rules import RULES, Given
from surpass.running.relabelling import aligned
from surpass.stages import Examples, Features, Label, Relabel, Truth
from surpass.tasks.planted import PlantedTask

TASK = PlantedTask(num_classes=3, num_features=4)
EXAMPLES = Examples(task=TASK, part="student", size=12, seed=0)
OWN = Examples(task=TASK, part="weak", size=5, seed=0)
ONE, TWO = (Label(source=f"linear:{k}", examples=EXAMPLES) for k in (1, 2))
TRUTH_OF_OWN, ON_OWN = Truth(examples=OWN), Label(source="linear:1", examples=OWN)
STATES = Features(source="linear:all", examples=EXAMPLES)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Given]:
    """What the rule `spy` was given; it keeps every other row of the first table."""
    seen: list[Given] = []

    def spy(given: Given, *, every: int = 2) -> pa.Table:
        seen.append(given)
        return given.labels[0].take(np.arange(0, given.labels[0].num_rows, every))

    monkeypatch.setitem(RULES, "spy", spy)
    return seen


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    for stage in (STATES, TRUTH_OF_OWN):
        bench.run_all(stage)
    bench.put(ONE, shuffled(1))
    bench.put(TWO, shuffled(2))
    ids = table_of(bench.find(OWN), "inputs")["id"].to_pylist()[::-1]
    bench.put(ON_OWN, label_table(ids, [np.array([0.5, 0.25, 0.25], np.float32)] * 5))
    return bench


def shuffled(seed: int) -> pa.Table:
    """Labels that tell whose they are: example k has probability k / 12 for the first class."""
    order = np.random.default_rng(seed).permutation(12)
    probs = [np.array([k / 12, 1 - k / 12, 0], np.float32) for k in order]
    return label_table([f"student-0-{k}" for k in order], probs)


def ids_of(table: pa.Table) -> list[str]:
    return table["id"].to_pylist()


def number_of(table: pa.Table) -> list[int]:
    return [int(example.rpartition("-")[2]) for example in ids_of(table)]


class TestAlignment:
    def test_everything_has_the_order_of_the_first_table(self, bench, given):
        stage = Relabel(
            labels=(ONE, TWO, ONE),
            rule="spy",
            examples=EXAMPLES,
            features=STATES,
            reference=(TRUTH_OF_OWN, ON_OWN),
            num_classes=3,
        )
        bench.run(stage)
        (seen,) = given
        assert len(seen.labels) == 3
        for table in (*seen.labels, seen.inputs):
            assert ids_of(table) == ids_of(shuffled(1))
        for table in seen.labels:
            assert [row[0] for row in rows(table)] == pytest.approx([k / 12 for k in number_of(table)])
        inputs = table_of(bench.find(EXAMPLES), "inputs")
        assert seen.inputs.equals(inputs.take(number_of(seen.labels[0])))
        columns = table_of(bench.find(EXAMPLES), "inputs")["features"].to_pylist()
        expected_ND = np.array(columns, np.float32)[number_of(seen.labels[0])]
        np.testing.assert_array_equal(seen.features_ND, expected_ND)
        assert seen.features_ND.dtype == np.float32
        assert [ids_of(table) for table in seen.reference] == [[f"weak-0-{k}" for k in range(5)]] * 2
        assert seen.num_classes == 3

    def test_only_what_was_asked_for(self, bench, given):
        bench.run(Relabel(labels=(ONE,), rule="spy"))
        assert given[0].labels[0].equals(shuffled(1))
        assert given[0][1:] == (None, None, (), None)

    def test_what_a_rule_has_dropped_is_dropped_everywhere(self, bench, given):
        fewer = shuffled(1).take([4, 9, 2])
        bench.put(ONE, fewer)
        bench.run(Relabel(labels=(ONE, TWO), rule="spy", examples=EXAMPLES, features=STATES))
        for table in (*given[0].labels, given[0].inputs):
            assert ids_of(table) == ids_of(fewer)
        assert len(given[0].features_ND) == 3

    def test_no_labels_left(self, bench, given):
        bench.put(ONE, shuffled(1)[:0])
        bench.run(Relabel(labels=(ONE, TWO), rule="spy", examples=EXAMPLES, features=STATES))
        assert [table.num_rows for table in (*given[0].labels, given[0].inputs)] == [0, 0, 0]
        assert given[0].features_ND.shape == (0, 4)
        assert bench.said == {"num_examples": 0, "num_before": 0}


@pytest.mark.parametrize(("rule", "kept"), [("spy", 6), ("spy(every=5)", 3), ("spy(every=1)", 12)])
def test_what_the_rule_gives_is_kept(bench, given, rule, kept):
    table = table_of(bench.run(Relabel(labels=(ONE,), rule=rule)))
    assert table.equals(shuffled(1).take(np.arange(0, 12, 12 // kept + (kept == 3))))
    assert bench.said == {"num_examples": kept, "num_before": 12}


def test_weights_are_kept(bench, monkeypatch):
    def weigh(given: Given) -> pa.Table:
        table = given.labels[0]
        return label_table(ids_of(table), rows(table), np.arange(12, dtype=np.float32))

    monkeypatch.setitem(RULES, "weigh", weigh)
    found = table_of(bench.run(Relabel(labels=(ONE,), rule="weigh")))
    assert found["weight"].to_pylist() == list(range(12))


class TestErrors:
    @pytest.mark.parametrize(
        ("lost", "message"),
        [
            (1, r"labels lack 'student-0-\d+'; use"),
            (5, r"labels lack 'student-0-\d+' and 4 more; use those of"),
        ],
    )
    def test_other_labels_lack_some(self, bench, given, lost, message):
        bench.put(TWO, shuffled(2)[lost:])
        with pytest.raises(DataError, match=message):
            bench.run(Relabel(labels=(ONE, TWO), rule="spy"))

    def test_doubled_ids(self, bench, given):
        bench.put(ONE, shuffled(1).take([0, 1, 1]))
        with pytest.raises(DataError, match="labels have doubled ids: "):
            bench.run(Relabel(labels=(ONE,), rule="spy"))
        bench.put(ONE, shuffled(1)[:3])
        bench.put(TWO, pa.concat_tables([shuffled(2), shuffled(2)[:1]]))
        with pytest.raises(DataError, match="labels have doubled ids: "):
            bench.run(Relabel(labels=(ONE, TWO), rule="spy"))

    @pytest.mark.parametrize(
        ("what", "message"),
        [("inputs", "inputs lack 'stranger'; use those of all"), ("features", "no states of 'stranger'")],
    )
    def test_inputs_and_features_of_other_examples(self, bench, given, what, message):
        bench.put(ONE, label_table(["stranger"], [np.ones(3, np.float32) / 3]))
        asked = {"inputs": {"examples": EXAMPLES}, "features": {"features": STATES}}[what]
        with pytest.raises(DataError, match=message):
            bench.run(Relabel(labels=(ONE,), rule="spy", **asked))

    def test_reference_tables_of_different_examples(self, bench, given):
        bench.put(ON_OWN, shuffled(1))
        with pytest.raises(DataError, match="labels lack 'weak-0-0' and 4 more"):
            bench.run(Relabel(labels=(ONE,), rule="spy", reference=(TRUTH_OF_OWN, ON_OWN)))

    def test_no_such_rule(self):
        with pytest.raises(ConfigError, match="no relabelling rule 'spay'"):
            Relabel(labels=(ONE,), rule="spay")


@pytest.mark.parametrize("order", [[0], [2, 0, 1], [1, 2], [], [0, 1, 2]])
def test_aligned_takes_rows_by_id(order):
    table = pa.table({"id": ["a", "b", "c"], "value": [0, 1, 2]})
    found = aligned(table, [("a", "b", "c")[row] for row in order], "things")
    assert found["value"].to_pylist() == order
