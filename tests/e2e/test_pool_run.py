"""`surpass run --workers`: the digits of inline, stopped and gone on, and how failures end."""

import re
import shlex
import signal
import time
from pathlib import Path

import pytest

from processes import STUDY, nursery
from surpass.store import Store

LONG = ("chess", "pairs=1-2", "seeds=1", "num_train=100", "num_test=60", "epochs=5", "batch_size=4")
OPTIONS = ("--checkpoint-seconds", "0.05", "--out", "results")


def digests(folder: Path) -> dict:
    artifacts = Store(folder / "surpass-store").artifacts()
    return {a.id: {name: file["sha256"] for name, file in a.manifest["files"].items()} for a in artifacts}


def checkpoints(folder: Path) -> list[Path]:
    return list((folder / "surpass-store").glob("work/*/checkpoint.safetensors"))


@pytest.fixture(scope="module")
def inline(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("inline")
    ended = nursery().run("run", *LONG, *OPTIONS, "--threads", "1", cwd=folder)
    assert ended.code == 0, ended.err
    return digests(folder)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_same_to_the_last_bit(inline, tmp_path, workers):
    shares = ("--workers", str(workers), "--threads", str(workers))
    ended = nursery().run("run", *LONG, *OPTIONS, *shares, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "\n14 stages computed, " in ended.err
    assert digests(tmp_path) == inline
    again = nursery().run("run", *LONG, *OPTIONS, *shares, cwd=tmp_path)
    assert (again.code, again.out) == (0, ended.out)
    assert "\nnothing to compute, " in again.err


def test_stopped_and_gone_on(inline, tmp_path):
    words = ("run", *LONG, *OPTIONS, "--workers", "2", "--threads", "2")
    seen: dict[Path, bytes] = {}

    def saved() -> bool:
        return any(seen.get(path) != path.read_bytes() for path in checkpoints(tmp_path))

    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        child = nursery().start(*words, cwd=tmp_path)
        assert child.await_(saved)
        child.signal(number)
        ended = child.wait()
        assert (ended.code, ended.out) == (code, "")
        command = shlex.join(("surpass", *words))
        assert ended.err.endswith(f"\nstopped; run the same command again to go on from here:\n  {command}\n")
        assert Store(tmp_path / "surpass-store").verify() == []
        seen = {path: path.read_bytes() for path in checkpoints(tmp_path)}
    ended = nursery().run(*words, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert digests(tmp_path) == inline
    computed = re.findall(r"(\d+) stages? computed", ended.err)
    assert int(computed[0]) < 14


def test_stopped_at_once(tmp_path):
    words = ("run", *LONG[:4], "num_test=60", "epochs=200", *OPTIONS, "--workers", "2", "--threads", "2")
    child = nursery().start(*words, cwd=tmp_path)
    assert child.await_(lambda: bool(checkpoints(tmp_path)))
    child.signal(signal.SIGINT)
    time.sleep(0.05)
    child.signal(signal.SIGINT)
    ended = child.wait()
    assert ended.code == 130
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("engine", ["inline", "pool"])
def test_failures_are_said_and_others_go_on(tmp_path, engine):
    ended = nursery().run(
        "run", "chess", "num_test=1000000", *STUDY[1:4], *OPTIONS, "--engine", engine, cwd=tmp_path
    )
    assert (ended.code, ended.out) == (1, "")
    assert "\nerror: examples chess-test-source-1000000-s0: 1000000 puzzles asked for" in ended.err
    assert "Traceback" not in ended.err
    command, log = re.search(r"\n  reproduce: (.+)\n  log: (.+)\n", ended.err).groups()
    assert "1000000 puzzles asked for" in Path(log).read_text()
    program, *alone = shlex.split(command)
    assert (program, alone[:2], alone[-2]) == ("surpass", ["run", "chess"], "--stage")
    again = nursery().run(*alone, cwd=tmp_path)
    assert (again.code, again.out) == (1, "")
    assert "\nerror: examples chess-test-source-1000000-s0: 1000000 puzzles asked for" in again.err
    kinds = {artifact.kind for artifact in Store(tmp_path / "surpass-store").artifacts()}
    assert {"examples", "fit"} <= kinds, "what does not need it was computed"


def test_no_such_engine(tmp_path):
    ended = nursery().run("run", *STUDY, "--engine", "dask", cwd=tmp_path)
    assert (ended.code, ended.err) == (
        2,
        "error: no engine 'dask'; choose from auto, inline, pool, ray, slurm\n",
    )
    ended = nursery().run("run", *STUDY, "--engine", "inline", "--workers", "2", cwd=tmp_path)
    assert (ended.code, "engine inline takes no workers, got workers=2" in ended.err) == (2, True)
