"""Which stages have to run: equal stages once, and nothing that only finished stages would read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from surpass.stages import Stage


class Graph(NamedTuple):
    """Stages of a study by what is left of them.

    Attributes:
        to_do: Stages to run, each behind those it takes from.
        done: Finished stages that the targets or the stages to run take from.
        shared: How many places of the study ask for each stage, by id.
    """

    to_do: list[Stage]
    done: list[Stage]
    shared: dict[str, int]


def outstanding(targets: Iterable[Stage], is_done: Callable[[Stage], bool]) -> Graph:
    """Find what has to run so that all targets exist.

    Args:
        targets: Stages whose artifacts are wanted; equal ones count once.
        is_done: Whether a stage's artifact is there. Asked once for each stage, and not at all for
            stages that only finished ones take from.
    """
    to_do: dict[str, Stage] = {}
    done: dict[str, Stage] = {}
    shared: dict[str, int] = {}

    def visit(stage: Stage) -> None:
        shared[stage.id] = shared.get(stage.id, 0) + 1
        if stage.id in to_do or stage.id in done:
            return
        if is_done(stage):
            done[stage.id] = stage
            return
        for before in stage.upstream:
            visit(before)
        to_do[stage.id] = stage

    for target in targets:
        visit(target)
    return Graph(list(to_do.values()), list(done.values()), shared)
