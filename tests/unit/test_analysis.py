"""What a finished study says beyond PGR, held against what its artifacts say one by one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from surpass import Results, Store, run
from surpass.analyses.analysis import curves, visible, worths
from surpass.errors import StoreError
from surpass.experiment import gather
from surpass.grouping import grouped
from surpass.report.analysis import analysis, errors_table, print_analysis
from surpass.stages import Stop
from surpass.stats import difference_variance, seeds_needed, smallest_difference
from surpass.study import Study
from surpass.tasks.planted import PlantedTask
from surpass.train.recipe import Recipe

METHODS = ("naive", "gce", "early_stop", "early_stop_truth", "truth_part(of=2)", "truth_part(of=8)")
STUDY = Study(
    name="analysed",
    task=PlantedTask(),
    pairs=(("linear:4", "linear:all"), ("linear:16", "linear:all")),
    methods=METHODS,
    seeds=(0, 1),
    num_train=160,
    num_test=200,
    num_validation=50,
    recipe=Recipe(epochs=3, batch_size=32, learning_rate=2e-2),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Store, Results]:
    store = Store(tmp_path_factory.mktemp("analysed") / "store")
    return store, run(STUDY, store)


def accuracy(results: Results, weak: str, method: str) -> float:
    rows = [row for row in results.rows() if (row["weak_model"], row["method"]) == (weak, method)]
    assert len(rows) == 2
    return float(np.mean([row["student_acc"] for row in rows]))


class TestCurves:
    def test_one_for_each_pair_and_seed(self, finished):
        found = curves(STUDY, finished[0])
        places = [(curve.weak_model, curve.seed) for curve in found]
        assert places == [("linear-4", 0), ("linear-4", 1), ("linear-16", 0), ("linear-16", 1)]

    def test_accuracy_is_that_of_truth_and_agreement_that_of_weak_labels(self, finished):
        store, _ = finished
        for curve in curves(STUDY, store):
            for row in STUDY.rows():
                stop = row.student
                of_curve = row.seed == curve.seed and row.pair[0].replace(":", "-") == curve.weak_model
                if not (isinstance(stop, Stop) and of_curve):
                    continue
                table = pq.read_table(store.find("stop", stop.id).file("curve.parquet"))
                shown = curve.accuracy if row.method == "early_stop_truth" else curve.weak_agreement
                assert table["accuracy"].to_pylist() == list(shown)
                assert table["step"].to_pylist() == list(curve.steps)

    def test_points(self, finished):
        for curve in curves(STUDY, finished[0]):
            best = max(range(10), key=lambda place: (curve.accuracy[place], -place))
            assert curve.points.best.accuracy == curve.accuracy[best]
            assert curve.points.last.accuracy == curve.accuracy[-1]
            stopped = max(range(10), key=lambda place: (curve.weak_agreement[place], -place))
            assert curve.points.weak_stopped.accuracy == curve.accuracy[stopped]

    def test_one_kind_of_stopping_alone_gives_none(self, finished):
        assert curves(STUDY.replace(methods=("naive", "early_stop")), finished[0]) == []

    def test_a_training_with_fewer_steps_than_snapshots(self, tmp_path):
        short = STUDY.replace(
            methods=("early_stop", "early_stop_truth"), num_train=64, recipe=replace(STUDY.recipe, epochs=1)
        )
        store = Store(tmp_path / "store")
        run(short, store)
        assert {curve.steps for curve in curves(short, store)} == {(1, 2)}


class TestWorth:
    def test_of_methods_without_truth_only(self, finished):
        found = worths(STUDY, finished[0])
        assert [worth.method for worth in found] == ["naive", "gce", "early_stop"] * 2
        assert {worth.num_labels for worth in found} == {160}

    def test_is_read_back_from_the_learning_curve(self, finished):
        """Between two sizes linear in the logarithm of the size; beyond the curve a bound."""
        store, results = finished
        for worth in worths(STUDY, store):
            curve = [accuracy(results, worth.weak_model, f"truth_part(of={of})") for of in (8, 2)]
            curve.append(float(np.mean([row["ceiling_acc"] for row in results.rows()])))
            reached = accuracy(results, worth.weak_model, worth.method)
            if reached < min(curve):
                assert worth.effective.relation == "less"
            elif reached > max(curve):
                assert (worth.effective.relation, worth.effective.num_examples) == ("more", 160)
            else:
                assert worth.effective.relation == "equal"
                assert 10 < worth.effective.num_examples <= 160

    def test_takes_two_sizes(self, finished):
        assert worths(STUDY.replace(methods=("naive", "truth_part(of=2)")), finished[0]) == []


class TestVisible:
    def test_medians_over_the_methods_that_differ_from_naive(self, finished):
        store, _ = finished
        for entry, pair in zip(visible(STUDY, store), STUDY.pairs, strict=True):
            correct = {}
            for row in STUDY.rows():
                if row.pair == pair:
                    path = store.find("score", row.student_score.id).file("examples.parquet")
                    correct.setdefault(row.method, []).append(pq.read_table(path)["correct"].to_numpy())
            arrays = {method: np.stack(rows) for method, rows in correct.items()}
            others = [a for a in arrays.values() if not np.array_equal(a, arrays["naive"])]
            variances = [difference_variance(array, arrays["naive"]) for array in others]
            smallest = [smallest_difference(v, num_seeds=2, num_examples=200) for v in variances]
            assert (entry.num_seeds, entry.num_methods) == (2, len(others))
            assert entry.smallest == pytest.approx(np.median(smallest))
            needed = [seeds_needed(v, 0.01, num_examples=200).num_seeds or np.inf for v in variances]
            middle = sorted(needed)[len(needed) // 2]
            assert entry.seeds == (None if np.isinf(middle) else middle)

    def test_one_seed_or_no_naive_shows_nothing(self, finished):
        assert visible(STUDY.replace(seeds=(0,)), finished[0]) == []
        assert visible(STUDY.replace(methods=("gce",)), finished[0]) == []


class TestPrinted:
    def test_as_plain_data(self, finished):
        store, results = finished
        document = json.loads(json.dumps(analysis(results, STUDY, store), allow_nan=False))
        assert {name: len(entries) for name, entries in document.items()} == {
            "errors": 12,
            "curves": 4,
            "worth": 6,
            "visible": 2,
            "groups": 0,
            "layers": 0,
            "saliency": 0,
            "steps": 0,
        }

    def test_for_people(self, finished, capsys):
        store, results = finished
        print_analysis(results, STUDY, store)
        text = capsys.readouterr().out
        for heading in ("Whose errors", "What the labels are worth", "Overfitting", "What differences"):
            assert heading in text
        assert all(len(line) <= 80 and line == line.rstrip() for line in text.splitlines())
        assert re.search(r"^  early_stop_t\w*…?\* ", text, re.MULTILINE)

    def test_a_long_name_keeps_its_mark(self, finished):
        _, results = finished
        summaries = [
            replace(s, key=replace(s.key, method=f"simulated_by_{s.key.method}")) for s in results.summary()
        ]
        table = errors_table(Results(results.table, summaries))
        marked = [cell for cell in table.columns[0]._cells if getattr(cell, "behind", "") == "*"]
        assert len(marked) == 6

    def test_blocks_without_content_are_not_there(self, finished, capsys):
        store, _ = finished
        study = STUDY.replace(methods=("naive",))
        print_analysis(gather(study, store), study, store)
        assert capsys.readouterr().out.count("─\n") == 1


def test_a_study_that_is_not_finished(tmp_path: Path):
    with pytest.raises(StoreError, match="run the study first"):
        visible(STUDY, Store(tmp_path / "empty"))


def test_grouped_keeps_the_order():
    assert grouped("banana", str.upper) == {"B": ["b"], "A": ["a"] * 3, "N": ["n"] * 2}
    assert list(grouped([3, 1, 2], lambda number: number % 2)) == [1, 0]
    assert grouped([], str) == {}
