"""Leases in an object store: who computes what, among machines that share nothing else.

- `leases/<id>.json` is the right to compute a stage: its owner, a random token, and what the stage reads.
  It is created only if there is none, so one of many wins.
- `owners/<process>.json` is written again every few seconds, by each process that holds leases.

Nobody compares clocks. Whoever wants a lease watches whether its owner's object changes, by a clock of
his own that cannot be set; if it has not for `stale_seconds`, he puts his lease in its place, if it is
still the same (a conditional write), so one of many wins again. A process of this machine is looked up,
and taken over from as soon as it has ended.

A lease saves work, no more: where a store has no conditional writes, or an owner was cut off for long,
two may compute the same stage, and the first to publish wins.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, NamedTuple

from surpass.errors import StoreError
from surpass.owner import Owner
from surpass.store.objects import Objects, Seen
from surpass.store.uses import SILENT_SECONDS, Busy

LEASES, OWNERS = "leases", "owners"
_LEASE = re.compile(r"leases/([0-9a-f]{64})\.json")
_PROCESS = re.compile(r"[0-9a-f]{32}")
_ASK_SECONDS = 2.0
_IDLE_SECONDS = 20.0
_TRIES = 3


class FarLease:
    """The right to compute one stage, until `release`."""

    def __init__(self, leases: FarLeases, key: str, content: bytes) -> None:
        self._leases, self._key, self._content = leases, key, content
        self._pid = os.getpid()
        self._released = False

    def held(self) -> bool:
        """Whether it is still ours; never in a forked child.

        Raises:
            StoreError: It cannot be read.
        """
        return self._pid == os.getpid() and self._leases.objects.read(self._key) == self._content

    def release(self) -> None:
        """Give it up; one that another process has taken over is left alone.

        Raises:
            StoreError: It cannot be removed; others take it over when this process ends.
        """
        if self._pid != os.getpid() or self._released:
            return
        self._released = True
        try:
            if self._leases.pulse.is_strong() or self.held():
                self._leases.objects.remove([self._key])
        finally:
            self._leases.pulse.end()


class FarLeases:
    """The leases of a store.

    Attributes:
        objects: The store's.
        pulse: Says that this process lives.
    """

    def __init__(self, objects: Objects, *, stale_seconds: float = 45.0, beat_seconds: float = 10.0) -> None:
        self.objects = objects
        self.stale_seconds = stale_seconds
        self.pulse = Pulse(objects, beat_seconds, stale_seconds)
        self._asked: dict[str, float] = {}
        self._watched: dict[str, tuple[str, float]] = {}

    def acquire(self, id: str, uses: Iterable[str]) -> FarLease | None:
        """Take a lease unless a living process has it.

        Args:
            id: The stage's.
            uses: Ids of the artifacts that it reads.

        Raises:
            StoreError: The store cannot be read or written.
        """
        if time.monotonic() - self._asked.get(id, -_ASK_SECONDS) < _ASK_SECONDS:
            return None  # whoever polls need not ask each time
        key = f"{LEASES}/{id}.json"
        process = self.pulse.begin()
        lease = None
        try:
            lease = self._take(key, _content(process, uses))
        finally:
            if lease is None:
                self.pulse.end()
        if lease is None:
            self._asked[id] = time.monotonic()
        else:
            self._asked.pop(id, None)
        return lease

    def busy(self) -> list[Busy]:
        """The stages that living processes hold, by id.

        While this process holds leases, others are judged by the clock of the server alone.

        Raises:
            StoreError: They cannot be read.
        """
        listed = self.objects.below(LEASES)
        keys = {match[1]: key for key in listed if (match := _LEASE.fullmatch(key))}
        if not keys:
            return []
        beats, now = self.objects.below(OWNERS), self.pulse.server_time()
        contents = self.objects.read_many(keys.values())
        found = []
        for id, key in sorted(keys.items()):
            if key in contents and _is_living(said := _read(contents[key]), listed[key], beats, now):
                found.append(Busy(id, said.owner, said.uses))
        return found

    def silent(self, seconds: float) -> list[str]:
        """Keys of leases and owners that nobody has touched for so long.

        Raises:
            StoreError: They cannot be listed.
        """
        listed, beats = self.objects.below(LEASES), self.objects.below(OWNERS)
        contents = self.objects.read_many(listed) if listed else {}
        limit = self.pulse.server_time() - seconds
        old = {key for key, seen in beats.items() if seen.changed < limit}
        dead = [
            key
            for key, seen in listed.items()
            if seen.changed < limit and _beat(_read(contents.get(key, b""))) not in beats.keys() - old
        ]
        return [*dead, *sorted(old)]

    def _take(self, key: str, content: bytes) -> FarLease | None:
        for _ in range(_TRIES):
            if self.objects.create(key, content):
                return FarLease(self, key, content)
            seen = self.objects.see(key)
            there = self.objects.read(key) if seen is not None else None
            if seen is None or there is None:
                continue  # it was given up just now
            if not self._is_over(_read(there), seen):
                return None
            # Of several that saw it so, one finds the object that it has seen.
            if self.objects.replace(key, content, seen.tag):
                return FarLease(self, key, content)
            return None
        return None

    def _is_over(self, said: _Said, lease: Seen) -> bool:
        if said.owner is not None and said.owner.is_local():
            return said.owner.is_dead()
        watched = _beat(said)
        beat = self.objects.see(watched) if watched else lease
        tag = "" if beat is None else beat.tag
        last, since = self._watched.get(said.token, ("", 0.0))
        if (last, since) == ("", 0.0) or last != tag:
            self._watched[said.token] = (tag, time.monotonic())
            return False
        return time.monotonic() - since > self.stale_seconds


class Pulse:
    """Writes an object of this process again and again, while it holds leases and a little longer."""

    def __init__(self, objects: Objects, beat_seconds: float, stale_seconds: float) -> None:
        self._objects, self._seconds, self._stale = objects, beat_seconds, stale_seconds
        self._lock = threading.Condition()
        self._pid, self._process, self._held = 0, "", 0
        self._count, self._last = 0, -1.0
        self._thread: threading.Thread | None = None

    def begin(self) -> str:
        """One lease more is held, or wanted; gives the name of this process.

        Raises:
            StoreError: The store cannot be written.
        """
        with self._lock:
            if self._pid != os.getpid():  # a forked child has neither the thread nor the leases
                self._pid, self._process, self._held = os.getpid(), os.urandom(16).hex(), 0
                self._thread = None
            if self._thread is None:
                self._beat()
                self._thread = threading.Thread(target=self._run, name="owner", daemon=True)
                self._thread.start()
            self._held += 1
            return self._process

    def end(self) -> None:
        """One lease less."""
        with self._lock:
            self._held -= 1

    def is_strong(self) -> bool:
        """Whether nobody can have taken over from this process."""
        return self._pid == os.getpid() and time.monotonic() - self._last < self._stale / 2

    def server_time(self) -> float:
        """The time by the server's clock, as far as this process has just written there; else by our own."""
        with suppress(StoreError):
            if self._pid == os.getpid() and self._thread is not None:
                self._beat()
                seen = self._objects.see(self._key)
                if seen is not None:
                    return seen.changed
        return time.time()

    @property
    def _key(self) -> str:
        return f"{OWNERS}/{self._process}.json"

    def _beat(self) -> None:
        self._count += 1
        began = time.monotonic()
        said = asdict(Owner.here()) | {"beat": self._count}
        self._objects.write(self._key, json.dumps(said).encode())
        self._last = began

    def _run(self) -> None:
        idle = 0.0
        while True:
            time.sleep(self._seconds)
            with self._lock:
                idle = 0.0 if self._held > 0 else idle + self._seconds
                if idle >= _IDLE_SECONDS:
                    self._thread = None
                    with suppress(StoreError):
                        self._objects.remove([self._key])
                    return
            with suppress(StoreError):  # a network that is away for a moment must not end it
                self._beat()


class _Said(NamedTuple):
    """What a lease says; what makes no sense is left out."""

    token: str
    owner: Owner | None
    process: str
    uses: frozenset[str] | None


def _content(process: str, uses: Iterable[str]) -> bytes:
    said: dict[str, Any] = {"token": os.urandom(16).hex(), "process": process}
    return json.dumps(said | {"owner": asdict(Owner.here()), "uses": sorted(uses)}).encode()


def _read(content: bytes) -> _Said:
    try:
        said = json.loads(content)
        process = str(said["process"])
        owner = Owner.of(said["owner"])
        uses = frozenset(map(str, said["uses"]))
        if _PROCESS.fullmatch(process):
            return _Said(str(said["token"]), owner, process, uses)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return _Said(f"unreadable-{len(content)}-{content[:64]!r}", None, "", None)


def _beat(said: _Said) -> str:
    """The key of the object that a lease's owner writes again and again; none where nobody says."""
    return f"{OWNERS}/{said.process}.json" if said.process else ""


def _is_living(said: _Said, lease: Seen, beats: dict[str, Seen], now: float) -> bool:
    if said.owner is not None and said.owner.is_local():
        return not said.owner.is_dead()
    return now - beats.get(_beat(said), lease).changed < SILENT_SECONDS
