from __future__ import annotations

import subprocess
import sys

import pytest

from surpass.data.catalog import DATA_SETS
from surpass.errors import ConfigError
from surpass.tasks import TASKS, find_task
from surpass.tasks.chess import ChessTask
from surpass.tasks.chess_text import ChessTextTask
from surpass.tasks.features import FeaturesTask
from surpass.tasks.generation import GenerationTask
from surpass.tasks.images import ImageTask
from surpass.tasks.planted import PlantedTask
from surpass.tasks.preference import PreferenceTask
from surpass.tasks.text import ChoiceTask, TextTask


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("chess", ChessTask()),
        ("planted(num_classes=3, separation=2)", PlantedTask(num_classes=3, separation=2.0)),
        ("sst2", ChoiceTask("sst2")),
        (" sciq( source=/data/sciq, split_seed=4 ) ", ChoiceTask("sciq", "/data/sciq", 4)),
        ("hh", PreferenceTask("hh")),
        ("ultrafeedback(source='a, b')", PreferenceTask("ultrafeedback", source="a, b")),
        ("gsm8k", GenerationTask("gsm8k")),
        ("text:my reviews (1).csv", TextTask("my reviews (1).csv")),
        ("text:C:/x.csv", TextTask("C:/x.csv")),
        ("text(path=x.csv, label=gold, balance=yes)", TextTask("x.csv", label="gold", balance="yes")),
        (r'text(path=x, text="{a}, \n{b}")', TextTask("x", text="{a}, \n{b}")),
        (r"text(path=x, text={a}\n{b})", TextTask("x", text=r"{a}\n{b}")),
        ("text(path=x, classes='no,yes', label=0)", TextTask("x", classes=("no", "yes"), label="0")),
        ("text(path=x, classes=(0, -1))", TextTask("x", classes=(0, -1))),
        ("features:x.parquet", FeaturesTask("x.parquet")),
        ("features(path=x, standardise=False)", FeaturesTask("x", standardise=False)),
        ("preference:p.jsonl", PreferenceTask(path="p.jsonl")),
        ("preference(path=p, chosen=good)", PreferenceTask(path="p", chosen="good")),
        ("generation:g.jsonl", GenerationTask(path="g.jsonl")),
        ("cifar10(source=/data/cifar)", ImageTask("cifar10", source="/data/cifar")),
        ("images:pictures.zip", ImageTask(path="pictures.zip")),
        (
            "images:pictures(label=y, attribute=place)",
            ImageTask(path="pictures", label="y", attribute="place"),
        ),
        ("chess-fen", ChessTextTask()),
        ("chess-pgn(path=games.pgn, min_elo=0)", ChessTextTask(form="pgn", path="games.pgn", min_elo=0)),
        ("chess-pgn:games.pgn", ChessTextTask(form="pgn", path="games.pgn")),
        ("surpass.tasks.planted:PlantedTask(num_features=8)", PlantedTask(num_features=8)),
    ],
)
def test_names(text, task):
    assert find_task(text) == task


def test_all_data_sets_and_all_tasks_have_a_name():
    for name in (*DATA_SETS, *TASKS):
        task = find_task(name)
        assert task.name == name
        assert task.parts == ("weak", "student", "validation", "test")
        assert task.num_classes in (2, None) or task.families == {"vision"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ss2", "no task 'ss2'; did you mean sst2"),
        (
            "ethics",
            r"did you mean ethics_justice or .*_deontology or .*_virtue or .*_utilitarianism\? a file of",
        ),
        ("elephant", "there are: chess, .*imagenet; a file of your own is text:FILE, preference:FILE"),
        ("sst2(sorce=x)", "task sst2 has no setting 'sorce'; did you mean source"),
        ("sst2(name=cola)", "task sst2 has no setting 'name'; it has source, split_seed"),
        ("text", r"task text needs path; write text\(path=\.\.\.\)"),
        ("text:", "names no task; write name or name"),
        ("my reviews.csv", "names no task; .*a file of your own is text:FILE"),
        ("other:reviews.csv", "names no task"),
        ("text(path=x, split_seed=many)", r"text\(split_seed=many\): 'many' must be a whole number"),
        ("planted(separation=far)", "'far' must be a float"),
        ("features(path=x, standardise=1)", "1 must be a bool"),
        ("text(x.csv)", "is no setting; write key=value"),
        (
            "text:x.csv(label=gold)",
            r"there is no file .*; with settings, write text\(path=x.csv, label=gold\)",
        ),
        ("text(path=x, classes=one)", "must be at least two"),
        (
            "preference",
            "no data set of preferences is called 'preference'; there are: hh, shp, ultrafeedback",
        ),
        ("json:loads", "task 'json:loads' is no frozen dataclass"),
        ("json:nothing", "no task 'json:nothing'"),
    ],
)
def test_says_what_there_is(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        find_task(text)
    assert "\n" not in str(caught.value)


def test_a_file_named_bare(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_text("")
    with pytest.raises(
        ConfigError, match=r"no task 'reviews.csv'; that is a file: a file of your own is text:FILE"
    ):
        find_task("reviews.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_task("text:~/reviews.csv").path == str(tmp_path / "reviews.csv")


def test_the_catalog_is_read_when_it_is_asked_for():
    code = "import sys, surpass.tasks; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "surpass.tasks" in loaded
    assert not {"surpass.data.catalog", "surpass.tasks.text", "chess", "torch"} & set(loaded)
