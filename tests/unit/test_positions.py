import chess
import numpy as np
import pytest

from surpass.boards import pack_board
from surpass.tasks.positions import pack_fens
from surpass.tasks.puzzles import shipped_puzzles

SPECIAL = [
    chess.STARTING_FEN,
    "rnbqkbnr/ppp1p1pp/8/3pPp2/8/8/PPPP1PPP/RNBQKBNR w KQkq f6 0 1",
    "rnbqkbnr/pppp1ppp/8/8/3PpP2/8/PPP1P1PP/RNBQKBNR b KQkq f3 0 1",
    "r3k2r/8/8/8/8/8/8/R3K2R b Kq - 0 1",
    "r3k2r/8/8/8/8/8/8/R3K2R w Qk - 0 1",
    "1n2k3/P1P5/8/8/8/8/p1p5/1N2K3 w - - 0 1",
    "1n2k3/P1P5/8/8/8/8/p1p5/1N2K3 b - - 0 1",
]


@pytest.fixture(scope="module")
def fens():
    return SPECIAL + shipped_puzzles()["fen"].to_pylist()[::250]


def test_packed_as_one_at_a_time(fens):
    assert [row.tobytes() for row in pack_fens(fens)] == [pack_board(chess.Board(fen)) for fen in fens]


def test_no_positions():
    packed_NB = pack_fens([])
    assert packed_NB.shape == (0, 34)
    assert packed_NB.dtype == np.uint8
