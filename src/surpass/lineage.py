"""What a stage comes from, directly or through others, and whether truth is among it."""

from __future__ import annotations

from collections.abc import Iterable

from surpass.stages import Examples, ModelStage, Stage


def learns_truth(student: Stage, weak_examples: Examples) -> bool:
    """Whether truth reached the student, directly or through others, that no supervisor has.

    The supervisor may know the truth of its own part. Everything else counts: a part of the
    student's examples, or examples to choose or score by.
    """
    known = [stage.truth_of for stage in ancestry(student).values() if stage.truth_of is not None]
    return any(not isinstance(of, Examples) or of.part != weak_examples.part for of in known)


def ancestry(stage: Stage) -> dict[str, Stage]:
    """A stage and all that it takes from, directly or through others, by id."""
    found: dict[str, Stage] = {}
    ahead = [stage]
    while ahead:
        here = ahead.pop()
        if here.id not in found:
            found[here.id] = here
            ahead += here.upstream
    return found


def reads(needs: Iterable[Stage]) -> set[str]:
    """Ids of what a stage that takes from these may read: also the models that its models began with."""
    found: set[str] = set()
    ahead = list(needs)
    while ahead:
        stage = ahead.pop()
        if stage.id not in found:
            found.add(stage.id)
            ahead += [before for before in stage.upstream if isinstance(before, ModelStage)]
    return found
