"""One game at a time with python-chess: what `surpass.ladder.replay` does for thousands."""

import chess

from surpass.boards import index_move, move_index, pack_board


def resolve(sans: list[str]) -> list[int]:
    """Move numbers of the moves before the first that cannot be played."""
    board, numbers = chess.Board(), []
    for san in sans:
        try:
            move = board.parse_san(san)
        except ValueError:
            break
        numbers.append(move_index(move, board.turn))
        board.push(move)
    return numbers


def positions(numbers: list[int]) -> list[bytes]:
    """The packed position before each move."""
    board, packed = chess.Board(), []
    for number in numbers:
        packed.append(pack_board(board))
        board.push(index_move(number, board))
    return packed
