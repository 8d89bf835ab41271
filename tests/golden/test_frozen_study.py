"""A study of heads on frozen states, carried out in every way that must not matter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from reference.language import save_tiny, write_texts
from surpass import Study, run
from surpass.labels import rows
from surpass.results import Results
from surpass.store import Store
from surpass.store.artifact import Artifact
from surpass.tasks import find_task
from surpass.train.recipe import Recipe

TESTS = Path(__file__).parent.parent
METHODS = ("naive", "confidence", "elr", "knn_filter", "early_stop_truth", "wise_ft")


def study_of(folder: Path, *, seeds: tuple[int, ...] = (0, 1)) -> Study:
    return Study(
        name="frozen",
        task=find_task(f"text:{folder / 'texts.jsonl'}"),
        pairs=((f"dir:{folder / 'distilbert'}", f"dir:{folder / 'llama'}"),),
        methods=METHODS,
        seeds=seeds,
        recipe=Recipe(epochs=2, batch_size=8, learning_rate=1e-2),
        adapter="frozen",
        num_train=40,
        num_test=30,
        num_validation=10,
    )


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder / "texts.jsonl", 400)
    for number, kind in enumerate(("distilbert", "llama")):
        save_tiny(folder / kind, kind, seed=number)
    return folder


@pytest.fixture(scope="module")
def stored(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    store = tmp_path_factory.mktemp("stored") / "store"
    return store, run(study_of(folder), str(store))


def digests(store: Path) -> dict[str, dict[str, str]]:
    """The sha256 of all files of a store, by stage and name."""
    return {
        artifact.id: {name: file["sha256"] for name, file in artifact.manifest["files"].items()}
        for artifact in Store(store).artifacts()
    }


def without_time(results: Results) -> list[dict[str, Any]]:
    return [
        {name: None if value != value else value for name, value in row.items() if name != "seconds"}
        for row in results.rows()
    ]


def alike(one: Results, other: Results, bound: float = 1e-6) -> None:
    """Accuracies are equal, and all else but for rounding."""
    for left, right in zip(without_time(one), without_time(other), strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            exact = name.endswith("_acc") or not isinstance(value, float)
            assert value == (right[name] if exact else pytest.approx(right[name], abs=bound)), name


def furthest(one: Path, other: Path) -> float:
    """The largest difference of a probability in the labels of two stores with the same stages."""
    stores = Store(one), Store(other)
    most = 0.0
    for artifact in stores[0].artifacts():
        if "labels.parquet" not in artifact.manifest["files"]:
            continue
        twin = stores[1].find(artifact.kind, artifact.id)
        assert twin is not None
        ours, theirs = (pq.read_table(each.file("labels.parquet")) for each in (artifact, twin))
        assert ours["id"].equals(theirs["id"])
        for left, right in zip(rows(ours), rows(theirs), strict=True):
            most = max(most, float(np.abs(left - right).max()))
    return most


def in_processes(number: int, folder: Path, store: Path) -> list[int]:
    """Run the study in so many processes at once; how many stages each has computed."""
    code = (
        "import sys, torch; from pathlib import Path; torch.set_num_threads(1)\n"
        f"sys.path.insert(0, {str(TESTS)!r}); sys.path.insert(0, {str(TESTS / 'golden')!r})\n"
        "from test_frozen_study import study_of\n"
        "from surpass.engine.inline import run; from surpass.store import Store\n"
        "from surpass.study import targets\n"
        f"rows = study_of(Path({str(folder)!r})).rows()\n"
        f"print(run([stage for row in rows for stage in targets(row)], Store({str(store)!r})))\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    children = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    said = [child.communicate(timeout=300)[0] for child in children]
    assert [child.returncode for child in children] == [0] * number
    return [int(text) for text in said]


def test_two_processes_on_one_store_give_the_same_digits(folder, stored, tmp_path):
    shared = in_processes(2, folder, tmp_path / "two")
    assert sum(shared) == len(digests(stored[0])), "nothing is computed twice"
    assert digests(tmp_path / "two").keys() == digests(stored[0]).keys()
    alike(run(study_of(folder), str(tmp_path / "two")), stored[1])
    assert furthest(stored[0], tmp_path / "two") < 1e-6


def test_two_new_processes_give_the_same_bytes(folder, tmp_path):
    """What a process has done before may place its matrices elsewhere, and products round by place."""
    for name in ("one", "two"):
        in_processes(1, folder, tmp_path / name)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def of_kind(store: Path, kind: str) -> list[Artifact]:
    return [artifact for artifact in Store(store).artifacts() if artifact.kind == kind]


@pytest.mark.parametrize(
    "lost", [("features",), ("fit", "stop", "blend"), ("label",), ("features", "fit", "stop")]
)
def test_recomputed_is_cached_but_for_rounding(folder, stored, tmp_path, lost):
    """With what lies behind, so that it is asked for; heads come back in the company they had."""
    shutil.copytree(stored[0], tmp_path / "store")
    for kind in (*lost, "label", "relabel", "score", "compare"):
        for artifact in of_kind(tmp_path / "store", kind):
            shutil.rmtree(artifact.path)
    alike(run(study_of(folder), str(tmp_path / "store")), stored[1])
    assert digests(tmp_path / "store").keys() <= digests(stored[0]).keys()
    assert furthest(tmp_path / "store", stored[0]) < 1e-6


@pytest.mark.parametrize("number", range(4))
def test_a_head_that_comes_back_alone_differs_by_rounding(folder, stored, tmp_path, number):
    shutil.copytree(stored[0], tmp_path / "store")
    fits = of_kind(tmp_path / "store", "fit")
    shutil.rmtree(fits[number * len(fits) // 4].path)
    for kind in ("label", "relabel", "score", "compare", "stop", "blend"):
        for artifact in of_kind(tmp_path / "store", kind):
            shutil.rmtree(artifact.path)
    alike(run(study_of(folder), str(tmp_path / "store")), stored[1])
    assert furthest(stored[0], tmp_path / "store") < 1e-6


def test_a_seed_alone_gives_the_same_digits(folder, stored, tmp_path):
    alone = run(study_of(folder, seeds=(1,)), str(tmp_path / "store"))
    kept = [row for row in without_time(stored[1]) if row["seed"] == 1]
    for left, right in zip(kept, without_time(alone), strict=True):
        for name in ("weak_acc", "student_acc", "ceiling_acc"):
            assert left[name] == right[name]
        assert left["log_loss"] == pytest.approx(right["log_loss"], abs=1e-5)
