"""The inline engine: stages one after another in this process, beside others on the same store."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from surpass.store import Draft, Store

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
        self.store, self.settings, self.shown, self.graph = store, settings, shown, graph
        self.left = {stage.id: stage for stage in graph.to_do}
        self.computed = 0

    def go(self) -> int:
        while self.left:
            ready = [
                stage
                for stage in self.left.values()
                if not any(before.id in self.left for before in self.graph.needs(stage))
            ]
            # What runs together waits until nothing else can run that might add to it.
            alone = [stage for stage in ready if stage.together is None]
            groups = [[stage] for stage in alone] or _together(ready)
            moved = [self.attempt(group) for group in groups]
            if alone and not any(moved):  # other processes are at all of these
                moved = [self.attempt(group) for group in _together([s for s in ready if s.together])]
            if not any(moved):
                self.shown.waiting(ready[0])
                time.sleep(_WAIT_SECONDS)
        return self.computed

    def attempt(self, group: Sequence[Stage]) -> bool:
        """Finish stages, or find them finished; False when other processes are at all of them."""
        if self.settings.stop():
            raise Stopped("stopped; run the same command again to go on from here")
        with ExitStack() as leases:
            mine, moved = [], False
            for stage in group:
                lease = acquire(self.store.leases, stage.id)
                if lease is None:
                    continue
                leases.enter_context(lease)
                moved = True
                needs = self.graph.needs(stage)
                if self.store.find(stage.kind, stage.id) is not None:
                    self.shown.started(stage)
                    self.shown.finished(stage, 0.0)
                    del self.left[stage.id]
                elif missing := [s for s in needs if self.store.find(s.kind, s.id) is None]:
                    self.left = {s.id: s for s in missing} | self.left
                else:
                    mine.append(stage)
            self.compute(mine)
        return moved

    def compute(self, stages: Sequence[Stage]) -> None:
        """Run stages, together if they are several, and publish them."""
        if not stages:
            return
        first = stages[0]
        import_module(first.runs_in)
        began = time.monotonic()
        failed: list[SurpassError] = []
        with ExitStack() as drafts:
            opened = [
                drafts.enter_context(self.store.draft(stage.kind, stage.id, stage.label)) for stage in stages
            ]
            contexts = [self.context(stage, draft) for stage, draft in zip(stages, opened, strict=True)]
            with _named(first):
                results = [first.run(contexts[0])] if len(stages) == 1 else first.run_all(stages, contexts)
            seconds = (time.monotonic() - began) / len(stages)
            for stage, draft, said in zip(stages, opened, results, strict=True):
                with _named(stage):
                    if isinstance(said, SurpassError):
                        failed.append(type(said)(f"{stage.kind} {stage.label}: {said}"))
                        continue
                    self.publish(stage, draft, seconds, said)
        if failed:
            raise failed[0]

    def publish(self, stage: Stage, draft: Draft, seconds: float, said: dict[str, Any]) -> None:
        """Put what a stage has written where it is found."""
        if stage.outside() != stage.identity["outside"]:
            raise DataError("a file that it reads was changed meanwhile; run again")
        draft.publish(manifest_of(stage) | {"seconds": seconds, "versions": versions(), "said": said})
        self.store.drop_work(stage.id)
        self.shown.finished(stage, seconds)
        self.computed += 1
        del self.left[stage.id]

    def context(self, stage: Stage, draft: Draft) -> Context:
        """What a stage is given."""
        return Context(
            find=self.find,
            out=draft.path,
            work=self.store.work(stage.id),
            report=self.shown.started(stage),
            stop=self.settings.stop,
            checkpoint_seconds=self.settings.checkpoint_seconds,
            micro_batch=self.settings.micro_batch,
            save_memory=self.settings.save_memory,
        )

    def find(self, stage: Stage) -> Artifact:
        stage = self.graph.instead.get(stage.id, stage)
        artifact = self.store.find(stage.kind, stage.id)
        if artifact is None:
            raise SurpassError(f"{stage.kind} {stage.label} was lost while others used it: run again")
        return artifact


def _together(stages: Sequence[Stage]) -> list[list[Stage]]:
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        groups.setdefault(str(stage.together), []).append(stage)
    return list(groups.values())


@contextmanager
def _named(stage: Stage) -> Iterator[None]:
    """Let errors say which stage they are of."""
    try:
        yield
    except Stopped:
        raise
    except SurpassError as error:
        raise type(error)(f"{stage.kind} {stage.label}: {error}") from error
    except Exception as error:
        error.add_note(f"while computing {stage.kind} {stage.label} ({stage.id})")
        raise


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
