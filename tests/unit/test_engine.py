from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reference.studies import Note, diamonds
from surpass.engine.inline import Settings, manifest_of, run
from surpass.engine.progress import Silent
from surpass.errors import DataError, MissingExtraError, Stopped, StoreError, SurpassError
from surpass.identity import execution_field
from surpass.stages import Context, Stage
from surpass.store import Store
from surpass.store.lease import acquire

TESTS = Path(__file__).parent.parent


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def ran(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def found(store: Store, stage: Stage) -> bool:
    return store.find(stage.kind, stage.id) is not None


class Watch(Silent):
    """Writes down what the engine tells."""

    def __init__(self, stages: Sequence[Stage], begin: Callable[[], None] = lambda: None) -> None:
        super().__init__(stages)
        self.stages, self.begin = list(stages), begin
        self.told: list[str] = []
        self.seconds: list[float] = []

    def __enter__(self) -> Watch:
        self.begin()
        return self

    def started(self, stage: Stage) -> Callable[[float], None]:
        self.told.append(f"started {stage.label}")
        return lambda share: self.told.append(f"{share:.0%}")

    def finished(self, stage: Stage, seconds: float) -> None:
        self.told.append(f"finished {stage.label}")
        self.seconds.append(seconds)

    def waiting(self, stage: Stage) -> None:
        self.told.append(f"waiting {stage.label}")


class Shown:
    """Makes a `Watch` and keeps it."""

    def __init__(self, begin: Callable[[], None] = lambda: None) -> None:
        self.begin = begin
        self.watch = Watch(())

    def __call__(self, stages: Sequence[Stage]) -> Watch:
        self.watch = Watch(stages, self.begin)
        return self.watch


@dataclass(frozen=True, kw_only=True)
class Failing(Note):
    """Fails after it wrote something; what it takes from is there."""

    kind: ClassVar[str] = "failing"
    error: type[Exception] = execution_field(DataError)

    def run(self, context: Context) -> dict[str, Any]:
        (context.out / "half").write_text("half")
        raise self.error("it went wrong")


class TestOrder:
    def test_each_stage_once_behind_what_it_takes_from(self, store, log):
        target = diamonds(str(log), depth=2)
        assert run([target, target, *target.before], store) == 7
        lines = ran(log)
        assert sorted(lines) == sorted(["0", "0left", "0right", "1", "1left", "1right", "2"])
        assert (
            lines.index("0")
            < lines.index("0left")
            < lines.index("1")
            < lines.index("1right")
            < lines.index("2")
        )
        artifact = store.find("note", target.id)
        assert artifact is not None
        inner = "1(0left(0()),0right(0()))"
        assert artifact.file("note.txt").read_text() == f"2(1left({inner}),1right({inner}))"

    def test_the_second_run_computes_nothing_and_shows_nothing(self, store, log):
        target = diamonds(str(log), depth=1)
        shown = Shown()
        assert run([target], store) == 4
        assert run([target], store, display=shown) == 0
        assert (len(ran(log)), shown.watch.stages, shown.watch.told) == (4, [], [])

    def test_nothing_to_do(self, store):
        assert run([], store) == 0

    def test_only_what_is_missing(self, store, log):
        small, large = diamonds(str(log), depth=1), diamonds(str(log), depth=2)
        run([small], store)
        assert run([large], store) == 3
        assert max(Counter(ran(log)).values()) == 1

    def test_what_is_told(self, store, log):
        shown = Shown()
        first = Note(name="a", log=str(log))
        run([Note(name="b", before=(first,), log=str(log))], store, display=shown)
        watch = shown.watch
        assert [stage.label for stage in watch.stages] == ["a", "b"]
        assert watch.told == ["started a", "100%", "finished a", "started b", "100%", "finished b"]
        assert min(watch.seconds) > 0

    def test_the_manifest(self, store, log):
        first = Note(name="a", log=str(log))
        second = Note(name="b", before=(first,), log=str(log))
        run([second], store)
        manifest = store.find("note", second.id).manifest  # type: ignore[union-attr]
        assert manifest["stage"] == second.identity == manifest_of(second)["stage"]
        assert manifest["upstream"] == [{"kind": "note", "id": first.id, "label": "a"}]
        assert manifest["said"] == {"name": "b"}
        assert manifest["seconds"] > 0
        assert {"surpass", "torch", "numpy", "python"} <= manifest["versions"].keys()

    def test_scratch_is_gone_after_success(self, store, log):
        run([Note(name="a", log=str(log))], store)
        assert not list((store.root / "work").glob("*"))
        assert not list((store.root / "tmp").glob("*"))


class TestFailure:
    def failing(self, log: Path, error: type[Exception] = DataError) -> Failing:
        return Failing(name="bad", before=(Note(name="good", log=str(log)),), error=error)

    @pytest.mark.parametrize("error", [DataError, StoreError, SurpassError, MissingExtraError])
    def test_the_message_names_the_stage_and_what_was_published_stays(self, store, log, error):
        bad = self.failing(log, error)
        with pytest.raises(error, match=r"^failing bad: it went wrong$") as caught:
            run([bad], store)
        assert type(caught.value) is error
        assert found(store, bad.before[0])
        assert not found(store, bad)
        assert not list((store.root / "tmp").glob("*"))
        assert acquire(store.leases, bad.id) is not None

    def test_our_own_mistakes_keep_their_type_and_say_where(self, store, log):
        with pytest.raises(ZeroDivisionError, match="it went wrong") as caught:
            run([self.failing(log, ZeroDivisionError)], store)
        assert "failing bad" in " ".join(caught.value.__notes__)

    def test_another_try_goes_on_from_there(self, store, log, monkeypatch):
        bad = self.failing(log)
        with pytest.raises(DataError):
            run([bad], store)
        monkeypatch.setattr(Failing, "run", lambda self, context: {})
        assert run([bad], store) == 1
        assert ran(log) == ["good"]

    def test_a_manifest_that_cannot_be_written_names_the_stage_too(self, store, log, monkeypatch):
        monkeypatch.setattr(Note, "run", lambda self, context: {"loss": float("nan")})
        with pytest.raises(SurpassError, match=r"^note a: .*nan"):
            run([Note(name="a")], store)

    def test_a_file_that_changed_after_the_id_was_made(self, store, log, monkeypatch):
        """Weights that are trained again during a run must not end up under the id of the old ones."""
        weights = log.with_name("weights")
        weights.write_text("old")
        monkeypatch.setattr(Note, "outside", lambda self: {"weights": weights.read_text()})
        stage = Note(name="a", log=str(log))
        with pytest.raises(DataError, match="note a: a file that it reads was changed meanwhile; run again"):
            run([stage], store, display=Shown(lambda: weights.write_text("new") and None))
        assert not found(store, stage)
        assert run([replace(stage)], store) == 1


class TestDamage:
    def damage(self, store: Store, stage: Stage) -> None:
        path = store.find(stage.kind, stage.id).file("note.txt")  # type: ignore[union-attr]
        path.write_bytes(path.read_bytes()[:-1])

    def test_a_damaged_target_is_computed_again(self, store, log):
        target = diamonds(str(log), depth=1)
        run([target], store)
        self.damage(store, target)
        assert run([target], store) == 1
        assert Counter(ran(log))["1"] == 2

    @pytest.mark.parametrize("also_below", [False, True])
    def test_damage_that_shows_only_when_it_is_read(self, store, log, also_below):
        """The graph was made when all was well; what is damaged behind its back is computed again."""
        below = Note(name="below", log=str(log))
        middle = Note(name="middle", before=(below,), log=str(log))
        target = Note(name="target", before=(middle,), log=str(log))
        run([middle], store)

        def harm() -> None:
            self.damage(store, middle)
            if also_below:
                self.damage(store, below)

        shown = Shown(harm)
        assert run([target], store, display=shown) == (3 if also_below else 2)
        again = ["below", "middle", "target"] if also_below else ["middle", "target"]
        assert ran(log) == ["below", "middle", *again]
        assert store.find("note", target.id).file("note.txt").read_text() == "target(middle(below()))"  # type: ignore[union-attr]

    def test_what_is_lost_while_it_is_read(self, store, log, monkeypatch):
        below = Note(name="below", log=str(log))

        def lose(self: Note, context: Context) -> dict[str, Any]:
            store.find("note", below.id).file("note.txt").unlink()  # type: ignore[union-attr]
            context.find(below)
            return {}

        run([below], store)
        monkeypatch.setattr(Note, "run", lose)
        with pytest.raises(SurpassError, match=r"note top: note below was lost while .*: run again"):
            run([Note(name="top", before=(below,))], store)


class TestStop:
    def test_before_anything(self, store, log):
        with pytest.raises(Stopped, match="run the same command again"):
            run([diamonds(str(log), depth=1)], store, settings=Settings(stop=lambda: True))
        assert ran(log) == []

    def test_between_stages(self, store, log):
        target = diamonds(str(log), depth=2)
        with pytest.raises(Stopped):
            run([target], store, settings=Settings(stop=lambda: len(ran(log)) == 3))
        assert len(ran(log)) == 3
        assert run([target], store) == 4
        assert len(ran(log)) == 7

    def test_within_a_stage_its_scratch_stays_for_the_next_run(self, store, monkeypatch):
        stage = Note(name="long")

        def half(self: Note, context: Context) -> dict[str, Any]:
            if not (context.work / "state").exists():
                (context.work / "state").write_text("half")
                assert context.stop()
                raise Stopped("stopped")
            return {"resumed": True}

        monkeypatch.setattr(Note, "run", half)
        asked: list[int] = []
        with pytest.raises(Stopped):
            run([stage], store, settings=Settings(stop=lambda: bool(asked.append(0)) or len(asked) > 1))
        assert not found(store, stage)
        assert run([stage], store) == 1
        assert store.find("note", stage.id).manifest["said"] == {"resumed": True}  # type: ignore[union-attr]

    def test_settings_reach_the_stage(self, store, monkeypatch):
        contexts: list[Context] = []
        monkeypatch.setattr(Note, "run", lambda self, context: contexts.append(context) or {})
        run([Note(name="a")], store, settings=Settings(checkpoint_seconds=7, micro_batch=3))
        assert (contexts[0].checkpoint_seconds, contexts[0].micro_batch) == (7, 3)
        assert contexts[0].out.parent.parent == store.root / "tmp"


class TestOthers:
    @pytest.fixture
    def background(self) -> Iterator[Callable[[Callable[[], Any]], threading.Thread]]:
        threads: list[threading.Thread] = []

        def start(work: Callable[[], Any]) -> threading.Thread:
            threads.append(threading.Thread(target=work))
            threads[-1].start()
            return threads[-1]

        yield start
        for thread in threads:
            thread.join(20)

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)

    def test_what_another_process_computes_is_waited_for_and_taken(self, store, log, background):
        below = Note(name="below", log=str(log))
        target, aside = Note(name="target", before=(below,), log=str(log)), Note(name="aside", log=str(log))
        lease = acquire(store.leases, below.id)
        assert lease is not None
        shown, counts = Shown(), []
        thread = background(lambda: counts.append(run([target, aside], store, display=shown)))
        self.until(lambda: "waiting below" in shown.watch.told)
        assert ran(log) == ["aside"], "what needs nobody else goes first"
        with store.draft("note", below.id, "below") as draft:
            (draft.path / "note.txt").write_text("theirs")
            draft.publish(manifest_of(below))
        lease.release()
        thread.join(20)
        assert counts == [2]
        assert ran(log) == ["aside", "target"]
        assert store.find("note", target.id).file("note.txt").read_text() == "target(theirs)"  # type: ignore[union-attr]
        assert shown.watch.seconds.count(0.0) == 1

    def test_one_that_gives_up_leaves_it_to_us(self, store, log, background):
        stage = Note(name="a", log=str(log))
        lease = acquire(store.leases, stage.id)
        assert lease is not None
        shown = Shown()
        thread = background(lambda: run([stage], store, display=shown))
        self.until(lambda: "waiting a" in shown.watch.told)
        lease.release()
        thread.join(20)
        assert ran(log) == ["a"]

    def test_waiting_can_be_stopped(self, store, log):
        stage = Note(name="a", log=str(log))
        lease = acquire(store.leases, stage.id)
        assert lease is not None
        shown = Shown()
        settings = Settings(stop=lambda: "waiting a" in shown.watch.told)
        with lease, pytest.raises(Stopped):
            run([stage], store, settings=settings, display=shown)

    def test_two_threads_compute_nothing_twice(self, store, log, background):
        target = diamonds(str(log), depth=3, seconds=0.01)
        counts: list[int] = []
        threads = [
            background(lambda: counts.append(run([replace(target)], Store(store.root)))) for _ in range(2)
        ]
        for thread in threads:
            thread.join(20)
        assert sum(counts) == len(ran(log)) == len(set(ran(log))) == 10

    def test_two_processes_compute_nothing_twice(self, store, log):
        target = diamonds(str(log), depth=4, seconds=0.05)
        code = (
            "from reference.studies import diamonds; from surpass.engine.inline import run; "
            "from surpass.store import Store; import sys; "
            f"print(run([diamonds({str(log)!r}, depth=4, seconds=0.05)], Store({str(store.root)!r})))"
        )
        environment = os.environ | {"PYTHONPATH": str(TESTS)}
        others = [
            subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        own = run([target], store)
        counts = [int(other.communicate(timeout=60)[0]) for other in others]
        assert own + sum(counts) == len(ran(log)) == len(set(ran(log))) == 13
        assert store.verify() == []
