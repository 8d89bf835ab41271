"""Runs that are killed, interrupted, or meet each other: the digits stay the same."""

import itertools
import json
import random
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from processes import Child, Ended, nursery
from surpass.store import Store

NUM_KILLS = 8
# Fits of a second or so, in many steps.
RUN = ("run", "chess", "pairs=1-2", "seeds=1", "num_train=100", "num_test=60", "epochs=5", "batch_size=4")
OPTIONS = ("--checkpoint-seconds", "0.05", "--threads", "1", "--out", "results")
NUM_STAGES = 14


@dataclass(frozen=True)
class Finished:
    """What a finished run left: the digits, and the digests of all files by stage."""

    results: dict
    files: dict


def start(folder: Path) -> Child:
    folder.mkdir(exist_ok=True)
    return nursery().start(*RUN, *OPTIONS, cwd=folder)


def finished(folder: Path, ended: Ended) -> Finished:
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    results = json.loads((folder / "results" / "results.json").read_bytes())
    for entry in results["rows"] + results["summaries"]:
        del entry["seconds"]
    artifacts = Store(folder / "surpass-store").artifacts()
    files = {a.id: {name: file["sha256"] for name, file in a.manifest["files"].items()} for a in artifacts}
    assert len(files) == NUM_STAGES
    return Finished(results, files)


def problems(folder: Path) -> set[str]:
    return {problem.reason for problem in Store(folder / "surpass-store").verify()}


def checkpoints(folder: Path) -> list[Path]:
    return list((folder / "surpass-store").glob("work/*/checkpoint.safetensors"))


@pytest.fixture(scope="module")
def undisturbed_and_seconds(tmp_path_factory) -> tuple[Finished, float]:
    assert nursery().run("--version", cwd=Path.cwd()).code == 0  # from here on it is warm
    folder = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    end = finished(folder, start(folder).wait())
    seconds = time.monotonic() - began
    assert problems(folder) == set()
    assert not checkpoints(folder)
    return end, seconds


@pytest.fixture(scope="module")
def undisturbed(undisturbed_and_seconds) -> Finished:
    return undisturbed_and_seconds[0]


KILLED_OR_DONE = (-signal.SIGKILL, 0)
"""It may end by itself between the look at it and the blow."""


def test_killed_at_any_moment_and_run_again_gives_the_same_digits(undisturbed_and_seconds, tmp_path):
    undisturbed, whole = undisturbed_and_seconds
    chance = random.Random(0)
    kills, inside_fits = 0, 0
    for round_ in itertools.count():
        folder = tmp_path / str(round_)
        child = start(folder)
        if not kills:  # chance alone need not hit a fit
            assert child.await_(lambda: bool(checkpoints(folder)))  # noqa: B023
            assert child.kill().code in KILLED_OR_DONE
            inside_fits += bool(checkpoints(folder))
            child = start(folder)
        while kills < NUM_KILLS and child.outlives(chance.uniform(0.0, whole / 3)):
            assert child.kill().code in KILLED_OR_DONE
            kills += 1
            inside_fits += bool(checkpoints(folder))
            if (folder / "surpass-store").exists():
                assert problems(folder) <= {"left over by a process that ended"}
            child = start(folder)
        assert finished(folder, child.wait()) == undisturbed
        assert problems(folder) <= {"left over by a process that ended"}
        assert nursery().run("store", "clean", cwd=folder).code == 0
        assert problems(folder) == set()
        assert not checkpoints(folder)
        if kills == NUM_KILLS:
            break
    assert inside_fits > 0


def test_interrupted_saves_and_goes_on(undisturbed, tmp_path):
    seen: dict[Path, bytes] = {}

    def saved() -> bool:
        return any(seen.get(path) != path.read_bytes() for path in checkpoints(tmp_path))

    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        child = start(tmp_path)
        assert child.await_(saved)
        child.signal(number)
        ended = child.wait()
        assert (ended.code, ended.out) == (code, "")
        assert "finishing the step and saving; Ctrl-C again to stop now\n" in ended.err
        assert "\nstopped; run the same command again to go on from here:\n  surpass run " in ended.err
        (checkpoint,) = checkpoints(tmp_path)
        seen[checkpoint] = checkpoint.read_bytes()
        assert problems(tmp_path) == set()
    assert finished(tmp_path, start(tmp_path).wait()) == undisturbed
    assert not checkpoints(tmp_path)


def test_two_processes_share_one_store(undisturbed, tmp_path):
    children = [start(tmp_path), start(tmp_path)]
    ends = [child.wait() for child in children]
    for ended in ends:
        assert finished(tmp_path, ended) == undisturbed
    assert ends[0].out == ends[1].out
    assert problems(tmp_path) == set()
    computed = [sum(map(int, re.findall(r"(\d+) stages? computed", ended.err))) for ended in ends]
    assert sum(computed) == NUM_STAGES
    publishers = [artifact.manifest["pid"] for artifact in Store(tmp_path / "surpass-store").artifacts()]
    assert [publishers.count(child.pid) for child in children] == computed
