"""The allocator that workers are given."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap

import pytest

from surpass import allocator
from surpass.engine.crew import share_of

NAMES = ("libtbbmalloc.so.2", "libtbbmalloc_proxy.so.2")


def with_libraries(prefix):
    (prefix / "lib").mkdir(parents=True)
    for name in NAMES:
        (prefix / "lib" / name).touch()
    return prefix


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An environment that has the libraries, as far as names go."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    return with_libraries(tmp_path)


def test_workers_load_both_libraries_by_their_paths(installed):
    """The second looks for the first by name, and would not find it."""
    expected = ":".join(f"{installed}/lib/{name}" for name in NAMES)
    assert share_of(0, threads=1, devices=0)["LD_PRELOAD"] == expected


@pytest.mark.parametrize("value", ["", "/lib/mine.so"])
def test_who_set_the_variable_decides(installed, monkeypatch, value):
    monkeypatch.setenv("LD_PRELOAD", value)
    assert allocator.preloaded() == {}
    assert "LD_PRELOAD" not in share_of(0, threads=1, devices=0)


def test_without_either_library_there_is_none(installed):
    (installed / "lib" / NAMES[1]).unlink()
    assert allocator.preloaded() == {}


def test_other_systems_have_none(installed, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.preloaded() == {}


@pytest.mark.parametrize("folder", ["with space", "with:colon"])
def test_paths_that_the_loader_would_cut_are_left_out(installed, monkeypatch, folder):
    monkeypatch.setattr(sys, "prefix", str(with_libraries(installed / folder)))
    assert allocator.preloaded() == {}


@pytest.mark.skipif(not allocator.found(), reason="the package tbb is not installed")
def test_a_process_has_it(monkeypatch):
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    code = "print(open('/proc/self/maps').read()); import numpy; print(numpy.ones(10**6).sum())"
    environment = os.environ | allocator.preloaded()
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0
    assert ran.stderr == ""
    assert all(str(path.resolve()) in ran.stdout for path in allocator.found())
    assert ran.stdout.splitlines()[-1] == "1000000.0"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others have no such setting")
def test_freed_memory_is_kept():
    """Pages asked for anew while 40 MB in pieces of 2 are filled and freed over and over."""
    code = """
        import resource, sys
        import numpy as np
        from surpass.allocator import keep_freed

        def faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

        def filled():
            return [np.full(2 << 20, 1, np.uint8) for _ in range(20)]

        if sys.argv[1] == "kept":
            keep_freed()
        for _ in range(3):
            filled()
        before = faults()
        for _ in range(20):
            filled()
        print(faults() - before)
    """
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    found = {}
    for how in ("plain", "kept"):
        command = [sys.executable, "-c", textwrap.dedent(code), how]
        found[how] = int(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    assert found["kept"] < 100 < 10_000 < found["plain"]
