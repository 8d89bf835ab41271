"""The inline engine: stages one after another in this process, beside others on the same store."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

from surpass.artifact import Artifact
from surpass.engine.graph import Graph, outstanding
from surpass.engine.progress import Display, Silent
from surpass.errors import DataError, Stopped, SurpassError
from surpass.lease import acquire
from surpass.stages import Context, Stage
from surpass.store import Store

_WAIT_SECONDS = 0.25


@dataclass(frozen=True)
class Settings:
    """How stages are carried out; nothing here changes a number beyond rounding.

    Attributes:
        threads: Threads of torch; None for its own choice.
        checkpoint_seconds: How often a long stage saves its state.
        micro_batch: Examples per forward pass at most; None for no bound.
        save_memory: Whether activations are computed twice rather than kept, by models that can.
        stop: Asked often; True ends the run after a checkpoint.
    """

    threads: int | None = None
    checkpoint_seconds: float = 30.0
    micro_batch: int | None = None
    save_memory: bool = False
    stop: Callable[[], bool] = lambda: False


def run(
    targets: Sequence[Stage],
    store: Store,
    *,
    settings: Settings = Settings(),
    display: Callable[[Sequence[Stage]], Display] = lambda _: Silent(),
) -> int:
    """Compute whatever is missing for the targets, each stage once.

    Several processes may run on one store: whoever holds a stage's lease computes it, and the
    others take what it publishes.

    Args:
        targets: Stages whose artifacts are wanted.
        store: Where artifacts are.
        settings: How to carry it out.
        display: Makes what shows the progress of the stages to do.

    Returns:
        How many stages this process computed.

    Raises:
        SurpassError: A stage failed; the message names it. What was published stays.
    """
    graph = outstanding(targets, lambda stage: store.find(stage.kind, stage.id) is not None)
    if graph.to_do and settings.threads is not None:
        _set_threads(settings.threads)
    with display(graph.to_do) as shown:
        return _Run(store, settings, shown, graph).go()


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


class _Run:
    """One pass over the graph."""

    def __init__(self, store: Store, settings: Settings, shown: Display, graph: Graph) -> None:
        self.store, self.settings, self.shown = store, settings, shown
        self.left = {stage.id: stage for stage in graph.to_do}
        self.computed = 0

    def go(self) -> int:
        while self.left:
            ready = [
                s for s in self.left.values() if not any(before.id in self.left for before in s.upstream)
            ]
            if not any(self.attempt(stage) for stage in ready):
                self.shown.waiting(ready[0])
                time.sleep(_WAIT_SECONDS)
        return self.computed

    def attempt(self, stage: Stage) -> bool:
        """Finish a stage, or find it finished; False when another process is at it."""
        if self.settings.stop():
            raise Stopped("stopped; run the same command again to go on from here")
        lease = acquire(self.store.leases, stage.id)
        if lease is None:
            return False
        with lease:
            if self.store.find(stage.kind, stage.id) is not None:
                self.shown.started(stage)
                self.shown.finished(stage, 0.0)
            elif missing := [s for s in stage.upstream if self.store.find(s.kind, s.id) is None]:
                self.left = {s.id: s for s in missing} | self.left
                return True
            else:
                report = self.shown.started(stage)
                self.shown.finished(stage, self.compute(stage, report))
                self.computed += 1
        del self.left[stage.id]
        return True

    def compute(self, stage: Stage, report: Callable[[float], None]) -> float:
        """Run a stage and publish it; returns the seconds it took."""
        import_module(stage.runs_in)
        began = time.monotonic()
        try:
            with self.store.draft(stage.kind, stage.id, stage.label) as draft:
                context = Context(
                    find=self.find,
                    out=draft.path,
                    work=self.store.work(stage.id),
                    report=report,
                    stop=self.settings.stop,
                    checkpoint_seconds=self.settings.checkpoint_seconds,
                    micro_batch=self.settings.micro_batch,
                    save_memory=self.settings.save_memory,
                )
                said = stage.run(context)
                if stage.outside() != stage.identity["outside"]:
                    raise DataError("a file that it reads was changed meanwhile; run again")
                seconds = time.monotonic() - began
                draft.publish(manifest_of(stage) | {"seconds": seconds, "versions": versions(), "said": said})
        except Stopped:
            raise
        except SurpassError as error:
            raise type(error)(f"{stage.kind} {stage.label}: {error}") from error
        except Exception as error:
            error.add_note(f"while computing {stage.kind} {stage.label} ({stage.id})")
            raise
        self.store.drop_work(stage.id)
        return seconds

    def find(self, stage: Stage) -> Artifact:
        artifact = self.store.find(stage.kind, stage.id)
        if artifact is None:
            raise SurpassError(f"{stage.kind} {stage.label} was lost while others used it: run again")
        return artifact


def manifest_of(stage: Stage) -> dict[str, Any]:
    """What a manifest says of its stage."""
    upstream = [{"kind": before.kind, "id": before.id, "label": before.label} for before in stage.upstream]
    return {"stage": stage.identity, "upstream": upstream}


def versions() -> dict[str, str]:
    """Versions of what computes."""
    names = ["surpass", "torch", "numpy", "pyarrow", "safetensors", "chess"]
    names += [name for name in ("scipy", "cleanlab", "transformers") if name in sys.modules]
    return {"python": platform.python_version(), "platform": sys.platform} | {
        name: version(name) for name in names
    }
