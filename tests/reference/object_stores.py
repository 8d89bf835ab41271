"""An S3 server of its own on loopback, and an object store that errs."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from surpass.store.objects import Objects

BUCKET = "bucket"
_PATIENCE_SECONDS = 60.0


@cache
def environment() -> dict[str, str]:
    """What a process needs to use the server, which is started by the first to ask and ended at exit."""
    port = _start()
    found = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    request = urllib.request.Request(f"{found['AWS_ENDPOINT_URL']}/{BUCKET}", method="PUT")
    urllib.request.urlopen(request).close()
    return found


def _start() -> int:
    while True:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        atexit.register(_end, server)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while server.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/").close()
            except OSError:
                assert time.monotonic() < deadline, "moto's server does not start"
                time.sleep(0.05)
            else:
                return port


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    server.wait()


@dataclass
class Faults:
    """What goes wrong with the requests of an object store that is `erring`.

    Attributes:
        lost: Asked for each key that is written; True and the write is reported, and not done.
        broken: Asked for each key that is written or removed; True and the connection breaks before.
        changed: Asked for each key that is sent from a file; gives what arrives in its place.
        asked: Each request by its name and key.
    """

    lost: Callable[[str], bool] = lambda _: False
    broken: Callable[[str], bool] = lambda _: False
    changed: Callable[[str, bytes], bytes] = lambda _, content: content
    asked: list[tuple[str, str]] = field(default_factory=list)

    def count(self, *names: str) -> int:
        """How many requests of these names there were, or of any."""
        return sum(not names or name in names for name, _ in self.asked)


def erring(objects: Objects) -> Faults:
    """Let the requests of an object store go wrong as the faults say that are given back."""
    faults = Faults()
    kept: dict[str, Any] = {
        name: getattr(objects, name)
        for name in (
            "read",
            "read_many",
            "see",
            "below",
            "names",
            "bring",
            "write",
            "send",
            "create",
            "replace",
        )
    }

    def passing(name: str) -> Callable[..., Any]:
        def call(what: Any, *more: Any) -> Any:
            faults.asked.append((name, str(what)))
            return kept[name](what, *more)

        return call

    for name in ("read", "see", "below", "bring", "read_many"):
        setattr(objects, name, passing(name))

    def writing(name: str, answer: Any) -> Callable[..., Any]:
        def call(key: str, *more: Any) -> Any:
            faults.asked.append((name, key))
            if faults.broken(key):
                raise kept_error(key)
            return answer if faults.lost(key) else kept[name](key, *more)

        return call

    for name, answer in (("write", None), ("create", True), ("replace", True)):
        setattr(objects, name, writing(name, answer))

    def send(files: Mapping[str, Path]) -> None:
        for key, path in files.items():
            faults.asked.append(("send", key))
            if faults.broken(key):
                raise kept_error(key)
            if not faults.lost(key):
                kept["write"](key, faults.changed(key, path.read_bytes()))

    objects.send = send  # type: ignore[method-assign]
    return faults


def kept_error(key: str) -> Exception:
    """How a connection that breaks is told."""
    from surpass.errors import StoreError

    return StoreError(f"cannot use {key} (the connection broke): run again")


def change(objects: Objects, keys: Iterable[str], harm: Callable[[bytes], bytes | None]) -> None:
    """Damage objects behind the back of whoever uses them; None removes one."""
    for key in keys:
        content = harm(objects.read(key) or b"")
        if content is None:
            objects.remove([key])
        else:
            objects.write(key, content)


def flipped(content: bytes) -> bytes:
    """One bit is another."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
