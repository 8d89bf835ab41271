"""What a study of steps says: accuracy, first errors, and PGR over problems, against slow counts."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from reference.language import save_tiny
from surpass.analyses.finding import found
from surpass.analyses.step_metrics import (
    ACCURACY,
    BALANCED,
    FIRST_ERROR,
    TUNED,
    JudgedSteps,
    _best_threshold,
    by_step,
    guessing_f1,
    validation_labels,
)
from surpass.experiment import gather, run, run_stage
from surpass.reasoning.first_error import first_error_scores
from surpass.report.analysis import analysis, print_analysis
from surpass.store import Store
from surpass.study import Study
from surpass.tasks import find_task
from surpass.train.recipe import Recipe


def written(path, count=160, *, seed=0):
    """Some words make a step wrong: all of them, or one alone, as the model sees more or less."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        steps, ratings = [], []
        for _ in range(random.integers(1, 5)):
            wrong = random.random() < 0.3
            sign = random.choice(["w5", "w6"] if wrong else ["w7", "w8"])
            steps.append(f"w{random.integers(20, 60)} {sign}")
            ratings.append(-1 if wrong else 1)
            if wrong:
                steps += ["w9 w7"] * int(random.integers(0, 2))
                break
        ratings += [None] * (len(steps) - len(ratings))
        problem = f"w{number % 40} w1 w2"
        rows.append({"problem": problem, "steps": steps, "ratings": ratings})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("process")
    models = [f"dir:{save_tiny(folder / kind, kind)}" for kind in ("bert", "llama")]
    study = Study(
        name="steps",
        task=find_task(f"process:{written(folder / 'own.jsonl')}"),
        pairs=((models[0], models[1]),),
        methods=("naive", "early_stop", "imitation", "generative", "zero_shot"),
        seeds=(0, 1),
        num_train=30,
        recipe=Recipe(epochs=2, batch_size=16, learning_rate=3e-3),
        adapters=((models[0], "frozen"),),
    )
    store = Store(folder / "store")
    return study, store, run(study, store)


def test_a_study_of_steps_runs_and_methods_that_show_answers_are_left_out(finished):
    study, store, results = finished
    assert {left.method for left in results.left_out} == {"imitation", "generative"}
    assert all("steps of task process" in left.reason for left in results.left_out)
    assert len(results) == 2 * 3
    assert gather(study, store) == results
    assert any("independent" in note for note in results.notes)


def slow(study, store, score):
    """Accuracy, and what a plain loop finds of first errors."""
    examples = found(study.test_examples, store)
    rows = pq.read_table(examples.file("inputs.parquet")).to_pylist()
    truth = pq.read_table(examples.file("truth.parquet"))["truth"].to_pylist()
    labels = pq.read_table(found(score.labels, store).file("labels.parquet")).to_pylist()
    probs = {row["id"]: row["probs"] for row in labels}
    predicted, true, problems, hits = {}, {}, {}, []
    for row, own in zip(rows, truth, strict=True):
        name, correct = row["solution"], probs[row["id"]][1]
        problems[name] = row["problem"]
        predicted.setdefault(name, -1), true.setdefault(name, -1)
        if correct < 0.5 and predicted[name] == -1:
            predicted[name] = row["step"]
        if own == 0:
            true[name] = row["step"]
        hits.append((own, int(np.argmax(probs[row["id"]])) == own))
    order = list(true)
    said = first_error_scores(
        [predicted[name] for name in order],
        [true[name] for name in order],
        problems_S=[problems[name] for name in order],
    )
    by_class = [np.mean([hit for own, hit in hits if own == one]) for one in (0, 1)]
    return np.mean([hit for _, hit in hits]), np.mean(by_class), said


