"""Publishing while processes die and compete, and while the power fails."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from surpass.errors import StoreError
from surpass.identity import digest_of
from surpass.store import Store, batch
from surpass.store.batch import DEAR_SECONDS

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


class Disk:
    """What of a folder would outlast a power cut now: what was forced to the disk, and else what luck spares.

    Content lasts from a call of fsync on its file on, the names in a folder from one on the folder, and
    everything from a call of syncfs on. Files of artifacts are written once.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.content: set[int] = set()
        self.names: set[tuple[int, str, int]] = set()
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(batch, "sync_file_system", self.sync)

    def fsync(self, descriptor: int) -> None:
        self.force(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    def sync(self, folder: Path) -> None:
        if folder == self.root:
            for path in (folder, *folder.rglob("*")):
                self.force(path)

    def force(self, path: Path) -> None:
        inode = path.stat().st_ino
        if path.is_dir():
            self.names = {each for each in self.names if each[0] != inode}
            self.names |= {(inode, entry.name, entry.stat().st_ino) for entry in path.iterdir()}
        else:
            self.content.add(inode)

    def after_power_cut(self, copy: Path, luck: random.Random) -> None:
        """Make a copy of what may be left."""
        copy.mkdir()
        self._survivors(self.root, copy, luck)

    def _survivors(self, folder: Path, copy: Path, luck: random.Random) -> None:
        for path in sorted(folder.iterdir()):
            status = path.stat()
            name = (folder.stat().st_ino, path.name, status.st_ino)
            if name not in self.names and luck.random() < 0.3:
                continue
            if path.is_dir():
                (copy / path.name).mkdir()
                self._survivors(path, copy / path.name, luck)
                continue
            content = path.read_bytes()
            if status.st_ino not in self.content:
                cut = luck.randrange(len(content) + 1)
                torn = (
                    content,
                    b"",
                    content[:cut],
                    bytes(len(content)),
                    content[:cut] + bytes(len(content) - cut),
                )
                content = luck.choice(torn)
            (copy / path.name).write_bytes(content)


def publish(store: Store, number: int, seconds: float) -> None:
    with store.draft("fit", digest_of(number), f"number-{number}") as draft:
        (draft.path / "weights.bin").write_bytes(b"%d" % number * 500)
        (draft.path / "more").mkdir()
        (draft.path / "more" / "curve.json").write_bytes(b"[%d]" % number)
        draft.publish({"number": number}, seconds=seconds)


def is_whole(store: Store, number: int) -> bool:
    """Whether an artifact is there; never is half of it served."""
    found = store.find("fit", digest_of(number), label=f"number-{number}")
    if found is not None:
        assert found.manifest["number"] == number
        assert found.file("weights.bin").read_bytes() == b"%d" % number * 500
        assert found.file("more/curve.json").read_bytes() == b"[%d]" % number
    return found is not None


@pytest.mark.filterwarnings("ignore")
def test_after_a_power_cut_an_artifact_is_there_as_a_whole_or_not_at_all(tmp_path, monkeypatch, caplog):
    luck = random.Random(0)
    disk = Disk(tmp_path / "store", monkeypatch)
    store = Store(disk.root)
    disk.sync(disk.root)
    lasting: set[int] = set()
    lost = torn = 0

    def cut(number: int, lasting: set[int]) -> None:
        nonlocal lost, torn
        for _ in range(6):
            copy = tmp_path / f"left-{len(os.listdir(tmp_path))}"
            disk.after_power_cut(copy, luck)
            left = Store(copy)
            whole = {each for each in range(number + 1) if is_whole(left, each)}
            assert lasting <= whole
            lost += number + 1 - len(whole)
            torn += len(list((copy / "damaged").iterdir())) if (copy / "damaged").is_dir() else 0
            with left.batch:
                for each in range(number + 1):  # the next run computes what is gone
                    publish(left, each, 0.0)
                    assert is_whole(left, each)
            assert [each.reason for each in left.verify()] == []

    with store.batch:
        for number in range(8):
            dear = number % 4 == 3
            publish(store, number, DEAR_SECONDS if dear else 0.0)
            if dear:
                lasting.add(number)
            if number == 5:
                store.batch.settle()
                lasting |= set(range(number + 1))
            cut(number, lasting)
    cut(7, set(range(8)))  # whoever has ended his batch loses nothing
    publish(store, 8, 0.0)  # nor does who has none
    cut(8, set(range(9)))
    assert lost > 20
    assert torn > 20


def test_cheap_artifacts_share_calls_to_the_disk(tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    publish(store, 0, 0.0)  # makes the folder of its kind
    calls = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync"))
    monkeypatch.setattr(batch, "sync_file_system", lambda folder: calls.append("syncfs"))
    with store.batch:
        for number in range(1, 20):
            publish(store, number, 0.0)
    assert calls == ["syncfs"]
    with store.batch:
        pass
    assert calls == ["syncfs"]  # nothing is at risk
    publish(store, 20, 0.0)
    assert set(calls[1:]) == {"fsync"}


class Ticking:
    """A clock that stands still unless told otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(batch.time, "monotonic", lambda: self.now)


@pytest.mark.parametrize(
    ("seconds", "apart", "slow", "expected"),
    [
        (0.0, 0.0, 0.0, 0),
        (0.3, 0.0, 0.0, 2),  # at the 4th and the 8th
        (0.0, 0.3, 0.0, 1),  # time between them counts as well
        (0.3, 0.0, 0.2, 1),  # a slow disk: no sooner than ten times as long
    ],
)
def test_no_more_than_a_second_of_work_is_at_risk(tmp_path, monkeypatch, seconds, apart, slow, expected):
    clock = Ticking(monkeypatch)
    calls = []

    def sync(folder: Path) -> None:
        calls.append(folder)
        clock.now += slow

    monkeypatch.setattr(batch, "sync_file_system", sync)
    shared = batch.Batch(tmp_path)
    with shared:
        for _ in range(9):
            shared.risk(seconds)
            clock.now += apart
        assert len(calls) == expected
    assert len(calls) == expected + 1


def fails(*arguments: object) -> None:
    raise OSError(5, "Input/output error", str(arguments[0]))


def test_a_disk_that_fails_is_said(tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    monkeypatch.setattr(batch, "sync_file_system", fails)
    with pytest.raises(StoreError, match="Input/output error"), store.batch:
        publish(store, 0, 0.0)


def test_drafts_of_a_batch_share_a_folder_that_goes_with_it(tmp_path):
    store = Store(tmp_path / "store")
    with (
        store.batch,
        store.draft("fit", digest_of(0), "a") as one,
        store.draft("fit", digest_of(1), "b") as two,
    ):
        assert one.path.parent == two.path.parent
        assert one.path != two.path
        with store.batch:  # another thread's run
            pass
        assert one.path.is_dir()
        shutil.rmtree(one.path.parent)  # somebody cleans up on another machine
        with store.draft("fit", digest_of(2), "c") as three:
            assert three.path.is_dir()
    assert os.listdir(store.root / "tmp") == []


def in_child(act: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_drafts_of_its_own(tmp_path):
    store = Store(tmp_path / "store")
    with store.batch, store.draft("fit", digest_of(0), "a") as draft:

        def child() -> None:
            publish(store, 1, 0.0)
            store.batch.__exit__()

        assert in_child(child) == 0
        assert is_whole(store, 1)
        assert draft.path.is_dir()


def test_the_call_that_forces_a_file_system(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    batch.sync_file_system(tmp_path)
    with pytest.raises(FileNotFoundError):
        batch.sync_file_system(tmp_path / "none")
