"""The inline engine: stages one after another in this process, beside others on the same store."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from surpass.engine.agenda import Agenda
from surpass.engine.graph import outstanding
from surpass.engine.logs import reason
from surpass.engine.manifests import manifest_of, versions
from surpass.engine.ordering import reads_model_of, while_loaded
from surpass.engine.progress import Display, Silent
from surpass.engine.work import WAIT_SECONDS, Failures, Settings, Work, together
from surpass.stages import Stage
from surpass.store import Store

__all__ = ["Settings", "manifest_of", "run", "versions"]


def run(
    targets: Sequence[Stage],
    store: Store,
    *,
    settings: Settings = Settings(),  # noqa: B008
    display: Callable[[Sequence[Stage]], Display] = lambda _: Silent(),
) -> int:
    """Compute whatever is missing for the targets, each stage once.

    Several processes may run on one store: whoever holds a stage's lease computes it, and the
    others take what it publishes. When a stage fails, all that does not need it is still computed.

    Args:
        targets: Stages whose artifacts are wanted.
        store: Where artifacts are.
        settings: How to carry it out; `workers` counts for nothing.
        display: Makes what shows the progress of the stages to do.

    Returns:
        How many stages this process computed.

    Raises:
        SurpassError: A stage failed; the message names it. What was published stays.
    """
    graph = outstanding(
        targets, lambda stage: store.find(stage.kind, stage.id, label=stage.label) is not None
    )
    if graph.to_do and settings.threads is not None:
        _set_threads(settings.threads)
    with store.batch, display(graph.to_do) as shown:
        return _Run(Work(store, settings, shown, graph)).go()


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


class _Run:
    """One pass over the graph."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.agenda = Agenda(work.graph)
        self.failures = Failures()
        self.computed = 0

    def go(self) -> int:
        while self.agenda.left:
            ready = list(self.agenda.ready.values())
            # What runs together waits until nothing else can run here that might add to it.
            alone = self.one_by_one([stage for stage in ready if stage.together is None])
            groups = [] if alone else together([stage for stage in ready if stage.together is not None])
            moved = [self.attempt(group) for group in groups]
            if not alone and not any(moved):
                self.work.shown.waiting(ready[0])
                time.sleep(WAIT_SECONDS)
        self.failures.check()
        return self.computed

    def one_by_one(self, stages: Sequence[Stage]) -> bool:
        """Attempt stages, behind each at once what reads its model; False when others are at all of them."""
        ahead, tried, moved, at = deque(stages), set[str](), False, ""
        while ahead:
            stage = ahead.popleft()
            if stage.id in tried or stage.id not in self.agenda.ready:
                continue
            tried.add(stage.id)
            moved = self.attempt([stage]) or moved
            model = (reads_model_of(stage) or stage).id
            if model != at:
                ahead.extendleft(reversed(while_loaded(stage, self.agenda)))
            at = model
        return moved

    def attempt(self, group: Sequence[Stage]) -> bool:
        """Finish stages, or find them finished; False when other processes are at all of them."""
        got = self.work.attempt(group)
        for stage, seconds in got.finished:
            self.agenda.finished(stage)
            self.computed += seconds > 0
        self.agenda.restore(got.missing)
        for stage, error in got.failed:
            self.failures.add(stage, error)
            self.work.shown.failed(stage, reason(error), self.agenda.drop(stage))
        return len(got.busy) < len(group)
