"""Publishing while processes die and compete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from surpass.identity import digest_of
from surpass.store import Store

ID = digest_of("one")

# Publishes one artifact in a forked child that kills itself at the k-th call that touches the disk;
# k = 1, 2, ... until a child lives to the end. Prints the number of the killed.
DOOMED = """
import builtins, io, os, signal, sys
from surpass.identity import digest_of
from surpass.store import Store

def doom(fatal):
    calls = 0
    def doomed(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return call
    for name in ("open", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "close"):
        setattr(os, name, doomed(getattr(os, name)))
    builtins.open = io.open = doomed(open)

def publish(root):
    with Store(root).draft("fit", digest_of("one"), "crash") as draft:
        (draft.path / "weights.bin").write_bytes(b"w" * 1000)
        (draft.path / "curve.json").write_bytes(b"[1]")
        draft.publish({"seed": 0})

status, fatal = -1, 0
while status != 0:
    fatal += 1
    child = os.fork()
    if child == 0:
        doom(fatal)
        publish(f"{sys.argv[1]}/{fatal}")
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
print(fatal - 1)
"""


def test_a_publish_killed_at_any_step_leaves_no_half_artifact(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DOOMED, tmp_path], stdout=subprocess.PIPE, check=True)
    num_killed = int(done.stdout)
    assert num_killed > 20
    outcomes = []
    for fatal in range(1, num_killed + 1):
        root = tmp_path / str(fatal)
        store = Store(root)
        survivors = list(store.artifacts())
        outcomes.append(len(survivors))
        assert store.contains("fit", ID) == bool(survivors)
        assert [store.find("fit", ID)] == (survivors or [None])
        assert not (root / "damaged").exists()
        store.clean_tmp()
        # What died before it could name its owner is empty, and is removed after a day.
        assert not any((root / "tmp").glob("*/files/*"))
        with store.draft("fit", ID, "crash") as draft:
            (draft.path / "weights.bin").write_bytes(b"w" * 1000)
            draft.publish({"seed": 0})
        assert store.find("fit", ID) is not None
        strange = [problem.path.name for problem in store.verify()]
        assert all(name.startswith(".STORE.json.") for name in strange)
    assert outcomes == sorted(outcomes)  # there is one moment from which on it exists
    assert set(outcomes) == {0, 1}


# Publishes ids 0..n-1 as soon as the gate opens, and prints which of them it made itself.
RIVAL = """
import os, sys, time
from surpass.identity import digest_of
from surpass.store import Store

root, gate = sys.argv[1:]
while not os.path.exists(gate):
    time.sleep(0.001)
store = Store(root)
for number in range(30):
    with store.draft("fit", digest_of(number), f"rival-{number}") as draft:
        (draft.path / "weights.bin").write_bytes(b"w" * 1000)
        made = draft.publish({"writer": os.getpid()})
    assert (made.path / "weights.bin").read_bytes() == b"w" * 1000
    if made.manifest["writer"] == os.getpid():
        print(number)
"""


def test_processes_publishing_the_same_ids_agree_on_one_artifact_each(tmp_path: Path) -> None:
    root, gate = tmp_path / "store", tmp_path / "gate"
    rivals = [
        subprocess.Popen([sys.executable, "-c", RIVAL, root, gate], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    gate.touch()
    printed = [rival.communicate(timeout=60)[0].split() for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0, 0, 0]
    assert sorted(int(number) for numbers in printed for number in numbers) == list(range(30))
    store = Store(root)
    assert len(list(store.artifacts("fit"))) == 30
    assert store.verify() == []
    assert os.listdir(root / "tmp") == []
    assert not (root / "damaged").exists()
