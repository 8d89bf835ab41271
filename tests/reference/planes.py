"""One board at a time with python-chess, White to move: what `surpass.models.planes` does for many."""

import chess

from surpass.boards import move_index

CASTLING_CORNERS = (chess.H1, chess.A1, chess.H8, chess.A8)
CASTLINGS = (
    (chess.H1, chess.Move(chess.E1, chess.G1), (chess.F1, chess.G1)),
    (chess.A1, chess.Move(chess.E1, chess.C1), (chess.D1, chess.C1, chess.B1)),
)


def code(piece: chess.Piece) -> int:
    return piece.piece_type + (0 if piece.color == chess.WHITE else 6)


def attacks(board: chess.Board) -> set[tuple[int, int]]:
    """Pairs of origin and attacked square, of both sides."""
    return {(origin, target) for origin in board.piece_map() for target in board.attacks(origin)}


def planes(board: chess.Board) -> dict[tuple[int, int], float]:
    """Values that are not zero, by plane and square."""
    values: dict[tuple[int, int], float] = {}
    if board.ep_square is not None:
        values[0, board.ep_square] = 1.0
    for origin, piece in board.piece_map().items():
        values[code(piece), origin] = 1.0
    for place, corner in enumerate(CASTLING_CORNERS):
        if board.castling_rights & chess.BB_SQUARES[corner]:
            values.update({(13 + place, square): 1.0 for square in chess.SQUARES})
    for target in chess.SQUARES:
        for color, plane in ((chess.WHITE, 29), (chess.BLACK, 30)):
            attackers = [board.piece_at(origin) for origin in board.attackers(color, target)]
            codes = [code(piece) for piece in attackers if piece]
            values.update({(16 + kind, target): min(codes.count(kind), 2) / 2 for kind in codes})
            if codes:
                values[plane, target] = len(codes) / 4
    return values


def pseudo_legal(board: chess.Board) -> set[int]:
    """Numbers of the pseudo-legal moves, castling out of and through check among them."""
    moves = set(board.pseudo_legal_moves)
    for corner, move, between in CASTLINGS:
        if board.castling_rights & chess.BB_SQUARES[corner] and not any(map(board.piece_at, between)):
            moves.add(move)
    return {move_index(move, chess.WHITE) for move in moves}
