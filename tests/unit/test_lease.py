from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from surpass.errors import StoreError
from surpass.owner import Owner
from surpass.store import lease as lease_module
from surpass.store.lease import Lease, acquire

ID = "stage"


def start(code: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def leave(folder: Path, owner: Owner, age_seconds: float = 0.0, id: str = ID) -> Path:
    """Write a lease as `owner` would have left it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{id}.lease"
    path.write_text(json.dumps({**asdict(owner), "token": f"left-{id}"}))
    then = time.time() - age_seconds
    os.utime(path, (then, then))
    return path


def dead_owner() -> Owner:
    child = start("")
    child.communicate()
    return replace(Owner.here(), pid=child.pid)


def test_one_at_a_time(tmp_path: Path) -> None:
    lease = acquire(tmp_path / "leases", ID)
    assert lease is not None
    assert lease.held()
    assert acquire(tmp_path / "leases", ID) is None
    other = acquire(tmp_path / "leases", "other")
    assert other is not None
    lease.release()
    assert not lease.held()
    assert other.held()
    with acquire(tmp_path / "leases", ID) or pytest.fail("released but not to be had") as again:
        assert again.held()
    other.release()
    other.release()
    assert os.listdir(tmp_path / "leases") == []


def test_the_file_tells_who_has_it(tmp_path: Path) -> None:
    with acquire(tmp_path, ID) or pytest.fail("not to be had") as lease:
        record = json.loads(lease.path.read_text())
        assert record == {**asdict(Owner.here()), "token": lease.token}
        assert record["pid"] == os.getpid()
        assert record["host"] == os.uname().nodename
        assert record["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert int(record["started"]) > 0
        assert os.listdir(tmp_path) == [f"{ID}.lease"]


@pytest.mark.parametrize(
    ("change", "age_seconds", "taken"),
    [
        ({}, 0, False),
        ({}, 1e6, False),  # alive, however long it slept
        ({"started": "1"}, 0, True),  # the pid is somebody else's now
        ({"started": ""}, 1e6, False),  # a system without /proc: the pid decides
        ({"host": "elsewhere"}, 29, False),
        ({"host": "elsewhere"}, 31, True),
        ({"host": "elsewhere", "started": "1"}, 0, False),
        ({"boot": "before the restart"}, 0, False),
        ({"boot": "before the restart"}, 31, True),
        ({"namespace": "pid:[another container]", "started": "1"}, 0, False),
    ],
)
def test_only_the_leases_of_dead_owners_are_taken_over(
    tmp_path: Path, change: dict[str, Any], age_seconds: float, taken: bool
) -> None:
    path = leave(tmp_path, replace(Owner.here(), **change), age_seconds)
    lease = acquire(tmp_path, ID)
    assert (lease is not None) == taken
    assert json.loads(path.read_text())["token"] == (lease.token if lease else f"left-{ID}")
    if lease is not None:
        lease.release()
    assert os.listdir(tmp_path) == ([] if taken else [path.name])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"token": "x"}', '{"token": "x", "pid": 1, "later": 2}'])
def test_a_file_nobody_understands_counts_by_its_age(tmp_path: Path, content: str) -> None:
    path = tmp_path / f"{ID}.lease"
    path.write_text(content)
    assert acquire(tmp_path, ID) is None
    os.utime(path, (1, 1))
    with acquire(tmp_path, ID) or pytest.fail("not taken over") as lease:
        assert lease.held()


def test_ages_are_told_by_the_clock_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path, replace(Owner.here(), host="elsewhere"), 1)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    monkeypatch.setattr(time, "time_ns", lambda: 4 * 10**18)
    assert acquire(tmp_path, ID) is None


HOLDER = """
import sys, time
from pathlib import Path
from surpass.store.lease import acquire
lease = acquire(Path(sys.argv[1]), "stage")
print(lease is not None, flush=True)
time.sleep(60)
"""


def test_a_killed_owner_is_succeeded_at_once(tmp_path: Path) -> None:
    child = start(HOLDER, tmp_path)
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    assert acquire(tmp_path, ID) is None
    child.send_signal(signal.SIGSTOP)
    assert acquire(tmp_path, ID) is None
    child.kill()
    for _ in range(1000):  # not waited for: a zombie is dead too
        lease = acquire(tmp_path, ID)
        if lease is not None:
            break
        time.sleep(0.002)
    assert lease is not None
    assert lease.held()
    child.communicate()
    lease.release()
    assert os.listdir(tmp_path) == []


def test_the_heartbeat_survives_errors_and_stops_with_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[bool] = []
    utime = os.utime

    def shaky(path: Path) -> None:
        beats.append(len(beats) % 2 == 1)
        if not beats[-1]:
            raise OSError(errno.EIO, "the server is away")
        utime(path)

    lease = acquire(tmp_path, ID, stale_seconds=1.0, heartbeat_seconds=0.01)
    assert lease is not None
    monkeypatch.setattr(os, "utime", shaky)
    utime(lease.path, (1, 1))
    deadline = time.monotonic() + 10
    while lease.path.stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert lease.path.stat().st_mtime > 2
    assert beats[:2] == [False, True]
    lease.release()
    time.sleep(0.05)
    num_beats = len(beats)
    time.sleep(0.05)
    assert len(beats) == num_beats


def test_a_lease_that_was_taken_over_is_left_alone(tmp_path: Path) -> None:
    lease = acquire(tmp_path, ID, stale_seconds=1.0, heartbeat_seconds=0.01)
    assert lease is not None
    path = leave(tmp_path, Owner.here())
    os.utime(path, (1, 1))
    assert not lease.held()
    time.sleep(0.05)
    assert path.stat().st_mtime == 1  # no heartbeat for the successor
    lease.release()
    assert json.loads(path.read_text())["token"] == f"left-{ID}"
    assert os.listdir(tmp_path) == [path.name]


def test_a_forked_child_does_not_hold_or_release(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from surpass.store.lease import acquire
lease = acquire(Path(sys.argv[1]), "stage")
child = os.fork()
if child == 0:
    held = lease.held()
    lease.release()
    os._exit(int(held))
status = os.waitpid(child, 0)[1]
print(os.waitstatus_to_exitcode(status), lease.held())
"""
    assert start(code, tmp_path).communicate(timeout=30)[0] == "0 True\n"


# In each round: get the lease, make sure to be alone, count. Nothing but the lease orders it.
COUNTER = """
import os, sys, time
from pathlib import Path
from surpass.store.lease import acquire
folder, gate, counter, inside, rounds = (Path(arg) for arg in sys.argv[1:])
while not gate.exists():
    time.sleep(0.001)
for _ in range(int(str(rounds))):
    while (lease := acquire(folder, "stage")) is None:
        time.sleep(0.0005)
    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
    counter.write_text(str(int(counter.read_text()) + 1))
    assert lease.held()
    os.unlink(inside)
    lease.release()
"""


def test_eight_processes_never_hold_it_together(tmp_path: Path) -> None:
    counter, gate, folder = tmp_path / "counter", tmp_path / "gate", tmp_path / "leases"
    counter.write_text("0")
    children = [start(COUNTER, folder, gate, counter, tmp_path / "inside", 50) for _ in range(8)]
    gate.touch()
    for child in children:
        child.communicate(timeout=120)
    assert [child.returncode for child in children] == [0] * 8
    assert counter.read_text() == "400"
    assert os.listdir(folder) == []


# Takes over what the dead left: prints what it won, and holds it until told to end.
HEIR = """
import sys, time
from pathlib import Path
from surpass.store.lease import acquire
folder, gate, num_ids = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
while not gate.exists():
    time.sleep(0.001)
asked = {number: acquire(folder, f"id{number}", heartbeat_seconds=20) for number in range(num_ids)}
won = {number: lease for number, lease in asked.items() if lease is not None}
print(*won, flush=True)
sys.stdin.readline()
assert all(lease.held() for lease in won.values())
for lease in won.values():
    lease.release()
"""


def test_exactly_one_of_many_heirs_takes_over(tmp_path: Path) -> None:
    num_ids, folder, gate = 100, tmp_path / "leases", tmp_path / "gate"
    owner = dead_owner()
    for number in range(num_ids):
        leave(folder, owner, id=f"id{number}")
    heirs = [start(HEIR, folder, gate, num_ids) for _ in range(8)]
    gate.touch()
    won = [heir.stdout.readline().split() for heir in heirs if heir.stdout is not None]
    for heir in heirs:
        heir.communicate("end\n", timeout=60)
    assert [heir.returncode for heir in heirs] == [0] * 8
    assert sorted(int(number) for numbers in won for number in numbers) == list(range(num_ids))
    assert os.listdir(folder) == []


# In the k-th folder two forked heirs compete, each killed at its k-th call that touches the disk.
# Prints their exit codes.
DOOMED = """
import builtins, io, os, signal, sys
from pathlib import Path
from surpass.store.lease import acquire

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
    for name in ("open", "link", "unlink", "replace"):
        setattr(os, name, doomed(getattr(os, name)))
    builtins.open = io.open = doomed(open)

def heir(folder, fatal):
    child = os.fork()
    if child == 0:
        doom(fatal)
        lease = acquire(folder, "stage")
        if lease is not None:
            lease.release()
        os._exit(0)
    return child

folder, num_folders = Path(sys.argv[1]), int(sys.argv[2])
for fatal in range(1, num_folders + 1):
    for child in [heir(folder / str(fatal), fatal) for _ in range(2)]:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_heirs_killed_at_any_step_are_succeeded_too(tmp_path: Path) -> None:
    owner, num_folders = dead_owner(), 40
    for fatal in range(1, num_folders + 1):
        leave(tmp_path / str(fatal), owner)
    codes = start(DOOMED, tmp_path, num_folders).communicate(timeout=60)[0].split()
    assert len(codes) == 2 * num_folders
    assert set(codes) == {"0", "-9"}
    assert codes[-2:] == ["0", "0"], "more steps than folders"
    for fatal in range(1, num_folders + 1):
        folder = tmp_path / str(fatal)
        lease = acquire(folder, ID)
        assert lease is not None
        assert lease.held()
        assert acquire(folder, ID) is None
        lease.release()
        assert not (folder / f"{ID}.lease").exists()


def test_a_living_lease_is_never_removed_by_one_who_saw_the_dead_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race of naive takeovers: between reading the dead lease and acting, another has taken over."""
    leave(tmp_path, dead_owner())
    is_over = lease_module._Claim._is_over
    rivals: list[Lease] = []

    def overtaken(claim: Any, seen: Any) -> bool:
        monkeypatch.undo()
        over = is_over(claim, seen)
        rivals.append(acquire(tmp_path, ID) or pytest.fail("the rival did not get it"))
        return over

    monkeypatch.setattr(lease_module._Claim, "_is_over", overtaken)
    assert acquire(tmp_path, ID) is None
    assert rivals[0].held()
    rivals[0].release()
    assert os.listdir(tmp_path) == []


def failing(code: int) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise OSError(code, os.strerror(code), str(args[0]))

    return call


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_file_systems_without_hard_links_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    leave(tmp_path, dead_owner())
    monkeypatch.setattr(os, "link", failing(code))
    with acquire(tmp_path, ID) or pytest.fail("not taken over") as lease:
        assert lease.held()
        assert acquire(tmp_path, ID) is None
    assert os.listdir(tmp_path) == []


def test_a_link_whose_answer_got_lost_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def lossy(source: Path, target: Path) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, "sent twice", str(target))

    monkeypatch.setattr(os, "link", lossy)
    with acquire(tmp_path, ID) or pytest.fail("ours, but not seen") as lease:
        assert lease.held()


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.EROFS, "read-only store"), (errno.ENOSPC, "disk full"), (errno.EACCES, "permission denied")],
)
def test_disk_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    monkeypatch.setattr(os, "link", failing(code))
    with pytest.raises(StoreError, match=message) as caught:
        acquire(tmp_path, ID)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_does_not_keep_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = acquire(tmp_path, ID)
    assert lease is not None
    monkeypatch.setattr(os, "link", failing(errno.ENOSPC))
    lease.release()
    assert os.listdir(tmp_path) == []


