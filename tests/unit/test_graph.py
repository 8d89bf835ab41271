from __future__ import annotations

from collections.abc import Collection

import pytest

from reference.studies import Note, diamonds
from surpass.engine.graph import Graph, outstanding
from surpass.stages import Stage

ROOT = Note(name="root")
LEFT, RIGHT = Note(name="left", before=(ROOT,)), Note(name="right", before=(ROOT,))
TOP = Note(name="top", before=(LEFT, RIGHT))


def names(stages: Collection[Stage]) -> list[str]:
    return [stage.label for stage in stages]


def graph(targets: list[Stage], done: Collection[Stage] = ()) -> Graph:
    finished = {stage.id for stage in done}
    asked: list[str] = []

    def is_done(stage: Stage) -> bool:
        asked.append(stage.id)
        return stage.id in finished

    found = outstanding(targets, is_done)
    assert len(asked) == len(set(asked)), "asked twice about one stage"
    assert set(asked) == {stage.id for stage in (*found.to_do, *found.done)}
    return found


def test_nothing():
    assert graph([]) == ([], [], {}, {})


def test_a_diamond_is_four_stages_each_behind_what_it_takes_from():
    found = graph([TOP])
    assert names(found.to_do) == ["root", "left", "right", "top"]
    assert found.done == []
    assert found.shared == {ROOT.id: 2, LEFT.id: 1, RIGHT.id: 1, TOP.id: 1}


def test_order_in_a_larger_graph():
    found = graph([diamonds("", depth=6), diamonds("", depth=3)])
    place = {stage.id: number for number, stage in enumerate(found.to_do)}
    assert len(place) == 1 + 3 * 6
    for stage in found.to_do:
        assert all(place[before.id] < place[stage.id] for before in stage.upstream)


def test_equal_targets_and_equal_stages_count_once():
    again = Note(name="top", before=(Note(name="left", before=(ROOT,)), RIGHT))
    assert again is not TOP
    found = graph([TOP, again, TOP, LEFT])
    assert len(found.to_do) == 4
    assert found.shared == {ROOT.id: 2, LEFT.id: 2, RIGHT.id: 1, TOP.id: 3}


@pytest.mark.parametrize(
    ("done", "to_do", "kept"),
    [
        ([TOP], [], ["top"]),
        ([LEFT], ["root", "right", "top"], ["left"]),
        ([LEFT, RIGHT], ["top"], ["left", "right"]),
        ([ROOT], ["left", "right", "top"], ["root"]),
        ([ROOT, LEFT, RIGHT, TOP], [], ["top"]),
        ([ROOT, LEFT], ["right", "top"], ["left", "root"]),
    ],
)
def test_what_only_finished_stages_would_read_is_pruned(done, to_do, kept):
    found = graph([TOP], done)
    assert names(found.to_do) == to_do
    assert sorted(names(found.done)) == sorted(kept)


def test_pruned_stages_are_not_even_looked_for():
    assert ROOT.id not in graph([TOP], [LEFT, RIGHT]).shared
