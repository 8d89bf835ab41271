"""What is measured of the overhead, in numbers so small that they say nothing; and what keeps it low."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from surpass import labels as lb
from surpass.engine.inline import run
from surpass.running.scoring import _Recent
from surpass.store import Store
from surpass.store.usage import usage

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_trivial_stages_are_planned_and_run(tmp_path):
    planned, ran = import_module("overhead").graph_cost(tmp_path, 20)
    assert 0 < planned.value < ran.value
    store = Store(tmp_path / "graph")
    assert len(list(store.artifacts())) == 21
    assert store.verify() == []
    assert not list((store.root / "tmp").iterdir())
    assert not (store.root / "work").exists(), "no stage asked for scratch"


def test_what_is_listed_is_as_an_engine_publishes_it(tmp_path):
    overhead, stages = import_module("overhead"), import_module("overhead_stages")
    store = Store(tmp_path / "store")
    overhead._publish(store, 5)
    assert usage(store).kinds["trivial"].number == 5
    assert run(stages.fan(5), store) == 0


@pytest.mark.parametrize(("sweep", "stages"), [("trivial", 301), ("planted", 321)])
def test_a_sweep_has_as_many_stages_as_asked_for_at_least(sweep, stages):
    """And its memory is its own, however large the process was that started it."""
    command = [sys.executable, str(BENCHMARKS / "overhead_sweep.py"), sweep, "300"]
    large = np.ones(1 << 27)
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert found["stages"] == stages
    assert 0 < found["gigabytes_before"] <= found["peak_gigabytes"] < large.nbytes / 1e9


class Piece(NamedTuple):
    """Something of a size."""

    name: str
    nbytes: int


def test_what_was_read_last_is_kept_up_to_a_bound():
    recent, made = _Recent(100), []

    def ask(name: str, nbytes: int = 40) -> Piece:
        def make() -> Piece:
            made.append(name)
            return Piece(name, nbytes)

        return recent.get(name, make)

    assert ask("a") is ask("a")
    ask("b")
    ask("a")  # now b is the oldest
    ask("c")
    ask("a")
    assert made == ["a", "b", "c"]
    ask("b")
    assert made == ["a", "b", "c", "b"]
    assert ask("large", 1000).nbytes == 1000
    ask("large", 1000)
    assert made[4:] == ["large", "large"]


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (3, 2, 4, 3)])
def test_agreement_is_the_same_for_equal_and_unequal_numbers_of_candidates(sizes):
    rng = np.random.default_rng(0)
    ids = [f"e{number}" for number in range(40)]
    counts = [sizes[number % 4] for number in range(40)]
    left, right = (
        lb.label_table(ids, [rng.dirichlet(np.ones(count)).astype(np.float32) for count in counts])
        for _ in "lr"
    )
    slow = [a.argmax() == b.argmax() for a, b in zip(lb.rows(left), lb.rows(right), strict=True)]
    assert lb.agreement(left, right, lambda *_: False).tolist() == slow
    assert 0 < sum(slow) < 40
