from __future__ import annotations

import hashlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest
import typer

from surpass.errors import Stopped
from surpass.interrupt import stop_on_signals
from surpass.invocation import again, command, program

FIRST = "finishing the step and saving; Ctrl-C again to stop now\n"


class Heard:
    """Standard error, with the moment of each text."""

    def __init__(self) -> None:
        self.texts: list[tuple[float, str]] = []

    def write(self, text: str | bytes) -> int:
        self.texts.append((time.monotonic(), text if isinstance(text, str) else text.decode()))
        return len(text)

    def flush(self) -> None:
        pass


def compute(rounds: int) -> None:
    """One long call that Python cannot interrupt, and that lets other threads go on."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)


def test_it_is_answered_in_the_middle_of_a_long_computation(monkeypatch):
    heard = Heard()
    monkeypatch.setattr(sys, "stderr", heard)
    over = 0.0

    def work() -> None:
        nonlocal over
        with stop_on_signals() as stop:
            assert not stop()
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
            compute(3_000_000)
            over = time.monotonic()
            assert stop()
            raise Stopped("stopped; run the same command again to go on from here")

    with pytest.raises(typer.Exit) as ended:
        work()
    assert ended.value.exit_code == 128 + signal.SIGTERM
    first, *last = heard.texts
    assert first[1] == FIRST
    assert first[0] < over - 0.1
    how = f"stopped; run the same command again to go on from here:\n  {again()}\n"
    assert "".join(text for _, text in last) == how


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    threads = threading.active_count()
    with stop_on_signals():
        assert threading.active_count() == threads + 1
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads


def test_where_a_command_is_named_already_it_stays(capsys):
    def work() -> None:
        with stop_on_signals():
            os.kill(os.getpid(), signal.SIGINT)
            raise Stopped("stopped after step 3; it can go on:\n  surpass ladder train")

    with pytest.raises(typer.Exit):
        work()
    assert capsys.readouterr().err.endswith("stopped after step 3; it can go on:\n  surpass ladder train\n")


TWICE = """
import hashlib, os, signal, sys, threading, time
from surpass import interrupt
interrupt._PATIENCE_SECONDS = {patience}
def press():
    for _ in range(2):
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
import typer
try:
    with interrupt.stop_on_signals():
        threading.Thread(target=press, daemon=True).start()
        {work}
except typer.Exit as end:
    sys.exit(end.exit_code)
"""


@pytest.mark.parametrize(
    ("work", "patience", "last"),
    [
        (
            "time.sleep(60)",
            30,
            "stopped at once; run the same command again to go on from the last checkpoint:",
        ),
        ("hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)", 0.1, ""),
    ],
    ids=["sleeping", "in a computation that cannot be interrupted"],
)
def test_the_second_ends_it(work, patience, last):
    code = TWICE.format(work=work, patience=patience)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert ended.returncode == 130
    assert ended.stderr.startswith(FIRST)
    assert ended.stderr.removeprefix(FIRST).startswith(last)
    assert "Traceback" not in ended.stderr


class TestCommand:
    @pytest.mark.parametrize(
        ("started", "words"),
        [
            ("surpass", ["surpass"]),
            ("/somewhere/else/surpass", ["/somewhere/else/surpass"]),
            ("/lib/site-packages/surpass/__main__.py", [sys.executable, "-m", "surpass"]),
        ],
    )
    def test_the_program(self, monkeypatch, started, words):
        monkeypatch.setattr(sys, "argv", [started, "run"])
        assert program() == words

    def test_one_that_the_shell_finds(self, monkeypatch, tmp_path):
        script = tmp_path / "surpass"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "argv", [str(script)])
        assert program() == ["surpass"]

    def test_it_can_be_pasted(self, monkeypatch):
        arguments = ["run", "chess", "methods=naive,gce(q=0.5)", "--out", "a b", "it's"]
        monkeypatch.setattr(sys, "argv", ["surpass", *arguments])
        assert shlex.split(again()) == ["surpass", *arguments]
        assert command(["plan"]) == "surpass plan"
