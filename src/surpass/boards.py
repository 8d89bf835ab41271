"""Chess positions as 34 bytes and moves as integers, both seen from the side to move.

Black's positions are turned (ranks mirrored, colours swapped), so a policy only ever plays "up
the board". A leaf module: numpy and python-chess, nothing of ours but the errors.

Packed position: bytes 0-31 hold two squares each (a1 in the low half of byte 0, h8 in the high
half of byte 31); byte 32 holds the castling rights as bits 0-3 (own king side, own queen side,
their king side, their queen side); byte 33 holds 1 + the en-passant file, or 0.

Square codes: 0 empty; 1-6 own pawn, knight, bishop, rook, queen, king; 7-12 theirs.

Shape suffixes: N positions, S squares (64), B packed bytes (34).
"""

from __future__ import annotations

from typing import NamedTuple

import chess
import numpy as np
import numpy.typing as npt

from surpass.errors import DataError

PACKED_BYTES = 34
NUM_CODES = 13
UNDERPROMOTIONS = (chess.KNIGHT, chess.BISHOP, chess.ROOK)
FIRST_UNDERPROMOTION = 64 * 64
NUM_MOVES = FIRST_UNDERPROMOTION + len(UNDERPROMOTIONS) * 8 * 3

Bytes = npt.NDArray[np.uint8]


class Unpacked(NamedTuple):
    """Decoded positions, all uint8."""

    codes_NS: Bytes
    castling_N4: Bytes
    en_passant_N: Bytes


def parse_fen(fen: str) -> chess.Board:
    """A legal position from FEN text.

    Raises:
        DataError: The text is no FEN, or the position cannot occur in a game of chess.
    """
    try:
        board = chess.Board(fen)
    except ValueError as error:
        raise DataError(
            f"not a FEN: {fen!r} ({error}); expected six fields such as {chess.STARTING_FEN!r}"
        ) from None
    if not board.is_valid():
        raise DataError(f"not a legal position: {fen!r} ({_faults(board)}); correct or drop it")
    return board


def _faults(board: chess.Board) -> str:
    """What is wrong with a position, in words."""
    return ", ".join(
        str(fault.name).lower().replace("_", " ") for fault in chess.Status if fault & board.status()
    )


def pack_board(board: chess.Board) -> bytes:
    """The 34 bytes of one position, seen from the side to move.

    The en-passant file is kept only when a pawn stands ready to capture there, so that positions
    which differ in nothing that matters have the same bytes.
    """
    us = board.turn
    flip = 0 if us == chess.WHITE else 56
    squares = bytearray(64)
    for square, piece in board.piece_map().items():
        squares[square ^ flip] = piece.piece_type + (0 if piece.color == us else 6)
    packed = bytearray(PACKED_BYTES)
    for index in range(32):
        packed[index] = squares[2 * index] | squares[2 * index + 1] << 4
    rights = (
        board.has_kingside_castling_rights(us),
        board.has_queenside_castling_rights(us),
        board.has_kingside_castling_rights(not us),
        board.has_queenside_castling_rights(not us),
    )
    packed[32] = sum(bit << place for place, bit in enumerate(rights))
    if board.ep_square is not None and board.has_pseudo_legal_en_passant():
        packed[33] = 1 + chess.square_file(board.ep_square)
    return bytes(packed)


def pack(codes_NS: Bytes, castling_N4: Bytes, en_passant_N: Bytes) -> Bytes:
    """Packed positions, uint8 (N, 34), from decoded ones; the inverse of `unpack`."""
    packed_NB = np.empty((len(codes_NS), PACKED_BYTES), np.uint8)
    packed_NB[:, :32] = codes_NS[:, 0::2] | codes_NS[:, 1::2] << 4
    packed_NB[:, 32] = castling_N4 @ np.array([1, 2, 4, 8], np.uint8)
    packed_NB[:, 33] = en_passant_N
    return packed_NB


