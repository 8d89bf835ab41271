"""Leases in an object store: one of many, also over the dead, whatever clocks say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from reference.object_stores import BUCKET, environment, erring
from surpass.errors import StoreError
from surpass.identity import digest_of
from surpass.owner import Owner
from surpass.store import far_leases as module
from surpass.store.far_leases import FarLeases
from surpass.store.objects import Objects

ID = digest_of("stage")
KEY = f"leases/{ID}.json"
ELSEWHERE = replace(Owner.here(), host="elsewhere")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ASK_SECONDS", 0.0)


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(f"memory://{tmp_path.name}/leases")


@pytest.fixture
def in_s3(monkeypatch: pytest.MonkeyPatch) -> Objects:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    return Objects(f"s3://{BUCKET}/{os.urandom(8).hex()}")


def leases(objects: Objects, **more: Any) -> FarLeases:
    return FarLeases(objects, **{"stale_seconds": 0.2, "beat_seconds": 0.05, **more})


def leave(objects: Objects, owner: Owner, uses: tuple[str, ...] = (), id: str = ID) -> str:
    """Write a lease as an owner would have left it, and the object that says that it lived."""
    process = os.urandom(16).hex()
    said = {"token": os.urandom(16).hex(), "process": process, "owner": asdict(owner), "uses": list(uses)}
    objects.write(f"leases/{id}.json", json.dumps(said).encode())
    beat(objects, process, 1)
    return process


def beat(objects: Objects, process: str, count: int) -> None:
    objects.write(f"owners/{process}.json", json.dumps({"beat": count}).encode())


def ended() -> Owner:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return replace(Owner.here(), pid=child.pid)


def test_one_at_a_time(objects: Objects) -> None:
    a, b = leases(objects), leases(objects)
    lease = a.acquire(ID, ["x"])
    assert lease is not None
    assert lease.held()
    assert b.acquire(ID, []) is None
    assert a.acquire(ID, []) is None
    lease.release()
    lease.release()
    assert not lease.held()
    assert objects.below("leases") == {}
    again = b.acquire(ID, [])
    assert again is not None
    again.release()


def test_of_many_threads_one_wins(in_s3: Objects) -> None:
    all_leases = [leases(in_s3) for _ in range(4)]
    won: list[Any] = []
    gate = threading.Barrier(4)

    def compete(mine: FarLeases) -> None:
        gate.wait()
        lease = mine.acquire(ID, [])
        if lease is not None:
            won.append(lease)

    threads = [threading.Thread(target=compete, args=(mine,)) for mine in all_leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].release()


def test_a_dead_owner_of_this_machine_is_taken_over_from_at_once(objects: Objects) -> None:
    leave(objects, ended())
    lease = leases(objects, stale_seconds=1e6).acquire(ID, [])
    assert lease is not None
    assert lease.held()
    lease.release()


def test_a_living_owner_of_this_machine_is_left_alone_however_silent(objects: Objects) -> None:
    leave(objects, Owner.here())
    mine = leases(objects, stale_seconds=0.05)
    for _ in range(3):
        assert mine.acquire(ID, []) is None
        time.sleep(0.1)


@pytest.mark.parametrize("where", ["memory", "s3"])
def test_an_owner_elsewhere_is_taken_over_from_when_it_is_silent(
    request: pytest.FixtureRequest, where: str
) -> None:
    objects: Objects = request.getfixturevalue("objects" if where == "memory" else "in_s3")
    process = leave(objects, ELSEWHERE)
    a, b = leases(objects), leases(objects)
    assert a.acquire(ID, []) is None
    assert b.acquire(ID, []) is None
    for count in range(2, 6):  # it lives
        time.sleep(0.15)
        beat(objects, process, count)
        assert a.acquire(ID, []) is None
    time.sleep(0.3)
    assert b.acquire(ID, []) is None  # it was not watched in between
    lease = a.acquire(ID, [])
    assert lease is not None
    assert lease.held()
    time.sleep(0.3)
    assert b.acquire(ID, []) is None  # the new owner is of this machine, and lives
    lease.release()


def test_two_that_take_over_at_once_do_not_both_win(in_s3: Objects) -> None:
    leave(in_s3, ELSEWHERE)
    a, b = leases(in_s3), leases(in_s3)
    for mine in (a, b):
        assert mine.acquire(ID, []) is None
    time.sleep(0.3)
    won: list[Any] = []
    replace_there = in_s3.replace

    def replace_after_the_other(key: str, content: bytes, tag: str) -> bool:
        in_s3.replace = replace_there  # type: ignore[method-assign]
        won.append(b.acquire(ID, []))
        return replace_there(key, content, tag)

    in_s3.replace = replace_after_the_other  # type: ignore[method-assign]
    won.append(a.acquire(ID, []))
    assert [lease is not None for lease in won] == [True, False]
    won[0].release()


def test_clocks_play_no_part(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    process = leave(objects, ELSEWHERE)
    mine = leases(objects, stale_seconds=30.0)
    now = time.time()
    for jump in (0.0, 1e9, -1e9, 86400.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        assert mine.acquire(ID, []) is None
    beat(objects, process, 2)
    assert mine.acquire(ID, []) is None


def test_an_owner_that_was_taken_over_from_leaves_the_lease_alone(objects: Objects) -> None:
    a, b = leases(objects), leases(objects)
    lease = a.acquire(ID, [])
    assert lease is not None
    leave(objects, ELSEWHERE)  # as if another had replaced it
    assert not lease.held()
    a.pulse._last = time.monotonic() - 10  # it was cut off
    a.pulse._objects = erring_silently(objects)
    lease.release()
    assert KEY in objects.below("leases")
    assert b.acquire(ID, []) is None


def erring_silently(objects: Objects) -> Objects:
    """The same store, cut off for whoever writes."""
    cut_off = Objects(objects.url)
    erring(cut_off).broken = lambda key: True
    return cut_off


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"token": 1, "process": "../x", "owner": {}}', b"\xff"]
)
def test_leases_that_make_no_sense_are_taken_over_by_their_age(objects: Objects, content: bytes) -> None:
    objects.write(KEY, content)
    mine = leases(objects)
    assert mine.acquire(ID, []) is None
    assert [one.uses for one in mine.busy()] == [None]
    time.sleep(0.3)
    lease = mine.acquire(ID, [])
    assert lease is not None
    lease.release()


def test_who_is_busy(objects: Objects) -> None:
    mine = leases(objects)
    leave(objects, ended())
    leave(objects, ELSEWHERE, ("a", "b"), digest_of(1))
    objects.write("leases/gc.json", b"{}")
    lease = mine.acquire(digest_of(2), ["c"])
    found = {one.id: (one.owner and one.owner.host, one.uses) for one in mine.busy()}
    here = os.uname().nodename
    assert found == {digest_of(1): ("elsewhere", {"a", "b"}), digest_of(2): (here, {"c"})}
    assert lease is not None
    lease.release()


def test_whoever_polls_asks_seldom(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ASK_SECONDS", 60.0)
    leave(objects, ELSEWHERE)
    mine = leases(objects)
    faults = erring(objects)
    assert mine.acquire(ID, []) is None
    asked = len(faults.asked)
    for _ in range(50):
        assert mine.acquire(ID, []) is None
    assert len([name for name, key in faults.asked if KEY in key]) <= asked


def test_a_server_that_is_away_for_a_moment_does_not_end_the_pulse(objects: Objects) -> None:
    mine = leases(objects)
    faults = erring(objects)
    lease = mine.acquire(ID, [])
    assert lease is not None
    faults.broken = lambda key: key.startswith("owners/")
    time.sleep(0.2)
    faults.broken = lambda key: False
    before = {key: seen.tag for key, seen in objects.below("owners").items()}
    wait_for(lambda: {key: seen.tag for key, seen in objects.below("owners").items()} != before)
    lease.release()


def test_a_pulse_ends_when_nothing_is_held(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.1)
    mine = leases(objects)
    lease = mine.acquire(ID, [])
    assert lease is not None
    assert len(objects.below("owners")) == 1
    time.sleep(0.3)
    assert len(objects.below("owners")) == 1
    lease.release()
    wait_for(lambda: objects.below("owners") == {})
    again = mine.acquire(ID, [])
    assert again is not None
    assert len(objects.below("owners")) == 1
    again.release()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_store_that_cannot_be_written_gives_no_lease(objects: Objects) -> None:
    erring(objects).broken = lambda key: True
    with pytest.raises(StoreError, match="connection broke"):
        leases(objects).acquire(ID, [])
