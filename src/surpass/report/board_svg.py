"""A chess position as a small picture of its own, with arrows that are told apart without colour vision.

The pieces are those of python-chess. There is no style sheet, script or font in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from html import escape
from math import hypot

import chess
import chess.svg

_SIDE = 45
_STYLES = {
    "truth": 'stroke="#56b4e9" stroke-width="11" fill="#56b4e9"',
    "student": 'stroke="#0b3c5d" stroke-width="4" fill="#0b3c5d"',
    "weak": 'stroke="#d55e00" stroke-width="4" stroke-dasharray="8 5" fill="#d55e00"',
}
"""In the order in which they are drawn: wide and pale below, then solid and dark, then dashed."""

ARROWS = {
    "weak": "dashed, orange: the supervisor's move",
    "student": "solid, dark blue: the student's move",
    "truth": "wide, light blue: the solution",
}
"""What the arrows are, for a legend."""


def board_svg(board: chess.Board, moves: Mapping[str, chess.Move], *, title: str) -> str:
    """Draw a position with White below.

    Args:
        board: The position.
        moves: By role (`weak`, `student`, `truth`), to be drawn as arrows.
        title: What a screen reader says.
    """
    mark = f"b{sha256(f'{board.fen()} {title}'.encode()).hexdigest()[:8]}"
    held = board.piece_map()
    symbols = dict.fromkeys(piece.symbol() for _, piece in sorted(held.items()))
    definitions = "".join(_piece(mark, symbol) for symbol in symbols)
    pieces = "".join(
        f'<use href="#{mark}{piece.symbol()}" x="{_SIDE * chess.square_file(square)}" '
        f'y="{_SIDE * (7 - chess.square_rank(square))}"/>'
        for square, piece in sorted(held.items())
    )
    arrows = "".join(_arrow(role, moves[role]) for role in _STYLES if role in moves)
    side = 8 * _SIDE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="board" viewBox="0 0 {side} {side}" width="240" '
        f'height="240" role="img"><title>{escape(title)}</title><defs>{definitions}</defs>'
        f'<path fill="#f2f2f2" d="M0 0h{side}v{side}H0z"/><path fill="#c4c4c4" d="{_dark()}"/>'
        f"{_names()}{pieces}{arrows}</svg>"
    )


def _piece(mark: str, symbol: str) -> str:
    """A group of a name of its own in place of `<g id=... class=... fill=...>`."""
    opening, _, rest = chess.svg.PIECES[symbol].partition(">")
    _, _, named = opening.partition(' class="')
    return f'<g id="{mark}{symbol}"{named.partition(chr(34))[2]}>{rest}'


def _dark() -> str:
    squares = ((file, row) for row in range(8) for file in range(8) if (file + row) % 2)
    return "".join(f"M{_SIDE * file} {_SIDE * row}h{_SIDE}v{_SIDE}h-{_SIDE}z" for file, row in squares)


def _names() -> str:
    files = "".join(f'<text x="{_SIDE * n + 38}" y="357">{chess.FILE_NAMES[n]}</text>' for n in range(8))
    ranks = "".join(f'<text x="2" y="{_SIDE * n + 10}">{8 - n}</text>' for n in range(8))
    return f'<g font-size="9" font-family="sans-serif" fill="#444">{files}{ranks}</g>'


def _arrow(role: str, move: chess.Move) -> str:
    start, end = _middle(move.from_square), _middle(move.to_square)
    length = hypot(end[0] - start[0], end[1] - start[1]) or 1.0
    along = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    head = 20.0 if role == "truth" else 14.0
    neck = end[0] - head * along[0], end[1] - head * along[1]
    sides = [(neck[0] - s * along[1], neck[1] + s * along[0]) for s in (head / 2, -head / 2)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (end, *sides))
    return (
        f'<g class="{role}" {_STYLES[role]} opacity=".85">'
        f'<path d="M{start[0]:.1f} {start[1]:.1f}L{neck[0]:.1f} {neck[1]:.1f}"/>'
        f'<polygon stroke="none" points="{points}"/></g>'
    )


def _middle(square: chess.Square) -> tuple[float, float]:
    return _SIDE * (chess.square_file(square) + 0.5), _SIDE * (7.5 - chess.square_rank(square))
