import chess
import numpy as np
import pytest

from reference.random_games import random_boards
from surpass.boards import (
    FIRST_UNDERPROMOTION,
    NUM_MOVES,
    UNDERPROMOTIONS,
    board_of,
    index_move,
    legal_move_indices,
    move_index,
    pack,
    pack_board,
    parse_fen,
    unpack,
)
from surpass.errors import DataError

PROMOTING = "1n1rk3/P1P5/8/8/8/8/p1p5/1N1RK3 {} - - 0 1"
EN_PASSANT_W = "rnbqkbnr/ppp1p1pp/8/3pPp2/8/8/PPPP1PPP/RNBQKBNR w KQkq f6 0 3"
EN_PASSANT_B = "rnbqkbnr/pppp1ppp/8/8/3PpP2/8/PPP1P1PP/RNBQKBNR b KQkq f3 0 3"
CASTLING = "r3k2r/8/8/8/8/8/8/R3K2R {} {} - 0 1"


@pytest.fixture(scope="module")
def boards():
    special = [EN_PASSANT_W, EN_PASSANT_B, *(PROMOTING.format(turn) for turn in "wb")]
    return [chess.Board(fen) for fen in special] + random_boards(range(8))


def from_white(board):
    return board if board.turn == chess.WHITE else board.mirror()


def test_packing_is_undone(boards):
    for board in boards:
        again, white = board_of(pack_board(board)), from_white(board)
        assert again.piece_map() == white.piece_map()
        assert again.castling_rights == white.clean_castling_rights()
        assert again.ep_square == (white.ep_square if white.has_pseudo_legal_en_passant() else None)
        assert pack_board(again) == pack_board(board)


def test_both_colours_look_alike(boards):
    for board in boards:
        assert pack_board(board) == pack_board(board.mirror())
        assert legal_move_indices(board) == legal_move_indices(board.mirror())


def test_moves_of_the_packed_position_are_those_of_the_board(boards):
    for board in boards:
        assert legal_move_indices(board_of(pack_board(board))) == legal_move_indices(board)


def test_move_numbers_are_undone_and_distinct(boards):
    for board in boards:
        legal = list(board.legal_moves)
        numbers = [move_index(move, board.turn) for move in legal]
        assert [index_move(number, board) for number in numbers] == legal
        assert len(set(numbers)) == len(legal)
        assert sorted(numbers) == legal_move_indices(board)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_arrays_pack_and_unpack(boards, size):
    packed_NB = np.frombuffer(b"".join(map(pack_board, boards[:size])), np.uint8).reshape(-1, 34)
    position = unpack(packed_NB)
    assert [part.dtype for part in position] == [np.uint8] * 3
    assert [part.shape for part in position] == [(size, 64), (size, 4), (size,)]
    np.testing.assert_array_equal(pack(*position), packed_NB)


@pytest.mark.parametrize("rights", ["KQkq", "Kq", "Qk", "K", "q", "-"])
def test_castling_rights_are_own_then_theirs(rights):
    for turn, own_first in (("w", "KQkq"), ("b", "kqKQ")):
        packed = pack_board(chess.Board(CASTLING.format(turn, rights)))
        assert packed[32] == sum((right in rights) << place for place, right in enumerate(own_first))


@pytest.mark.parametrize(("fen", "capture"), [(EN_PASSANT_W, "e5f6"), (EN_PASSANT_B, "e4f3")])
def test_en_passant(fen, capture):
    board = chess.Board(fen)
    assert pack_board(board)[33] == 1 + chess.FILE_NAMES.index("f")
    assert move_index(chess.Move.from_uci(capture), board.turn) == 64 * chess.E5 + chess.F6


def test_en_passant_without_a_capturing_pawn_leaves_no_trace():
    board = chess.Board()
    board.push_san("e4")
    assert board.ep_square == chess.E3
    assert pack_board(board)[33] == 0


def test_underpromotion_numbers():
    numbers = {}
    for turn in (chess.WHITE, chess.BLACK):
        rank_from, rank_to = (6, 7) if turn == chess.WHITE else (1, 0)
        for piece in UNDERPROMOTIONS:
            for file in range(8):
                for target in range(max(0, file - 1), min(8, file + 2)):
                    move = chess.Move(chess.square(file, rank_from), chess.square(target, rank_to), piece)
                    number = move_index(move, turn)
                    assert FIRST_UNDERPROMOTION <= number < NUM_MOVES
                    assert index_move(number, chess.Board(PROMOTING.format("wb"[not turn]))) == move
                    assert numbers.setdefault(number, (piece, file, target)) == (piece, file, target)
    assert len(numbers) == 3 * (8 + 7 + 7)


def test_promotion_to_a_queen_is_the_plain_move():
    assert move_index(chess.Move.from_uci("a7b8q"), chess.WHITE) == 64 * chess.A7 + chess.B8
    assert move_index(chess.Move.from_uci("a2b1q"), chess.BLACK) == 64 * chess.A7 + chess.B8


@pytest.mark.parametrize("number", [-1, NUM_MOVES, FIRST_UNDERPROMOTION, NUM_MOVES - 1])
def test_numbers_that_are_no_move(number):
    with pytest.raises(DataError, match=f"move number {number} "):
        index_move(number, chess.Board())


@pytest.mark.parametrize(
    "fen",
    [
        "",
        "nonsense",
        "two\nlines",
        "8/8/8/8/8/8/8/8 w - - 0 1",
        "4k3/8/8/8/8/8/8/4K2R w KQ - 0 1",
        "4k3/4R3/8/8/8/8/8/4K3 w - - 0 1",
    ],
)
def test_bad_fen_is_one_line(fen):
    with pytest.raises(DataError) as caught:
        parse_fen(fen)
    assert "\n" not in str(caught.value)
    assert repr(fen) in str(caught.value)


def test_good_fen():
    assert parse_fen(EN_PASSANT_W).fen() == EN_PASSANT_W


@pytest.mark.parametrize("packed", [np.zeros((2, 33), np.uint8), np.zeros(34, np.uint8), np.zeros((1, 34))])
def test_unpacking_something_else(packed):
    with pytest.raises(DataError, match=r"must be uint8 \(N, 34\)"):
        unpack(packed)
