"""Runs on a store behind a URL: workers, drivers on several machines, and looking after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processes import STUDY
from reference.faults import Long, lines
from reference.object_stores import BUCKET, environment, erring
from reference.studies import Note, diamonds
from surpass.engine import inline, pool
from surpass.engine.inline import manifest_of
from surpass.engine.work import Settings
from surpass.errors import ConfigError, Stopped, StoreError
from surpass.overrides import override
from surpass.recipes import find_recipe
from surpass.stages import Stage
from surpass.store import Store
from surpass.store.far_artifacts import key_of
from surpass.store.records import RECORD, recorded
from surpass.store.urls import UrlStore
from surpass.store.usage import Share, usage
from surpass.upkeep.explain import explain_one
from surpass.upkeep.planning import SCRATCH, Rules, plan
from surpass.upkeep.sweeping import sweep

TESTS = Path(__file__).parent.parent
DAY = 86400.0


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


@pytest.fixture
def in_s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A URL in S3, and a cache for whoever opens it by name."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SURPASS_CACHE", str(tmp_path / "cache"))
    return f"s3://{BUCKET}/{os.urandom(8).hex()}"


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., UrlStore]:
    """A machine of a name on a store in memory, with a cache of its own."""
    return lambda name, **more: UrlStore(f"memory://{tmp_path.name}/s", cache=tmp_path / name, **more)


def digests(store: Store) -> dict[str, Any]:
    return {a.id: {n: f["sha256"] for n, f in a.manifest["files"].items()} for a in store.artifacts()}


def test_workers_share_it(in_s3: str, log: str, tmp_path: Path) -> None:
    target = diamonds(log, depth=2)
    store = UrlStore(in_s3)
    assert pool.run([target], store, settings=Settings(workers=2)) == 7
    assert set(Counter(lines(log)).values()) == {1}
    other = Store(tmp_path / "folder")
    inline.run([target], other)
    assert digests(UrlStore(in_s3, cache=tmp_path / "b")) == digests(other)
    assert store.verify() == []
    assert store.busy() == []
    assert pool.run([target], UrlStore(in_s3, cache=tmp_path / "c"), settings=Settings(workers=2)) == 0


def test_workers_cannot_see_what_is_in_memory(machine, log: str) -> None:
    with pytest.raises(ConfigError, match="use engine=inline"):
        pool.run([diamonds(log, depth=1)], machine("a"), settings=Settings(workers=2))


DRIVER = """
import sys
from pathlib import Path
from reference.studies import diamonds
from surpass.engine.inline import run
from surpass.store.urls import UrlStore

url, cache, log, seconds = sys.argv[1:]
store = UrlStore(url, cache=Path(cache), stale_seconds=3.0, beat_seconds=0.5)
print(run([diamonds(log, depth=3, seconds=float(seconds))], store))
"""


def driver(url: str, cache: Path, log: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, url, str(cache), log, str(seconds)]
    path = os.environ | {"PYTHONPATH": str(TESTS)}
    return subprocess.Popen(command, env=path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_machines_compute_nothing_twice(in_s3: str, log: str, tmp_path: Path) -> None:
    drivers = [driver(in_s3, tmp_path / name, log, 0.1) for name in "ab"]
    ended = [each.communicate(timeout=300) for each in drivers]
    assert [each.returncode for each in drivers] == [0, 0], ended
    assert sum(int(out) for out, _ in ended) == 10
    assert set(Counter(lines(log)).values()) == {1}


def test_a_driver_that_is_killed_is_taken_over_from(in_s3: str, log: str, tmp_path: Path) -> None:
    first = driver(in_s3, tmp_path / "a", log, 0.3)
    deadline = time.monotonic() + 60
    while len(lines(log)) < 3 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    assert first.communicate()[1] == ""
    assert len(lines(log)) >= 3
    store = UrlStore(in_s3, cache=tmp_path / "b")
    complete = {artifact.id: artifact.manifest for artifact in store.artifacts()}
    assert complete
    inline.run([diamonds(log, depth=3)], store)
    now = {artifact.id: artifact.manifest for artifact in store.artifacts()}
    assert len(now) == 10
    assert complete.items() <= now.items()
    other = Store(tmp_path / "folder")
    inline.run([diamonds(log, depth=3)], other)
    assert digests(store) == digests(other)


def test_a_stage_that_is_stopped_goes_on_elsewhere(machine, log: str) -> None:
    stage = Long(name="long", log=log, steps=40)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 6

    with pytest.raises(Stopped):
        inline.run([stage], machine("a"), settings=Settings(stop=stop))
    assert inline.run([stage], machine("b")) == 1
    assert [line for line in lines(log) if "from" in line] == ["long-from-0", "long-from-1"]
    assert machine("c").objects.below("work") == {}


def test_the_command_line(
    in_s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command as on another machine, with an empty cache."""
    from surpass.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SURPASS_STORE", in_s3)

    def said(name: str, *command: str) -> Any:
        monkeypatch.setenv("SURPASS_CACHE", str(tmp_path / name))
        app([*command, "--json"], standalone_mode=False)
        out, progress = capsys.readouterr()
        return json.loads(out), progress

    first, _ = said("a", "run", *STUDY)
    again, progress = said("b", "run", *STUDY)
    assert again == first
    assert "nothing to compute" in progress
    brought = {path.parent.parent.name for path in (tmp_path / "b").rglob("*.json")}
    assert {"score", "compare"} <= brought
    assert list((tmp_path / "a").rglob("*.safetensors"))
    assert not list((tmp_path / "b").rglob("*.safetensors"))
    exported, _ = said("c", "store", "export", *STUDY, "--out", "x.tar")
    imported, _ = said("d", "store", "import", "x.tar", "--store", f"{in_s3}-other")
    assert (imported["new"], imported["records"]) == (exported["artifacts"], exported["records"])
    elsewhere, progress = said("e", "run", *STUDY, "--store", f"{in_s3}-other")
    assert elsewhere == first
    assert "nothing to compute" in progress
    planned, _ = said("f", "plan", *STUDY)
    assert {entry["state"] for entry in planned} == {"done"}
    assert said("f", "list")[0]["store"]["artifacts"]["fit"] == 3
    assert said("f", "store", "verify") == ([], "")
    assert said("f", "plan", *STUDY, "--store", f"{in_s3}-none")[0][0]["state"] == "to do"
    assert UrlStore(in_s3).objects.below("") != {}
    shown, _ = said("f", "store", "show-results", "chess", "--store", f"{in_s3}-other")
    assert shown["results"]["rows"] == first["rows"]


