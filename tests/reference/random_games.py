"""Games made up move by move, rich in castling, promotions and en passant, and their PGN."""

import random

import chess

RESULTS = ("1-0", "0-1", "1/2-1/2")


def is_special(board: chess.Board, move: chess.Move) -> bool:
    return bool(move.promotion) or board.is_castling(move) or board.is_en_passant(move)


def random_game(seed: int, plies: int = 120) -> list[chess.Move]:
    """Legal moves from the ordinary position: special ones often, pawn moves often."""
    rng = random.Random(seed)
    board = chess.Board()
    moves: list[chess.Move] = []
    while len(moves) < plies and (legal := list(board.legal_moves)):
        special = [move for move in legal if is_special(board, move)]
        pawns = [move for move in legal if board.piece_type_at(move.from_square) == chess.PAWN]
        pool = special if special and rng.random() < 0.7 else pawns if pawns and rng.random() < 0.4 else legal
        moves.append(rng.choice(pool))
        board.push(moves[-1])
    return moves


def sans(moves: list[chess.Move]) -> list[str]:
    board = chess.Board()
    return [board.san_and_push(move) for move in moves]


def pgn(games: list[list[str]]) -> str:
    """PGN text of games of SAN moves, with ratings that tell them apart."""
    blocks = []
    for place, moves in enumerate(games):
        result = RESULTS[place % 3]
        numbered = [f"{ply // 2 + 1}. {san}" if ply % 2 == 0 else san for ply, san in enumerate(moves)]
        headers = f'[Event "?"]\n[WhiteElo "{2000 + place}"]\n[BlackElo "?"]\n[Result "{result}"]\n'
        blocks.append(f"{headers}\n{' '.join(numbered)} {result}\n")
    return "\n".join(blocks)


def random_pgn(seeds: range, plies: int = 120) -> str:
    return pgn([sans(random_game(seed, plies)) for seed in seeds])


def random_boards(seeds: range, every: int = 7) -> list[chess.Board]:
    """Every so many positions of some games."""
    boards = []
    for seed in seeds:
        board = chess.Board()
        for ply, move in enumerate(random_game(seed)):
            if ply % every == 0:
                boards.append(board.copy(stack=False))
            board.push(move)
    return boards
