"""Where faults happen: processes, stores and the undisturbed runs that everything is held against."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from faults.runner import Farm
from faults.shims import environment as shimmed
from faults.stages import graph, noted
from faults.wire import Wire
from processes import Child, Ended
from reference.object_stores import BUCKET
from reference.object_stores import environment as s3_environment
from surpass.store import Store
from surpass.store.objects import Objects
from surpass.store.opening import open_store
from surpass.store.urls import UrlStore

STUDY = ("chess", "pairs=1-2", "seeds=1", "num_train=100", "num_test=60", "epochs=5", "batch_size=4")
NUM_STAGES = {"graph": 18, "chess": 14}
PATIENCE_SECONDS = 400.0  # of a machine that may be busy with other things
_DISK_MEGABYTES = 24
_RAY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "5" * 64,
    "RAY_health_check_period_ms": "60000",
    "RAY_health_check_timeout_ms": "300000",
}


def _end(folder: str) -> None:
    """Kill whatever of a cluster in a folder is left."""
    for process in psutil.process_iter(["cmdline"]):
        if any(folder in word for word in process.info["cmdline"] or ()):
            with suppress(psutil.Error):
                process.kill()


class Wrong(AssertionError):
    """A promise was not kept."""


def need(condition: object, what: object) -> None:
    """A promise."""
    if not condition:
        raise Wrong(str(what))


class Ground:
    """All that scenes share.

    Attributes:
        folder: In which each scene has a folder.
        whole: Seconds of an undisturbed run, by (work, engine, store).
        right: What undisturbed runs left, by work.
        disk: The folder of a small disk of its own; None where none can be had.
    """

    def __init__(self, engines: Iterable[str], stores: Iterable[str], works: Iterable[str]) -> None:
        self._closing = ExitStack()
        self._ray = self._closing.enter_context(ExitStack())
        self.engines, self.stores, self.works = list(engines), list(stores), list(works)
        self.folder = Path(self._closing.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        self.farm = Farm()
        self._closing.callback(self.farm.close)
        self.wire: Wire | None = None
        self.raylet, self.address, self.raylet_environment = 0, "", {}
        if "s3" in self.stores:
            os.environ |= s3_environment()
            self.wire = Wire(s3_environment()["AWS_ENDPOINT_URL"])
            self._closing.callback(self.wire.close)
        self.disk = self._disk()
        self.whole: dict[tuple[str, str, str], float] = {}
        self.right: dict[str, tuple[dict[str, Any], Any]] = {}

    def has_ray(self) -> bool:
        """Whether Ray's own processes live; on a machine that stood still, they give each other up."""
        with suppress(psutil.Error):
            return bool(self.raylet) and psutil.Process(self.raylet).status() != psutil.STATUS_ZOMBIE
        return False

    def start_ray(self) -> None:
        """Start a cluster of one machine, unless there is one; what is left of a dead one goes first."""
        if self.has_ray():
            return
        self._ray.close()
        folder = tempfile.mkdtemp(prefix="ray-")
        self._ray.callback(shutil.rmtree, folder, ignore_errors=True)
        os.environ |= _RAY | {"RAY_TMPDIR": folder}
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        self.address = cluster.address
        self.raylet = cluster.head_node.all_processes["raylet"][0].process.pid
        self.raylet_environment = _RAY | {"RAY_TMPDIR": folder}
        self._ray.callback(_end, folder)
        self._ray.callback(cluster.shutdown)

    def _disk(self) -> Path | None:
        place = self.folder / "disk"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MEGABYTES}m", "tmpfs", str(place)]
        with suppress(OSError):
            if not subprocess.run(command, capture_output=True, check=False).returncode:
                self._closing.callback(subprocess.run, ["umount", "-l", str(place)], check=False)
                return place
        return None

    def close(self) -> None:
        """End all."""
        self._closing.close()

    def prepare(self, work: str, engine: str, store: str) -> None:
        """Run something undisturbed, unless it was, and hold it against what inline has given before."""
        if engine == "ray":
            self.start_ray()
        if (work, engine, store) in self.whole:
            return
        if not self.whole:
            self.farm.begin(["--version"], cwd=self.folder, env={}).wait()  # from here on it is warm
        if engine != "inline":
            self.prepare(work, "inline", store)
        scene = Scene(self, f"whole-{work}-{engine}-{store}", random.Random(0), work, engine, store)
        began = time.monotonic()
        scene.well(scene.ended(scene.start()))
        self.whole[work, engine, store] = time.monotonic() - began
        left = scene.left()
        need(left == self.right.setdefault(work, left), f"{work}: {engine} in {store} gives other digits")
        scene.close()


