"""A connection to Ray: to a cluster that runs, or to one on this machine alone, begun and ended by us."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from surpass.engine.crew import num_devices, total_threads
from surpass.engine.work import Settings
from surpass.environment import THREAD_VARIABLES
from surpass.errors import ConfigError
from surpass.train.mesh import Mesh

_OBJECT_BYTES = 200_000_000  # results do not pass through it
_PATIENCE_SECONDS = 10.0
_QUIET = {"logging_level": logging.ERROR, "configure_logging": False, "log_to_driver": False}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Lets Ray take 127.0.0.1 for this machine's address, where it finds another one otherwise."""

_log = logging.getLogger(__name__)


class Session:
    """Ray, ready for tasks.

    Attributes:
        ray: The package.
        ours: Whether it was begun here, and ends with this.
        threads: What each task has.
        devices: Over how many GPUs, or processes where there are none, each fit is spread.
        environment: What tasks need of it that their processes do not have already.

    Raises:
        ConfigError: Ray is not installed, there is no cluster at the address, or no machine of it has as many
            devices as the mesh.
    """

    def __init__(self, settings: Settings) -> None:
        if find_spec("ray") is None:
            raise ConfigError("engine ray needs Ray: pip install 'surpass[ray]'")
        address = settings.address or os.environ.get("RAY_ADDRESS") or None
        if address is not None and address.startswith("ray://"):
            raise ConfigError(
                f"address={address} is of Ray's client, which cannot tell how stages go: start Surpass on a "
                "machine of the cluster, for example with `ray job submit`, and give HOST:PORT or auto"
            )
        self.environment: dict[str, str] = {}
        self.devices = 1 if settings.mesh is None else Mesh.parse(settings.mesh).size
        self._closing = ExitStack()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with self._closing:
            try:
                self._connect(settings, address)
            finally:
                for number, handler in handlers.items():  # a signal is the driver's to answer
                    with suppress(ValueError):
                        signal.signal(number, handler)
            self._closing = self._closing.pop_all()

    def _connect(self, settings: Settings, address: str | None) -> None:
        self._closing.enter_context(_variables({"RAY_USAGE_STATS_ENABLED": "0"}))
        running = "ray" in sys.modules and sys.modules["ray"].is_initialized()
        self.ours = not running and address in (None, "local")
        if self.ours:
            self._begin(settings)
            return
        self.ray = import_module("ray")
        if not running:
            try:
                _look_for(address or "")
                self.ray.init(address=address, **_QUIET)
            except Exception as error:
                why = " ".join(str(error).split())[:200]
                raise ConfigError(f"no Ray cluster at address={address}: {why}") from error
            self._closing.callback(self.ray.shutdown)
        self._closing.enter_context(_complaints_logged(self.ray))
        processors, gpus, largest = self.has()
        self._require_room(gpus)
        processors = settings.threads or processors
        at_once = settings.workers or max(1, (gpus or processors) // self.devices)
        self.threads = max(1, min(processors // at_once, largest))
        self.environment = dict.fromkeys(THREAD_VARIABLES, str(self.threads))

    def _begin(self, settings: Settings) -> None:
        """Start one on this machine, which listens on the loopback interface alone and wants a token."""
        total, gpus = total_threads(settings), num_devices()
        workers = settings.workers or max(1, (gpus or total) // self.devices)
        self.threads = max(1, total // workers)
        folder = tempfile.mkdtemp(prefix="surpass-ray-")
        self._closing.callback(shutil.rmtree, folder, ignore_errors=True)
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        inherited = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        self._closing.enter_context(_variables(_LOOPBACK | token | inherited))
        self.ray = import_module("ray")
        with suppress(ImportError, AttributeError):  # imported before, it has not seen what we want
            constants: Any = import_module("ray._private.ray_constants")
            constants.ENABLE_RAY_CLUSTER = False
        self._closing.callback(self.ray.shutdown)
        self.ray.init(
            address="local",
            num_cpus=max(total, workers),
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_BYTES,
            _temp_dir=folder,
            **_QUIET,
        )
        self._closing.enter_context(_complaints_logged(self.ray))
        self._require_room(gpus)

    def _require_room(self, gpus: int) -> None:
        """Make sure that a task with a mesh can ever begin; without GPUs its ranks are processes."""
        most = max(
            (int(node["Resources"].get("GPU", 0)) for node in self.ray.nodes() if node["Alive"]), default=0
        )
        if gpus and most < self.devices:
            raise ConfigError(
                f"a mesh of {self.devices} devices is on one machine, and those of the Ray cluster have "
                f"{most} GPUs at most; let the product of the axes be no more"
            )

    def has(self) -> tuple[int, int, int]:
        """Processors and GPUs of the whole cluster, and processors of its largest machine."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        processors = [int(each.get("CPU", 0)) for each in nodes]
        return max(1, sum(processors)), sum(int(each.get("GPU", 0)) for each in nodes), max(1, *processors, 1)

    def close(self) -> None:
        """Disconnect, and end what was begun here."""
        self._closing.close()


def _look_for(address: str) -> None:
    """Make sure that somebody listens there; Ray would try for minutes.

    Raises:
        OSError: Nobody does.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_SECONDS).close()


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Have these in the environment for as long as Ray may start processes that inherit it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _complaints_logged(ray: Any) -> Iterator[None]:
    """Let what Ray complains of go to the log: it prints to standard output, where results are."""
    place = getattr(getattr(ray, "_private", None), "worker", None)
    before = getattr(place, "print_to_stdstream", None)
    if before is None:
        yield
        return

    def log(data: dict[str, Any], *_: Any, **__: Any) -> None:
        text = " ".join(" ".join(map(str, data.get("lines", ()))).split())
        said = text.startswith(("A worker died", "Raylet is terminated"))  # by us too
        _log.log(logging.DEBUG if said else logging.WARNING, "ray: %s", text[:500])

    place.print_to_stdstream = log  # type: ignore[union-attr]
    try:
        yield
    finally:
        place.print_to_stdstream = before  # type: ignore[union-attr]
