"""Many positions at once: FEN texts to packed bytes, packed bytes to boards.

`boards.pack_board` and `boards.board_of` say the same one position at a time, ten times slower.

Shape suffixes: N positions, S squares (64), K piece kinds and sides (13 codes), B packed bytes (34).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import chess
import numpy as np

from surpass.boards import NUM_CODES, Bytes, move_index, pack, unpack

_WHITE_CODES = np.zeros(256, np.uint8)
_WHITE_CODES[list(b"PNBRQKpnbrqk")] = np.arange(1, 13)
_BLACK_CODES = np.zeros(256, np.uint8)
_BLACK_CODES[list(b"pnbrqkPNBRQK")] = np.arange(1, 13)
_PLAIN = (None, chess.QUEEN)
_SPREAD = str.maketrans({"/": None} | {str(count): "." * count for count in range(1, 9)})


def pack_fens(fens: Sequence[str]) -> Bytes:
    """Packed positions, uint8 (N, 34), seen from the side to move.

    Args:
        fens: Valid FEN texts that name an en-passant square only where a legal capture exists, as
            `chess.Board.fen` writes them. Not checked: columns of a puzzle table are.
    """
    fields = [fen.split(" ") for fen in fens]
    text = "".join(field[0].translate(_SPREAD) for field in fields)
    pieces_NS = np.frombuffer(text.encode("ascii"), np.uint8).reshape(-1, 64)
    black_N = np.array([field[1] == "b" for field in fields], bool)
    # FEN begins with rank 8: for White turn the ranks, for Black swap the colours.
    white_NS = _WHITE_CODES[pieces_NS].reshape(-1, 8, 8)[:, ::-1].reshape(-1, 64)
    codes_NS = np.where(black_N[:, None], _BLACK_CODES[pieces_NS], white_NS)
    own = {"w": "KQkq", "b": "kqKQ"}
    castling_N4 = np.array([[c in field[2] for c in own[field[1]]] for field in fields], np.uint8).reshape(
        -1, 4
    )
    en_passant_N = np.array([".abcdefgh".find(field[3][0]) for field in fields], np.int8).clip(0)
    return pack(codes_NS, castling_N4, en_passant_N.astype(np.uint8))


def iter_boards(packed_NB: Bytes) -> Iterator[chess.Board]:
    """Each position in turn, White to move, on one board that is used again: copy it to keep it."""
    position = unpack(packed_NB)
    planes_NKS = position.codes_NS[:, None] == np.arange(NUM_CODES, dtype=np.uint8)[:, None]
    planes_NK = np.packbits(planes_NKS, axis=-1, bitorder="little").view("<u8")[..., 0]
    corners_4 = np.array([chess.BB_H1, chess.BB_A1, chess.BB_H8, chess.BB_A8], np.uint64)
    castling_N = (position.castling_N4 * corners_4).sum(axis=1, dtype=np.uint64)
    board = chess.Board.empty()
    rows = zip(planes_NK.tolist(), castling_N.tolist(), position.en_passant_N.tolist(), strict=True)
    for planes, castling, en_passant in rows:
        own, their = planes[1:7], planes[7:]
        pieces = [a | b for a, b in zip(own, their, strict=True)]
        board.pawns, board.knights, board.bishops, board.rooks, board.queens, board.kings = pieces
        board.occupied_co = [sum(their), sum(own)]
        board.occupied = sum(pieces)
        board.castling_rights = castling
        board.ep_square = chess.square(en_passant - 1, 5) if en_passant else None
        yield board


def white_move_indices(board: chess.Board) -> list[int]:
    """`boards.legal_move_indices` where White is to move."""
    return sorted(
        64 * move.from_square + move.to_square if move.promotion in _PLAIN else move_index(move, chess.WHITE)
        for move in board.generate_legal_moves()
    )