class TestUpkeep:
    @pytest.fixture
    def stages(self, machine, log: str) -> list[Stage]:
        found: list[Stage] = [Note(name=name, log=log) for name in ("one", "two", "three")]
        for stage in found:
            with machine("a").draft(stage.kind, stage.id, stage.label) as draft:
                (draft.path / "model.safetensors").write_bytes(b"w" * 1000)
                (draft.path / "curve.parquet").write_bytes(b"curve")
                draft.publish(manifest_of(stage) | {"seconds": 1.5, "versions": {}, "said": {}})
        return found

    def test_what_takes_room(self, machine, stages: list[Stage]) -> None:
        with machine("a").claim("f" * 64, []):
            (machine("a").work("f" * 64) / "state").write_bytes(b"s" * 50)
            (machine("w").work("f" * 64) / "state").write_bytes(b"s" * 50)
        store = machine("b")
        faults = erring(store.objects)
        found = usage(store, {stages[0].id}, largest=1)
        manifest = len(store.objects.read(key_of("note", stages[0].id)) or b"")
        assert found.kinds["note"].number == 3
        assert found.study == {"note": Share(1, 1005 + manifest)}
        assert [one.name for one in found.largest] == [f"one-{stages[0].id[:16]}"]
        assert faults.count("bring") == 0

    def test_what_is_no_longer_wanted_goes(self, machine, stages: list[Stage]) -> None:
        store = machine("b")
        rules = Rules(needed=frozenset({stages[0].id}))
        planned = plan(store, rules)
        assert {entry.id for entry in planned.goes} == {stages[1].id, stages[2].id}
        assert store.verify() == []
        swept = sweep(store, planned, rules)
        assert len(swept.gone) == 2
        fresh = machine("c")
        assert {artifact.id for artifact in fresh.artifacts()} == {stages[0].id}
        assert len(fresh.objects.below("files")) == 2
        assert fresh.verify() == []
        assert fresh.busy() == []

    def test_records_of_models_stay(self, machine, stages: list[Stage]) -> None:
        store = machine("b")
        rules = Rules(keep_results=True)
        swept = sweep(store, plan(store, rules), rules)
        assert len(swept.gone) == 3
        fresh = machine("c")
        record = recorded(fresh, "note", stages[0].id)
        assert record is not None
        assert record.file("curve.parquet").read_bytes() == b"curve"
        assert fresh.kinds() == [RECORD]

    def test_what_is_in_use_stays(self, machine, stages: list[Stage]) -> None:
        store = machine("b")
        rules = Rules(older_than=-1e6)
        planned = plan(store, rules)
        claim = machine("c").claim("f" * 64, [stages[0].id])
        assert claim is not None
        swept = sweep(store, planned, rules)
        assert [entry.id for entry in swept.stayed] == [stages[0].id]
        assert "reads it" in swept.stayed[0].reason
        found = machine("d").find("note", stages[0].id)
        assert found is not None
        assert [entry.id for entry in plan(store, rules).held] == [stages[0].id]
        claim.release()

    def test_old_scratch_goes(self, machine, stages: list[Stage]) -> None:
        for id in ("f" * 64, stages[0].id):
            with machine("a").claim(id, []) or pytest.fail("not to be had") as claim:
                (machine("a").root / "work" / id).mkdir()
                (machine("a").root / "work" / id / "state").write_bytes(b"s")
                assert claim
        store = machine("b")
        assert [(e.what, e.id) for e in plan(store, Rules()).goes] == [(SCRATCH, stages[0].id)]
        planned = plan(store, Rules(), now=time.time() + 2 * DAY)
        assert {e.id for e in planned.goes if e.what == SCRATCH} == {"f" * 64, stages[0].id}
        sweep(store, planned, Rules())
        assert store.objects.below("work") == {}

    def test_two_do_not_sweep_at_once(self, machine, stages: list[Stage]) -> None:
        claim = machine("a").claim("gc", ())
        assert claim is not None
        with pytest.raises(StoreError, match="another process removes"):
            sweep(machine("b"), plan(machine("b"), Rules()), Rules())
        claim.release()

    def test_why_a_stage_is_missed(self, tmp_path: Path, machine) -> None:
        study = override(find_recipe("chess"), STUDY[1:])
        examples = study.test_examples
        store = machine("a")
        with store.draft(examples.kind, examples.id, examples.label) as draft:
            draft.publish(manifest_of(examples))
        other = override(find_recipe("chess"), (*STUDY[1:], "num_test=50"))
        missed = explain_one(other, machine("b"), "chess-test-source-50-s0")[0]
        assert [(d.field, d.here, d.there) for d in missed.differences] == [("size", 50, 60)]
