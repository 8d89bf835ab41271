"""The pool: what inline gives, whatever happens to workers, drivers and stages."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reference.faults import Deadly, Joined, Long, Raising, Surroundings, TorchSurroundings, lines
from reference.studies import Note, diamonds
from surpass import experiment
from surpass.engine import crew, inline, pool
from surpass.engine.crew import share_of, total_threads
from surpass.engine.engines import ENGINES, find_engine
from surpass.engine.progress import Silent
from surpass.engine.work import Settings
from surpass.errors import ConfigError, DataError, Stopped, SurpassError
from surpass.recipes import find_recipe
from surpass.stages import Stage
from surpass.store import Store
from surpass.store.lease import acquire

TESTS = Path(__file__).parent.parent
Engine = Callable[..., int]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def run(targets: Sequence[Stage], store: Store, *, workers: int = 2, **more: Any) -> int:
    display = more.pop("display", lambda _: Silent())
    return pool.run(targets, store, settings=Settings(workers=workers, **more), display=display)


def found(store: Store, stage: Stage) -> bool:
    return store.find(stage.kind, stage.id) is not None


def digests(store: Store) -> dict[str, Any]:
    return {a.id: {n: f["sha256"] for n, f in a.manifest["files"].items()} for a in store.artifacts()}


class Watch(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def __call__(self, stages: Sequence[Stage]) -> Watch:
        self.count = len(stages)
        return self

    def started(self, stage: Stage) -> Callable[[float], None]:
        self.told.append(f"started {stage.label}")
        return lambda share: self.told.append(f"{stage.label} {share:.0%}")

    def finished(self, stage: Stage, seconds: float) -> None:
        super().finished(stage, seconds)
        self.told.append(f"finished {stage.label}")

    def failed(self, stage: Stage, reason: str, dropped: Sequence[Stage]) -> None:
        super().failed(stage, reason, dropped)
        self.told.append(f"failed {stage.label}")

    def waiting(self, stage: Stage) -> None:
        self.told.append(f"waiting {stage.label}")

    def note(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture
def watch() -> Watch:
    return Watch()


class TestSameAsInline:
    @pytest.mark.parametrize("workers", [1, 2, 4])
    def test_diamonds(self, store, log, tmp_path, workers, watch):
        target = diamonds(log, depth=3)
        assert run([target, target], store, workers=workers, display=watch) == 10
        assert max(Counter(lines(log)).values()) == 1
        assert (watch.computed, watch.workers) == (10, workers)
        assert run([target], store, workers=workers) == 0
        other = Store(tmp_path / "inline")
        inline.run([target], other)
        assert digests(store) == digests(other)
        assert store.verify() == []
        assert not list((store.root / "work").glob("*"))

    def test_a_planted_study_with_1_2_and_4_workers(self, tmp_path):
        study = find_recipe("planted").replace(seeds=(0, 1), num_train=64, num_test=64)
        alone = experiment.run(study, str(tmp_path / "inline"), settings=Settings(threads=1))
        expected = digests(Store(tmp_path / "inline"))
        for workers in (1, 2, 4):
            folder = str(tmp_path / str(workers))
            results = experiment.run(study, folder, workers=workers, settings=Settings(threads=workers))
            assert digests(Store(folder)) == expected
            assert [each.estimate for each in results.summary()] == [
                each.estimate for each in alone.summary()
            ]

    def test_nothing_to_do_starts_nobody(self, store, monkeypatch):
        monkeypatch.setattr(pool, "Process", None)
        assert run([], store) == 0

    def test_no_worker_more_than_stages(self, store, log):
        assert run([Surroundings(name="a")], store, workers=50) == 1

    def test_what_another_holds_is_waited_for(self, store, log, watch):
        mine, theirs = Note(name="mine", log=log), Note(name="theirs", log=log)
        lease = acquire(store.leases, theirs.id)
        assert lease is not None
        settings = Settings(workers=2, stop=lambda: "waiting theirs" in watch.told and not lease.release())
        with pytest.raises(Stopped):
            pool.run([mine, theirs], store, settings=settings, display=watch)
        assert found(store, mine)
        assert run([mine, theirs], store) == 1


class TestShares:
    def test_each_worker_has_its_part(self, store, log, monkeypatch):
        monkeypatch.delenv("SURPASS_DEVICE", raising=False)
        monkeypatch.setattr(pool, "num_devices", lambda: 2)
        stages = [(TorchSurroundings if n == 0 else Surroundings)(name=str(n), seconds=0.5) for n in range(4)]
        run(stages, store, workers=2, threads=6)
        said = [store.find(stage.kind, stage.id).manifest["said"] for stage in stages]  # type: ignore[union-attr]
        assert len({each["pid"] for each in said}) == 2
        assert {each["parent"] for each in said} == {os.getpid()}
        assert {each["OMP_NUM_THREADS"] for each in said} == {"3"}
        assert {each["SURPASS_DEVICE"] for each in said} == {"cuda:0", "cuda:1"}
        assert said[0]["threads"] == 3

    def test_total(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        assert (total_threads(Settings()), total_threads(Settings(threads=3))) == (7, 3)
        monkeypatch.setenv("OMP_NUM_THREADS", "")
        assert total_threads(Settings()) == len(os.sched_getaffinity(0))

    def test_devices(self, monkeypatch):
        assert "SURPASS_DEVICE" not in share_of(0, threads=1, devices=0)
        assert [share_of(n, threads=1, devices=2)["SURPASS_DEVICE"] for n in range(3)] == [
            "cuda:0",
            "cuda:1",
            "cuda:0",
        ]
        monkeypatch.setenv("SURPASS_DEVICE", "cpu")
        assert crew.num_devices() == 0

    @pytest.mark.parametrize("workers", [0, -1])
    def test_how_many(self, store, log, workers):
        with pytest.raises(ConfigError, match=f"workers={workers} must be at least 1"):
            run([Note(name="a", log=log)], store, workers=workers)


class TestEngines:
    def test_by_name(self):
        assert find_engine(None) is find_engine("inline") is inline.run
        three = Settings(workers=3)
        assert find_engine("pool") is find_engine(None, three) is find_engine("pool", three) is pool.run
        for name in ENGINES:
            assert callable(find_engine(name))

    def test_others(self):
        with pytest.raises(ConfigError, match="no engine 'dask'; choose from auto, inline, pool, ray, slurm"):
            find_engine("dask")
        with pytest.raises(ConfigError, match="inline takes no workers, got workers=2"):
            find_engine("inline", Settings(workers=2))


@pytest.mark.parametrize("engine", [inline.run, pool.run])
class TestFailure:
    def test_others_go_on(self, store, log, engine: Engine, watch):
        bad = Raising(name="bad", before=(Note(name="first", log=log),))
        needs_it = Note(name="top", before=(Note(name="above", before=(bad,)),))
        good = Note(name="good", before=(Note(name="later", log=log),), log=log)
        with pytest.raises(DataError, match=r"^raising bad: it went wrong$"):
            engine([needs_it, good], store, display=watch)
        assert sorted(lines(log)) == ["first", "good", "later"]
        assert (watch.failures, watch.dropped) == (1, 2)
        assert watch.tally() == "3 stages computed, 1 failed, 2 that need them left"
        assert not list((store.root / "tmp").glob("*"))

    def test_several_are_named(self, store, engine: Engine):
        bad = [Raising(name=f"bad{number}") for number in range(6)]
        with pytest.raises(DataError, match=r"it went wrong; failed too: raising bad.*, .* and 2 more$"):
            engine(bad, store)

    def test_in_a_group_each_is_tried_alone(self, store, log, engine: Engine, watch):
        stages = [Joined(name=str(number), log=log, fails=number == 1) for number in range(3)]
        with pytest.raises((SurpassError, ZeroDivisionError), match="one of them"):
            engine(stages, store, display=watch)
        assert [found(store, stage) for stage in stages] == [True, False, True]
        assert watch.told.count("failed 1") == watch.failures == 1


class TestMistakes:
    def test_the_log_has_the_traceback_and_what_was_said(self, store):
        bad = Raising(name="bad", mistake=True)
        with pytest.raises(
            SurpassError, match=r"ZeroDivisionError: a mistake; .*engine=inline.*; log: "
        ) as caught:
            run([bad], store)
        text = Path(str(caught.value).rpartition("log: ")[2]).read_text()
        assert "said before it failed" in text
        assert 'in run\n    raise ZeroDivisionError("a mistake")' in text
        assert f"while computing raising bad ({bad.id})" in text

    def test_a_stage_that_cannot_be_sent(self, store):
        @dataclass(frozen=True, kw_only=True)
        class Here(Note):
            pass

        with pytest.raises(
            SurpassError, match=r"cannot be sent to workers .*Here.*: define their classes in a module"
        ):
            run([Here(name="a")], store)

    def test_workers_that_do_not_start(self, store, log, monkeypatch):
        monkeypatch.setattr(pool, "_START", "import os; os._exit(3)")
        with pytest.raises(SurpassError, match=r"workers end as soon as they start: .*ended with code 3"):
            run([Note(name="a", log=log)], store)


class TestDeath:
    def test_it_is_tried_again(self, store, log, watch):
        deadly = Deadly(name="deadly", log=log, times=2)
        assert run([deadly, diamonds(log, depth=2)], store, display=watch) == 8
        for number in (2, 3):
            what = "a worker was killed by SIGKILL (out of memory?) at deadly deadly"
            assert f"{what}; trying again ({number} of 3)" in watch.told
        assert found(store, deadly)

    def test_but_not_for_ever(self, store, log):
        deadly = Deadly(name="deadly", log=log, times=9)
        top, other = Note(name="top", before=(deadly,), log=log), diamonds(log, depth=2, seconds=0.1)
        what = (
            r"deadly deadly: 3 workers died of it, .*killed by SIGKILL.*run again with engine=inline.*; log: "
        )
        with pytest.raises(SurpassError, match=what) as caught:
            run([top, other], store)
        assert found(store, other)
        assert lines(log).count("deadly-dies") == 3
        assert "last words" in Path(str(caught.value).rpartition("log: ")[2]).read_text()

    def test_the_culprit_of_a_group_is_found(self, store, log):
        stages = [Joined(name=str(number), log=log, deadly=number == 3) for number in range(6)]
        with pytest.raises(SurpassError, match="joined 3: 3 workers died of it"):
            run(stages, store, workers=1)
        assert [found(store, stage) for stage in stages] == [True, True, True, False, True, True]

    def test_a_worker_that_is_asked_to_end_saves_first(self, store, log):
        stage = Long(name="long", log=log, steps=40)

        class Ask(Watch):
            def started(self, stage: Stage) -> Callable[[float], None]:
                if not self.told:
                    time.sleep(0.2)
                    os.kill(workers_of(os.getpid())[0], signal.SIGTERM)
                return super().started(stage)

        assert run([stage], store, display=Ask()) == 1
        assert lines(log) == ["long-from-0", "long-from-1", "long"]


class TestTogether:
    def test_once_nothing_can_be_added(self, store, log):
        slow = Note(name="slow", log=log, seconds=0.5)
        stages = [
            *(Joined(name=str(n), log=log) for n in range(3)),
            Joined(name="last", before=(slow,), log=log),
        ]
        run(stages, store)
        assert [line for line in lines(log) if "group" in line] == ["group-of-4"]

    def test_what_adds_nothing_is_not_waited_for(self, store, log):
        run([Joined(name="a", log=log), Note(name="slow", log=log, seconds=1.0)], store)
        assert lines(log) == ["group-of-1", "a", "slow"]

    def test_many_are_cut(self, store, log):
        run([Joined(name=str(number), log=log) for number in range(40)], store)
        assert sorted(line for line in lines(log) if "group" in line) == ["group-of-20"] * 2


class TestOrder:
    def test_the_longest_way_first(self, store, log):
        chain = Note(name="chain", log=log)
        for number in range(3):
            chain = Note(name=f"chain-{number}", before=(chain,), log=log)
        run([*(Note(name=f"short-{number}", log=log) for number in range(5)), chain], store, workers=1)
        assert lines(log)[:3] == ["chain", "chain-0", "chain-1"]


class TestStop:
    def test_what_runs_is_saved(self, store, log):
        stages = [Long(name=str(number), log=log, steps=60) for number in range(2)]
        settings = Settings(workers=2, stop=lambda: len(lines(log)) == 2)
        with pytest.raises(Stopped, match="run the same command again"):
            pool.run([*stages, Note(name="never", log=log)], store, settings=settings)
        assert len(list((store.root / "work").glob("*/state"))) == 2
        assert run(stages, store) == 2
        assert sorted(lines(log)) == ["0", "0-from-0", "0-from-1", "1", "1-from-0", "1-from-1"]

    def test_at_once(self, store, log):
        def stop() -> bool:
            if len(lines(log)) == 2:
                raise KeyboardInterrupt
            return False

        stages = [Long(name=str(number), log=log) for number in range(2)]
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            pool.run(stages, store, settings=Settings(workers=2, stop=stop))
        assert time.monotonic() - began < 10
        assert workers_of(os.getpid()) == []
        assert not list((store.root / "tmp").glob("*")), "they had the time to clean up"


def workers_of(driver: int) -> list[int]:
    """The living workers of a process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if (
                int(fields[1]) == driver
                and fields[0] != "Z"
                and b"engine.worker" in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
        except (OSError, IndexError):
            continue
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return value


class Driver:
    """A pool in a process of its own, on a graph of small stages that take a moment."""

    def __init__(self, store: Store, log: str, *, depth: int, seconds: float) -> None:
        code = (
            "from reference.studies import diamonds; from surpass.engine.pool import run\n"
            "from surpass.engine.work import Settings; from surpass.store import Store\n"
            f"top = diamonds({log!r}, depth={depth}, seconds={seconds})\n"
            f"print(run([top], Store({str(store.root)!r}), settings=Settings(workers=2)))\n"
        )
        path = os.environ | {"PYTHONPATH": str(TESTS)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=path,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def workers(self) -> list[int]:
        return workers_of(self.process.pid)

    def kill(self) -> None:
        workers = self.workers()
        self.process.kill()
        self.process.communicate()
        until(lambda: not any(map(is_alive, workers)), 6.0)


class TestKilledDrivers:
    def test_no_orphans_and_nothing_twice(self, store, log, tmp_path):
        driver = Driver(store, log, depth=4, seconds=0.2)
        until(lambda: len(digests(store)) >= 4)
        driver.kill()
        before = {artifact.id: artifact.manifest for artifact in store.artifacts()}
        target = diamonds(log, depth=4)
        assert run([target], store) == 13 - len(before)
        after = {artifact.id: artifact.manifest for artifact in store.artifacts()}
        assert before.items() <= after.items()
        other = Store(tmp_path / "inline")
        inline.run([target], other)
        assert digests(store) == digests(other)

    def test_two_drivers_compute_nothing_twice(self, store, log):
        drivers = [Driver(store, log, depth=4, seconds=0.1) for _ in range(2)]
        counts = [int(driver.process.communicate(timeout=60)[0]) for driver in drivers]
        assert sum(counts) == len(lines(log)) == len(set(lines(log))) == 13
        assert store.verify() == []
