"""Solutions: what is one, what is none, and what their ids and ratings say."""

from __future__ import annotations

import hashlib

import pytest

from surpass.errors import DataError
from surpass.reasoning.solutions import (
    Solution,
    cut_ratings,
    first_error_of,
    ratings_of_first_error,
    split_steps,
)


def solution(**changes):
    return Solution(**{"problem_id": "p", "problem": "1 + 1?", "steps": ("1 + 1 = 2", "# 2"), **changes})


class TestSolution:
    def test_the_id_is_of_problem_and_steps_alone(self):
        same = solution(problem_id="other", ratings=(1, 1), answer="2", source="x")
        assert same.id == solution().id
        assert len(solution().id) == 20
        others = {
            solution(problem="1 + 1").id,
            solution(steps=("1 + 1 = 2# 2",)).id,
            solution(steps=("1 + 1 = 2#", " 2")).id,
            solution(steps=("1 + 1 = 2", "# 2", "x")).id,
        }
        assert len(others | {solution().id}) == 5

    def test_the_id_stays_what_it_is(self):
        digest = hashlib.sha256()
        for text in ("a", "b"):
            digest.update(b"\0" * 7 + b"\1" + text.encode())
        one = Solution(problem_id="", problem="a", steps=("b",))
        assert one.id == digest.hexdigest()[:20]
        assert one.step_id(0) == f"{one.id}#0"

    def test_half_a_character_has_an_id_too(self):
        assert solution(problem="\ud835").id != solution().id

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"steps": ()}, "has no steps"),
            ({"steps": ("a", " \n")}, "step 1 of a solution of 'p' is empty"),
            ({"ratings": (1,)}, "2 steps have 1 ratings"),
            ({"ratings": (1, 2)}, "step 1 is rated 2; expected 1, 0, -1 or None"),
            ({"ratings": (1, True)}, "step 1 is rated True"),
            ({"ratings": (-1, 1)}, "behind step 0"),
        ],
    )
    def test_what_is_none(self, changes, said):
        with pytest.raises(DataError, match=said):
            solution(**changes)

    def test_errors_are_counted_from_0(self):
        assert solution(ratings=(0, -1)).first_error == 1
        assert solution(ratings=(-1, None)).first_error == 0
        assert solution(ratings=(1, 0)).first_error == -1
        assert solution().first_error == -1

    def test_being_known(self):
        assert not solution().is_fully_rated
        assert not solution(ratings=(1, None)).is_fully_rated
        assert not solution(ratings=(None, -1)).is_fully_rated
        assert solution(ratings=(-1, None)).is_fully_rated
        assert solution(ratings=(1, 0)).is_fully_rated


def test_ratings_are_cut_behind_the_first_error():
    assert cut_ratings([1, -1, 1, -1]) == (1, -1, None, None)
    assert cut_ratings([1, None, 0]) == (1, None, 0)
    assert cut_ratings([]) == ()


def test_the_first_error_and_ratings_say_the_same():
    for error in range(-1, 3):
        assert first_error_of(ratings_of_first_error(error, 3)) == error
    assert ratings_of_first_error(1, 3) == (1, -1, None)
    for wrong in (-2, 3):
        with pytest.raises(DataError, match=f"step {wrong} of 3"):
            ratings_of_first_error(wrong, 3)


def test_steps_are_lines():
    assert split_steps(" a\n\n b\r\n \nc\fd") == ("a", "b", "c\fd")
    assert split_steps("\n ") == ()
