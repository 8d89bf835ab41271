"""What a driver and its workers tell each other; stages are named by their ids."""

from __future__ import annotations

from typing import NamedTuple

from surpass.engine.work import Settings
from surpass.errors import SurpassError
from surpass.stages import Stage


class Setup(NamedTuple):
    """The first thing that a worker is told.

    Attributes:
        driver: The process to live and die with, for a worker beside it.
        root: The store's folder or address.
        settings: `threads` is the worker's share.
        stages: All that may be asked for, and what they take from, each behind what it takes from.
        instead: As in `Graph`.
        log_level: From which records are passed on.
    """

    driver: int
    root: str
    settings: Settings
    stages: list[Stage]
    instead: dict[str, Stage]
    log_level: int


class Order(NamedTuple):
    """Compute these stages, together if they are several."""

    ids: list[str]


class Halt(NamedTuple):
    """Save what runs, and stop."""


class Hello(NamedTuple):
    """The worker is there, and waits for its setup."""


class Started(NamedTuple):
    """A stage starts."""

    id: str


class Share(NamedTuple):
    """So much of a stage is done, in [0, 1]."""

    id: str
    share: float


class Finished(NamedTuple):
    """A stage is published, in so many seconds; or was found, in 0."""

    id: str
    seconds: float


class Record(NamedTuple):
    """A line for the log of the driver."""

    name: str
    level: int
    text: str


class Failure(NamedTuple):
    """A stage failed.

    Attributes:
        id: Of the stage; empty where it is nobody's fault.
        error: The name of the error.
        text: Its message.
    """

    id: str
    error: str
    text: str


class Ended(NamedTuple):
    """An order has been dealt with; what is not named here was finished."""

    busy: list[str]
    missing: list[str]
    failed: list[Failure]


class Halted(NamedTuple):
    """It was stopped, and has saved where it is."""


class Broken(NamedTuple):
    """The worker cannot go on, and nor could another."""

    failure: Failure


Message = Hello | Started | Share | Finished | Record | Ended | Halted | Broken


def cannot_be_sent(error: Exception) -> SurpassError:
    """What is wrong with stages that a worker cannot be told of."""
    what = "define their classes in a module that can be imported, or use engine=inline"
    return SurpassError(f"stages cannot be sent to workers ({error}): {what}")
