from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reference.authors import sample_of_authors, save_reasoner
from reference.outcome import chosen_of, reduced_of
from surpass.active import Candidate, convincing, uniform
from surpass.engine.inline import Settings, run
from surpass.errors import ConfigError, DataError, Stopped
from surpass.labels import label_table
from surpass.running.solution_table import SCHEMA, read_solutions
from surpass.running.solving import Grading, reduced, step_probs
from surpass.stages import (
    Chosen,
    Context,
    Examples,
    Fit,
    Graded,
    Label,
    Outcomes,
    Rate,
    RollOuts,
    Sample,
    Steps,
    Synthetic,
    Written,
)
from surpass.store import Store
from surpass.train.recipe import Recipe
from surpass.world.checker import rate
from surpass.world.sampling import Draw
from surpass.world.task import WorldTask

RECIPE = Recipe(epochs=1, batch_size=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_reasoner(tmp_path_factory.mktemp("models") / "nobody")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module", autouse=True)
def _authors():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("surpass.world.drawing.sample", sample_of_authors)
        patch.setattr("surpass.running.rollouts.sample", sample_of_authors)
        yield


@pytest.fixture(scope="module")
def graded(model, store):
    problems = Examples(task=WorldTask(), part="student", size=18, seed=0, mix="all")
    stage = Graded(samples=Sample(source=model, examples=problems, num_samples=12, seed=0), grader="world")
    run([stage], store)
    return stage


def rows_of(stage: Any, store: Store) -> list[dict[str, Any]]:
    return read_solutions(store.find(stage.kind, stage.id))


def table(stage: Any, store: Store, name: str) -> pa.Table:
    run([stage], store)
    return pq.read_table(store.find(stage.kind, stage.id).file(name))


class Files:
    """An artifact of files that a test has written."""

    def __init__(self, folder: Any, **tables: pa.Table) -> None:
        self.folder = folder
        for name, rows in tables.items():
            pq.write_table(rows, folder / f"{name}.parquet")

    def file(self, name: str) -> Any:
        return self.folder / name


class TestGraded:
    def test_steps_are_rated_and_answers_graded(self, graded, store):
        rows = rows_of(graded, store)
        assert len(rows) == 18 * 12
        assert [row["sample"] for row in rows] == list(range(12)) * 18
        assert 0.15 < np.mean([row["correct"] for row in rows]) < 0.85
        for row in rows:
            assert row["ratings"] == list(rate(row["problem"], row["steps"]))
            if row["correct"]:
                assert row["answer"] == row["reference"]
            if not row["ended"]:
                assert (row["answer"], row["correct"]) == (None, False)
        assert {row["family"] for row in rows} == {"arithmetic", "algebra", "systems"}
        cut = sum(not row["ended"] for row in rows)
        said = store.find(graded.kind, graded.id).manifest["said"]
        assert said["notes"]["samples that were cut off before they ended"] == cut > 0

    def test_what_is_wrong_with_samples_is_counted(self, tmp_path):
        inputs = pa.table({"id": ["p"], "prompt": ["What is 6/4?\n"]})
        truth = pa.table({"id": ["p"], "truth": ["Divide.\n#### 3/2"]})
        texts = ["6/4 = 3/2\n#### 3/2", "#### 2/3", " \n", "I do not know", "#### 3/2"]
        samples = pa.table(
            {
                "id": ["p"] * 5,
                "sample": range(5),
                "text": texts,
                "num_tokens": [9] * 5,
                "ended": [True] * 4 + [False],
            }
        )
        found = Files(tmp_path, inputs=inputs, truth=truth, samples=samples)
        (tmp_path / "out").mkdir()
        problems = Examples(task=WorldTask(), part="test", size=1, seed=0)
        stage = Graded(
            samples=Sample(source="reasoner:nobody", examples=problems, num_samples=5, seed=0),
            grader="exact",
        )
        said = stage.run(Context(find=lambda _: found, out=tmp_path / "out", work=tmp_path))
        rows = read_solutions(Files(tmp_path / "out", ignored=inputs))
        assert [row["correct"] for row in rows] == [True, False, False, False, False]
        assert [row["answer"] for row in rows] == ["3/2", "2/3", None, None, None]
        assert [row["id"] is None for row in rows] == [False, False, True, False, False]
        assert rows[0]["reference"] == "3/2"
        assert said["notes"] == {
            "samples without a step": 1,
            "samples that were cut off before they ended": 1,
            "samples that ended without an answer": 2,
        }

    def test_there_is_no_such_grader(self, graded):
        with pytest.raises(ConfigError, match="no grader"):
            replace(graded, grader="nobody")


def test_authors_write(store):
    problems = Examples(task=WorldTask(), part="student", size=22, seed=0)
    written = Written(examples=problems, num_samples=6, seed=3)
    samples = table(written, store, "samples.parquet")
    fewer = table(replace(written, num_samples=2), store, "samples.parquet")
    rows = samples.to_pylist()
    assert fewer.to_pylist() == [row for row in rows if row["sample"] < 2]
    others = table(replace(written, seed=4), store, "samples.parquet")
    assert samples["text"] != others["text"]
    solutions = table(Graded(samples=written, grader="world"), store, "solutions.parquet").to_pylist()
    assert 0.3 < np.mean([row["correct"] for row in solutions]) < 0.9
    assert {-1, 1} <= {rating for row in solutions for rating in row["ratings"]}
    assert all(row["ended"] and row["answer"] for row in solutions)
    with pytest.raises(ConfigError, match="num_samples=0"):
        replace(written, num_samples=0)


class TestActive:
    @pytest.mark.parametrize("seed", range(40))
    def test_as_its_twin(self, seed):
        rng = random.Random(seed)
        given = [
            (row, rng.random(), rng.random() < 0.4, rng.choice((0.1, 0.5, rng.random())))
            for row in range(rng.randrange(12))
        ]
        candidates = [Candidate(*each) for each in given]
        for count in (1, 2, 4, 5, 13):
            assert uniform(candidates, count) == chosen_of(given, count, None)
            for share in (0.0, 0.8, 1.0):
                found = convincing(candidates, count, wrong_share=share)
                assert sorted(found) == sorted(chosen_of(given, count, share))
                assert len(found) == min(count, len(given))

    def test_four_of_five_are_convincing_wrong_answers(self):
        candidates = [Candidate(row, row / 100, row % 2 == 0, row / 100) for row in range(40)]
        found = convincing(candidates, 10)
        assert found[:8] == [39, 37, 35, 33, 31, 29, 27, 25]
        assert found[8:] == [38, 36]

    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    def test_rounding_by_draws_keeps_the_share_over_problems(self, count):
        """The nearest number would leave no right answer among 1 or 2."""
        candidates = [Candidate(row, row / 100, row < 20, 1 - row / 100) for row in range(40)]
        wrong = [
            sum(row >= 20 for row in convincing(candidates, count, rounding=(draw + 0.5) / 1000))
            for draw in range(1000)
        ]
        assert np.mean(wrong) == pytest.approx(0.8 * count, abs=2e-3)
        assert max(wrong) - min(wrong) <= 1


class TestChosen:
    def test_uniformly(self, graded, store):
        chosen = Chosen(solutions=graded, per_problem=3, seed=1)
        rows = read_solutions(store.find(chosen.kind, chosen.id)) if run([chosen], store) else []
        counts = Counter(row["problem_id"] for row in rows)
        everything = rows_of(graded, store)
        for problem in {row["problem_id"] for row in everything}:
            distinct = {
                row["id"]
                for row in everything
                if row["problem_id"] == problem and row["ended"] and row["answer"] is not None
            }
            assert counts[problem] == min(3, len(distinct))
        assert len({row["id"] for row in rows}) == len(rows)
        others = [
            tuple(table(replace(chosen, seed=seed), store, "solutions.parquet")["id"].to_pylist())
            for seed in range(3)
        ]
        assert len(set(others)) == 3

    def test_by_a_model(self, graded, model, store):
        everything = Steps(solutions=graded, whole=True, classes=3)
        learned = Steps(solutions=Chosen(solutions=graded, per_problem=1), classes=3)
        selector = Fit(model=model, examples=learned, labels="truth", recipe=RECIPE, seed=0)
        labels = Label.of(selector, everything)
        chosen = Chosen(solutions=graded, per_problem=4, rule="convincing", labels=labels, seed=2)
        rows = table(chosen, store, "solutions.parquet").to_pylist()
        scores = reduced(step_probs(table(labels, store, "labels.parquet")))
        for problem in {row["problem_id"] for row in rows}:
            mine = [row for row in rows if row["problem_id"] == problem]
            pool = {
                row["id"]: row
                for row in rows_of(graded, store)
                if row["problem_id"] == problem and row["ended"] and row["answer"] is not None
            }
            wrong = sorted(scores[id]["product"] for id, row in pool.items() if not row["correct"])[-3:]
            taken = [scores[row["id"]]["product"] for row in mine if not row["correct"]]
            assert sorted(taken)[-len(wrong) :] == pytest.approx(wrong)
        one = replace(chosen, per_problem=1)
        mixed = replace(one, over_all=True)
        right = [
            np.mean(table(each, store, "solutions.parquet")["correct"].to_pylist()) for each in (one, mixed)
        ]
        assert replace(mixed, over_all=False).id == one.id != mixed.id
        assert right[1] >= right[0]

    def test_what_makes_no_sense(self, graded):
        for changes, complaint in (
            ({"rule": "best"}, "rule='best'"),
            ({"rule": "convincing"}, "do not go together"),
            ({"per_problem": 0}, "per_problem=0"),
            ({"wrong_share": 1.2}, "wrong_share=1.2"),
            ({"reduction": "sum"}, "reduction='sum'"),
        ):
            with pytest.raises(ConfigError, match=complaint):
                Chosen(**({"solutions": graded, "per_problem": 2} | changes))


class TestExamples:
    @pytest.mark.parametrize("classes", [2, 3])
    def test_steps_up_to_the_first_error_or_all(self, graded, store, classes):
        rows = {row["id"]: row for row in rows_of(graded, store) if row["ended"] and row["id"]}
        rated = Steps(solutions=graded, classes=classes)
        inputs, truth = (table(rated, store, f"{name}.parquet") for name in ("inputs", "truth"))
        ratings = [rating for row in rows.values() for rating in row["ratings"] if rating is not None]
        wanted = [rating + 1 if classes == 3 else int(rating >= 0) for rating in ratings]
        assert truth["truth"].to_pylist() == wanted
        assert set(map(len, inputs["candidates"].to_pylist())) == {classes}
        whole = table(replace(rated, whole=True), store, "inputs.parquet")
        assert whole.num_rows == sum(len(row["steps"]) for row in rows.values()) > inputs.num_rows
        for row in whole.to_pylist():
            steps = rows[row["solution"]]["steps"]
            assert [*row["before"], row["text"]] == steps[: row["step"] + 1]

    def test_outcomes(self, graded, store):
        rows = {row["id"]: row for row in rows_of(graded, store) if row["ended"] and row["id"]}
        stage = Outcomes(solutions=graded)
        inputs, truth = (table(stage, store, f"{name}.parquet") for name in ("inputs", "truth"))
        assert inputs["id"].to_pylist() == list(rows)
        assert truth["truth"].to_pylist() == [int(row["correct"]) for row in rows.values()]
        assert inputs["steps"].to_pylist() == [row["steps"] for row in rows.values()]

    def test_without_ratings_there_are_no_steps(self, tmp_path, graded):
        row = {"problem_id": "p", "sample": 0, "id": "s", "problem": "1+1", "steps": ["# 2"], "ended": True}
        found = Files(tmp_path, solutions=pa.Table.from_pylist([row], SCHEMA))
        context = Context(find=lambda _: found, out=tmp_path, work=tmp_path)
        with pytest.raises(DataError, match=r"no step of .* is rated"):
            Steps(solutions=graded).run(context)
        assert Steps(solutions=graded, whole=True).run(context)["num_examples"] == 1


LABELS = label_table(
    ["a#0", "a#1", "b#0", "a#2", "c#0"],
    [
        np.array(row, np.float32)
        for row in ([0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [0.2, 0.0, 0.8], [0.0, 0.6, 0.4], [0.9, 0.1, 0.0])
    ],
)


class TestScores:
    def test_as_the_twin(self):
        steps = step_probs(LABELS)
        assert list(steps) == ["a", "b", "c"]
        for name, scores in reduced(steps).items():
            assert scores == pytest.approx(reduced_of(steps[name]), abs=1e-7)
        two = {"a": [[0.3, 0.7], [0.5, 0.5]]}
        assert reduced(two)["a"] == pytest.approx(reduced_of(two["a"]))
        assert reduced(two)["a"]["product"] == pytest.approx(0.35)

    def test_a_step_that_is_missing_is_an_error(self):
        with pytest.raises(DataError, match="solution a lack a step"):
            step_probs(LABELS.slice(1))
        with pytest.raises(DataError, match="'x' names no step"):
            step_probs(label_table(["x"], [np.array([0.5, 0.5], np.float32)]))

    def test_of_each_sample(self, graded, model, store):
        whole = Steps(solutions=graded, whole=True, classes=3)
        labels = Label(source=model, examples=whole)
        found = table(Rate(solutions=graded, labels=labels), store, "ratings.parquet").to_pylist()
        scores = reduced(step_probs(table(labels, store, "labels.parquet")))
        outcome = Label(source=model, examples=Outcomes(solutions=graded))
        last = table(Rate(solutions=graded, labels=outcome), store, "ratings.parquet").to_pylist()
        rows = rows_of(graded, store)
        assert len(found) == len(last) == len(rows)
        said = table(outcome, store, "labels.parquet")
        probs = dict(zip(said["id"].to_pylist(), said["probs"].to_pylist(), strict=True))
        for row, one, other in zip(rows, found, last, strict=True):
            assert one["eligible"] == other["eligible"] == (row["answer"] is not None)
            assert (one["problem_id"], one["correct"]) == (row["problem_id"], row["correct"])
            if one["eligible"]:
                assert {name: one[name] for name in scores[row["id"]]} == scores[row["id"]]
                assert other["last"] == pytest.approx(probs[row["id"]][1])
            else:
                assert one["product"] is None
        plain = table(Rate(solutions=graded), store, "ratings.parquet")
        assert "product" not in plain.column_names


def test_synthetic_labels(graded, model, store):
    whole = Steps(solutions=graded, whole=True, classes=3)
    said = Label(source=model, examples=whole)
    probs = step_probs(table(said, store, "labels.parquet"))
    wrong = sorted(rows[0][0] for rows in probs.values())
    for threshold in (0.2, wrong[len(wrong) // 2]):
        steps = table(Synthetic(labels=said, examples=whole, threshold=threshold), store, "labels.parquet")
        wanted = {}
        for name, rows in probs.items():
            for step, row in enumerate(rows):
                is_wrong = row[0] > threshold
                wanted[f"{name}#{step}"] = 0 if is_wrong else 1 if row[1] >= row[2] else 2
                if is_wrong:
                    break
        found = {row["id"]: row["probs"].index(1.0) for row in steps.to_pylist()}
        assert found == wanted
        outcomes = Synthetic(labels=said, examples=Outcomes(solutions=graded), threshold=threshold)
        for row in table(outcomes, store, "labels.parquet").to_pylist():
            right = not any(step[0] > threshold for step in probs[row["id"]])
            assert row["probs"] == ([0.0, 1.0] if right else [1.0, 0.0])
    assert {"0", "1"} <= {str(value) for value in found.values()} | {"1"}
    with pytest.raises(ConfigError, match="threshold=2"):
        replace(outcomes, threshold=2)


class TestRollOuts:
    def stage(self, graded: Any, model: str, **changes: Any) -> RollOuts:
        some = Chosen(solutions=graded, per_problem=1)
        given = {"num_samples": 5, "grader": "world", "seed": 4, "max_new_tokens": 120}
        return RollOuts(source=model, examples=Steps(solutions=some, whole=True), **(given | changes))

    def test_shares_of_right_answers(self, graded, model, store):
        stage = self.stage(graded, model)
        found = table(stage, store, "labels.parquet").to_pylist()
        hard = table(replace(stage, target="hard"), store, "labels.parquet").to_pylist()
        rows = {row["id"]: row for row in rows_of(stage.examples.solutions, store)}
        tokenizer = _Tokenizer()
        grading, shares = Grading("world"), []
        for one, other in zip(found, hard, strict=True):
            name, step = one["id"].split("#")
            row, last = rows[name], int(step) + 1 == len(rows[name]["steps"])
            share = float(row["correct"])
            if not last:
                prompt = "\n".join([row["problem"], *row["steps"][: int(step) + 1]]) + "\n"
                try:
                    said = sample_of_authors(
                        tokenizer,
                        [prompt],
                        [prompt],
                        [Draw(0, k) for k in range(5)],
                        max_new_tokens=120,
                        seed=4,
                    )
                except Exception:  # a wrong step may be no line of the world
                    continue
                right = 0
                for each in said:
                    text = prompt.partition("\n")[2] + each.text
                    solution = grading.solution("p", row["problem"], text, "", "")
                    right += bool(each.ended and solution.correct)
                share = right / 5
            assert one["probs"] == pytest.approx([1 - share, share])
            assert other["probs"] == pytest.approx([float(share == 0), float(share > 0)])
            shares.append(share)
        assert len(shares) == len(found)
        assert {0.0, 1.0} < set(shares)

    def test_stopped_it_goes_on(self, graded, model, tmp_path, store, monkeypatch):
        counted = Counter[str]()

        def counting(*given: Any, **settings: Any) -> Any:
            counted["draws"] += len(given[3])
            return sample_of_authors(*given, **settings)

        stage = self.stage(graded, model, prefixes_per_shard=7)
        wanted = table(self.stage(graded, model), store, "labels.parquet")
        assert stage.id == self.stage(graded, model).id
        again = Store(tmp_path)

        def stop() -> bool:
            return len(list(tmp_path.rglob("rollouts-*.parquet"))) == 3

        with pytest.raises(Stopped):
            run([stage], again, settings=Settings(stop=stop))
        monkeypatch.setattr("surpass.running.rollouts.sample", counting)
        run([stage], again)
        assert counted["draws"] == 5 * store.find(stage.kind, stage.id).manifest["said"]["num_prefixes"] - 105
        assert pq.read_table(again.find(stage.kind, stage.id).file("labels.parquet")).equals(wanted)

    def test_what_makes_no_sense(self, graded, model):
        for changes, complaint in (
            ({"target": "firm"}, "target='firm'"),
            ({"num_samples": 0}, "num_samples=0"),
            ({"temperature": -1.0}, "temperature=-1"),
        ):
            with pytest.raises(ConfigError, match=complaint):
                self.stage(graded, model, **changes)
        stage = self.stage(graded, model)
        with pytest.raises(ConfigError, match="nothing between"):
            replace(stage, examples=replace(stage.examples, classes=3))


class _Tokenizer:
    """A model whose prompts are texts."""

    tokenizer: Any

    def __init__(self) -> None:
        self.tokenizer = self

    def decode(self, text: str) -> str:
        return text
