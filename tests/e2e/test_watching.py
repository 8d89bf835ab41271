"""What is seen of a run: on a real terminal, while it is stopped there, and of one stage alone."""

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from processes import ENVIRONMENT, STUDY, nursery
from surpass.store import Store

LONG = ("chess", "pairs=1-2", "seeds=1", "num_train=2000", "num_test=60", "epochs=50")
STYLES = re.compile(r"\x1b\[[0-9;]*m")
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A terminal of 80 columns with a command that runs in it."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.keyboard, inside = pty.openpty()
        os.set_blocking(self.keyboard, False)
        self.child = subprocess.Popen(
            ["setsid", "--ctty", "--wait", sys.executable, "-W", "error", "-m", "surpass", *arguments],
            cwd=cwd,
            env=ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"},
            stdin=inside,
            stdout=inside,
            stderr=inside,
        )
        os.close(inside)
        self.text = ""

    def read_until(self, words: str, *, seconds: float = 120.0) -> None:
        """Wait until something is there to be read, or until the command has ended."""
        deadline = time.monotonic() + seconds
        while words not in STYLES.sub("", self.text):
            assert time.monotonic() < deadline, self.text[-2000:]
            ended = self.child.poll() is not None
            try:
                self.text += os.read(self.keyboard, 65536).decode()
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                ended = True
            if ended:
                return

    def press(self, key: bytes) -> None:
        os.write(self.keyboard, key)

    def close(self) -> int:
        self.read_until("nothing is called so")
        os.close(self.keyboard)
        return self.child.wait()


def test_the_block_and_ctrl_c(tmp_path):
    terminal = Terminal("run", *LONG, "--threads", "1", cwd=tmp_path)
    terminal.read_until(" fit chess-1-truth-xent-s0")
    last = STYLES.sub("", terminal.text).rpartition("\r")[0].splitlines()[-2:]
    assert any(re.search(r"1 running, \d+ done, \d+ left +memory \d", line) for line in last), last
    pressed = time.monotonic()
    terminal.press(b"\x03")
    terminal.read_until("finishing the step and saving; Ctrl-C again to stop now")
    assert time.monotonic() - pressed < 5, "it is answered at once"
    assert terminal.close() == 130
    # After the block was wiped away the cursor is back, and what to do stands below.
    assert terminal.text.count("\x1b[?25h") == terminal.text.count("\x1b[?25l") == 1
    wiped, _, rest = terminal.text.rpartition("\x1b[2K")
    assert "━" in wiped
    command = rf"{re.escape(sys.executable)} -m surpass run {' '.join(LONG)} --threads 1"
    stopped = "stopped; run the same command again to go on from here:"
    assert re.fullmatch(rf"\s*{stopped}\s+{command}\s*", CODES.sub("", rest))
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize("engine", ["inline", "pool"])
def test_one_stage_and_what_it_needs(tmp_path, engine):
    words = ("run", *STUDY, "--stage", "chess-1-truth-xent-s0")
    ended = nursery().run(*words, "--engine", engine, cwd=tmp_path)
    assert ended.code == 0, ended.err
    (artifact,) = Store(tmp_path / "surpass-store").artifacts("fit")
    assert ended.out == f"fit chess-1-truth-xent-s0: {artifact.path}\n"
    assert re.search(r"\n2 stages computed, \d+\.\d s, \d+ MB at most\n$", ended.err)
    assert not (tmp_path / "results").exists()
    again = nursery().run("run", *STUDY, "--stage", artifact.id[:12], "--json", cwd=tmp_path)
    assert again.json() == {
        "kind": "fit",
        "label": "chess-1-truth-xent-s0",
        "id": artifact.id,
        "path": str(artifact.path),
    }
    assert again.err == ""


@pytest.mark.parametrize("options", [("--engine", "inline"), ("--workers", "2", "--threads", "2")])
def test_a_tracker_is_told_whatever_the_engine(tmp_path, options):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    ended = nursery().run("run", *STUDY, "--track", "tensorboard(folder=seen)", *options, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "tracker" not in ended.err
    (folder,) = (tmp_path / "seen").iterdir()
    read = reading.EventAccumulator(str(folder)).Reload()
    for fit in Store(tmp_path / "surpass-store").artifacts("fit"):
        losses = pq.read_table(fit.file("curve.parquet"))["loss"].to_pylist()
        told = read.Scalars(f"fit/{fit.manifest['label']}/loss")
        assert [(event.step, event.value) for event in told] == list(enumerate(losses, 1))
    assert "results/chess-1-to-chess-2/naive/student" in read.Tags()["scalars"]
    (config,) = read.Tensors("config")
    assert b"num_train=64" in config.tensor_proto.string_val[0], "overrides are told"


def test_a_tracker_that_is_not_there(tmp_path):
    ended = nursery().run("run", *STUDY, "--track", "neptune", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(
        "error: no tracker 'neptune'; there are: mlflow, tensorboard, trackio, wandb\n"
    )
    ended = nursery().run("run", *STUDY, "--track", "tensorboard", "--stage", "chess-1", cwd=tmp_path)
    assert ended.code == 2
    assert not list((tmp_path / "surpass-store").glob("examples/*"))


@pytest.mark.parametrize("name", ["zz", "", "chess"])
def test_no_such_stage(tmp_path, name):
    ended = nursery().run("run", *STUDY, "--stage", name, cwd=tmp_path)
    complaint = (
        f"error: {name!r} names no stage of chess; give an id of `surpass plan`, with the same settings\n"
    )
    assert (ended.code, ended.out, ended.err) == (2, "", complaint)


def test_several_such_stages(tmp_path):
    plan = nursery().run("plan", *STUDY, "seeds=1,2", "--json", cwd=tmp_path).json()
    first = {entry["id"][0] for entry in plan}
    digit = next(d for d in sorted(first) if sum(entry["id"][0] == d for entry in plan) > 1)
    ended = nursery().run("run", *STUDY, "seeds=1,2", "--stage", digit, cwd=tmp_path)
    assert ended.code == 2
    found = re.fullmatch(
        rf"error: '{digit}' names (\d+) stages of chess: (.*); give more digits\n", ended.err
    )
    assert found is not None, ended.err
    assert int(found[1]) == sum(entry["id"][0] == digit for entry in plan)
    assert all(part.startswith(digit) for part in found[2].split(", ") if part != "...")


def test_quiet_names_what_fails(tmp_path):
    ended = nursery().run("run", "chess", "num_test=1000000", *STUDY[1:4], "--quiet", cwd=tmp_path)
    assert ended.code == 1
    lines = ended.err.splitlines()
    heads = ["failed: examples ", "  reproduce: surpass run ", "  log: ", "error: examples "]
    assert len(lines) == 4
    assert all(line.startswith(head) for line, head in zip(lines, heads, strict=True))
