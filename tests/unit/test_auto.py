"""The auto engine: who computes is decided by what is to do, and by what this machine has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reference.studies import Note
from surpass.engine import auto, inline, pool
from surpass.engine.auto import crosses, is_small, side_by_side, workers_for
from surpass.engine.engines import engine_of_command, find_engine
from surpass.engine.graph import outstanding
from surpass.engine.work import Settings
from surpass.errors import ConfigError
from surpass.identity import execution_field
from surpass.recipes.finding import find_study
from surpass.stages import Context, Fit, Stage
from surpass.store import Store
from surpass.store.opening import open_store
from surpass.study import targets


@dataclass(frozen=True, kw_only=True)
class Dear(Stage):
    """So many operations, behind others."""

    kind: ClassVar[str] = "dear"
    version: ClassVar[int] = 1

    name: str
    flops: float
    before: tuple[Stage, ...] = ()
    held: Any = execution_field(None)

    @property
    def label(self) -> str:
        return self.name

    @property
    def cost(self) -> float:
        return self.flops

    def run(self, context: Context) -> dict[str, Any]:
        (context.out / "empty.txt").touch()
        return {}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four processors, memory for many, no accelerator."""
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(auto, "num_devices", lambda: 0)
    monkeypatch.setattr(auto, "available", lambda: 64 * 10**9)


def of_study(*words: str) -> list[Stage]:
    return [stage for row in find_study(words[0], words[1:]).rows() for stage in targets(row)]


def dear(count: int, flops: float = 1e12) -> list[Stage]:
    return [Dear(name=str(number), flops=flops) for number in range(count)]


class TestWorkers:
    def test_the_quick_study(self, store, monkeypatch):
        assert workers_for(of_study("chess"), store, Settings()) == 4
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert workers_for(of_study("chess"), store, Settings()) == 2

    @pytest.mark.parametrize(
        "words",
        [
            ("chess", "pairs=1-2", "seeds=1", "num_train=64", "num_test=60"),
            ("planted", "seeds=2"),
        ],
    )
    def test_little_to_do(self, store, words):
        assert workers_for(of_study(*words), store, Settings()) is None

    def test_no_more_than_stages_at_a_time(self, store):
        assert workers_for(dear(3), store, Settings()) == 3
        assert workers_for(dear(40), store, Settings()) == 4

    def test_one_after_another(self, store):
        chain = [Dear(name="0", flops=1e12)]
        for number in range(1, 6):
            chain.append(Dear(name=str(number), flops=1e12, before=(chain[-1],)))
        assert workers_for(chain, store, Settings()) is None

    def test_what_is_there_does_not_count(self, store):
        stages = dear(3)
        inline.run(stages[:2], store)
        assert workers_for(stages, store, Settings()) is None

    @pytest.mark.parametrize("settings", [Settings(threads=4), Settings(mesh="data=2")])
    def test_where_something_else_was_asked_for(self, store, settings):
        assert workers_for(dear(8), store, settings) is None

    def test_one_thread(self, store, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert workers_for(dear(8), store, Settings()) is None

    def test_accelerators(self, store, monkeypatch):
        monkeypatch.setattr(auto, "num_devices", lambda: 2)
        assert workers_for(dear(8), store, Settings()) is None

    @pytest.mark.parametrize(("gigabytes", "workers"), [(0, None), (2, None), (3, 2), (5, 3), (64, 4)])
    def test_memory(self, store, monkeypatch, gigabytes, workers):
        monkeypatch.setattr(auto, "available", lambda: gigabytes * 10**9 or None)
        assert workers_for(dear(8), store, Settings()) == workers

    def test_a_store_in_memory(self):
        assert workers_for(dear(8), open_store("memory://auto"), Settings()) is None

    def test_what_other_processes_cannot_be_told(self, store):
        stuck = replace(dear(1)[0], name="stuck", held=lambda: None)
        assert workers_for([*dear(8), stuck], store, Settings()) is None


@pytest.mark.parametrize(
    ("flops", "expected"),
    [((1, 1), 2), ((4, 1), 1), ((1, 1, 1), 3), ((3, 2), 2), ((10, 10, 9), 2), ((), 0)],
)
def test_stages_at_a_time(flops, expected):
    stages = [Dear(name=str(place), flops=each * 1e12) for place, each in enumerate(flops)]
    assert side_by_side(outstanding(stages, lambda _: False)) == expected


def test_what_is_small(tmp_path):
    fits = {stage.model: stage for stage in of_everything("chess", "pairs=1-6") if isinstance(stage, Fit)}
    assert all(map(is_small, fits.values()))
    assert is_small(Note(name="a", log=""))
    frozen = [s for s in of_everything("chess", "adapter=frozen") if isinstance(s, Fit)]
    assert all(is_small(stage) for stage in frozen if stage.together is None)


def of_everything(*words: str) -> list[Stage]:
    return outstanding(of_study(*words), lambda _: False).to_do


def test_large_models_are_not_small(monkeypatch):
    from surpass.models.sources import resolve

    fit = next(stage for stage in of_everything("chess") if isinstance(stage, Fit))
    large = replace(resolve(fit.model), parameters=10**8)
    monkeypatch.setattr(auto, "resolve", lambda name: large)
    assert not is_small(fit)


def test_of_the_main_script():
    stage = Dear(name="a", flops=1e12, held="__main__")
    assert not crosses(outstanding([stage], lambda _: False))


class TestEngine:
    def test_who_computes(self, store, monkeypatch):
        asked = []
        monkeypatch.setattr(
            pool, "run", lambda targets, store, **more: asked.append(more["settings"].workers) or 7
        )
        assert auto.run(dear(8), store) == 7
        assert asked == [4]
        assert auto.run(dear(2, flops=1e6), store) == 2
        assert asked == [4]

    def test_default_of_the_command_line(self):
        assert engine_of_command(None, Settings()) == "auto"
        assert engine_of_command("inline", Settings()) == "inline"
        for asked in (
            Settings(workers=2),
            Settings(threads=2),
            Settings(mesh="data=2"),
        ):
            assert engine_of_command(None, asked) is None
        assert find_engine("auto") is auto.run
        with pytest.raises(ConfigError, match="auto takes no workers, got workers=2"):
            engine_of_command("auto", Settings(workers=2))
