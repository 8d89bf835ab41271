"""Each kind of fault: what is done to a run or to what it left. A rerun follows, by whoever calls."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import wire
from faults.ground import Scene, need
from faults.stages import noted
from faults.wire import turned
from processes import Child, Ended
from reference.object_stores import change
from surpass.store.urls import UrlStore

DAY = 86400.0
KILLED = -signal.SIGKILL
STOPPED = (130, 143)
_FAR = {"stale": 1.5, "beat": 0.3}


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        do: Does it to a scene; when it returns, no process of the run is left.
        engines: For which.
        stores: In which.
        works: On what.
        weight: How often, among the others.
    """

    do: Callable[[Scene], None]
    engines: tuple[str, ...] = ("inline", "pool", "ray")
    stores: tuple[str, ...] = ("folder", "s3")
    works: tuple[str, ...] = ("graph", "chess")
    weight: int = 1


def _kill(scene: Scene, *pids: int) -> int:
    done = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            done += 1
    scene.kills += done
    return done


def _killed(scene: Scene, child: Child, *pids: int) -> Ended:
    _kill(scene, child.pid, *pids)
    ended = scene.well(scene.ended(child), KILLED, 0)
    scene.hits += ended.code == KILLED
    return ended


def kill_driver(scene: Scene) -> None:
    """SIGKILL for the driver."""
    child = scene.start()
    if scene.moment(child):
        _killed(scene, child)
    else:
        scene.well(scene.ended(child))


def kill_worker(scene: Scene) -> None:
    """SIGKILL for one worker: the run itself must go on, and succeed."""
    child = scene.start()
    if scene.moment(child) and (workers := scene.workers(child)):
        scene.hits += _kill(scene, scene.chance.choice(workers))
    scene.well(scene.ended(child))


def kill_all(scene: Scene) -> None:
    """SIGKILL for the driver and all its workers at once."""
    child = scene.start()
    if scene.moment(child):
        _killed(scene, child, *scene.workers(child))
    else:
        scene.well(scene.ended(child))


def stop(scene: Scene) -> None:
    """SIGINT or SIGTERM."""
    child, number = scene.start(), scene.chance.choice((signal.SIGINT, signal.SIGTERM))
    if scene.moment(child) and _is_listening(scene, child):
        with suppress(ProcessLookupError):
            child.signal(number)
    scene.hits += scene.well(scene.ended(child), 0, 128 + number).code != 0


def stop_at_once(scene: Scene) -> None:
    """Two signals, one after the other."""
    child, number = scene.start(), scene.chance.choice((signal.SIGINT, signal.SIGTERM))
    if scene.moment(child) and _is_listening(scene, child):
        with suppress(ProcessLookupError):
            child.signal(number)
            child.outlives(scene.chance.choice((0.0, 0.01, 0.1)))
            child.signal(number)
    scene.kills += 2
    scene.hits += scene.well(scene.ended(child), 0, 128 + number, -number).code != 0


def _is_listening(scene: Scene, child: Child) -> bool:
    """Whether the run has begun to answer to signals: before, it ends as any program does."""
    return child.await_(scene.exists)


def pause(scene: Scene) -> None:
    """SIGSTOP for all, on this machine, and SIGCONT after a while."""
    child = scene.start()
    if scene.moment(child):
        family = [child.pid, *scene.workers(child)]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        scene.hits += 1
        time.sleep(scene.chance.uniform(0.1, 1.0))
        for pid in reversed(family):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    scene.well(scene.ended(child))


def asleep(scene: Scene) -> None:
    """SIGSTOP for longer than its leases last; another machine takes over, then it wakes up."""
    child = scene.start(shim=_FAR | {"host": "elsewhere"})
    if scene.moment(child):
        family = [child.pid, *scene.workers(child)]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        scene.kills += len(family)
        scene.hits += 1
        scene.machine = "b"
        other = scene.start(engine="inline", shim=_FAR)
        try:
            if scene.chance.random() < 0.5:
                scene.well(scene.ended(other))
            else:
                other.outlives(scene.chance.uniform(1.5, 2.5))
        finally:
            for pid in reversed(family):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        if other in scene.children:
            scene.well(scene.ended(other))
    scene.well(scene.ended(child))