def test_endless_contention_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{ID}.lease").symlink_to(tmp_path / "nowhere")
    assert acquire(tmp_path, ID) is None


@pytest.mark.parametrize("id", ["", "../x", "a/b", ".x", "x" * 200])
def test_bad_ids_are_refused(tmp_path: Path, id: str) -> None:
    with pytest.raises(ValueError, match="cannot name a lease"):
        acquire(tmp_path, id)


@pytest.mark.parametrize(("stale", "heartbeat"), [(1.0, 1.0), (1.0, 0.0), (5.0, 6.0)])
def test_the_heartbeat_must_be_faster_than_the_deadline(
    tmp_path: Path, stale: float, heartbeat: float
) -> None:
    with pytest.raises(ValueError, match=r"must be in \(0, stale_seconds"):
        acquire(tmp_path, ID, stale_seconds=stale, heartbeat_seconds=heartbeat)


def test_owners_out_of_reach_count_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = replace(Owner.here(), pid=os.getppid(), started="")
    assert not parent.is_dead()
    monkeypatch.setattr(os, "kill", failing(errno.EPERM))
    assert not parent.is_dead()
    assert lease_module.acquire is acquire


@pytest.mark.parametrize("pid", [0, -1, "1", True, None])
def test_owner_records_with_senseless_pids_are_refused(pid: Any) -> None:
    with pytest.raises(TypeError, match="pid is"):
        Owner.of({**asdict(Owner.here()), "pid": pid})
