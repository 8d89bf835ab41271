"""`surpass run --engine ray`: the digits of inline, though a worker is killed; nothing listens for others."""

from __future__ import annotations

import ipaddress
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from processes import nursery
from surpass.store import Store

STUDY = ("chess", "pairs=1-2", "seeds=1", "num_train=100", "num_test=60", "epochs=5", "batch_size=4")
OPTIONS = ("--checkpoint-seconds", "0.05", "--out", "results")
RAY = ("run", *STUDY, *OPTIONS, "--engine", "ray", "--workers", "2", "--threads", "2")


def digests(folder: Path) -> dict:
    artifacts = Store(folder / "surpass-store").artifacts()
    return {a.id: {name: file["sha256"] for name, file in a.manifest["files"].items()} for a in artifacts}


@pytest.fixture(scope="module")
def inline(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inline")
    ended = nursery().run("run", *STUDY, *OPTIONS, "--threads", "1", cwd=folder)
    assert ended.code == 0, ended.err
    return folder


def checkpoints(folder: Path) -> list[Path]:
    return list((folder / "surpass-store").glob("work/*/checkpoint.safetensors"))


def family(pid: int) -> list[psutil.Process]:
    driver = psutil.Process(pid)
    return [driver, *driver.children(recursive=True)]


def at_a_fit(pid: int) -> dict[int, str]:
    """The processes of Ray that compute a fit, and which."""
    time.sleep(0.1)  # to look costs more than the others can spare
    titles = {}
    for each in family(pid):
        with suppress(psutil.Error):
            titles[each.pid] = "".join(each.cmdline())
    return {pid: title for pid, title in titles.items() if title.startswith("ray::fit")}


def listening(processes: list[psutil.Process]) -> set[str]:
    """The addresses on which they can be reached from outside of themselves."""
    sockets = [each for process in processes for each in process.net_connections("inet")]
    return {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}


def is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def test_a_killed_worker_a_stopped_run_and_the_same_digits(inline, tmp_path):
    child = nursery().start(*RAY, cwd=tmp_path)
    assert child.await_(lambda: bool(at_a_fit(child.pid) and checkpoints(tmp_path)))
    heard = listening(family(child.pid))
    assert len(heard) >= 1
    assert all(map(is_loopback, heard)), heard
    processes = family(child.pid)
    pid, title = next(iter(at_a_fit(child.pid).items()))
    os.kill(pid, signal.SIGKILL)
    assert child.await_(lambda: title in (now := at_a_fit(child.pid)).values() and pid not in now)
    child.signal(signal.SIGINT)
    stopped = child.wait()
    assert (stopped.code, stopped.out) == (130, ""), stopped.err
    assert "a worker died (WorkerCrashedError) at fit " in stopped.err
    assert "; trying again (2 of 3)\n" in stopped.err
    assert "\nstopped; run the same command again to go on from here" in stopped.err
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert [each.cmdline() for each in alive] == []
    left = {problem.reason for problem in Store(tmp_path / "surpass-store").verify()}
    assert left <= {"left over by a process that ended"}

    ended = nursery().run(*RAY, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert digests(tmp_path) == digests(inline)
    again = nursery().run(*RAY, cwd=tmp_path)
    assert (again.code, again.out) == (0, ended.out)
    assert "\nnothing to compute, " in again.err


def test_fits_on_a_mesh_are_those_of_one_process(inline, tmp_path):
    mesh = (
        "run",
        *STUDY,
        *OPTIONS,
        "--engine",
        "ray",
        "--mesh",
        "data=2",
        "--workers",
        "1",
        "--threads",
        "2",
    )
    ended = nursery().run(*mesh, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert digests(tmp_path).keys() == digests(inline).keys()
    alone = Store(inline / "surpass-store")
    fits = list(Store(tmp_path / "surpass-store").artifacts("fit"))
    assert len(fits) == 3
    for each in fits:
        there = alone.find(each.kind, each.id)
        assert there is not None
        expected, curve = (
            pq.read_table(fit.file("curve.parquet"))["loss"].to_numpy() for fit in (there, each)
        )
        np.testing.assert_allclose(curve[:10], expected[:10], rtol=1e-4)
        assert any(curve != expected)  # cut in shares, sums round differently