def disk_full(scene: Scene) -> None:
    """A disk of a few megabytes, which somebody fills."""
    need(scene.ground.disk is not None, "no disk of its own")
    scene.on_disk = True
    ballast = Path(str(scene.ground.disk)) / "ballast"
    child = scene.start()
    if scene.moment(child):
        with suppress(OSError), open(ballast, "wb", buffering=0) as file:
            left = scene.chance.choice((0, 0, 0, 4096, 40960, 400000))
            status = os.statvfs(scene.ground.disk)
            file.write(b"\0" * max(0, status.f_bavail * status.f_frsize - left))
            while not left:
                file.write(b"\0" * 4096)
        if scene.chance.random() < 0.3:  # there is room again before it has ended
            child.outlives(scene.chance.uniform(0.0, 0.3))
            ballast.unlink()
        scene.hits += 1
    scene.kills += 3
    scene.well(scene.ended(child), 0, 2)
    ballast.unlink(missing_ok=True)


def writes_refused(scene: Scene) -> None:
    """Some writes of each process fail as on a full disk."""
    first, count = scene.chance.randrange(0, 250), scene.chance.choice((1, 1, 3, 10, 10**9))
    scene.said.append(f"{count} from write {first} on")
    child = scene.start(shim={"full": [f"{scene.folder}/store", first, count]})
    scene.kills += 3
    scene.well(scene.ended(child), *((0, 2) if scene.marks.exists() else (0,)))
    scene.hits += scene.marks.exists()


def _interrupted(scene: Scene) -> None:
    """A run that was killed, or is complete."""
    child = scene.start()
    if scene.chance.random() < 0.75 and scene.moment(child):
        _killed(scene, child, *scene.workers(child))
    else:
        scene.well(scene.ended(child))
    scene.hits = 0  # the fault is still to come


_HARMS: dict[str, Callable[[Scene, bytes], bytes | None]] = {
    "truncated": lambda scene, content: content[: scene.chance.randrange(len(content))] if content else None,
    "flipped": lambda scene, content: turned(content, scene.chance) or None,
    "deleted": lambda scene, content: None,
    "emptied": lambda scene, content: b"",
    "longer": lambda scene, content: content + b"\0",
}


def _harm(scene: Scene, how: str, which: Callable[[str], bool]) -> None:
    """Damage some files, or objects, of the store."""
    harm = _HARMS[how]
    store = scene.opened() if scene.store == "s3" else None
    if isinstance(store, UrlStore):
        keys = sorted(key for key in store.objects.below("") if which(key))
    else:
        root = Path(scene.place)
        keys = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
        keys = [key for key in keys if which(key)]
    chosen = scene.chance.sample(keys, min(len(keys), scene.chance.choice((1, 1, 2, 5))))
    scene.said.append(f"{how}: {', '.join(key[-60:] for key in chosen)}")
    scene.hits += len(chosen)
    if isinstance(store, UrlStore):
        change(store.objects, chosen, lambda content: harm(scene, content))
        return
    for key in chosen:
        path = Path(scene.place) / key
        with suppress(FileNotFoundError):
            content, status = harm(scene, path.read_bytes()), path.stat()
            path.unlink()
            if content is not None:
                path.write_bytes(content)
                if scene.chance.random() < 0.5:  # a disk that forgets says nothing of it
                    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


_SERVICE = ("tmp/", "work/", "leases/", "owners/", "damaged/", "STORE.json")


def _is_file(key: str) -> bool:
    return not key.startswith((*_SERVICE, "manifests/")) and not key.endswith("manifest.json")


