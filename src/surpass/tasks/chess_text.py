"""Chess as text, as the paper has it: a language model writes the best move.

Source: Burns et al. 2023, section 4.1 and appendix A.2.

Shape suffixes: N positions.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import chess
import chess.pgn
import numpy as np
import numpy.typing as npt

from surpass.data.base import Completion
from surpass.data.files import FilePart, opened
from surpass.errors import ConfigError, DataError
from surpass.hashing import unit
from surpass.identity import execution_field, remembered_digest
from surpass.tasks import splits
from surpass.tasks.base import CompletionTask, ExampleTables
from surpass.tasks.chess import MIXES as PUZZLE_MIXES
from surpass.tasks.chess import PROPORTIONS, ChessTask
from surpass.tasks.generation import completion_tables, hashed
from surpass.tasks.tables import MIXES, draw

FORMS = ("fen", "pgn")


@dataclass(frozen=True)
class ChessTextTask(CompletionTask):
    """Positions written as text, and the move to be found behind a space, such as " Qxc1+".

    As "fen" they are the puzzles of `ChessTask`, with the same ids in the same parts: the prompt is the
    position to solve, the completion the first move of the solution.

    As "pgn" they come from games, for Lichess's puzzles do not tell how the position came about: the
    prompt is the list of moves in the paper's way of writing ("1. d4 1... Nf6 ... 22. Rc1 22..."), and the
    completion is the move that was played. That is prediction of the next move, no puzzle: what was played
    need not be best. From each game of players rated `min_elo` or more, one position is taken, from ply
    `first_ply` on, chosen by the hash of its moves; no game is in two parts, and games with the same moves
    count once.

    Attributes:
        form: "fen" or "pgn".
        path: For "fen" a puzzle file of one's own, as `ChessTask` takes it; for "pgn" a PGN file, also
            compressed (.gz, .bz2, .xz, .zst).
        max_games: How many games to use at most, the first of the file.
        min_elo: Games of weaker players are left out, and those that do not give both ratings (the paper's
            pretraining games are from 1800 on); 0 for all games.
        first_ply: How many half-moves the prompt has at least.
        max_new_tokens: How many tokens a completion has at most, its end token included.
        split_seed: Another seed is another cut into parts.

    Raises:
        ConfigError: There is no such form, a number is out of its range, or "pgn" has no path.
    """

    form: str = "fen"
    path: str = execution_field("")
    max_games: int = 20_000
    min_elo: int = 1800
    first_ply: int = 10
    max_new_tokens: int = 12
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ConfigError(f"form={self.form!r} must be one of {', '.join(FORMS)}")
        if self.form == "pgn" and not self.path:
            raise ConfigError("chess-pgn needs games: give the path of a PGN file")
        for what, least in (("max_games", 1), ("first_ply", 1), ("min_elo", 0)):
            if getattr(self, what) < least:
                raise ConfigError(f"{what}={getattr(self, what)} must be at least {least}")
        self.require_limit()

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"chess-{self.form}"

    @property
    def checked_by(self) -> str:
        """The checker of its completions."""
        return "move"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts; `chess.PROPORTIONS` holds their sizes."""
        return tuple(PROPORTIONS)

    @property
    def mixes(self) -> tuple[str, ...]:
        """The ways of drawing; of puzzles by rating, as `ChessTask` has them."""
        return PUZZLE_MIXES if self.form == "fen" else MIXES

    @property
    def difficulty(self) -> str | None:
        """Puzzles are rated by those who tried them."""
        return "rating" if self.form == "fen" else None

    def digests(self) -> dict[str, str]:
        """The sha256 of the file of puzzles or games.

        Raises:
            DataError: There is no such file.
        """
        if self.form == "fen":
            return self._puzzles.digests()
        try:
            return {"games": remembered_digest(self.path)}
        except (FileNotFoundError, IsADirectoryError):
            raise DataError(f"there is no file of games {self.path}; name a PGN file") from None

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Positions of one part, in an order that their ids and the seed decide.

        Args:
            part: One of `parts`.
            size: How many; None for as many as there are. A smaller size is a subset of a larger one.
            seed: Chooses which, and their order.
            mix: One of `mixes`.

        Returns:
            `inputs` with `id`, `prompt`, `length`, `max_new_tokens`, and for "fen" `rating`; `truth` with
            `id` and the completion.

        Raises:
            ConfigError: Part or mix is unknown, or there are fewer than `size` positions.
            DataError: The file is missing or damaged, or holds no game to take a position from.
        """
        if self.form == "fen":
            return self._of_puzzles(part=part, size=size, seed=seed, mix=mix)
        for what, value, known in (("part", part, self.parts), ("mix", mix, self.mixes)):
            if value not in known:
                raise ConfigError(f"no {what} {value!r} in task {self.name}; choose from {', '.join(known)}")
        cuts = self._games.cuts
        rows = draw([cut.id for cut in cuts], self._parts, part=part, size=size, seed=seed).tolist()
        items = [cuts[row].item for row in rows]
        return completion_tables(
            [cuts[row].id for row in rows], items, self.max_new_tokens, self._games.notes
        )

    def _of_puzzles(self, **wanted: Any) -> ExampleTables:
        chosen = self._puzzles.examples(**wanted).inputs.select(["id", "rating"])
        ids = chosen["id"].to_pylist()
        lines = [self._lines[name] for name in ids]
        items = [Completion(fen, first_move(fen, moves), fen) for fen, moves in lines]
        tables = completion_tables(ids, items, self.max_new_tokens, {})
        return tables._replace(inputs=tables.inputs.append_column("rating", chosen["rating"]))

    @cached_property
    def _puzzles(self) -> ChessTask:
        return ChessTask(puzzles=self.path or None, split_seed=self.split_seed)

    @cached_property
    def _lines(self) -> dict[str, tuple[str, str]]:
        """Position and solution of each puzzle."""
        table = self._puzzles._table
        columns = (table[name].to_pylist() for name in ("id", "fen", "moves"))
        return {name: (fen, moves) for name, fen, moves in zip(*columns, strict=True)}

    @cached_property
    def _games(self) -> Games:
        return read_cuts(self.path, max_games=self.max_games, min_elo=self.min_elo, first_ply=self.first_ply)

    @cached_property
    def _parts(self) -> npt.NDArray[np.str_]:
        ids = [cut.id for cut in self._games.cuts]
        return np.array(splits.assign(ids, PROPORTIONS, self.split_seed))


def first_move(fen: str, solution: str) -> str:
    """The first of some moves in UCI notation as the completion of a position, such as " Qxc1+"."""
    board = chess.Board(fen)
    return f" {board.san(board.parse_uci(solution.partition(' ')[0]))}"


def move_list(moves: list[str]) -> str:
    """Moves in standard algebraic notation as the paper writes them, up to the number of the next.

    "1. d4 1... Nf6 2." asks for White's second move.
    """
    numbers = [f"{ply // 2 + 1}{'...' if ply % 2 else '.'}" for ply in range(len(moves) + 1)]
    pairs = zip(numbers, moves, strict=False)
    return " ".join([*(f"{number} {move}" for number, move in pairs), numbers[-1]])


class Cut(NamedTuple):
    """A game cut before one of its moves, called by the hash of all of them."""

    id: str
    item: Completion


class Games(NamedTuple):
    """Games of a file, cut, and what was left out."""

    cuts: list[Cut]
    notes: dict[str, int]


def read_cuts(path: str, *, max_games: int, min_elo: int, first_ply: int) -> Games:
    """The games of a PGN file that start from the ordinary position, each cut at one ply.

    Args:
        path: The file.
        max_games: Stop after so many.
        min_elo: Both players have at least this rating; 0 for games without ratings too.
        first_ply: Where the cut is at the earliest; shorter games are left out.

    Raises:
        DataError: The file is missing or damaged, or no game is left.
    """
    cuts: dict[str, Cut] = {}
    notes: Counter[str] = Counter()
    for moves in _games(path, min_elo, notes):
        name = hashed(" ".join(move.uci() for move in moves))
        if len(moves) <= first_ply:
            notes[f"games of {first_ply} half-moves or fewer"] += 1
        elif name in cuts:
            notes["games with moves that were there before"] += 1
        else:
            cuts[name] = _cut(name, moves, first_ply)
        if len(cuts) == max_games:
            break
    if not cuts:
        said = "; ".join(f"{what}: {count}" for what, count in notes.items())
        raise DataError(f"{path} has no game to take a position from ({said or 'it is empty'})")
    return Games(list(cuts.values()), dict(notes))


def _cut(name: str, moves: list[chess.Move], first_ply: int) -> Cut:
    ply = first_ply + int(unit(name, seed=0, purpose="ply") * (len(moves) - first_ply))
    board = chess.Board()
    sans = [board.san_and_push(move) for move in moves[: ply + 1]]
    return Cut(name, Completion(move_list(sans[:ply]), f" {sans[ply]}", name))


def _games(path: str, min_elo: int, notes: Counter[str]) -> Iterator[list[chess.Move]]:
    with opened(FilePart(path)) as stream, io.TextIOWrapper(stream, "utf-8", "replace") as text:
        while True:
            found = chess.pgn.read_game(text, Visitor=_Moves)
            if found is None:
                return
            moves, headers = found
            if headers.get("Variant", "Standard").lower() not in ("standard", "chess") or "FEN" in headers:
                notes["games from another position or of a variant"] += 1
            elif min(_elo(headers, "WhiteElo"), _elo(headers, "BlackElo")) < min_elo:
                notes[f"games of players below {min_elo} or without rating"] += 1
            else:
                yield moves


def _elo(headers: chess.pgn.Headers, name: str) -> int:
    text = headers.get(name, "")
    return int(text) if text.isdecimal() else 0


class _Moves(chess.pgn.BaseVisitor[tuple[list[chess.Move], chess.pgn.Headers]]):
    """Headers, and the moves of the main line before the first that is not legal."""

    def __init__(self) -> None:
        self.headers = chess.pgn.Headers({})
        self.moves: list[chess.Move] = []

    def visit_header(self, tagname: str, tagvalue: str) -> None:
        """Keep a header."""
        self.headers[tagname] = tagvalue

    def begin_variation(self) -> chess.pgn.SkipType:
        """Leave variations out."""
        return chess.pgn.SKIP

    def visit_move(self, board: chess.Board, move: chess.Move) -> None:
        """Keep a move."""
        self.moves.append(move)

    def handle_error(self, error: Exception) -> None:
        """The rest of the game is left out by the reader."""

    def result(self) -> tuple[list[chess.Move], chess.pgn.Headers]:
        """Moves and headers."""
        return self.moves, self.headers
