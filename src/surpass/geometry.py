"""How the pieces move on an empty board, and which squares lie between two others."""

from __future__ import annotations

import chess
import numpy as np
import numpy.typing as npt


def _attacks() -> npt.NDArray[np.bool_]:
    attacks = np.zeros((13, 64, 64), np.bool_)
    board = chess.Board.empty()
    for code in range(1, 13):
        piece = chess.Piece((code - 1) % 6 + 1, code <= 6)
        for origin in range(64):
            board.set_piece_at(origin, piece)
            attacks[code, origin, list(board.attacks(origin))] = True
            board.remove_piece_at(origin)
    return attacks


ATTACKS = _attacks()
"""Squares a piece attacks on an empty board: bool (square code as in `boards`, origin, target)."""

REACH = ATTACKS[:7].transpose(0, 2, 1).copy()
"""Whether a piece (2 knight to 6 king) reaches a square: bool (7, target, origin); pawns nowhere."""
REACH[chess.PAWN] = False

BETWEEN = np.array([[chess.between(a, b) for b in range(64)] for a in range(64)], np.uint64)
"""Bit boards of the squares strictly between two squares, uint64 (64, 64)."""
