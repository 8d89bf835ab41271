"""Legal moves of many positions against python-chess, one position after the other."""

import random
from itertools import pairwise

import chess
import numpy as np
import pytest

from surpass.boards import board_of, legal_move_indices, pack_board, unpack
from surpass.errors import DataError
from surpass.legality import in_check, legal_moves

# What rules are easily forgotten for.
SPECIAL = {
    "the start": chess.STARTING_FEN,
    "en passant": "rnbqkbnr/ppp1p1pp/8/3pPp2/8/8/PPPP1PPP/RNBQKBNR w KQkq f6 0 1",
    "en passant, turned": "rnbqkbnr/pppp1ppp/8/8/3PpP2/8/PPP1P1PP/RNBQKBNR b KQkq f3 0 1",
    "en passant uncovers a rook on the rank": "8/8/8/KPp4r/8/8/8/4k3 w - c6 0 1",
    "en passant takes the checking pawn": "8/8/8/2k5/3Pp3/8/8/4K3 b - d3 0 1",
    "en passant shuts a check off": "4k3/8/8/1bPp4/8/8/4K3/8 w - d6 0 1",
    "castling past an attacked square": "4k3/8/8/8/8/5r2/8/R3K2R w KQ - 0 1",
    "castling into an attacked square": "4k3/8/8/8/8/6r1/8/R3K2R w KQ - 0 1",
    "castling, the rook alone attacked": "4k3/8/8/8/8/1r5r/8/R3K2R w KQ - 0 1",
    "castling out of check": "4k3/4r3/8/8/8/8/8/R3K2R w KQ - 0 1",
    "castling without the right": "r3k2r/8/8/8/8/8/8/R3K2R w Qk - 0 1",
    "castling, turned": "r3k2r/8/8/8/8/8/8/R3K2R b Kq - 0 1",
    "promotions": "1n2k3/P1P5/8/8/8/8/p1p5/1N2K3 w - - 0 1",
    "promotions, turned": "1n2k3/P1P5/8/8/8/8/p1p5/1N2K3 b - - 0 1",
    "a pinned pawn promotes by taking": "3r4/2P5/1K6/b7/8/8/8/4k3 w - - 0 1",
    "double check": "4k3/8/8/8/1b5r/8/3N4/1R2K3 w - - 0 1",
    "the king steps back on the line": "4k3/8/8/8/4K2r/8/8/8 w - - 0 1",
    "mate": "rnb1kbnr/pppp1ppp/8/4p3/6Pq/5P2/PPPPP2P/RNBQKBNR w KQkq - 1 3",
    "stalemate": "7k/5Q2/6K1/8/8/8/8/8 b - - 0 1",
    "all at once": "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1",
    "pins and promotions": "r3k2r/Pppp1ppp/1b3nbN/nP6/BBP1P3/q4N2/Pp1P2PP/R2Q1RK1 w kq - 0 1",
}


@pytest.fixture(scope="module")
def boards() -> list[chess.Board]:
    """Positions of games played at random, which come to much that people avoid."""
    draw = random.Random(0)
    found = []
    for _ in range(50):
        board = chess.Board()
        while not board.is_game_over() and board.ply() < 120:
            board.push(draw.choice(list(board.legal_moves)))
            found.append(board.copy(stack=False))
    return found


def packed(boards: list[chess.Board]) -> np.ndarray:
    return np.frombuffer(b"".join(map(pack_board, boards)), np.uint8).reshape(len(boards), -1)


def listed(packed_NB: np.ndarray) -> list[list[int]]:
    numbers, counts = legal_moves(packed_NB)
    assert numbers.dtype == np.uint16
    ends = [0, *np.cumsum(counts).tolist()]
    assert ends[-1] == len(numbers)
    return [numbers[start:end].tolist() for start, end in pairwise(ends)]


@pytest.mark.parametrize("fen", SPECIAL.values(), ids=SPECIAL.keys())
def test_special_positions(fen):
    board = chess.Board(fen)
    assert listed(packed([board])) == [legal_move_indices(board)]


def test_positions_of_random_games(boards):
    assert len(boards) > 4096  # more than go together
    assert any(board.ep_square is not None for board in boards)
    assert listed(packed(boards)) == [legal_move_indices(board) for board in boards]


def test_check(boards):
    codes_NS = unpack(packed(boards)).codes_NS
    assert in_check(codes_NS).tolist() == [board.is_check() for board in boards]


def test_a_position_does_not_depend_on_its_neighbours(boards):
    some = boards[::97]
    assert listed(packed(some)) == [listed(packed([board]))[0] for board in some]
    assert [board_of(row.tobytes()).is_check() for row in packed(some)] == [b.is_check() for b in some]


def test_no_positions():
    numbers, counts = legal_moves(np.empty((0, 34), np.uint8))
    assert numbers.shape == counts.shape == (0,)


def test_another_array_is_refused():
    with pytest.raises(DataError, match="uint8"):
        legal_moves(np.zeros((2, 33), np.uint8))
