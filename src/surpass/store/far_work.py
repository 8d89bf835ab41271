"""Scratch of long stages in an object store, so that another machine can go on with them.

A stage writes its checkpoints into a folder of this machine. While its lease is held they are sent every few
minutes, and once more when it is given up:

- `work/<id>/<push>/<name>`: the files as they were at one moment
- `work/<id>/index.json`: which push counts, with size and sha256 of each file; written last

What does not match its digest is not used: then the stage begins anew.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import stat
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from surpass.errors import StoreError
from surpass.identity import file_digest
from surpass.store.artifact import unsafe
from surpass.store.far_leases import FarLease
from surpass.store.objects import Objects, Seen
from surpass.store.uses import Claim

WORK = "work"
_INDEX = re.compile(r"work/([0-9a-f]{64})/index\.json")
_PUSH = re.compile(r"[0-9a-f]{16}")
_FRESH_SECONDS = 10.0
_LOOK_SECONDS = 1.0
# Logs are for whoever looks at the machine that wrote them.
_KEPT_HERE = ("log.txt",)
_log = logging.getLogger("surpass.store")
State = dict[str, tuple[int, int]]


class FarWork:
    """The scratch of a store's stages, here and there.

    Args:
        objects: The store's.
        here: The folder that has a scratch folder for each stage.
        aside: A folder for what is under way, on the same file system.
        push_seconds: How often the scratch of a stage that runs is sent.
    """

    def __init__(self, objects: Objects, here: Path, aside: Path, push_seconds: float) -> None:
        self.push_seconds = push_seconds
        self._objects, self._here, self._aside = objects, here, aside
        self._lock = threading.Lock()
        self._listed_at = -_FRESH_SECONDS
        self._there: set[str] = set()
        self._open: dict[str, tuple[State, float]] = {}
        self._pid = 0

    def ids(self) -> dict[str, dict[str, Seen]]:
        """The objects of each stage that has scratch there.

        Raises:
            StoreError: They cannot be listed.
        """
        found: dict[str, dict[str, Seen]] = {}
        for key, seen in self._objects.below(WORK).items():
            found.setdefault(key.split("/")[1], {})[key] = seen
        keys = [key for objects in found.values() for key in objects]
        self._there = {match[1] for key in keys if (match := _INDEX.fullmatch(key))}
        self._listed_at = time.monotonic()
        return found

    def open(self, id: str) -> None:
        """A stage's lease is held from now on; what another machine has left of it is brought.

        Raises:
            StoreError: It cannot be read.
        """
        self.pull(id)
        with self._lock:
            self._open[id] = (self._state(id), time.monotonic())
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="scratch", daemon=True).start()

    def close(self, id: str) -> None:
        """A stage's lease will be given up: what is left of its scratch is for whoever goes on.

        Raises:
            StoreError: It cannot be sent.
        """
        with self._lock:
            sent, _ = self._open.pop(id, ({}, 0.0))
            now = self._state(id)
            if now and now != sent:
                self._push(id)

    def pull(self, id: str) -> None:
        """Bring what another machine has left of a stage, unless there is something here.

        Raises:
            StoreError: It cannot be read.
        """
        if self._state(id):
            return
        if id not in self._there and time.monotonic() - self._listed_at > _FRESH_SECONDS:
            self.ids()
        if id not in self._there:
            return
        content = self._objects.read(f"{WORK}/{id}/index.json")
        try:
            index = json.loads(content or b"")
            push, files = index["push"], index["files"]
            named = {name: (int(size), str(digest)) for name, (size, digest) in files.items()}
            if not _PUSH.fullmatch(push) or any(unsafe(name) for name in named):
                raise ValueError(push)
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        temporary = Path(tempfile.mkdtemp(dir=self._aside))
        try:
            self._objects.bring({f"{WORK}/{id}/{push}/{name}": temporary / name for name in named})
            found = {n: ((temporary / n).stat().st_size, file_digest(temporary / n)) for n in named}
            if found != named:
                raise FileNotFoundError
            for name in sorted(named):
                target = self._here / id / name
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(temporary / name, target)
        except FileNotFoundError:
            _log.warning("scratch of %s in %s is damaged; it begins anew", id[:16], self._objects.url)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        with self._lock:
            if id in self._open:
                self._open[id] = (self._state(id), time.monotonic())

    def drop(self, id: str) -> None:
        """A stage is done: its scratch goes.

        Raises:
            StoreError: It cannot be removed.
        """
        with self._lock:
            if id in self._open:
                self._open[id] = ({}, time.monotonic())
            if id in self._there:
                # The index first: nobody goes on from half of it.
                self._objects.remove([f"{WORK}/{id}/index.json"])
                self._objects.remove(self._objects.below(f"{WORK}/{id}"))
                self._there.discard(id)

    def _run(self) -> None:
        while True:
            time.sleep(min(_LOOK_SECONDS, self.push_seconds))
            with self._lock:
                for id, (sent, at) in list(self._open.items()):
                    if time.monotonic() - at < self.push_seconds:
                        continue
                    now = self._state(id)
                    self._open[id] = (now, time.monotonic())
                    if now and now != sent:
                        with suppress(StoreError, OSError):  # the next time, or when the stage ends
                            self._push(id)

    def _state(self, id: str) -> State:
        """Size and time of the files that are sent."""
        found: State = {}
        folder = self._here / id
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            with suppress(FileNotFoundError):
                status = path.lstat()
                hidden = path.name.startswith(".") or name in _KEPT_HERE or unsafe(name)
                if stat.S_ISREG(status.st_mode) and not hidden:
                    found[name] = (status.st_size, status.st_mtime_ns)
        return found

    def _push(self, id: str) -> None:
        push = os.urandom(8).hex()
        temporary = Path(tempfile.mkdtemp(dir=self._aside))
        try:
            files = {name: _held(self._here / id / name, temporary / name) for name in self._state(id)}
            named = {name: (path.stat().st_size, file_digest(path)) for name, path in files.items()}
            before = set(self._objects.below(f"{WORK}/{id}"))
            self._objects.send({f"{WORK}/{id}/{push}/{name}": path for name, path in files.items()})
            index = json.dumps({"push": push, "files": named}).encode()
            self._objects.write(f"{WORK}/{id}/index.json", index)
            self._there.add(id)
            self._objects.remove(before - {f"{WORK}/{id}/index.json"})
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


class UrlClaim(Claim):
    """A lease of this machine and one of all machines."""

    def __init__(self, near: Claim, far: FarLease, work: FarWork, held: set[str], id: str) -> None:
        self._near, self._far, self._work, self._held, self._id = near, far, work, held, id

    def held(self) -> bool:
        """Whether the right is still ours."""
        return self._near.held() and self._far.held()

    def release(self) -> None:
        """Give it up; scratch that is left is sent before."""
        self._held.discard(self._id)
        try:
            try:
                self._work.close(self._id)
            except OSError as error:
                _log.warning("%s; the checkpoint of %s stays on this machine", error, self._id[:16])
            self._far.release()
        finally:
            self._near.release()


def _held(path: Path, copy: Path) -> Path:
    """The file as it is now, also when another is put in its place."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, copy)
    except OSError:
        shutil.copyfile(path, copy)
    return copy
