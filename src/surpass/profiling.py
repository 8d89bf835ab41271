"""A stage run once more on what it takes from, with a clock beside it; nothing of it is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from surpass.analyses.finding import found
from surpass.clock import Clock, running, timed
from surpass.engine.inline import run
from surpass.engine.work import Settings
from surpass.experiment import stage_of
from surpass.memory import highest
from surpass.models.families import FAMILIES
from surpass.models.sources import resolve
from surpass.stages import Context, Stage
from surpass.store import Store
from surpass.study import Study

SAID_HERE = {
    "pyarrow.parquet:read_table": "input/output",
    "pyarrow.parquet:write_table": "input/output",
    "surpass.train.features:Known.__getitem__": "data",
    "surpass.train.blocks:Block.read": "data",
    "surpass.train.linear:Product.backward": "backward",
    "surpass.train.stacks:Stack.update": "optimizer",
    "surpass.train.objective:Objective.measure": "forward",
    "surpass.train.whitened:Whitened.measure": "forward",
    "surpass.train.whitened:coordinates": "data",
    "surpass.train.descent:Descent.go": "optimizer",
}
"""Functions whose time is told only while a clock runs: they are called too often, or are not ours."""


class Profile(NamedTuple):
    """Where the time of a stage went.

    Attributes:
        stage: Which.
        seconds: By what they were spent on; the sum is the whole.
        calls: How often each was begun.
        said: What the stage says of itself.
        peak: Bytes that this process has held at most, 0 where the system does not tell.
    """

    stage: Stage
    seconds: dict[str, float]
    calls: dict[str, int]
    said: dict[str, Any]
    peak: int

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.seconds.values())

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        about = {"kind": self.stage.kind, "label": self.stage.label, "id": self.stage.id}
        spent = {
            kind: {"seconds": seconds, "calls": self.calls[kind]} for kind, seconds in self.seconds.items()
        }
        return about | {"seconds": self.total, "spent": spent, "peak_bytes": self.peak, "said": self.said}


def profile(study: Study, text: str, store: Store, settings: Settings = Settings()) -> Profile:  # noqa: B008
    """Run a stage and see where its time goes.

    What it takes from is computed first where it is not there, and kept as ever.

    Args:
        study: Whose it is.
        text: How its id begins, or its label.
        store: Where artifacts are.
        settings: How to carry it out, in this process.

    Raises:
        ConfigError: There is no such stage, or there are several.
        SurpassError: It failed, or what it takes from did.
    """
    stage = stage_of(study, text)
    run(stage.upstream, store, settings=settings)
    _begin(stage, settings.threads)
    import_module(stage.runs_in)
    with tempfile.TemporaryDirectory(prefix="surpass-profile-") as folder:
        out, work = Path(folder) / "out", Path(folder) / "work"
        out.mkdir()
        work.mkdir()
        context = Context(
            find=lambda stage: found(stage, store),
            out=out,
            work=work,
            stop=settings.stop,
            checkpoint_seconds=settings.checkpoint_seconds,
            micro_batch=settings.micro_batch,
            save_memory=settings.save_memory,
        )
        clock = Clock(work=stage.work)
        with said_here(), running(clock):
            said = stage.run(context)
    return Profile(stage, clock.seconds, clock.calls, said, highest())


@contextmanager
def said_here() -> Iterator[None]:
    """Let the functions of `SAID_HERE` say what their time is spent on."""
    before = []
    try:
        for name, kind in SAID_HERE.items():
            module, _, path = name.partition(":")
            *owners, function = path.split(".")
            owner: Any = import_module(module)
            for each in owners:
                owner = getattr(owner, each)
            before.append((owner, function, getattr(owner, function)))
            setattr(owner, function, timed(getattr(owner, function), kind))
        yield
    finally:
        for owner, function, plain in reversed(before):
            setattr(owner, function, plain)


def _begin(stage: Stage, threads: int | None) -> None:
    """Import what is a cost of the first stage of its kind in a process alone: hundreds of modules."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    import_module("pyarrow.dataset")
    for each in (stage, *stage.upstream):
        for name in (getattr(each, "model", None), getattr(each, "source", None)):
            if isinstance(name, str) and resolve(name).family in FAMILIES:
                import_module(FAMILIES[resolve(name).family].partition(":")[0])
