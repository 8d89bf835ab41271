"""The ray engine on a cluster of two nodes, which are raylets of this machine, and how it is not needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from test_pool import Watch, digests

from reference.faults import (
    Deadly,
    Joined,
    Long,
    LongTraining,
    Raising,
    Surroundings,
    TorchSurroundings,
    lines,
)
from reference.studies import Note, diamonds
from surpass.engine import inline, ray_session, ray_tasks
from surpass.engine.engines import find_engine
from surpass.engine.progress import Silent
from surpass.engine.ray_session import Session
from surpass.engine.work import Settings
from surpass.errors import ConfigError, Stopped, SurpassError
from surpass.stages import Stage
from surpass.store import Store

ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "5" * 64,
}


class Nodes(NamedTuple):
    """A cluster: where it is, and the raylets of its nodes; the second has a GPU, as far as Ray knows."""

    cluster: Any
    first: Any
    second: Any

    def settings(self, **more: Any) -> Settings:
        return Settings(**{"address": self.cluster.address, "workers": 2} | more)

    def raylets(self) -> list[int]:
        return [node.all_processes["raylet"][0].process.pid for node in (self.first, self.second)]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    folder = tempfile.mkdtemp(prefix="ray-")
    before = {name: os.environ.get(name) for name in (*ENVIRONMENT, "RAY_TMPDIR")}
    os.environ.update(ENVIRONMENT | {"RAY_TMPDIR": folder})
    try:
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            yield Nodes(cluster, cluster.head_node, cluster.add_node(num_cpus=1, num_gpus=1))
        finally:
            cluster.shutdown()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="class")
def connected(nodes) -> Iterator[Nodes]:
    """One connection for several runs, as in a notebook."""
    session = Session(nodes.settings())
    yield nodes
    session.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


@pytest.fixture
def watch() -> Watch:
    return Watch()


def said(store: Store, stage: Stage) -> dict[str, Any]:
    artifact = store.find(stage.kind, stage.id)
    assert artifact is not None
    said: dict[str, Any] = artifact.manifest["said"]
    return said


def run(targets: Sequence[Stage], store: Store, nodes: Nodes, **more: Any) -> int:
    display = more.pop("display", lambda _: Silent())
    return ray_tasks.run(targets, store, settings=nodes.settings(**more), display=display)


class TestTwoNodes:
    def test_each_stage_goes_where_there_is_what_it_needs(self, connected, store):
        stages = [*(Surroundings(name=str(n), seconds=1.0) for n in range(2)), TorchSurroundings(name="gpu")]
        assert run(stages, store, connected) == 3
        *plain, gpu = (said(store, stage) for stage in stages)
        assert {each["parent"] for each in plain} == set(connected.raylets())
        assert gpu["parent"] == connected.raylets()[1]
        assert gpu["threads"] == 1
        assert {each["OMP_NUM_THREADS"] for each in (*plain, gpu)} == {"1"}

    def test_the_same_as_inline(self, connected, store, log, tmp_path, watch):
        target = diamonds(log, depth=3)
        assert run([target, target], store, connected, display=watch) == 10
        assert (watch.computed, watch.workers) == (10, 2)
        assert sorted(lines(log)) == sorted(set(lines(log)))
        assert run([target], store, connected) == 0
        other = Store(tmp_path / "inline")
        inline.run([target], other)
        assert digests(store) == digests(other)
        assert store.verify() == []

    def test_stages_that_fail_and_others_that_go_on(self, connected, store, log, watch):
        bad, joined = Raising(name="bad", mistake=True), [Joined(name=str(n), log=log) for n in range(3)]
        with pytest.raises(
            SurpassError, match=r"ZeroDivisionError: a mistake; .*engine=inline.*; log: "
        ) as it:
            run([bad, *joined, diamonds(log, depth=1)], store, connected, display=watch)
        assert watch.tally() == "7 stages computed, 1 failed"
        text = Path(str(it.value).rpartition("log: ")[2]).read_text()
        assert "said before it failed" in text
        assert 'in run\n    raise ZeroDivisionError("a mistake")' in text

    @pytest.mark.parametrize("interrupts", [True, False])
    def test_what_runs_is_saved_when_it_is_stopped(self, connected, store, log, monkeypatch, interrupts):
        if not interrupts:  # on a busy machine some of them are lost
            monkeypatch.setattr("ray.cancel", lambda *_, **__: None)
        stage = Long(name="long", log=log, steps=3000)
        settings = connected.settings(stop=lambda: len(lines(log)) == 1)
        with pytest.raises(Stopped, match="run the same command again"):
            ray_tasks.run([stage, Note(name="later", before=(stage,), log=log)], store, settings=settings)
        assert len(list((store.root / "work").glob("*/state"))) == 1
        assert run([replace(stage, steps=1)], store, connected) == 1
        assert lines(log) == ["long-from-0", "long-from-1", "long"]

    def test_a_worker_that_dies_is_replaced(self, connected, store, log, watch):
        deadly = Deadly(name="deadly", log=log, times=2)
        assert run([deadly], store, connected, display=watch) == 1
        notes = [text for text in watch.told if text.startswith("a worker died (")]
        assert [text.rpartition("at deadly deadly; trying again ")[2] for text in notes] == [
            "(2 of 3)",
            "(3 of 3)",
        ]

    def test_a_store_that_only_the_driver_sees(self, connected, store, log, monkeypatch):
        monkeypatch.setattr(store, "where", "/nowhere/store")
        with pytest.raises(
            SurpassError, match="sees no store at /nowhere/store: name a folder that all machines"
        ):
            run([Note(name="a", log=log)], store, connected)


@pytest.mark.timeout(120)
def test_a_node_that_is_lost(nodes, store, log):
    """By address; the last with the cluster."""
    stage = LongTraining(name="long", log=log, steps=150)
    both = [nodes.second, nodes.cluster.add_node(num_cpus=1, num_gpus=1)]

    class Lose(Watch):
        def started(self, stage: Stage) -> Any:
            if not self.told:
                losing.start()
            return super().started(stage)

    losing = threading.Thread(
        target=lambda: nodes.cluster.remove_node(where_it_is(both), allow_graceful=False)
    )
    watch = Lose()
    assert run([stage], store, nodes, display=watch) == 1
    losing.join()
    assert "a worker was lost with its machine at long_training long; trying again (2 of 3)" in watch.told
    assert [line for line in lines(log) if "from" not in line] == ["long"]
    assert store.find(stage.kind, stage.id) is not None


def where_it_is(nodes: Sequence[Any]) -> Any:
    """The node that has a process at work on a stage."""
    for node in nodes:
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        if any("long_training long" in "".join(child.cmdline()) for child in raylet.children()):
            return node
    raise AssertionError("it is nowhere")


class TestWithoutRay:
    def test_what_to_install(self, store, log, monkeypatch):
        monkeypatch.setattr(ray_session, "find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=r"engine ray needs Ray: pip install 'surpass\[ray\]'"):
            ray_tasks.run([Note(name="a", log=log)], store)

    def test_nothing_to_do_needs_none(self, store, monkeypatch):
        monkeypatch.setattr(ray_session, "find_spec", lambda name: None)
        assert ray_tasks.run([], store) == 0

    def test_it_is_not_imported(self):
        code = (
            "import sys, surpass.cli, surpass.experiment, surpass.doctor\n"
            "from surpass.engine.engines import ENGINES, find_engine\n"
            "assert [find_engine(name) for name in ENGINES]\n"
            "print({'ray', 'submitit'} & set(sys.modules))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "set()\n"


class TestAddresses:
    @pytest.mark.parametrize(
        ("address", "message"),
        [
            ("127.0.0.1:9", r"no Ray cluster at address=127\.0\.0\.1:9: .*refused"),
            ("ray://127.0.0.1:9", "is of Ray's client, .*start Surpass on a machine of the cluster"),
        ],
    )
    def test_where_nothing_is(self, store, log, address, message):
        before = dict(os.environ)
        with pytest.raises(ConfigError, match=message):
            ray_tasks.run([Note(name="a", log=log)], store, settings=Settings(address=address))
        assert dict(os.environ) == before

    def test_they_say_ray(self):
        assert find_engine(None, Settings(address="auto", workers=3)) is ray_tasks.run
        with pytest.raises(
            ConfigError, match="address=auto is for engine ray, got engine pool; leave one out"
        ):
            find_engine("pool", Settings(address="auto"))
