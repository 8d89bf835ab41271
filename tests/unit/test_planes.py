import chess
import numpy as np
import pytest
import torch

from reference import planes as twin
from reference.random_games import random_boards
from surpass.boards import board_of, pack_board, unpack
from surpass.models.planes import NUM_PLANES, attacks, decode, input_planes
from surpass.models.pseudo_legal import pseudo_legal

SPECIAL = [
    chess.STARTING_FEN,
    "rnbqkbnr/ppp1p1pp/8/3pPp2/8/8/PPPP1PPP/RNBQKBNR w KQkq f6 0 3",
    "rnbqkbnr/pppp1ppp/8/8/3PpP2/8/PPP1P1PP/RNBQKBNR b KQkq f3 0 3",
    "r3k2r/8/8/8/8/8/8/R3K2R b Kq - 0 1",
    "r3k2r/8/8/4r3/8/8/8/R3K2R w KQkq - 0 1",
    "r3k2r/8/8/8/8/8/8/RN2K1NR w KQkq - 0 1",
    "1n1rk3/P1P5/8/8/8/8/p1p5/1N1RK3 w - - 0 1",
    "QQQQkQQQ/8/8/8/8/8/8/K7 b - - 0 1",
]


@pytest.fixture(scope="module")
def packed():
    boards = [chess.Board(fen) for fen in SPECIAL] + random_boards(range(20))
    return [pack_board(board) for board in boards]


@pytest.fixture(scope="module")
def whites(packed):
    """The positions as the side to move sees them."""
    assert len(packed) >= 200
    return [board_of(one) for one in packed]


def tensor(packed):
    return torch.from_numpy(np.frombuffer(b"".join(packed), np.uint8).reshape(-1, 34).copy())


@pytest.fixture(scope="module")
def position(packed):
    return decode(tensor(packed))


def test_decoded_as_unpacked(packed, position):
    for part, expected in zip(position, unpack(tensor(packed).numpy()), strict=True):
        np.testing.assert_array_equal(part.numpy(), expected)


def test_attacks_as_one_board_at_a_time(whites, position):
    for board, attacks_SS in zip(whites, attacks(position), strict=True):
        assert set(map(tuple, attacks_SS.nonzero().tolist())) == twin.attacks(board)


def test_planes_as_one_board_at_a_time(whites, position):
    planes = input_planes(position, attacks(position))
    for board, one in zip(whites, planes, strict=True):
        expected = np.zeros((NUM_PLANES, 64), np.float32)
        for (plane, square), value in twin.planes(board).items():
            expected[plane, square] = value
        np.testing.assert_array_equal(one.flatten(1).numpy(), expected)


def test_every_plane_is_used(position):
    planes = input_planes(position, attacks(position))
    assert (planes.flatten(2).amax(dim=(0, 2)) > 0).all()


def test_pseudo_legal_as_one_board_at_a_time(whites, position):
    found = pseudo_legal(position, attacks(position)).tolist()
    expected = [sorted(twin.pseudo_legal(board)) for board in whites]
    longest = max(map(len, expected))
    assert found == [moves + [-1] * (longest - len(moves)) for moves in expected]


@pytest.mark.parametrize("size", [0, 1, 5])
def test_sizes(packed, size):
    part, whole = decode(tensor(packed[:size]).view(-1, 34)), decode(tensor(packed))
    planes, moves_NL = input_planes(part, attacks(part)), pseudo_legal(part, attacks(part))
    assert planes.shape == (size, NUM_PLANES, 8, 8)
    assert planes.dtype == torch.float32
    assert planes.is_contiguous(memory_format=torch.channels_last)
    assert moves_NL.dtype == torch.int64
    assert torch.equal(planes, input_planes(whole, attacks(whole))[:size])
    of_all_NL = pseudo_legal(whole, attacks(whole))[:size]
    assert torch.equal(moves_NL, of_all_NL[:, : moves_NL.shape[1]])
    assert (of_all_NL[:, moves_NL.shape[1] :] == -1).all()


def test_inputs_are_left_alone(packed):
    boards_NB = tensor(packed)
    before = boards_NB.clone()
    position = decode(boards_NB)
    attacks_NSS = attacks(position)
    copies = [part.clone() for part in (*position, attacks_NSS)]
    input_planes(position, attacks_NSS)
    pseudo_legal(position, attacks_NSS)
    assert torch.equal(boards_NB, before)
    assert all(map(torch.equal, copies, (*position, attacks_NSS)))


def test_positions_without_a_move(packed):
    """As none has all squares empty; beside another its row is filled."""
    empty = decode(torch.zeros(1, 34, dtype=torch.uint8))
    assert pseudo_legal(empty, attacks(empty)).shape == (1, 0)
    both = decode(torch.stack((torch.zeros(34, dtype=torch.uint8), tensor(packed[:1])[0])))
    moves_NL = pseudo_legal(both, attacks(both))
    assert (moves_NL[0] == -1).all()
    assert (moves_NL[1] >= 0).all()
