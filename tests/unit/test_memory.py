from __future__ import annotations

import subprocess
import sys

import pytest

from surpass import memory
from surpass.memory import Gauge, available, highest, in_words, resident

HOLD = "import sys; held = bytearray(b'x') * {size}; print('held', flush=True); sys.stdin.read()"


def test_processes_that_were_started_count():
    before = resident()
    if before is None:
        pytest.skip("this system does not tell")
    size = 200_000_000
    command = [sys.executable, "-c", HOLD.format(size=size)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    during = resident()
    child.communicate("")
    after = resident()
    assert before is not None
    assert during is not None
    assert after is not None
    assert during - before > 0.9 * size
    assert during - after > 0.9 * size


def test_without_a_proc_folder_psutil_tells_or_nobody(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert resident(tmp_path) is None
    assert highest(tmp_path) == 0
    monkeypatch.delitem(sys.modules, "psutil")
    pytest.importorskip("psutil")
    there = resident()
    assert resident(tmp_path) == pytest.approx(there, rel=0.2)


def test_there_is_more_than_we_hold():
    assert (available() or 0) >= (resident() or 0)
    if resident() is not None:
        assert highest() > 1e7


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    limit, none = tmp_path / "memory.max", tmp_path / "none"
    none.write_text("max\n")
    monkeypatch.setattr(memory, "_LIMITS", (none, limit))
    machine = available()
    limit.write_text("123456789\n")
    assert (available(), (machine or 0) > 123456789) == (123456789, True)


def test_a_gauge_looks_once_a_second_and_keeps_the_peak(monkeypatch):
    moment = 100.0
    monkeypatch.setattr(memory.time, "monotonic", lambda: moment)
    monkeypatch.setattr(memory, "highest", lambda: 40)
    readings = iter([10, 50, 30])
    gauge = Gauge(lambda: next(readings))
    seen = []
    for moment in (100.0, 100.5, 101.0, 101.9):  # noqa: B007
        gauge.look()
        seen.append((gauge.now, gauge.peak))
    assert seen == [(10, 10), (10, 10), (50, 50), (50, 50)]
    assert gauge.most() == 50
    assert gauge.now == 30


def test_one_that_cannot_look_says_nothing():
    gauge = Gauge(lambda: None)
    gauge.look()
    assert (gauge.now, gauge.peak, gauge.most()) == (None, 0, 0)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 MB"), (93e6, "93 MB"), (999.4e6, "999 MB"), (999.6e6, "1.0 GB"), (1.14e9, "1.1 GB")],
)
def test_in_words(size, text):
    assert in_words(size) == text
