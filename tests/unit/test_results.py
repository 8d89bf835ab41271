"""The results table: what it derives, what it refuses, and that files give back the same digits."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reference.results import UNDEFINED, counted, metrics_of, results, study
from surpass.errors import DataError, StoreError
from surpass.results import JSON_VERSION, Results
from surpass.rows import GROUPED, METRICS, SCHEMA, Key, LeftOut
from surpass.stats import estimate_pgr

LEFT_OUT = (LeftOut("a", "b", "knn_filter", "it needs classes"), LeftOut("a", "b", "generative", "no text"))


def test_rows_hold_the_derived_accuracies_and_pgr() -> None:
    built = results()
    assert len(built) == 4
    row = built.rows()[0]
    assert list(row) == SCHEMA.names
    assert (row["weak_acc"], row["student_acc"], row["ceiling_acc"]) == (0.3, 0.35, 0.5)
    assert row["pgr"] == pytest.approx(0.25)
    assert row["num_test"] == 400
    assert built.rows()[1]["weak_acc"] == 121 / 400


def test_rows_hold_every_metric_under_its_own_name() -> None:
    for row in results().rows():
        expected = metrics_of(row["seed"])
        assert {name: row[name] for name in METRICS if name != UNDEFINED} == {
            name: value for name, value in expected.items() if name != UNDEFINED
        }
        assert math.isnan(row[UNDEFINED])
    assert len(set(SCHEMA.names)) == len(SCHEMA.names)
    assert {str(SCHEMA.field(name).type) for name in METRICS} == {"double"}


def test_summaries_hold_the_mean_over_seeds_of_every_metric() -> None:
    for num_seeds in (1, 2, 4):
        for summary in results(num_seeds=num_seeds).summary():
            assert list(summary.metrics) == list(METRICS)
            for name, value in summary.metrics.items():
                seeds = [metrics_of(seed)[name] for seed in range(num_seeds)]
                assert value == sum(seeds) / num_seeds or (name == UNDEFINED and math.isnan(value))


def test_a_metric_that_one_seed_lacks_has_no_mean() -> None:
    rows, correct = study()
    rows[0] = replace(rows[0], metrics=dict(rows[0].metrics) | {"auroc": math.nan})
    naive, oracle = Results.build(rows, correct).summary()
    assert math.isnan(naive.metrics["auroc"])
    assert not math.isnan(oracle.metrics["auroc"])


@pytest.mark.parametrize(
    ("change", "odd"),
    [
        (lambda m: m.pop("capa"), r"\['capa'\]"),
        (lambda m: m.update(loss=0.5), r"\['loss'\]"),
        (lambda m: m.clear(), r"\['agreement', "),
    ],
)
def test_metrics_are_these_and_no_others(change: object, odd: str) -> None:
    metrics = metrics_of(0)
    change(metrics)
    with pytest.raises(DataError, match=rf"metrics of a row of 'naive' must be agreement, .*; see {odd}"):
        study(metrics=metrics)


def test_pgr_of_a_row_without_a_gap_is_nan() -> None:
    for ceiling in (120, 100):
        assert math.isnan(results([("a", "b", 120, ceiling)], num_seeds=1).rows()[0]["pgr"])


def test_summaries_are_one_a_method_with_the_estimate_over_seeds() -> None:
    rows, correct = study()
    naive, oracle = Results.build(rows, correct).summary()
    assert naive.key == Key(
        task="chess-puzzles",
        weak_model="ladder:chess-2",
        strong_model="ladder:chess-4",
        method="naive",
        labels="hard",
        oracle=False,
    )
    assert oracle.key.oracle
    assert naive.seconds == 60.0
    roles = [
        np.stack([correct[getattr(row, f"{role}_score_id")] for row in rows[:2]])
        for role in ("weak", "student", "ceiling")
    ]
    assert naive.estimate == estimate_pgr(*roles)


def test_order_of_rows_changes_no_digit() -> None:
    rows, correct = study(num_seeds=4)
    shuffled = rows.copy()
    random.Random(3).shuffle(shuffled)
    built, other = Results.build(rows, correct), Results.build(shuffled, correct)
    # As text, in which a missing number equals another.
    assert sorted(map(repr, other.summary())) == sorted(map(repr, built.summary()))
    assert sorted(map(repr, other.ranks)) == sorted(map(repr, built.ranks))


def test_seeds_with_test_sets_of_their_own_are_nested() -> None:
    rows, correct = study()
    rows = [replace(row, test_id=f"test-{row.seed}") for row in rows]
    correct = {name: value[: 300 + 100 * int(name[-1])] for name, value in correct.items()}
    estimate = Results.build(rows, correct).summary()[0].estimate
    assert (estimate.design, estimate.num_examples) == ("nested", 700)


def test_test_sets_shared_by_some_seeds_only_are_refused() -> None:
    rows, correct = study(num_seeds=3)
    rows = [replace(row, test_id=f"test-{min(row.seed, 1)}") for row in rows]
    with pytest.raises(DataError, match="3 seeds have 2 test sets"):
        Results.build(rows, correct)


def test_unequal_lengths_on_one_test_set_are_refused() -> None:
    rows, correct = study()
    correct[rows[0].student_score_id] = counted(100, 399)
    with pytest.raises(DataError, match=r"scores of \[399, 400\] examples on one test set"):
        Results.build(rows, correct)


def test_missing_score_is_named() -> None:
    rows, correct = study()
    del correct[rows[2].student_score_id]
    with pytest.raises(DataError, match="ladder:chess-2/ladder:chess-4/ceiling-stop/0"):
        Results.build(rows, correct)


@pytest.mark.parametrize("bad", [np.zeros((2, 400), bool), np.zeros(0, bool), np.full(400, 0.5)])
def test_malformed_correctness_is_refused(bad: np.ndarray) -> None:
    rows, correct = study()
    correct[rows[0].weak_score_id] = bad
    with pytest.raises(DataError):
        Results.build(rows, correct)


def test_repeated_rows_are_refused() -> None:
    rows, correct = study()
    with pytest.raises(DataError, match=r"seeds are \[0, 0, 1\]; each may occur once"):
        Results.build([*rows, rows[0]], correct)


def test_labels_are_soft_or_hard() -> None:
    with pytest.raises(DataError, match="labels is 'firm'"):
        study(labels="firm")


def test_json_gives_back_the_same_results(tmp_path: Path) -> None:
    built = results([("a", "b", 120, 200), ("b", "b", 200, 200)], left_out=LEFT_OUT)
    path = tmp_path / "results.json"
    built.to_json(path)
    read = Results.from_json(path)
    assert read == built
    assert read.table.schema == SCHEMA
    assert math.isnan(read.rows()[0][UNDEFINED])
    assert math.isnan(read.summary()[0].metrics[UNDEFINED])
    assert math.isnan(read.summary()[2].estimate.value)
    assert list(map(repr, read.summary())) == list(map(repr, built.summary()))
    assert read.ranks == built.ranks
    assert read.ranks[1].comparison is not None
    assert read.left_out == LEFT_OUT
    assert list(tmp_path.iterdir()) == [path]


def test_json_of_ranks_without_a_number(tmp_path: Path) -> None:
    """No pair with a gap, so that there is no median."""
    built = results([("a", "b", 200, 200)])
    built.to_json(tmp_path / "r.json")
    read = Results.from_json(tmp_path / "r.json")
    assert read == built
    assert all(math.isnan(rank.pgr.median) and math.isnan(rank.pgr.low) for rank in read.ranks)
    assert read.ranks[0].pgr.reasons == built.ranks[0].pgr.reasons


def test_json_is_standard_and_versioned(tmp_path: Path) -> None:
    results().to_json(tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (
        (document["format"], document["version"])
        == ("surpass-results", 2)
        == ("surpass-results", JSON_VERSION)
    )
    assert list(document) == ["format", "version", "rows", "summaries", "methods", "left_out", "notes"]
    assert document["rows"][0][UNDEFINED] is None
    assert document["summaries"][0]["metrics"][UNDEFINED] is None
    assert document["summaries"][0]["metrics"]["capa"] == metrics_of(0)["capa"] + 1 / 128
    assert document["summaries"][0]["estimate"]["valid"] is True
    assert [rank["method"] for rank in document["methods"]] == ["naive", "ceiling-stop"]
    assert document["methods"][0]["comparison"] is None
    assert document["methods"][1]["comparison"]["correction"] == "holm"
    assert document["left_out"] == []


def test_json_names_what_was_left_out(tmp_path: Path) -> None:
    results(left_out=LEFT_OUT).to_json(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["left_out"] == [left._asdict() for left in LEFT_OUT]


def test_results_differ_by_a_single_digit() -> None:
    assert results() == results()
    assert results() != results(seconds=30.000000000000004)
    assert results() != results(left_out=LEFT_OUT)
    assert results() != results(metrics=metrics_of(0) | {"gain": 1.0})
    assert results() != "results"
    assert repr(results()) == "Results(4 rows, 2 summaries)"


def test_an_empty_study_is_a_table_of_no_rows(tmp_path: Path) -> None:
    empty = Results.build([], {})
    assert (len(empty), empty.summary(), empty.table.schema) == (0, [], SCHEMA)
    assert (empty.ranks, empty.left_out) == ((), ())
    empty.to_json(tmp_path / "r.json")
    assert Results.from_json(tmp_path / "r.json") == empty


def test_parquet_holds_the_rows(tmp_path: Path) -> None:
    built = results()
    path = tmp_path / "results.parquet"
    path.write_text("an older file")
    built.to_parquet(path)
    read = pq.read_table(path)
    assert read.schema == SCHEMA
    assert read.column("pgr").to_pylist() == built.table.column("pgr").to_pylist()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    for write in (results().to_json, results().to_parquet):
        with pytest.raises(StoreError):
            write(tmp_path / "missing" / "results")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=99), "is version 99"),
        (lambda d: d.update(format="other"), "no results of Surpass"),
        (lambda d: d.pop("rows"), "damaged"),
        (lambda d: d["rows"][0].pop("seed"), "damaged"),
        (lambda d: d["rows"][0].update(weak_acc=None), "no value for weak_acc"),
        (lambda d: d["rows"][0].update(seed="first"), "damaged"),
        (lambda d: d["summaries"][0]["estimate"].pop("low"), "damaged"),
        (lambda d: d["summaries"][0].update(estimate=None), "damaged"),
        (lambda d: d.update(version=1), "is version 1 of the results format, this Surpass reads 2"),
        (lambda d: d["rows"][0].pop("capa"), "damaged"),
        (lambda d: d["summaries"][0].pop("metrics"), "damaged"),
        (lambda d: d.pop("methods"), "damaged"),
        (lambda d: d["methods"][0].pop("pgr"), "damaged"),
        (lambda d: d["methods"][0].pop("num_pairs"), "damaged"),
        (lambda d: d["methods"][0].update(rank=1), "damaged"),
        (lambda d: d["methods"][0]["pgr"].pop("reasons"), "damaged"),
        (lambda d: d["methods"][1]["comparison"].pop("low"), "damaged"),
        (lambda d: d["methods"][1].update(comparison=3), "damaged"),
        (lambda d: d.pop("left_out"), "damaged"),
        (lambda d: d.update(left_out=[{"method": "naive"}]), "damaged"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "r.json"
    results().to_json(path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=message):
        Results.from_json(path)


@pytest.mark.parametrize("content", ["", "[1]", "{", "\xff"])
def test_what_is_no_json_document_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError):
        Results.from_json(path)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json"):
        Results.from_json(tmp_path / "none.json")


def test_results_written_before_there_were_groups(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    results().to_json(path)
    document = json.loads(path.read_text())
    for record in (*document["rows"], *(summary["metrics"] for summary in document["summaries"])):
        for name in GROUPED:
            del record[name]
    path.write_text(json.dumps(document))
    read = Results.from_json(path)
    assert all(math.isnan(row[name]) for row in read.rows() for name in GROUPED)
    assert all(math.isnan(summary.metrics[name]) for summary in read.summary() for name in GROUPED)
