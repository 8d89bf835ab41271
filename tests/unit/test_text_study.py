"""Whole studies on texts and comparisons, with the smallest of models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reference.language import WORDS, save_tiny, some_texts
from surpass.engine.inline import Settings
from surpass.experiment import run
from surpass.report.terminal import plain_text
from surpass.results import Results
from surpass.store import Store
from surpass.study import Study
from surpass.tasks import find_task
from surpass.train.recipe import Recipe

RECIPE = Recipe(epochs=1, batch_size=8, learning_rate=1e-2)
SIZES = {"num_train": 16, "num_test": 12, "num_validation": 4}


GOOD, BAD = WORDS[-1], WORDS[-2]


def rows_of(num: int) -> list[dict[str, Any]]:
    """Texts whose class is told by their last word, two thirds of one class, and ten long ones."""
    rows = [
        {"text": f"{number % 9} {text} {GOOD if number % 3 else BAD}", "label": int(number % 3 > 0)}
        for number, text in enumerate(some_texts(num, seed=3))
    ]
    for row in rows[:10]:
        row["text"] = f"{row['text']} " * 30 + row["text"]
    return rows


def pairs_of(num: int) -> list[dict[str, str]]:
    texts = some_texts(3 * num, seed=5)
    return [
        {
            "prompt": texts[3 * number],
            "chosen": f" {texts[3 * number + 1]} {GOOD}",
            "rejected": f" {texts[3 * number + 2]} {BAD}",
        }
        for number in range(num)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for name, rows in (("texts", rows_of(120)), ("pairs", pairs_of(100))):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for number, kind in enumerate(("bert", "llama")):
        save_tiny(folder / kind, kind, seed=number)
    return folder


def study_of(folder: Path, task: str, *, weak: str = "bert", strong: str = "llama", **fields: Any) -> Study:
    pair = (f"dir:{folder / weak}(tokens=24)", f"dir:{folder / strong}(tokens=24)")
    settings = {"name": "study", "pairs": (pair,), "seeds": (0,), "recipe": RECIPE} | SIZES | fields
    return Study(task=find_task(task), **settings)


def test_an_encoder_supervises_a_causal_model(folder, tmp_path):
    methods = (
        "naive",
        "confidence",
        "early_stop_truth",
        "lora",
        "probe",
        "imitation",
        "zero_shot",
        "ensemble",
    )
    study = study_of(folder, f"text:{folder / 'texts.jsonl'}", methods=methods)
    assert study.stops_early
    store = Store(tmp_path / "store")
    results = run(study, store)
    assert {row["method"] for row in results.rows()} == set(methods)
    assert all(row["num_test"] == 12 for row in results.rows())
    assert run(study, store) == results


def test_causal_models_are_prompted_and_encoders_are_not(folder):
    methods = ("naive", "few_shot_weak", "generative")
    there = study_of(folder, f"text:{folder / 'texts.jsonl'}", methods=methods)
    assert there.left_out == ()
    other = study_of(folder, f"text:{folder / 'texts.jsonl'}", methods=methods, weak="llama", strong="bert")
    assert [left.method for left in other.left_out] == ["few_shot_weak", "generative"]


class TestNotes:
    def results(self, folder: Path, tmp_path: Path) -> Results:
        task = f"text(path={folder / 'texts.jsonl'}, balance=yes)"
        study = study_of(folder, task, adapter="frozen", num_train=20, num_test=None, early_stopping=False)
        return run(study, Store(tmp_path / "store"))

    def test_what_was_left_out_and_cut_stands_below_the_table(self, folder, tmp_path):
        results = self.results(folder, tmp_path)
        left_out = [note for note in results.notes if note.startswith("left out of text: ")]
        assert left_out
        page = plain_text(results)
        for note in results.notes:
            assert note.split(":")[0] in page
        results.to_json(tmp_path / "results.json")
        assert Results.from_json(tmp_path / "results.json").notes == results.notes

    def test_examples_that_are_gone_are_passed_over(self, folder, tmp_path):
        from shutil import rmtree

        first = self.results(folder, tmp_path)
        rmtree(tmp_path / "store" / "examples")
        again = self.results(folder, tmp_path)
        assert again.summary()[0].estimate == first.summary()[0].estimate
        assert not [note for note in again.notes if note.startswith("left out of")]


@pytest.mark.parametrize(("weak", "strong"), [("bert", "llama"), ("llama", "bert")])
def test_rewards(folder, tmp_path, weak, strong):
    methods = ("naive", "confidence", "early_stop_truth", "probe", "lora", "generative")
    task = f"preference:{folder / 'pairs.jsonl'}"
    study = study_of(folder, task, weak=weak, strong=strong, methods=methods, num_test=None)
    assert not study.stops_early
    results = run(study, Store(tmp_path / "store"))
    expected = set(methods) - ({"generative"} if strong == "bert" else set())
    assert {row["method"] for row in results.rows()} == expected
    for row in results.rows():
        for name in ("log_loss", "brier", "calibration_error", "auroc", "agreement"):
            assert row[name] == row[name], name


def test_a_reward_model_learns(folder, tmp_path):
    """The better text ends with another word, which any trained model can tell."""
    recipe = Recipe(epochs=12, batch_size=8, learning_rate=1e-2)
    task = f"preference:{folder / 'pairs.jsonl'}"
    study = study_of(folder, task, recipe=recipe, num_train=None, num_test=None)
    (row,) = run(study, Store(tmp_path / "store")).rows()
    assert row["weak_acc"] > 0.8
    assert row["ceiling_acc"] > 0.8


def test_saving_memory_changes_rounding_only(folder, tmp_path):
    study = study_of(folder, f"text:{folder / 'texts.jsonl'}", early_stopping=False)
    plain, saved = (
        run(study, Store(tmp_path / name), settings=Settings(save_memory=name == "saved")).rows()[0]
        for name in ("plain", "saved")
    )
    for name in ("weak_acc", "student_acc", "ceiling_acc", "log_loss"):
        assert saved[name] == pytest.approx(plain[name], abs=1e-3)
