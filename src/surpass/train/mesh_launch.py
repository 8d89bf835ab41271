"""Start the processes of a mesh, pass on what they say, and end them.

They are started by what torchrun starts its own with (`torch.distributed.elastic.multiprocessing`), which
ends all when one fails. Not by torchrun itself: its rendezvous listens on every interface of the machine,
and unpickles what comes in. Here ranks find each other through a file in a folder that only this user can
open, talk to each other over the loopback interface, and are told what to do through a socket in that folder.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, NamedTuple

from surpass.environment import DEVICE, THREAD_VARIABLES
from surpass.errors import ConfigError, Stopped, SurpassError, error_named
from surpass.train.mesh import Done, Failed, Halt, Halted, Mesh, Record, Setup, Share, told
from surpass.train.recipe import Recipe

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing import PContext

    from surpass.stages import Context

_START = """
import json, os, sys
log = os.open(f"{sys.argv[3]}/{os.environ['RANK']}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(log, 1)
os.dup2(log, 2)
sys.path[:] = json.loads(sys.argv[2])
from surpass.train.mesh_rank import main
main(sys.argv[1])
"""
_LOOK_SECONDS = 0.05
_GRACE_SECONDS = 2.0
_LOUD = "torch.distributed.elastic.multiprocessing.api"


def run_on_mesh(stage: Any, recipe: Recipe | None, context: Context) -> dict[str, Any]:
    """Run a stage in as many processes as its mesh has devices.

    Args:
        stage: A fit, one that is stopped early, or a model that labels.
        recipe: The settings of a fit.
        context: What the stage is given here.

    Returns:
        What running it returns.

    Raises:
        ConfigError: The mesh is none, or does not go with this machine or these settings.
        Stopped: The stop was asked for, and the state is saved.
        SurpassError: A process failed.
    """
    mesh = Mesh.parse(context.mesh or "")
    if recipe is not None and recipe.batch_size < mesh.num_shares:
        raise ConfigError(
            f"mesh {mesh} cuts a batch in {mesh.num_shares} shares, and batch_size={recipe.batch_size} is "
            "less; take a smaller mesh or larger batches"
        )
    devices = devices_of(mesh)
    logs = context.work / "ranks"
    rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="surpass-") as folder:
        setup = Setup(
            stage=stage,
            artifacts=_artifacts(stage, context),
            context=partial(
                type(context),
                out=context.out,
                work=context.work,
                checkpoint_seconds=context.checkpoint_seconds,
                micro_batch=context.micro_batch,
                save_memory=context.save_memory,
            ),
            mesh=mesh,
            rendezvous=f"file://{folder}/rendezvous",
            log_level=logging.getLogger().level,
        )
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(f"{folder}/link")
            door.listen(mesh.size)
            conversation = _Conversation(door, setup, context)
            with _started(mesh, devices, Path(folder), logs) as processes, conversation:
                said = conversation.until_all_have_ended(processes)
    rmtree(logs, ignore_errors=True)
    return said


def devices_of(mesh: Mesh) -> list[str]:
    """The device of each rank, as `SURPASS_DEVICE` has it.

    Raises:
        ConfigError: There are not enough, or the variable names one.
    """
    import torch

    said = os.environ.get(DEVICE, "") or ("cuda" if torch.cuda.is_available() else "cpu")
    if said == "cpu":
        return ["cpu"] * mesh.size
    if said != "cuda":
        raise ConfigError(f"{DEVICE}={said!r} and mesh {mesh}: say cpu or cuda, or leave the variable out")
    found = torch.cuda.device_count()
    if found < mesh.size:
        raise ConfigError(
            f"mesh {mesh} takes {mesh.size} devices, and there are {found}; let the product of the axes be "
            f"at most {found}, or say {DEVICE}=cpu"
        )
    return [f"cuda:{number}" for number in range(mesh.size)]


def _artifacts(stage: Any, context: Context) -> dict[str, Any]:
    """All that a stage may ask for: what it takes from, and what the models among those take from."""
    found: dict[str, Any] = {}
    ahead = list(stage.upstream)
    while ahead:
        before = ahead.pop()
        if before.id in found:
            continue
        with suppress(SurpassError):  # not all that lies further back need be there
            found[before.id] = context.find(before)
        ahead += before.upstream if hasattr(before, "load_into") else ()
    return found


@contextmanager
def _started(mesh: Mesh, devices: list[str], folder: Path, logs: Path) -> Iterator[PContext]:
    import torch
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, start_processes

    ranks = range(mesh.size)
    threads = str(max(1, torch.get_num_threads() // mesh.size))
    shared = dict.fromkeys(THREAD_VARIABLES, threads) | {
        "WORLD_SIZE": str(mesh.size),
        "LOCAL_WORLD_SIZE": str(mesh.size),
        "GLOO_SOCKET_IFNAME": _loopback(),
        "NCCL_SOCKET_IFNAME": _loopback(),
    }
    each = {
        rank: shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), DEVICE: devices[rank]} for rank in ranks
    }
    warnings = [f"-W{option}" for option in sys.warnoptions]
    command = (*warnings, "-c", _START, f"{folder}/link", json.dumps(sys.path), str(logs))
    logging.getLogger(_LOUD).setLevel(logging.CRITICAL)  # what fails is said here, once
    with _signals_kept():
        processes = start_processes(
            "surpass",
            sys.executable,
            dict.fromkeys(ranks, command),
            each,
            DefaultLogsSpecs(log_dir=str(folder / "errors")),
        )
    try:
        yield processes
    finally:
        processes.close(signal.SIGKILL)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Starting processes would take over what the main thread does about signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _loopback() -> str:
    return "lo0" if sys.platform == "darwin" else "lo"


class _Fate(NamedTuple):
    """How a rank ended of itself."""

    rank: int
    message: Done | Halted | Failed


class _Conversation:
    """With all ranks, until all have ended or one has failed."""

    def __init__(self, door: socket.socket, setup: Setup, context: Context) -> None:
        self.door, self.setup, self.context = door, setup, context
        self.links: dict[Connection[Any, Any], int] = {}
        self.fates: list[_Fate] = []
        self.halted = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for link in self.links:
            link.close()

    def until_all_have_ended(self, processes: PContext) -> dict[str, Any]:
        """What the first rank returns."""
        while (ended := processes.wait(0)) is None:
            self.hear(_LOOK_SECONDS)
            if not self.halted and self.context.stop():
                self.halt()
        while self.links:
            self.hear(_GRACE_SECONDS)
        return self.outcome(ended.failures)

    def meet(self) -> None:
        """Take up a rank that has come, and tell it what there is to do."""
        link: Connection[Any, Any] = Connection(self.door.accept()[0].detach())
        self.links[link] = int(link.recv())
        try:
            link.send_bytes(told(self.setup))
        except Exception as error:  # whatever an object says that is made for one process
            raise SurpassError(
                f"the stage cannot be told to other processes ({error}); define it in a module"
            ) from error
        if self.halted:
            link.send(Halt())

    def halt(self) -> None:
        """Let all save and stop."""
        self.halted = True
        for link in self.links:
            with suppress(OSError):
                link.send(Halt())

    def hear(self, seconds: float) -> None:
        """Take in what ranks say."""
        for link in wait([self.door, *self.links], seconds):
            if not isinstance(link, Connection):
                self.meet()
                continue
            try:
                self.heard(self.links[link], link.recv())
            except (EOFError, OSError):
                del self.links[link]
                link.close()

    def heard(self, rank: int, message: Any) -> None:
        match message:
            case Share(share):
                self.context.report(share)
            case Record(name, level, text):
                logging.getLogger(name).log(level, "%s", text)
            case Done() | Halted() | Failed():
                self.fates.append(_Fate(rank, message))

    def outcome(self, failures: Any) -> dict[str, Any]:
        """What came of it; of several failures, the one that says most.

        Raises:
            SurpassError: A rank failed, or all have stopped.
        """
        failed = {rank: message for rank, message in self.fates if isinstance(message, Failed)}
        for message in failed.values():
            kind = error_named(message.error)
            if kind is not None:
                raise kind(message.text)
        # Those that were still running were ended by SIGTERM.
        alive = {rank for rank, said in failures.items() if said.exitcode == -signal.SIGTERM}
        of_itself = failures.keys() - alive - failed.keys()
        killed = {rank: failures[rank] for rank in of_itself if failures[rank].exitcode < 0}
        done = [message.said for rank, message in self.fates if isinstance(message, Done) and rank == 0]
        if not failures and done:
            return done[0]
        if any(isinstance(fate.message, Halted) for fate in self.fates) and not failed:
            raise Stopped("stopped; run the same command again to go on from here")
        rank = min(killed or failed or of_itself or failures, default=0)
        how = f"failed ({failed[rank].text})" if rank in failed else "ended without a word"
        if rank in killed:
            name = signal.Signals(-killed[rank].exitcode).name
            how = f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        log = self.context.work / "ranks" / f"{rank}.txt"
        raise SurpassError(
            f"rank {rank} of mesh {self.setup.mesh} {how}; log: {log}; run again to go on from the last "
            "checkpoint"
        )