def _is_manifest(key: str) -> bool:
    return not key.startswith(_SERVICE) and (key.startswith("manifests/") or key.endswith("manifest.json"))


def _damaging(how: str, which: Callable[[str], bool]) -> Callable[[Scene], None]:
    def damage(scene: Scene) -> None:
        _interrupted(scene)
        _harm(scene, how, which)
        if scene.store == "s3" and scene.chance.random() < 0.5:
            scene.machine = "b"  # whoever has it in his cache need not notice

    damage.__doc__ = f"Files of artifacts are {how}, after a kill or at the end."
    return damage


def damaged_while_running(scene: Scene) -> None:
    """Files of artifacts are damaged while a run uses them."""
    child = scene.start()
    if scene.moment(child):
        _harm(scene, scene.chance.choice(sorted(_HARMS)), lambda key: _is_file(key) or _is_manifest(key))
    scene.kills += 3
    scene.well(scene.ended(child), 0, 1, 2)


def damaged_checkpoint(scene: Scene) -> None:
    """What an interrupted stage would go on from is damaged."""
    child = scene.start()
    if child.await_(lambda: bool(scene.checkpoints())) and child.outlives(scene.chance.uniform(0.0, 0.1)):
        _killed(scene, child, *scene.workers(child))
    else:
        scene.well(scene.ended(child))
    scene.hits = 0
    _harm(scene, scene.chance.choice(sorted(_HARMS)), lambda key: key.startswith("work/"))


def damaged_lease(scene: Scene) -> None:
    """Leases and drafts of a killed run are damaged."""
    child = scene.start(shim=_FAR)
    if scene.moment(child):
        _killed(scene, child, *scene.workers(child))
    else:
        scene.well(scene.ended(child))
    scene.unreadable, scene.hits = True, 0
    for _ in range(3):
        _harm(scene, scene.chance.choice(sorted(_HARMS)), lambda key: key.startswith(("leases/", "tmp/")))
    scene.phase += 1
    scene.well(scene.ended(scene.start(engine="inline", shim=_FAR)))


def clock_jumps(scene: Scene) -> None:
    """The clock of all processes jumps by up to a year, some time after they began."""
    seconds = scene.chance.choice((-1, 1)) * scene.chance.choice((60.0, 3600.0, DAY, 400 * DAY))
    after = scene.chance.uniform(0.0, 1.0)
    scene.said.append(f"by {seconds:.0f} s")
    child = scene.start(shim={"clock": [after, seconds]})
    if scene.chance.random() < 0.5 and scene.moment(child):
        _killed(scene, child, *scene.workers(child))
    else:
        scene.well(scene.ended(child))
    scene.hits = int(scene.marks.exists())


def file_times(scene: Scene) -> None:
    """All files of an interrupted run get times of the past or the future."""
    _interrupted(scene)
    for path in Path(scene.place).rglob("*"):
        moved = time.time() + scene.chance.uniform(-400, 400) * DAY
        with suppress(FileNotFoundError):
            os.utime(path, (moved, moved))
            scene.hits += 1


def two_drivers(scene: Scene) -> None:
    """Two at once, of any engine; each stage is computed by one of them."""
    _two(scene, {})


def two_clocks(scene: Scene) -> None:
    """Two at once; the clock of one is wrong by days."""
    _two(scene, {"clock": [0.0, scene.chance.choice((-1, 1)) * scene.chance.uniform(1, 30) * DAY]})


def _two(scene: Scene, shim: dict[str, Any]) -> None:
    first = scene.start()
    scene.hits += first.outlives(scene.chance.uniform(0.0, 0.5))
    scene.machine = "b" if scene.store == "s3" else "a"
    second = scene.start(engine=scene.chance.choice(scene.ground.engines), shim=shim)
    ends = [scene.ended(first), scene.ended(second)]
    for ended in ends:
        scene.well(ended)
    if scene.work == "graph":
        ended_by = noted(scene.log, "ends")
        need(len(ended_by) == len(set(ended_by)), "computed by both")


