"""Chess puzzles as problems whose solution is a line of several moves, each a step that can be checked.

The problem is a position (FEN). A step is a move of the solver in standard algebraic notation, with the reply
behind it where one follows: `Qxf7+ Kh8`. A step is right (+1) if its move is that of the solution, or gives
mate; any other move, one that is not legal, and another reply than the puzzle's are wrong (-1). There is no
neutral: which other moves win as well, nobody has checked. A line is correct if it is right to its end.

Lines are drawn from a chess policy, such as a rung of the ladder: it makes the solver's moves, the puzzle
replies, and a line ends with its first wrong move, to which there is no reply.

Shape suffixes: N positions, C candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import zip_longest
from typing import NamedTuple

import chess
import numpy as np
import pyarrow as pa
import torch

from surpass.boards import PACKED_BYTES, index_move, legal_move_indices, pack_board
from surpass.errors import ConfigError
from surpass.models.moves import MoveChoice
from surpass.models.sources import resolve
from surpass.reasoning.solutions import Rating, Solution
from surpass.world.sampling import pick

RIGHT, WRONG = 1, -1
_AT_ONCE = 500


class Puzzle(NamedTuple):
    """A puzzle.

    Attributes:
        id: What it is called.
        fen: The position to solve.
        moves: The solution in UCI notation, the solver's move first, with an odd number of moves.
    """

    id: str
    fen: str
    moves: tuple[str, ...]

    @property
    def num_steps(self) -> int:
        """How many moves the solver has to find."""
        return (len(self.moves) + 1) // 2


def puzzles_of(table: pa.Table, *, least_steps: int = 2) -> list[Puzzle]:
    """The puzzles of a table, as `tasks.puzzles` has it, with at least so many moves of the solver."""
    columns = (table[name].to_pylist() for name in ("id", "fen", "moves"))
    found = [Puzzle(name, fen, tuple(moves.split())) for name, fen, moves in zip(*columns, strict=True)]
    return [puzzle for puzzle in found if puzzle.num_steps >= least_steps]


def solution_steps(puzzle: Puzzle) -> tuple[str, ...]:
    """The puzzle's own solution, as steps."""
    board, said = chess.Board(puzzle.fen), []
    for text in puzzle.moves:
        said.append(board.san_and_push(board.parse_uci(text)))
    pairs = zip_longest(said[::2], said[1::2])
    return tuple(move if reply is None else f"{move} {reply}" for move, reply in pairs)


def rate_line(puzzle: Puzzle, steps: Sequence[str]) -> tuple[Rating, ...]:
    """The rating of each step; None behind the first wrong one."""
    board = chess.Board(puzzle.fen)
    ratings: list[Rating] = []
    for place, step in enumerate(steps):
        if board.is_checkmate() or not _is_right(board, puzzle, place, step):
            return (*ratings, WRONG, *[None] * (len(steps) - place - 1))
        ratings.append(RIGHT)
    return tuple(ratings)


def line_of(puzzle: Puzzle, steps: Sequence[str], *, source: str = "chess") -> Solution:
    """A line, rated; its answer is its last move, and it is correct if it is right to the puzzle's end.

    Raises:
        DataError: There is no step.
    """
    ratings = rate_line(puzzle, steps)
    whole = bool(ratings) and set(ratings) == {RIGHT}
    done = whole and (len(steps) == puzzle.num_steps or steps[-1].split()[0].endswith("#"))
    return Solution(
        problem_id=puzzle.id,
        problem=puzzle.fen,
        steps=tuple(steps),
        ratings=ratings,
        answer=steps[-1].split()[0] if steps and steps[-1].split() else None,
        correct=done,
        reference=solution_steps(puzzle)[-1],
        source=source,
    )


def _is_right(board: chess.Board, puzzle: Puzzle, place: int, step: str) -> bool:
    """Whether a step is right where the ones before were; if so it is played, with its reply."""
    if 2 * place >= len(puzzle.moves):
        return False
    wanted = board.parse_uci(puzzle.moves[2 * place])
    said = step.split()
    try:
        move = board.parse_san(said[0]) if said else None
    except ValueError:
        return False
    if move is None:
        return False
    board.push(move)
    if board.is_checkmate():
        return len(said) == 1
    if move != wanted:
        return False
    reply = puzzle.moves[2 * place + 1 : 2 * place + 2]
    if not reply:
        return len(said) == 1
    return len(said) == 2 and said[1] == board.san_and_push(board.parse_uci(reply[0]))


def draw_lines(
    model: str, puzzles: Sequence[Puzzle], *, num_samples: int, temperature: float = 1.0, seed: int = 0
) -> list[Solution]:
    """Lines that a chess policy plays, rated; those of a puzzle side by side.

    All lines are played at once, a move of each in a pass. What is drawn follows from the puzzle's id, the
    number of the line and the seed.

    Args:
        model: The policy, such as `ladder:chess-3`.
        puzzles: Which.
        num_samples: Lines of each.
        temperature: Logits are divided by it.
        seed: Another seed is another independent sample.

    Raises:
        ConfigError: The model is no chess policy, or a number is out of its range.
    """
    source = resolve(model)
    if source.family != "policy":
        raise ConfigError(f"{model} is no chess policy; name one, such as ladder:chess-3")
    if num_samples < 1 or not temperature > 0:
        raise ConfigError(
            f"num_samples={num_samples} must be at least 1, and temperature={temperature} above 0"
        )
    policy = MoveChoice.load(source)
    policy.eval()
    lines = [_Playing(puzzle, number, seed) for puzzle in puzzles for number in range(num_samples)]
    live = lines
    while live:
        for start in range(0, len(live), _AT_ONCE):
            _play(policy, live[start : start + _AT_ONCE], temperature)
        live = [line for line in live if not line.ended]
    return [line_of(line.puzzle, line.steps, source=source.short_name) for line in lines]


class _Playing:
    """A line that is being played."""

    def __init__(self, puzzle: Puzzle, number: int, seed: int) -> None:
        key = sha256(f"chess line/{seed}/{number}/{puzzle.id}".encode()).digest()[:8]
        self.random = np.random.default_rng(int.from_bytes(key, "big"))
        self.puzzle, self.board = puzzle, chess.Board(puzzle.fen)
        self.steps: list[str] = []
        self.ended = False

    def play(self, move: chess.Move) -> None:
        """Make a move of the solver, to which the puzzle replies if it is right and the line goes on."""
        place = 2 * len(self.steps)
        right = move == self.board.parse_uci(self.puzzle.moves[place])
        step = self.board.san_and_push(move)
        reply = self.puzzle.moves[place + 1 : place + 2] if right else ()
        if reply:
            step += f" {self.board.san_and_push(self.board.parse_uci(reply[0]))}"
        self.steps.append(step)
        self.ended = not reply


@torch.no_grad()
def _play(policy: MoveChoice, lines: Sequence[_Playing], temperature: float) -> None:
    """One move of each line."""
    legal = [legal_move_indices(line.board) for line in lines]
    boards = pa.array([pack_board(line.board) for line in lines], pa.binary(PACKED_BYTES))
    table = pa.table({"board": boards, "candidates": pa.array(legal, pa.list_(pa.uint16()))})
    logits_NC = policy(policy.encode(table), np.arange(len(lines)))
    random_N = torch.tensor([line.random.random() for line in lines], dtype=torch.float64)
    chosen_N = pick(logits_NC, random_N, temperature)
    for line, moves, place in zip(lines, legal, chosen_N.tolist(), strict=True):
        line.play(index_move(moves[place], line.board))