def unpack(packed_NB: Bytes) -> Unpacked:
    """Square codes, castling rights and en-passant files of packed positions.

    Raises:
        DataError: The array is not uint8 of shape (N, 34).
    """
    if packed_NB.dtype != np.uint8 or packed_NB.ndim != 2 or packed_NB.shape[1] != PACKED_BYTES:
        raise DataError(
            f"packed positions must be uint8 (N, {PACKED_BYTES}), not {packed_NB.dtype} {packed_NB.shape}"
        )
    codes_NS = np.empty((len(packed_NB), 64), np.uint8)
    codes_NS[:, 0::2] = packed_NB[:, :32] & 15
    codes_NS[:, 1::2] = packed_NB[:, :32] >> 4
    castling_N4 = packed_NB[:, 32:33] >> np.arange(4, dtype=np.uint8) & np.uint8(1)
    return Unpacked(codes_NS, castling_N4, packed_NB[:, 33].copy())


def board_of(packed: bytes) -> chess.Board:
    """The position as a board with White as the side to move (colours swapped where it was Black)."""
    position = unpack(np.frombuffer(packed, np.uint8)[None])
    board = chess.Board.empty()
    for square, code in enumerate(position.codes_NS[0].tolist()):
        if code:
            board.set_piece_at(square, chess.Piece((code - 1) % 6 + 1, code <= 6))
    corners = (chess.H1, chess.A1, chess.H8, chess.A8)
    board.castling_rights = sum(
        chess.BB_SQUARES[corner]
        for corner, right in zip(corners, position.castling_N4[0].tolist(), strict=True)
        if right
    )
    if position.en_passant_N[0]:
        board.ep_square = chess.square(int(position.en_passant_N[0]) - 1, 5)
    return board


def move_index(move: chess.Move, turn: chess.Color) -> int:
    """The number of a move in [0, 4168): 64 * from + to, with underpromotions behind them.

    Squares are seen from the side to move; promotion to a queen is the plain move. An
    underpromotion to piece p (0 knight, 1 bishop, 2 rook) from file f, stepping d files (-1, 0,
    1), is 4096 + 24 p + 3 f + d + 1.
    """
    flip = 0 if turn == chess.WHITE else 56
    origin, target = move.from_square ^ flip, move.to_square ^ flip
    if move.promotion in UNDERPROMOTIONS:
        step = chess.square_file(target) - chess.square_file(origin) + 1
        piece = UNDERPROMOTIONS.index(move.promotion)
        return FIRST_UNDERPROMOTION + 24 * piece + 3 * chess.square_file(origin) + step
    return 64 * origin + target


def index_move(index: int, board: chess.Board) -> chess.Move:
    """The move with this number on this board; the inverse of `move_index`.

    Raises:
        DataError: The number is outside [0, 4168), or the underpromotion leads off the board.
    """
    if not 0 <= index < NUM_MOVES:
        raise DataError(f"move number {index} is outside 0..{NUM_MOVES - 1}")
    flip = 0 if board.turn == chess.WHITE else 56
    if index >= FIRST_UNDERPROMOTION:
        piece, rest = divmod(index - FIRST_UNDERPROMOTION, 24)
        file, step = divmod(rest, 3)
        if not 0 <= file + step - 1 < 8:
            raise DataError(f"move number {index} steps off the board: mask it with the legal moves")
        origin, target = chess.square(file, 6), chess.square(file + step - 1, 7)
        return chess.Move(origin ^ flip, target ^ flip, UNDERPROMOTIONS[piece])
    origin, target = divmod(index, 64)
    mover = board.piece_type_at(origin ^ flip)
    promotion = chess.QUEEN if mover == chess.PAWN and target >= 56 else None
    return chess.Move(origin ^ flip, target ^ flip, promotion)


def legal_move_indices(board: chess.Board) -> list[int]:
    """The numbers of all legal moves, ascending."""
    return sorted(move_index(move, board.turn) for move in board.legal_moves)
