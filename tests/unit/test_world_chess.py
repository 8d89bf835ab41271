"""Chess puzzles as lines of steps: each move checked, and lines drawn from a rung of the ladder."""

from __future__ import annotations

from collections import Counter

import chess
import pytest

from surpass.errors import ConfigError
from surpass.tasks.puzzles import shipped_puzzles
from surpass.world.chess_lines import Puzzle, draw_lines, line_of, puzzles_of, rate_line, solution_steps

# White mates in two: the queen gives check, the king can only step aside.
PUZZLE = Puzzle("mate", "6k1/5ppp/8/8/8/8/1Q3PPP/3R2K1 w - - 0 1", ("b2b8",))
TWO = Puzzle("two", "r5k1/5ppp/8/8/8/8/5PPP/1R1R2K1 w - - 0 1", ("b1b8", "a8b8", "d1d8", "b8d8")[:3])


@pytest.fixture(scope="module")
def puzzles():
    return puzzles_of(shipped_puzzles()[:1500])[:150]


class TestRatings:
    def test_the_solution_is_right(self, puzzles):
        assert len(puzzles) == 150
        for puzzle in puzzles:
            steps = solution_steps(puzzle)
            assert len(steps) == puzzle.num_steps >= 2
            line = line_of(puzzle, steps)
            assert line.ratings == (1,) * len(steps)
            assert line.correct is True
            assert line_of(puzzle, steps[:-1]).correct is False

    @pytest.mark.parametrize(
        ("steps", "ratings"),
        [
            (["Rb8 Rxb8", "Rd8"], (1, 1)),  # without a sign of check it is the same move
            (["Rb8+ Rxb8", "Rd8+"], (1, 1)),
            (["Rb8 Rxb8", "Rd8+"], (1, 1)),
            (["Rb8+", "Rd8+"], (-1, None)),
            (["Rb8+ Ra7", "Rd8+"], (-1, None)),
            (["Rd8+ Rxd8", "Rb8"], (-1, None)),
            (["Rb8+ Rxb8", "Rd8+", "Kf1"], (1, 1, -1)),
            (["Qb8+ Rxb8"], (-1,)),
            (["e4 is best"], (-1,)),
            ([" "], (-1,)),
        ],
    )
    def test_cases(self, steps, ratings):
        assert rate_line(TWO, steps) == ratings

    def test_another_mate_is_as_good(self):
        assert rate_line(PUZZLE, ["Rd8#"]) == (1,)
        assert rate_line(PUZZLE, ["Qb8+"]) == (1,)
        assert line_of(PUZZLE, ["Rd8#"]).correct is True


class TestDrawing:
    def test_lines(self, puzzles):
        lines = draw_lines("ladder:chess-4", puzzles[:50], num_samples=4)
        assert [line.problem_id for line in lines] == [puzzle.id for puzzle in puzzles[:50] for _ in range(4)]
        assert 0.02 < sum(line.correct for line in lines) / len(lines) < 0.6
        lengths = Counter(len(line.steps) for line in lines)
        assert {1, 2} <= set(lengths)
        for line in lines:
            wrong = -1 in line.ratings
            assert wrong != line.correct
            assert line.first_error in (-1, len(line.steps) - 1)
            board = chess.Board(line.problem)
            for step in line.steps:
                for move in step.split():
                    board.push_san(move)

    def test_a_line_is_the_same_in_any_company(self, puzzles):
        few = draw_lines("ladder:chess-1", puzzles[:6], num_samples=3)
        alone = draw_lines("ladder:chess-1", puzzles[2:3], num_samples=5)
        assert [line.steps for line in few[6:9]] == [line.steps for line in alone[:3]]
        other = draw_lines("ladder:chess-1", puzzles[:6], num_samples=3, seed=1)
        assert [line.steps for line in other] != [line.steps for line in few]

    def test_colder_is_better(self, puzzles):
        hot, cold = (
            sum(
                line.correct
                for line in draw_lines("ladder:chess-4", puzzles[:60], num_samples=2, temperature=t)
            )
            for t in (2.0, 0.2)
        )
        assert cold > hot

    @pytest.mark.parametrize(
        ("model", "more", "said"),
        [
            ("linear:3", {}, "no chess policy"),
            ("ladder:chess-1", {"num_samples": 0}, "at least 1"),
            ("ladder:chess-1", {"temperature": 0.0}, "above 0"),
        ],
    )
    def test_refused(self, puzzles, model, more, said):
        with pytest.raises(ConfigError, match=said):
            draw_lines(model, puzzles[:1], **{"num_samples": 1} | more)
