"""`surpass ladder` as users run it: killed, stopped, gone on with, on a tiny rung."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from typer.testing import CliRunner

from reference.random_games import random_pgn
from surpass.errors import SurpassError
from surpass.ladder import games as games_module
from surpass.ladder import pretrain as module
from surpass.ladder.commands import ladder_app
from surpass.ladder.pretrain import Rung
from surpass.models.card import read_card
from surpass.models.policy import PolicyConfig

STEPS = 24
TINY = Rung(PolicyConfig(channels=8, blocks=1, key_dim=4), positions=256 * STEPS, learning_rate=0.01)
PROGRAM = f"""
from surpass.ladder import pretrain as module
from surpass.models.policy import PolicyConfig
from surpass.ladder.pretrain import Rung
module.RUNGS["tiny"] = {TINY!r}
from surpass.ladder.commands import ladder_app
ladder_app(prog_name="surpass ladder")
"""


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(module.RUNGS, "tiny", TINY)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pgn(tmp_path_factory):
    path = tmp_path_factory.mktemp("pgn") / "played.pgn"
    path.write_text(random_pgn(range(20), plies=60))
    return path


def invoke(*arguments):
    result = CliRunner().invoke(ladder_app, [str(argument) for argument in arguments])
    if isinstance(result.exception, SurpassError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def games(pgn, tmp_path_factory):
    path = tmp_path_factory.mktemp("games") / "new" / "games.safetensors"
    result = invoke("games", pgn, "--out", path)
    assert re.search(r"^20 games, 1,\d\d\d moves in ", result.stdout)
    assert re.search(r"^games: 20 read, [\d,]+/min$", result.stderr, re.MULTILINE)
    return path


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_stopped_and_gone_on_with(games, tmp_path):
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "out"
    train = ["train", "tiny", "--games", games, "--threads", 1]
    result = invoke(*train, "--out", undisturbed)
    assert "moves matched" in result.stdout or "no games" in result.stdout
    assert re.search(
        r"^tiny: 6,144 of 6,144 positions, [\d,]+/s, loss \d\.\d+, 0\.0 s left$", result.stderr, re.M
    )

    checkpoint, weights = folder / "tiny.checkpoint.safetensors", folder / "tiny.safetensors"
    killed = start(*train, "--out", folder, "--checkpoint-seconds", 0)
    wait_for(checkpoint.exists, killed)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not weights.exists()

    before = checkpoint.stat().st_mtime_ns
    stopped = start(*train, "--out", folder, "--checkpoint-seconds", 0)
    wait_for(lambda: checkpoint.stat().st_mtime_ns > before, stopped)
    stopped.send_signal(signal.SIGINT)
    _, error = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, error
    assert re.search(rf"^tiny stopped after step \d+ of {STEPS}; it can go on:$", error, re.MULTILINE)
    assert f"surpass ladder train tiny --games {games} --out {folder} --seed 0 --threads 1" in error
    assert "Traceback" not in error
    assert not weights.exists()

    invoke(*train, "--out", folder)
    assert weights.read_bytes() == (undisturbed / weights.name).read_bytes()
    assert not [path.name for path in folder.iterdir() if path not in (checkpoint, weights)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint(games, tmp_path, monkeypatch, number):
    monkeypatch.setattr(module, "REPORT_STEPS", 4)
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    show = "surpass.ladder.commands._show_training"
    monkeypatch.setattr(show, lambda display, progress: signal.raise_signal(number))
    result = CliRunner().invoke(ladder_app, ["train", "tiny", "--games", str(games), "--out", str(tmp_path)])
    assert result.exit_code == 128 + number
    assert "tiny stopped after step 4 of 24; it can go on:" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.checkpoint.safetensors"]
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_pgn_is_read_first_and_cards_are_printed(pgn, games, tmp_path, monkeypatch):
    short = Rung(TINY.config, positions=512)
    monkeypatch.setitem(module.RUNGS, "tiny", short)
    monkeypatch.setitem(module.RUNGS, "other", short)
    monkeypatch.setattr(games_module, "HOLDOUT_ONE_IN", 4)
    result = invoke("train", "tiny", "other", "--games", pgn, "--out", tmp_path, "--seed", 3)
    assert (tmp_path / "games.safetensors").exists()
    files = [tmp_path / "tiny.safetensors", tmp_path / "other.safetensors"]
    assert [read_card(file)["training"]["seed"] for file in files] == [3, 3]
    printed = invoke("card", *files).stdout
    assert re.findall(r"^name +(\w+)$", printed, re.MULTILINE) == ["tiny", "other"]
    assert "512 positions of" in printed
    assert "moves matched" in printed
    assert all(block in result.stdout for block in printed.strip().split("\n\n"))


def test_nothing_is_read_for_a_rung_that_is_not(tmp_path):
    with pytest.raises(SurpassError, match="no rung 'chess-9'"):
        invoke("train", "tiny", "chess-9", "--games", tmp_path / "missing", "--out", tmp_path)


@pytest.mark.parametrize("command", [["games"], ["train", "tiny", "--games"], ["card"]])
@pytest.mark.parametrize("name", ["missing.pgn", "missing.safetensors"])
def test_errors_are_one_line(tmp_path, command, name):
    with pytest.raises(SurpassError) as caught:
        invoke(*command, tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_out_is_a_file(games, tmp_path):
    (tmp_path / "out").touch()
    for command in (["train", "tiny", "--games", games], ["games", tmp_path]):
        with pytest.raises(SurpassError) as caught:
            invoke(*command, "--out", tmp_path / "out" / "deep")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", ["games", "train", "card"])
def test_help(command):
    assert command in invoke("--help").stdout
    assert "Usage" in invoke(command, "--help").stdout
