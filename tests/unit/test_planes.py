import chess
import numpy as np
import pytest
import torch

from reference import planes as twin
from reference.random_games import random_boards
from surpass.boards import NUM_MOVES, board_of, pack_board, unpack
from surpass.models.planes import NUM_PLANES, attacks, decode, input_planes, listed, pseudo_legal

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
    for board, mask_M in zip(whites, pseudo_legal(position, attacks(position)), strict=True):
        assert set(mask_M.nonzero()[:, 0].tolist()) == twin.pseudo_legal(board)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_sizes(packed, size):
    part, whole = decode(tensor(packed[:size]).view(-1, 34)), decode(tensor(packed))
    planes, mask = input_planes(part, attacks(part)), pseudo_legal(part, attacks(part))
    assert planes.shape == (size, NUM_PLANES, 8, 8)
    assert planes.dtype == torch.float32
    assert planes.is_contiguous(memory_format=torch.channels_last)
    assert mask.shape == (size, NUM_MOVES)
    assert mask.dtype == torch.bool
    assert torch.equal(planes, input_planes(whole, attacks(whole))[:size])
    assert torch.equal(mask, pseudo_legal(whole, attacks(whole))[:size])


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


@pytest.mark.parametrize("shape", [(0, 7), (1, 1), (5, 9), (40, 4168)])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_listed_moves(shape, share):
    mask_NM = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < share
    slow = [mask_M.nonzero()[:, 0].tolist() for mask_M in mask_NM]
    width = max(map(len, slow), default=0)
    found = listed(mask_NM)
    assert found.tolist() == [row + [-1] * (width - len(row)) for row in slow]
    assert found.shape == (shape[0], width)
