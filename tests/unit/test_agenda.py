"""What is left of a graph, against asking all stages anew after each step."""

from __future__ import annotations

import random

import pytest

from reference.faults import Joined
from reference.studies import Note
from surpass.engine.agenda import Agenda
from surpass.engine.graph import outstanding
from surpass.engine.ordering import OVERHEAD, grows, urgency
from surpass.stages import Stage


def graph_of(*targets: Stage):
    return outstanding(targets, lambda stage: False)


def names(stages) -> set[str]:
    return {stage.label for stage in stages}


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs(seed):
    chance = random.Random(seed)
    stages: list[Note] = []
    for number in range(30):
        before = tuple(chance.sample(stages, min(len(stages), chance.randint(0, 3))))
        stages.append(Note(name=str(number), before=before))
    graph = graph_of(*stages)
    agenda, left = Agenda(graph), {stage.id: stage for stage in stages}
    while left:
        ready = {id for id, s in left.items() if not any(b.id in left for b in s.before)}
        assert agenda.ready.keys() == ready
        assert agenda.left.keys() == left.keys()
        stage = left[chance.choice(sorted(ready))]
        what = chance.random()
        if what < 0.1:
            dropped = {stage.id}
            for other in stages:
                if other.id in left and any(b.id in dropped for b in other.before):
                    dropped.add(other.id)
            assert {s.id for s in agenda.drop(stage)} == dropped - {stage.id}
            left = {id: s for id, s in left.items() if id not in dropped}
        elif what < 0.2 and stage.before:
            agenda.restore(stage.before)
            left |= {before.id: before for before in stage.before}
        else:
            freed = agenda.finished(stage)
            del left[stage.id]
            assert {s.id for s in freed} == {
                s.id for s in left.values() if stage in s.before and not any(b.id in left for b in s.before)
            }


def test_urgency_is_the_longest_way():
    first = Note(name="first")
    second, aside = Note(name="second", before=(first,)), Note(name="aside", before=(first,))
    third = Note(name="third", before=(second,))
    graph = graph_of(third, aside)
    each = first.cost + OVERHEAD
    found = urgency(Agenda(graph), graph)
    assert [found[s.id] / each for s in (first, second, third, aside)] == [3, 2, 1, 1]


def test_what_may_still_join():
    first, aside = Note(name="first"), Note(name="aside")
    middle = Note(name="middle", before=(first,))
    head = Joined(name="head", before=(middle,))
    graph = graph_of(head, aside)
    found = grows(Agenda(graph), graph)
    assert [found[s.id] for s in (first, middle, aside)] == [{"joined"}, {"joined"}, set()]
    assert head.id not in found
