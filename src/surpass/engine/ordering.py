"""Which of the stages that are ready goes first, which next, and which groups wait because they will grow."""

from __future__ import annotations

from surpass.engine.agenda import Agenda
from surpass.engine.graph import Graph
from surpass.stages import Stage

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


def reads_model_of(stage: Stage) -> Stage | None:
    """The stage whose model another one reads, without learning; None where it reads none."""
    source = getattr(stage, "source", None)
    return source if isinstance(source, Stage) else None


def while_loaded(stage: Stage, agenda: Agenda) -> list[Stage]:
    """Stages that are ready and read the model that one has just given or read: best done here and now."""
    model = reads_model_of(stage) or stage
    ready = [each for each in agenda.behind(model) if each.id in agenda.ready and each.together is None]
    return [each for each in ready if (source := reads_model_of(each)) and source.id == model.id]