def test_metrics_are_what_a_plain_loop_counts(finished):
    study, store, _ = finished
    entries = {(entry.method, entry.metric): entry.estimate for entry in by_step(study, store)}
    assert entries.keys() == {
        (method, metric)
        for method in ("naive", "early_stop", "zero_shot")
        for metric in (ACCURACY, BALANCED, FIRST_ERROR)
    }
    for method in ("naive", "zero_shot"):
        rows = [row for row in study.rows() if row.method == method]
        for role in ("weak", "student", "ceiling"):
            told = [slow(study, store, getattr(row, f"{role}_score")) for row in rows]
            expected = [np.mean([one[0] for one in told]), np.mean([one[1] for one in told])]
            expected.append(np.mean([one[2].f1 for one in told]))
            for metric, value in zip((ACCURACY, BALANCED, FIRST_ERROR), expected, strict=True):
                assert getattr(entries[method, metric], role) == pytest.approx(value, abs=1e-6)
    estimate = entries["naive", FIRST_ERROR]
    assert estimate.num_seeds == 2
    steps = JudgedSteps.read(found(study.test_examples, store))
    assert estimate.num_examples == steps.num_problems


def test_the_ceiling_learns_and_guessing_does_not_do_as_well(finished):
    study, store, _ = finished
    estimate = next(entry.estimate for entry in by_step(study, store) if entry.metric == FIRST_ERROR)
    guessed = guessing_f1(JudgedSteps.read(found(study.test_examples, store)))
    assert 0 < guessed < estimate.ceiling


def test_guessing_is_what_many_guesses_give():
    random = np.random.default_rng(0)
    first_S, lengths_S = np.array([0, 1, 3, -1, -1, 2]), np.array([1, 2, 4, 2, 3, 3])
    solution_K = np.repeat(np.arange(6), lengths_S)
    steps = JudgedSteps(
        ids=tuple(map(str, range(len(solution_K)))),
        truth_K=np.ones(len(solution_K), np.int64),
        num_classes=2,
        problem_K=solution_K,
        solution_K=solution_K,
        first_error_S=first_S,
        num_problems=6,
    )
    best = 0.0
    for share in np.linspace(0.1, 0.5, 9):
        hits = np.zeros(6)
        for _ in range(1000):
            for one, (first, length) in enumerate(zip(first_S, lengths_S, strict=True)):
                (flagged,) = np.nonzero(random.random(length) < share)
                hits[one] += (flagged[0] if len(flagged) else -1) == first
        a, b = hits[first_S >= 0].mean() / 1000, hits[first_S < 0].mean() / 1000
        best = max(best, 2 * a * b / (a + b))
    assert guessing_f1(steps) == pytest.approx(best, abs=0.03)


def test_the_analysis_shows_them(finished, capsys):
    study, store, results = finished
    document = analysis(results, study, store)
    assert len(document["steps"]) == 9
    json.dumps(document["steps"], allow_nan=False)
    print_analysis(results, study, store)
    assert "first-error F1" in capsys.readouterr().out


def test_thresholds_of_validation_are_those_that_give_the_best_f1_there(finished):
    study, store, _ = finished
    study = study.replace(methods=("naive",), pairs=study.pairs)
    for labels in validation_labels(study).values():
        run_stage(labels, store)
    (entry,) = by_step(study, store, tuned=True)
    assert entry.metric == TUNED
    ceiling = study.rows()[0].ceiling_score
    labels = validation_labels(study)[ceiling.id]
    steps = JudgedSteps.read(found(labels.examples, store))
    f1s = {
        threshold: steps.values(found(labels, store), threshold=threshold)[FIRST_ERROR].mean()
        for threshold in np.linspace(0.05, 0.95, 91)
    }
    best = _best_threshold(labels, store)
    assert steps.values(found(labels, store), threshold=best)[FIRST_ERROR].mean() >= max(f1s.values()) - 1e-9


def test_balanced_steps_have_no_first_errors(finished):
    study, store, _ = finished
    other = study.replace(test_mix="balanced", methods=("naive",), seeds=(0,))
    run(other, store)
    assert {entry.metric for entry in by_step(other, store)} == {ACCURACY, BALANCED}
