"""What is left of a graph of stages, and what of that can run now; a step costs what it changes."""

from __future__ import annotations

from collections.abc import Iterable

from surpass.engine.graph import Graph
from surpass.stages import Stage


class Agenda:
    """Stages to do, each with the stages that it still waits for.

    Attributes:
        left: All that is neither finished nor dropped, by id.
        ready: Of these, the ones that wait for nothing, in the order in which they became so.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.left: dict[str, Stage] = {}
        self.ready: dict[str, Stage] = {}
        self._waits: dict[str, set[str]] = {}
        self._behind: dict[str, list[str]] = {}
        for stage in graph.to_do:
            self._add(stage)

    def finished(self, stage: Stage) -> list[Stage]:
        """Take a stage off; gives those that have become ready."""
        self._remove(stage)
        freed = []
        for id in self._behind.get(stage.id, ()):
            if id in self.left and id not in self.ready:
                self._waits[id].discard(stage.id)
                if not self._waits[id]:
                    self.ready[id] = self.left[id]
                    freed.append(self.left[id])
        return freed

    def restore(self, lost: Iterable[Stage]) -> list[Stage]:
        """Put stages back that were finished and are no longer there; gives those that are ready."""
        freed = []
        for stage in lost:
            if stage.id not in self.left:
                self._add(stage)
                freed += [stage] if stage.id in self.ready else []
            for id in self._behind.get(stage.id, ()):
                if id in self.left:
                    self._waits[id].add(stage.id)
                    self.ready.pop(id, None)
        return [stage for stage in freed if stage.id in self.ready]

    def drop(self, stage: Stage) -> list[Stage]:
        """Take a stage off that cannot be had; gives all that needed it, which are off too."""
        self._remove(stage)
        dropped, ahead = [], [stage.id]
        while ahead:
            for id in self._behind.get(ahead.pop(), ()):
                if id in self.left:
                    dropped.append(self.left[id])
                    self._remove(self.left[id])
                    ahead.append(id)
        return dropped

    def behind(self, stage: Stage) -> list[Stage]:
        """The stages to do that take from a stage."""
        return [self.left[id] for id in self._behind.get(stage.id, ()) if id in self.left]

    def _add(self, stage: Stage) -> None:
        self.left[stage.id] = stage
        needs = {before.id for before in self.graph.needs(stage)}
        for id in needs:
            self._behind.setdefault(id, []).append(stage.id)
        self._waits[stage.id] = {id for id in needs if id in self.left}
        if not self._waits[stage.id]:
            self.ready[stage.id] = stage

    def _remove(self, stage: Stage) -> None:
        self.left.pop(stage.id, None)
        self.ready.pop(stage.id, None)
