"""Where the time of a stage goes: every second once, and nothing of the stage is kept."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib import import_module
from threading import Thread

import pytest
import torch
from typer.testing import CliRunner

from reference.language import save_tiny, write_texts
from surpass.cli import app
from surpass.clock import ELSEWHERE, KINDS, Clock, running, spent
from surpass.errors import ConfigError
from surpass.profiling import SAID_HERE, profile, said_here
from surpass.recipes.finding import find_study
from surpass.store.opening import open_store

CHESS = ["chess", "pairs=1-2", "seeds=1", "num_train=64", "num_test=32", "epochs=1"]
PLANTED = ["planted", "seeds=1", "num_train=64", "num_test=32", "epochs=2"]


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at

    def go(self, seconds: float) -> None:
        self.at += seconds


class TestClock:
    def test_each_second_counts_once_for_the_innermost(self):
        hands = Hands()
        clock = Clock(hands)
        with running(clock):
            hands.go(1)
            with spent("forward"):
                hands.go(2)
                with spent("data"):
                    hands.go(4)
                with spent("forward"):
                    hands.go(8)
            with suppress(KeyError), spent("backward"):
                hands.go(16)
                raise KeyError
            hands.go(32)
        wanted = {ELSEWHERE: 33.0, "forward": 10.0, "data": 4.0, "backward": 16.0}
        assert clock.seconds == dict.fromkeys((*KINDS, ELSEWHERE), 0.0) | wanted
        assert sum(clock.seconds.values()) == hands.at
        assert {kind: count for kind, count in clock.calls.items() if count} == {
            "forward": 1,
            "data": 1,
            "backward": 1,
        }

    def test_within_evaluation_all_is_evaluation(self):
        hands = Hands()
        clock = Clock(hands)
        with running(clock), spent("evaluation"):
            with spent("forward"):
                hands.go(2)
            hands.go(1)
        assert clock.seconds["evaluation"] == 3.0
        assert clock.calls["evaluation"] == 1

    def test_what_counts_where_nothing_is_said(self):
        hands = Hands()
        clock = Clock(hands, "evaluation")
        with running(clock):
            hands.go(1)
            with spent("input/output"):
                hands.go(2)
        assert (clock.seconds["evaluation"], clock.seconds["input/output"]) == (1.0, 2.0)
        assert not clock.seconds[ELSEWHERE]

    def test_other_threads_do_not_count(self):
        hands = Hands()
        clock = Clock(hands)

        def work() -> None:
            with spent("backward"):
                hands.go(1)

        with running(clock), spent("forward"):
            thread = Thread(target=work)
            thread.start()
            thread.join()
        assert clock.seconds["forward"] == 1.0
        assert not clock.calls["backward"]

    def test_nobody_asks(self):
        clock = Clock(Hands())
        with running(clock):
            pass
        with spent("forward"):
            pass
        assert not any(clock.calls.values())


def test_functions_that_say_it_only_while_a_clock_runs():
    def of(name: str) -> object:
        module, _, path = name.partition(":")
        found = import_module(module)
        for each in path.split("."):
            found = getattr(found, each)
        return found

    assert set(SAID_HERE.values()) <= set(KINDS)
    plain = {name: of(name) for name in SAID_HERE}
    with said_here():
        assert all(of(name) is not function for name, function in plain.items())
    assert {name: of(name) for name in SAID_HERE} == plain


def test_what_a_stage_does_itself_is_a_kind():
    from surpass.stages import Compare, Examples, Fit, Score

    assert [stage.work for stage in (Examples, Score, Compare, Fit)] == [
        "data",
        "evaluation",
        "evaluation",
        ELSEWHERE,
    ]


def fits_of(words: list[str], kind: str = "fit") -> list[str]:
    from surpass.report.listing import plan_of

    study = find_study(words[0], words[1:])
    return [entry.id for entry in plan_of(study, "nowhere") if entry.kind == kind]


@pytest.mark.parametrize("words", [CHESS, PLANTED], ids=["chess", "planted"])
@pytest.mark.parametrize("kind", ["fit", "label"])
def test_a_table_and_the_same_as_data(words, kind, tmp_path):
    store = str(tmp_path / "store")
    id = fits_of(words, kind)[0]
    command = ["profile", id[:12], *words, "--store", store, "--threads", "1"]
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    said = json.loads(done.stdout)
    assert (said["kind"], said["id"]) == (kind, id)
    assert sum(each["seconds"] for each in said["spent"].values()) == pytest.approx(said["seconds"])
    assert said["spent"]["forward"]["calls"] > 0
    if kind == "fit":
        steps = said["said"]["num_steps"]
        for name in ("data", "backward", "optimizer"):
            assert said["spent"][name]["calls"] >= steps
    shown = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert all(name in shown for name in (*KINDS, ELSEWHERE, "seconds", "share"))
    assert all(len(line) <= 80 for line in shown.splitlines())
    kept = open_store(store)
    assert kept.find(kind, id) is None


def test_of_a_stop_evaluation_is_told_apart(tmp_path):
    write_texts(tmp_path / "texts.jsonl", 80)
    for number in range(2):
        save_tiny(tmp_path / str(number), "bert", seed=number)
    task = f"text:{tmp_path / 'texts.jsonl'}"
    study = find_study(
        "text-tuned",
        [
            f"task={task}",
            f"pairs=dir:{tmp_path / '0'}>dir:{tmp_path / '1'}",
            "seeds=1",
            "num_train=16",
            "num_test=16",
            "num_validation=4",
        ],
    )
    ids = [stage.id for row in study.rows() for stage in [row.student] if stage.kind == "stop"]
    found = profile(study, ids[0], open_store(str(tmp_path / "store")))
    assert found.calls["evaluation"] > 0
    assert found.seconds["evaluation"] > 0
    assert found.calls["backward"] == found.said["num_steps"]
    assert found.peak > 1e6


SAYS = {
    "examples": ("data", "input/output"),
    "features": ("data", "forward", "input/output"),
    "fit": ("data", "forward", "backward", "optimizer", "input/output"),
    "stop": ("data", "forward", "backward", "optimizer", "evaluation", "input/output"),
    "label": ("data", "forward", "input/output"),
    "score": ("input/output",),
}


def test_heads_and_passes(tmp_path):
    write_texts(tmp_path / "texts.jsonl", 160)
    for number in range(2):
        save_tiny(tmp_path / str(number), "bert", seed=number)
    words = [
        "text-small",
        f"task=text:{tmp_path / 'texts.jsonl'}",
        f"pairs=dir:{tmp_path / '0'}>dir:{tmp_path / '1'}",
        "seeds=1",
        "num_train=16",
        "num_test=16",
        "num_validation=4",
    ]
    study, store = find_study(words[0], words[1:]), open_store(str(tmp_path / "store"))
    for kind, wanted in SAYS.items():
        found = profile(study, fits_of(words, kind)[0], store)
        assert all(found.calls[each] for each in wanted), kind
        assert found.seconds[ELSEWHERE] < 0.5 * found.total, kind


def test_no_such_stage(tmp_path):
    study = find_study(PLANTED[0], PLANTED[1:])
    with pytest.raises(ConfigError, match="names no stage"):
        profile(study, "nothing", open_store(str(tmp_path / "store")))
