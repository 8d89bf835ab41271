"""Which of the stages that are ready goes first, and which groups wait because they will grow."""

from __future__ import annotations

from surpass.engine.agenda import Agenda
from surpass.engine.graph import Graph

OVERHEAD = 1e9  # of any stage, beside its cost


def urgency(agenda: Agenda, graph: Graph) -> dict[str, float]:
    """The cost of each stage and of the longest way behind it."""
    found: dict[str, float] = {}
    for stage in reversed(graph.to_do):
        longest = max((found[after.id] for after in agenda.behind(stage)), default=0.0)
        found[stage.id] = stage.cost + OVERHEAD + longest
    return found


def grows(agenda: Agenda, graph: Graph) -> dict[str, frozenset[str]]:
    """By stage that runs alone: groups that what stands behind it will belong to."""
    found: dict[str, frozenset[str]] = {}
    for stage in reversed(graph.to_do):
        after = [found[each.id] for each in agenda.behind(stage)]
        own = {each.together for each in agenda.behind(stage) if each.together is not None}
        found[stage.id] = frozenset(own).union(*after)
    return {stage.id: found[stage.id] for stage in graph.to_do if stage.together is None}