@dataclass
class Scene:
    """One store, and what is done to those who use it.

    Attributes:
        work: `graph` or `chess`.
        store: `folder` or `s3`.
        kills: How many processes lost what they were at.
        hits: How often something was done; a run that ended before was spared.
        seen: The manifests that were there at the moment of the fault; in a folder.
        said: What was done, for people.
        machine: Which cache processes use that are started.
        on_disk: Whether the store is on the small disk.
        unreadable: Whether leases and drafts may not say whose they are: these stay for a while.
    """

    ground: Ground
    name: str
    chance: random.Random
    work: str
    engine: str
    store: str
    kills: int = 0
    hits: int = 0
    seen: dict[str, bytes] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    machine: str = "a"
    on_disk: bool = False
    unreadable: bool = False
    phase: int = 0
    children: list[Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.ground.folder / self.name
        self.folder.mkdir()

    @property
    def place(self) -> str:
        """The store."""
        if self.store == "s3":
            return f"s3://{BUCKET}/{self.ground.folder.name}/{self.name}"
        if self.on_disk:
            return f"{self.ground.disk}/store"
        return f"{self.folder}/store"

    @property
    def log(self) -> Path:
        """What processes of this phase have begun and ended."""
        return self.folder / f"log-{self.phase}"

    def start(
        self, *, engine: str | None = None, shim: dict[str, Any] | None = None, wire: bool = False, **env: str
    ) -> Child:
        """Start a run.

        Args:
            engine: Which; the scene's by default.
            shim: What goes wrong inside of the processes.
            wire: Whether requests go through the wire.
            env: More of the environment.
        """
        engine = engine or self.engine
        env = {"SURPASS_CACHE": str(self.folder / f"cache-{self.machine}")} | env
        if self.store == "s3":
            env |= s3_environment()
        if wire and self.ground.wire is not None:
            env |= {"AWS_ENDPOINT_URL": self.ground.wire.url}
        if engine == "ray":
            env |= self.ground.raylet_environment
        env |= shimmed({"marks": str(self.marks)} | (shim or {}))
        told: dict[str, Any] = {"threads": 1} if engine == "inline" else {"workers": 2, "threads": 2}
        if engine == "ray":
            told["address"] = self.ground.address
        if self.work == "graph":
            told["checkpoint_seconds"] = 0.05
            words = ["graph", engine, self.place, str(self.log), json.dumps(told)]
        else:
            more = [f"--{key}={value}" for key, value in told.items()]
            options = ["--checkpoint-seconds", "0.05", "--out", "results", "--store", self.place]
            words = ["run", *STUDY, *options, "--engine", engine, *more]
        child = self.ground.farm.begin(words, cwd=self.folder, env=env)
        self.children.append(child)
        return child

    def ended(self, child: Child) -> Ended:
        """Wait for a process; one that does not end tells what it is at, and is killed."""
        if child.outlives(PATIENCE_SECONDS):
            family = [child.pid, *self.workers(child)]
            child.signal(signal.SIGUSR2)
            time.sleep(1.0)
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            ended = child.wait()
            self.children.remove(child)
            raise Wrong(f"it does not end: {ended.err[-3000:]}")
        self.children.remove(child)
        return child.wait()

    def well(self, ended: Ended, *codes: int) -> Ended:
        """A run must have ended in one of these ways, by default with success."""
        need(ended.code in (codes or (0,)), f"it ended with {ended.code}: {ended.err[-3000:]}")
        need("Traceback" not in ended.err, f"a traceback: {ended.err[-3000:]}")
        return ended

    def workers(self, child: Child) -> list[int]:
        """The processes that compute for a driver."""
        found = []
        with suppress(psutil.Error):
            found = [each.pid for each in psutil.Process(child.pid).children()]
        if self.ground.raylet:
            with suppress(psutil.Error):
                for each in psutil.Process(self.ground.raylet).children():
                    with suppress(psutil.Error):
                        title = "".join(each.cmdline())
                        if title.startswith("ray::") and not title.startswith("ray::IDLE"):
                            found.append(each.pid)
        return found

    def events(self) -> int:
        """How far a run is."""
        if self.work == "graph":
            return len(noted(self.log, "begins")) + len(noted(self.log, "ends"))
        if self.store == "s3":
            return 0
        return len(list(Path(self.place).glob("*/*/manifest.json"))) + len(self.checkpoints())

    def checkpoints(self) -> list[Path]:
        """What interrupted stages go on from."""
        return [
            p for p in Path(self.place).glob("work/*/*") if p.name in ("state.json", "checkpoint.safetensors")
        ]

    def moment(self, child: Child) -> bool:
        """Wait for a random moment of a run, and look what is there; False if it ended before."""
        if not self._awaited(child):
            return False
        if self.store == "folder":
            found = Path(self.place).glob("*/*/manifest.json")
            self.seen = {str(path): path.read_bytes() for path in found if "tmp" not in path.parts}
        return True

    def _awaited(self, child: Child) -> bool:
        whole = self.ground.whole[self.work, self.engine, self.store]
        if self.chance.random() < 0.4:
            seconds = self.chance.uniform(0.0, whole)
            self.said.append(f"after {seconds:.2f} s of {whole:.1f}")
            return child.outlives(seconds)
        events = self.chance.randrange(1, 2 * NUM_STAGES[self.work] if self.work == "graph" else 16)
        self.said.append(f"at event {events}")
        deadline = time.monotonic() + 4 * whole + 20
        while self.events() < events:
            if child.has_ended():
                return False
            if time.monotonic() > deadline:
                return True
            time.sleep(0.004)
        return child.outlives(self.chance.uniform(0.0, 0.02))

    @property
    def marks(self) -> Path:
        """Where processes leave a mark when what shall go wrong inside of them does."""
        return self.folder / "marks"

    def opened(self) -> Store:
        """The store, as somebody else sees it."""
        if self.store == "s3":
            return UrlStore(self.place, cache=self.folder / "eye")
        return open_store(self.place)

    def exists(self) -> bool:
        """Whether there is a store already."""
        return self.store == "s3" or (Path(self.place) / "STORE.json").exists()

    def complete(self) -> dict[str, Any]:
        """The manifests of all artifacts that are there and sound, by id."""
        if not self.exists():
            return {}
        store = self.opened()
        bad = {str(problem.path) for problem in store.verify()}
        if isinstance(store, UrlStore):
            return {a.id: a.manifest for a in store.artifacts() if not any(a.id in path for path in bad)}
        return {a.id: a.manifest for a in store.artifacts() if str(a.path) not in bad}

    def left(self) -> tuple[dict[str, Any], Any]:
        """The digests of all files, and the table."""
        files = {id: {n: f["sha256"] for n, f in m["files"].items()} for id, m in self.complete().items()}
        if self.work == "graph":
            return files, sorted(stage.id for stage in graph(""))
        table = json.loads((self.folder / "results" / "results.json").read_bytes())
        for entry in table["rows"] + table["summaries"]:
            del entry["seconds"]
        return files, table

    def run_again(self, *, engine: str | None = None, sound: dict[str, Any] | None = None) -> int:
        """Run to the end, and hold what comes out against the undisturbed run; gives how many it did."""
        sound = self.complete() if sound is None else sound
        self.phase += 1
        ended = self.well(self.ended(self.start(engine=engine)))
        now = self.complete()
        for id, manifest in sound.items():
            need(now.get(id) == manifest, f"{id[:8]} was there, and is another now")
        if self.work == "graph":
            computed = len(set(noted(self.log, "begins")))
            twice = set(noted(self.log, "begins")) & sound.keys()
            need(not twice, f"computed again: {twice}")
            need(max(Counter(noted(self.log, "ends")).values(), default=1) == 1, "computed twice")
        else:
            computed = sum(map(int, re.findall(r"(\d+) stages? computed", ended.err)))
            most = NUM_STAGES[self.work] - len(sound)
            need(computed <= most, f"{computed} computed where {most} were missing")
        return computed

    def close(self) -> None:
        """Leave nothing."""
        for child in self.children:
            with suppress(ProcessLookupError):
                for pid in (*self.workers(child), child.pid):
                    os.kill(pid, signal.SIGKILL)
            child.wait()
        if self.ground.wire is not None:
            self.ground.wire.heal()
        if self.store == "s3":
            objects = Objects(str(self.place))  # not as a store: what marks it may be what was damaged
            objects.remove(objects.below(""))
        if self.on_disk:
            shutil.rmtree(self.place, ignore_errors=True)
            (Path(str(self.ground.disk)) / "ballast").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
