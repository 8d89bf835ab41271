"""The best of n by judges of steps: against subsets drawn one by one, PGR, and where there is none."""

from __future__ import annotations

import json
import math
from itertools import combinations, groupby

import numpy as np
import pyarrow.parquet as pq
import pytest

from reference.language import save_tiny
from surpass.analyses.finding import found
from surpass.analyses.step_metrics import by_step, step_values
from surpass.analyses.step_pool import Pool, best_of
from surpass.errors import ConfigError, DataError
from surpass.experiment import gather, run
from surpass.overrides import override
from surpass.report.terminal import plain_text
from surpass.results import Results
from surpass.store import Store
from surpass.study import Study
from surpass.tasks import find_task
from surpass.tasks.solution_pool import count_of, mix_of
from surpass.train.recipe import Recipe

COUNT = 3


def written(path, count=1600, *, graded=True, problems=200, slips=0.1, seed=0):
    """A word tells a wrong step; an answer is wrong behind one, mostly. Some are not graded."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        steps, ratings = [], []
        wrong = False
        for _ in range(random.integers(1, 4)):
            slip = not wrong and random.random() < 0.3
            sign = random.choice(["w5", "w6"] if slip else ["w7", "w8"])
            steps.append(f"w{random.integers(20, 60)} {sign}")
            ratings.append(None if wrong else -1 if slip else 1)
            wrong = wrong or slip
        if number % 5 == 4 and number >= problems:  # somebody wrote the same once more
            rows.append(rows[-problems])
            continue
        row = {"problem": f"w{number % problems} w1 w2", "steps": steps, "ratings": ratings}
        if graded and random.random() < 0.95:
            row["correct"] = bool(wrong == (random.random() < slips))
        rows.append(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def study_of(folder, file, **more):
    models = [f"dir:{save_tiny(folder / kind, kind)}" for kind in ("bert", "llama")]
    given = {
        "task": find_task(f"process:{file}"),
        "pairs": ((models[0], models[1]),),
        "methods": ("naive", "zero_shot"),
        "seeds": (0, 1, 2),
        "num_train": 200,
        "best_of": COUNT,
        "recipe": Recipe(epochs=3, batch_size=16, learning_rate=3e-3),
        "adapters": ((models[0], "frozen"),),
    }
    return Study(name="pool", **given | more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    study = study_of(folder, written(folder / "own.jsonl"))
    store = Store(folder / "store")
    return study, store, run(study, store)


def slowly(study, store, labels):
    """For each problem the share of all subsets of n whose best solution is right."""
    examples = found(study.pool, store)
    rows = pq.read_table(examples.file("inputs.parquet")).to_pylist()
    truth = pq.read_table(examples.file("truth.parquet")).to_pylist()
    probs = {row["id"]: row["probs"] for row in pq.read_table(labels.file("labels.parquet")).to_pylist()}
    shares = {}
    for problem, steps in groupby(zip(rows, truth, strict=True), lambda pair: pair[0]["problem"]):
        worth, correct, samples = {}, {}, {}
        for row, own in steps:
            p = np.asarray(probs[row["id"]], np.float64)
            worth[row["solution"]] = worth.get(row["solution"], 1.0) * p[1] / p.sum()
            correct[row["solution"]] = own["correct"]
            samples[row["solution"]] = own["count"]
        drawn = [name for name, count in samples.items() for _ in range(count)]
        best = [max(draw, key=worth.__getitem__) for draw in combinations(drawn, COUNT)]
        shares[problem] = np.mean([correct[name] for name in best])
    return list(shares.values())


def test_it_is_the_mean_over_all_subsets(finished):
    study, store, _ = finished
    pool = Pool.read(found(study.pool, store), COUNT)
    values = {entry.method: entry for entry in step_values(study, store) if entry.metric == best_of(COUNT)}
    assert values.keys() == {"naive", "zero_shot"}
    for row in study.rows():
        for role, labels in zip(("weak", "student", "ceiling"), row.pooled, strict=True):
            expected = slowly(study, store, found(labels, store))
            assert pool.values(found(labels, store)) == pytest.approx(expected, abs=1e-9)
            assert values[row.method].values[role][row.seed] == pytest.approx(expected, abs=1e-9)
    assert len(expected) > 5
    assert pool.num_problems == len(expected)


def test_the_pool_has_every_step_and_no_answer_where_models_look(finished):
    study, store, _ = finished
    examples = found(study.pool, store)
    inputs = pq.read_table(examples.file("inputs.parquet"))
    truth = pq.read_table(examples.file("truth.parquet"))
    assert not {"correct", "count"} & set(inputs.column_names)
    rows = inputs.to_pylist()
    for _, steps in groupby(rows, lambda row: row["solution"]):
        steps = list(steps)
        assert [row["step"] for row in steps] == list(range(steps[0]["num_steps"]))
    tested = pq.read_table(found(study.test_examples, store).file("inputs.parquet"))["id"].to_pylist()
    assert set(inputs["id"].to_pylist()) - set(tested)  # also steps behind the first wrong one
    counts = dict(zip(inputs["solution"].to_pylist(), truth["count"].to_pylist(), strict=True))
    assert max(counts.values()) > 1
    by_problem = {}
    for row in rows:
        by_problem.setdefault(row["problem"], {})[row["solution"]] = counts[row["solution"]]
    assert all(sum(solutions.values()) >= COUNT for solutions in by_problem.values())


def test_results_show_it_and_keep_it(finished, tmp_path):
    study, store, results = finished
    assert [entry.metric for entry in results.judged].count(best_of(COUNT)) == 2
    for got, told in zip(results.judged, by_step(study, store), strict=True):
        assert got[:-1] == told[:-1]
        assert repr(got.estimate) == repr(told.estimate)
    text = plain_text(results)
    assert f"best of {COUNT}" in text
    assert "first-error F1" in text
    assert "best of n is left out" not in text
    results.write(tmp_path)
    again = Results.from_json(tmp_path / "results.json")
    assert again == results == gather(study, store)
    assert plain_text(again) == text


def test_pgr_is_that_of_the_means(finished):
    study, store, _ = finished
    chosen = [entry for entry in step_values(study, store) if entry.metric == best_of(COUNT)]
    judged = [entry for entry in by_step(study, store) if entry.metric == best_of(COUNT)]
    for values, entry in zip(chosen, judged, strict=True):
        weak, student, ceiling = (values.values[role].mean() for role in ("weak", "student", "ceiling"))
        assert entry.estimate.valid
        assert entry.estimate.value == pytest.approx((student - weak) / (ceiling - weak), rel=1e-4)
        assert entry.estimate.low < entry.estimate.value < entry.estimate.high


def test_pgr_is_undefined_where_steps_say_nothing_of_answers(finished, tmp_path):
    """Then no judge can choose better than another, and results say so."""
    study, _, _ = finished
    task = find_task(f"process:{written(tmp_path / 'luck.jsonl', slips=0.5)}")
    lucky = study.replace(task=task, methods=("naive",))
    results = run(lucky, Store(tmp_path / "store"))
    (entry,) = [entry for entry in results.judged if entry.metric == best_of(COUNT)]
    assert not entry.estimate.valid
    assert math.isnan(entry.estimate.value)
    assert entry.estimate.reason
    assert "undefined" in plain_text(results)


def test_without_it_results_say_why_and_stages_are_the_same(finished, tmp_path):
    study, store, _ = finished
    plain = study.replace(best_of=0)
    results = gather(plain, store)
    assert any("best of n is left out" in note for note in results.notes)
    assert best_of(COUNT) not in {entry.metric for entry in results.judged}
    assert [row.student_score.id for row in plain.rows()] == [row.student_score.id for row in study.rows()]
    assert all(row.pooled == () for row in plain.rows())
    assert plain.id != study.id


def test_num_test_takes_whole_problems(finished):
    study, _, _ = finished
    task = study.task
    whole = task.examples(part="test", size=None, seed=0, mix=mix_of(COUNT))
    some = task.examples(part="test", size=25, seed=0, mix=mix_of(COUNT))
    names = some.inputs["id"].to_pylist()
    assert whole.inputs["id"].to_pylist()[: len(names)] == names
    problems = set(some.inputs["problem"].to_pylist())
    of_them = [row for row in whole.inputs.to_pylist() if row["problem"] in problems]
    assert len(of_them) == len(names)
    assert 0 < len(set(some.inputs["solution"].to_pylist())) <= 25


def test_where_there_are_no_graded_answers_or_hardly_two_of_a_problem(tmp_path):
    ungraded = find_task(f"process:{written(tmp_path / 'a.jsonl', graded=False)}")
    with pytest.raises(DataError, match="0 of 0 problems have so many solutions with a graded answer"):
        ungraded.examples(part="test", size=None, seed=0, mix=mix_of(2))
    single = find_task(f"process:{written(tmp_path / 'b.jsonl', count=300, problems=300)}")
    with pytest.raises(DataError, match=r"0 of \d+ problems have so many .* ask for a smaller best_of"):
        single.examples(part="test", size=None, seed=0, mix=mix_of(2))


def test_settings(finished):
    study, _, _ = finished
    assert override(study, ["best_of=2"]).best_of == 2
    for wrong in (1, -2):
        with pytest.raises(ConfigError, match=f"best_of={wrong} must be 0, or at least 2"):
            study.replace(best_of=wrong)
    with pytest.raises(ConfigError, match="in a task of steps"):
        study.replace(task=find_task("planted"), pairs=(("planted:2", "planted:8"),))
    with pytest.raises(ConfigError, match="no mix 'best-of-3'"):
        study.replace(train_mix="best-of-3")
    assert (count_of(mix_of(7)), count_of("all"), count_of("best-of-0")) == (7, 0, 0)
