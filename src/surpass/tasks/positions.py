"""Many positions at once: FEN texts to packed bytes.

`boards.pack_board` says the same of one position, ten times slower.

Shape suffixes: N positions, S squares (64), B packed bytes (34).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from surpass.boards import Bytes, pack

_WHITE_CODES = np.zeros(256, np.uint8)
_WHITE_CODES[list(b"PNBRQKpnbrqk")] = np.arange(1, 13)
_BLACK_CODES = np.zeros(256, np.uint8)
_BLACK_CODES[list(b"pnbrqkPNBRQK")] = np.arange(1, 13)
_SPREAD = str.maketrans({"/": None} | {str(count): "." * count for count in range(1, 9)})


@cache
def _castling(field: str, turn: str) -> tuple[bool, ...]:
    """Rights of a FEN, those of the side to move first."""
    return tuple(right in field for right in ("KQkq" if turn == "w" else "kqKQ"))


def pack_fens(fens: Sequence[str]) -> Bytes:
    """Packed positions, uint8 (N, 34), seen from the side to move.

    Args:
        fens: Valid FEN texts that name an en-passant square only where a legal capture exists, as
            `chess.Board.fen` writes them. Not checked: columns of a puzzle table are.
    """
    fields = [fen.split(" ") for fen in fens]
    text = "".join([field[0] for field in fields]).translate(_SPREAD)
    pieces_NS = np.frombuffer(text.encode("ascii"), np.uint8).reshape(-1, 64)
    black_N = np.array([field[1] == "b" for field in fields], bool)
    # FEN begins with rank 8: for White turn the ranks, for Black swap the colours.
    white_NS = _WHITE_CODES[pieces_NS].reshape(-1, 8, 8)[:, ::-1].reshape(-1, 64)
    codes_NS = np.where(black_N[:, None], _BLACK_CODES[pieces_NS], white_NS)
    castling_N4 = np.array([_castling(field[2], field[1]) for field in fields], np.uint8).reshape(-1, 4)
    en_passant_N = np.array([".abcdefgh".find(field[3][0]) for field in fields], np.int8).clip(0)
    return pack(codes_NS, castling_N4, en_passant_N.astype(np.uint8))
