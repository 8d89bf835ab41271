"""Which stages have to run: equal stages once, and nothing that only finished stages would read.

Features that one pass over the examples can give are one stage here: those of all seeds of a study, and
those of several layers of a model. Whoever asks for one of them is given that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from surpass.stages import Features, Stage
from surpass.stages.features import one_pass


class Graph(NamedTuple):
    """Stages of a study by what is left of them.

    Attributes:
        to_do: Stages to run, each behind those it takes from.
        done: Finished stages that the targets or the stages to run take from.
        shared: How many places of the study ask for each stage, by id.
        instead: Stages that are run in place of others, by the ids of these.
    """

    to_do: list[Stage]
    done: list[Stage]
    shared: dict[str, int]
    instead: dict[str, Stage]

    def needs(self, stage: Stage) -> list[Stage]:
        """The stages that a stage takes from, or what is run in their place."""
        return [self.instead.get(before.id, before) for before in stage.upstream]


def outstanding(targets: Iterable[Stage], is_done: Callable[[Stage], bool]) -> Graph:
    """Find what has to run so that all targets exist.

    Args:
        targets: Stages whose artifacts are wanted; equal ones count once.
        is_done: Whether a stage's artifact is there. Asked once for each stage, and not at all for
            stages that only finished ones take from.
    """
    targets = list(targets)
    to_do: dict[str, Stage] = {}
    done: dict[str, Stage] = {}
    shared: dict[str, int] = {}
    instead: dict[str, Stage] = {}
    joint = _Joint(targets)

    def visit(stage: Stage) -> None:
        shared[stage.id] = shared.get(stage.id, 0) + 1
        if stage.id in to_do or stage.id in done:
            return
        if is_done(stage):
            done[stage.id] = stage
            return
        if isinstance(stage, Features) and (whole := joint.of(stage)) is not None:
            instead[stage.id] = whole
            visit(whole)
            return
        for before in stage.upstream:
            visit(before)
        to_do[stage.id] = stage

    for target in targets:
        visit(target)
    return Graph(list(to_do.values()), list(done.values()), shared, instead)


class _Joint:
    """Features that are read in one pass, looked for when the first is wanted.

    All features behind the targets count, also those that nobody needs any more: so the same pass is found
    again when a study is run for the second time, or is run to its end.
    """

    def __init__(self, targets: Sequence[Stage]) -> None:
        self._targets = targets
        self._groups: dict[str, list[Features]] | None = None
        self._passes: dict[str, Features] = {}

    def of(self, features: Features) -> Features | None:
        """The pass that gives these features and others; None where they are alone."""
        key = features.shared_by
        if key is None:
            return None
        if self._groups is None:
            self._groups = _groups(self._targets)
        group = self._groups.get(key, [])
        if len(group) < 2:
            return None
        if key not in self._passes:
            self._passes[key] = one_pass(group)
        return self._passes[key]


def _groups(targets: Sequence[Stage]) -> dict[str, list[Features]]:
    """All features behind some stages, by what one pass can give."""
    groups: dict[str, dict[str, Features]] = {}
    seen: set[str] = set()
    ahead = list(targets)
    while ahead:
        stage = ahead.pop()
        if stage.id in seen:
            continue
        seen.add(stage.id)
        ahead += stage.upstream
        if isinstance(stage, Features) and stage.shared_by is not None:
            groups.setdefault(stage.shared_by, {})[stage.id] = stage
    return {key: list(members.values()) for key, members in groups.items()}
