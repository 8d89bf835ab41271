"""Several devices for one fit, as a mesh with named axes; and what its processes and their starter say.

    data=4            four replicas, each with a share of every batch (DistributedDataParallel)
    shard=4           the same, and each keeps a quarter of weights, gradients and moments (FSDP2)
    model=2           each matrix cut in two (tensor parallelism), the batch whole
    data=2,model=2    axes multiply: four processes

Importing this imports no torch.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cached_property
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

from surpass.errors import ConfigError

AXES = ("data", "shard", "model")


class Mesh(NamedTuple):
    """How many devices there are along each axis.

    Attributes:
        data: Replicas; each reads its share of a batch.
        shard: Holders of a share of weights, gradients and moments; each reads its share of a batch.
        model: Parts of each matrix; all read the same examples.
    """

    data: int = 1
    shard: int = 1
    model: int = 1

    @classmethod
    def parse(cls, text: str) -> Mesh:
        """The mesh of a text such as `data=2,model=2`; axes that it does not name have one device.

        Raises:
            ConfigError: It names no such axis, one twice, or no number of at least 1; or one device in all.
        """
        sizes: dict[str, int] = {}
        for part in text.split(","):
            axis, _, size = (word.strip() for word in part.partition("="))
            if axis not in AXES:
                raise ConfigError(f"mesh {text!r} has no axis {axis!r}; axes are {', '.join(AXES)}")
            if axis in sizes:
                raise ConfigError(f"mesh {text!r} names {axis} twice; say it once")
            if not (size.isascii() and size.isdecimal() and int(size)):
                raise ConfigError(f"mesh {text!r}: {axis}={size} must be a whole number of at least 1")
            sizes[axis] = int(size)
        mesh = cls(**sizes)
        if mesh.size == 1:
            raise ConfigError(f"mesh {text!r} is one device; leave it out")
        return mesh

    @property
    def size(self) -> int:
        """All devices: a process each."""
        return self.data * self.shard * self.model

    @property
    def num_shares(self) -> int:
        """Into how many shares a batch is cut."""
        return self.data * self.shard

    def __str__(self) -> str:
        return ",".join(f"{axis}={size}" for axis, size in self._asdict().items() if size > 1)


class Setup(NamedTuple):
    """What a rank is told first.

    Attributes:
        stage: What it computes, with the others.
        artifacts: What the stage takes from, by id.
        context: Makes what the stage is given, of what each rank has of its own.
        mesh: The mesh.
        rendezvous: Where ranks find each other, as `torch.distributed` reads it.
        log_level: The least level of messages that are passed on.
    """

    stage: Any
    artifacts: dict[str, Any]
    context: Callable[..., Any]
    mesh: Mesh
    rendezvous: str
    log_level: int


class Halt(NamedTuple):
    """Save and stop."""


class Share(NamedTuple):
    """So much is done, in [0, 1]."""

    share: float


class Record(NamedTuple):
    """A message of the log."""

    name: str
    level: int
    text: str


class Halted(NamedTuple):
    """The rank has stopped as it was asked."""


class Done(NamedTuple):
    """The rank has ended; what `run` of the stage returns."""

    said: dict[str, Any]


class Failed(NamedTuple):
    """The rank has failed; `error` is a name in `surpass.errors`, or empty."""

    error: str
    text: str


def told(setup: Setup) -> bytes:
    """A setup as a rank receives it; what tasks have read is not sent along."""
    written = io.BytesIO()
    _WithoutData(written).dump(setup)
    return written.getvalue()


class _WithoutData(ForkingPickler):
    def reducer_override(self, value: Any) -> Any:
        """Leave out what a task remembers; stages keep their ids, which take long to find."""
        kind = type(value)
        if hasattr(kind, "upstream") or not hasattr(kind, "__dataclass_fields__") or not vars(value):
            return NotImplemented
        kept = {
            name: item
            for name, item in vars(value).items()
            if not isinstance(getattr(kind, name, None), cached_property)
        }
        return _rebuilt, (kind, kept)


def _rebuilt(kind: type, kept: dict[str, Any]) -> Any:
    value: Any = object.__new__(kind)
    vars(value).update(kept)
    return value
