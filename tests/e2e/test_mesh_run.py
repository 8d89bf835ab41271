"""A fit in two processes by the command line: killed, gone on with, and the table of one process."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path

import pytest

from processes import nursery
from surpass.store import Store

STUDY = ("run", "chess", "pairs=1-2", "seeds=1", "num_train=64", "num_test=60", "epochs=60", "batch_size=15")
OPTIONS = ("--threads", "1", "--checkpoint-seconds", "0.05", "--out", "results")
MESH = ("--mesh", "data=2")
OF_THE_STUDENT = "chess-2-from-chess-1"


def ranks_of(pid: int) -> list[int]:
    """The processes that another has started as ranks, in their order."""
    found: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"mesh_rank" in (folder / "cmdline").read_bytes():
                words = dict(
                    line.partition(b"=")[::2] for line in (folder / "environ").read_bytes().split(b"\0")
                )
                found[int(words[b"RANK"])] = int(folder.name)
        except (OSError, KeyError):  # it has ended meanwhile
            continue
    return [found[rank] for rank in sorted(found)]


def rows_of(folder: Path) -> list[dict]:
    rows = json.loads((folder / "results" / "results.json").read_bytes())["rows"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
def test_killed_and_gone_on_with_it_gives_the_table_of_one_process(tmp_path):
    assert nursery().run(*STUDY, *OPTIONS, cwd=tmp_path).code == 0
    alone = rows_of(tmp_path)
    store = Store(tmp_path / "surpass-store")
    behind = [each for each in store.artifacts() if each.manifest["label"].startswith(OF_THE_STUDENT)]
    assert {each.kind for each in behind} == {"fit", "label", "score", "compare"}
    before = {each.id: each.path for each in behind}
    for path in before.values():
        shutil.rmtree(path)

    child = nursery().start(*STUDY, *OPTIONS, *MESH, cwd=tmp_path)
    checkpoints = tmp_path / "surpass-store" / "work"
    assert child.await_(lambda: bool(list(checkpoints.glob("*/checkpoint.safetensors"))))
    ranks = ranks_of(child.pid)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    ended = child.wait()
    assert ended.code == 1
    assert f"fit {OF_THE_STUDENT}" in ended.err
    assert "rank 1 of mesh data=2 was killed by SIGKILL (out of memory?); log: " in ended.err
    assert not ranks_of(child.pid)

    ended = nursery().run(*STUDY, *OPTIONS, *MESH, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert {each.id for each in store.artifacts()} >= before.keys()
    (there,) = rows_of(tmp_path)
    (expected,) = alone
    for name, value in expected.items():
        if isinstance(value, float):
            assert math.isclose(there[name], value, rel_tol=1e-4, abs_tol=1e-5), name
        else:
            assert there[name] == value, name