def two_drivers_one_killed(scene: Scene) -> None:
    """Two at once, and one is killed with its workers; the other finishes."""
    first = scene.start()
    first.outlives(scene.chance.uniform(0.0, 0.5))
    scene.machine = "b" if scene.store == "s3" else "a"
    second = scene.start(engine="inline" if scene.engine == "ray" else None)
    if scene.moment(first):
        _killed(scene, first, *(() if scene.engine == "ray" else scene.workers(first)))
    else:
        scene.well(scene.ended(first))
    scene.well(scene.ended(second))


def _on_the_wire(how: str) -> Callable[[Scene], None]:
    def spoiled(scene: Scene) -> None:
        assert scene.ground.wire is not None
        first, count = scene.chance.randrange(0, 60), scene.chance.choice((1, 1, 1, 3, 8, 10**6))
        if how in wire.READS:
            first = scene.chance.randrange(0, 30)
        scene.ground.wire.spoil(how, first, count)
        child = scene.start(wire=True, AWS_MAX_ATTEMPTS=scene.chance.choice(("1", "2")))
        try:
            scene.kills += 3
            ended = scene.well(scene.ended(child), 0, 1, 2)
        finally:
            wrong = scene.ground.wire.heal()
            scene.hits += wrong
            scene.said.append(f"{wrong} from {first} on")
        need(wrong or not ended.code, f"it ended with {ended.code}: {ended.err}")
        if scene.chance.random() < 0.5:
            scene.machine = "b"

    spoiled.__doc__ = f"Requests to the object store: {how}."
    return spoiled


_POOLED, _S3, _FOLDER = ("inline", "pool"), ("s3",), ("folder",)
KINDS: dict[str, Kind] = {
    "driver killed": Kind(kill_driver, weight=4),
    "worker killed": Kind(kill_worker, engines=("pool", "ray"), weight=4),
    "driver and workers killed": Kind(kill_all, engines=("pool", "ray"), weight=3),
    "stopped by a signal": Kind(stop, weight=2),
    "stopped at once by two signals": Kind(stop_at_once, weight=2),
    "paused": Kind(pause, engines=_POOLED),
    "asleep, taken over from, awake": Kind(asleep, engines=_POOLED, weight=3),
    "disk full": Kind(disk_full, stores=_FOLDER, weight=3),
    "writes refused": Kind(writes_refused, engines=_POOLED, stores=_FOLDER, weight=3),
    **{f"files {how}": Kind(_damaging(how, _is_file), engines=_POOLED, weight=2) for how in _HARMS},
    **{
        f"manifests {how}": Kind(_damaging(how, _is_manifest), engines=_POOLED)
        for how in ("truncated", "flipped", "deleted")
    },
    "damaged while running": Kind(damaged_while_running, engines=_POOLED, weight=2),
    "checkpoint damaged": Kind(damaged_checkpoint, engines=_POOLED, stores=_FOLDER, weight=2),
    "leases and drafts damaged": Kind(damaged_lease, engines=_POOLED, stores=_FOLDER),
    "clock jumps": Kind(clock_jumps, engines=_POOLED, weight=2),
    "times of files moved": Kind(file_times, engines=_POOLED, stores=_FOLDER),
    "two drivers": Kind(two_drivers, weight=2),
    "two drivers, one clock wrong": Kind(two_clocks, engines=_POOLED),
    "two drivers, one killed": Kind(two_drivers_one_killed, weight=2),
    **{f"writes {how}": Kind(_on_the_wire(how), stores=_S3, works=("graph",)) for how in wire.WRITES},
    **{f"reads {how}": Kind(_on_the_wire(how), stores=_S3, works=("graph",)) for how in wire.READS},
}
KINDS["writes reported, not stored"] = Kind(_on_the_wire(wire.LOST), stores=_S3, works=("graph",), weight=4)
