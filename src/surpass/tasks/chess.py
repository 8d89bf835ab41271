"""The chess task: find the first move of a puzzle's solution among all legal moves.

Source: Burns et al. 2023, section 4.1 and appendix A.2, who generate the move as text; here it is
a choice, so that labels are probabilities over legal moves.

Shape suffixes: N puzzles, B packed bytes (34).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import chess
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.boards import PACKED_BYTES, move_index
from surpass.errors import ConfigError
from surpass.identity import execution_field
from surpass.legality import legal_moves
from surpass.tasks import splits
from surpass.tasks.base import ExampleTables
from surpass.tasks.positions import pack_fens
from surpass.tasks.puzzles import (
    puzzles_digest,
    read_puzzles,
    shipped_puzzles,
    source_histogram,
)

PROPORTIONS = {"weak": 0.44, "student": 0.44, "validation": 0.03, "test": 0.09}
MIXES = ("all", "source", "even")
_RARE_RATING = 2400
_EVEN_WIDTH, _EVEN_LOW, _EVEN_HIGH = 200, 400, 2200

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ChessTask:
    """Puzzles, cut by the game they come from.

    Attributes:
        puzzles: A puzzle file of one's own, as `read_puzzles` takes it; None for the shipped ones.
        max_puzzles: How many of one's own file to use at most.
        split_seed: Another seed is another cut into parts.
    """

    puzzles: str | None = execution_field(None)
    max_puzzles: int = 200_000
    split_seed: int = 0

    @property
    def name(self) -> str:
        """The key in `TASKS`."""
        return "chess"

    @property
    def mixes(self) -> tuple[str, ...]:
        """The ways of drawing by rating; see `examples`."""
        return MIXES

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts; `PROPORTIONS` holds their sizes."""
        return tuple(PROPORTIONS)

    @property
    def num_classes(self) -> None:
        """None: the candidates are the legal moves of each position."""

    @property
    def families(self) -> frozenset[str]:
        """Chess policies."""
        return frozenset({"policy"})

    @property
    def difficulty(self) -> str:
        """Puzzles are rated by those who tried them."""
        return "rating"

    def digests(self) -> dict[str, str]:
        """The sha256 of the puzzle file."""
        return {"puzzles": puzzles_digest() if self.puzzles is None else puzzles_digest(Path(self.puzzles))}

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Puzzles of one part, in an order that their ids and the seed decide.

        Args:
            part: One of `parts`.
            size: How many; None for as many as the mix allows.
            seed: Chooses which, and their order. A smaller size is a subset of a larger one.
            mix: "all" ratings as they come; "source", as before common ratings were thinned for
                shipping; "even", equally many of each 200 points from 400, with 2200 and up as one.

        Returns:
            `inputs` with `id` string, `board` fixed_size_binary(34) as `boards.pack_board` has it,
            `candidates` list<uint16> of all legal moves' numbers ascending, `rating` int16 and
            `themes` string; `truth` with `id` and the solution's place among the candidates, int16.

        Raises:
            ConfigError: Part or mix is unknown, or there are fewer than `size` such puzzles.
        """
        _require("part", part, self.parts)
        _require("mix", mix, MIXES)
        table = self._table.filter(self._parts == part)
        if not len(table):
            raise ConfigError(f"there is no puzzle in part {part!r}; give a file with more of them")
        table = table.take(splits.subsample(table["id"].to_pylist(), None, seed))
        if mix != "all":
            table = table.take(_mixed(self._bins(table, mix), self._weights(mix), size))
        if size is not None and not 0 <= size <= len(table):
            raise ConfigError(
                f"{size} puzzles asked for and {len(table)} in part {part!r} with mix {mix!r}; ask for fewer"
            )
        return _encoded(table[:size])

    @cached_property
    def _table(self) -> pa.Table:
        if self.puzzles is None:
            return shipped_puzzles()
        return read_puzzles(self.puzzles, max_puzzles=self.max_puzzles)

    @cached_property
    def _parts(self) -> npt.NDArray[np.str_]:
        return np.array(splits.assign(splits.group_keys(self._table), PROPORTIONS, self.split_seed))

    def _bins(self, table: pa.Table, mix: str) -> Ints:
        """The rating bin of each puzzle, by its lower end."""
        rating_N: Ints = table["rating"].to_numpy().astype(np.int64)
        if mix == "even":
            return np.clip(rating_N // _EVEN_WIDTH * _EVEN_WIDTH, _EVEN_LOW, _EVEN_HIGH)
        return np.minimum(rating_N // 100 * 100, _RARE_RATING)

    def _weights(self, mix: str) -> dict[int, float]:
        """The share of each rating bin that the mix asks for, summing to 1."""
        bins, counts = np.unique(self._bins(self._table, mix), return_counts=True)
        weights = dict(zip(bins.tolist(), counts.tolist(), strict=True))
        if mix == "even":
            weights = dict.fromkeys(weights, 1)
        elif self.puzzles is None:
            weights = dict.fromkeys(weights, 0)
            for rating, count in source_histogram().items():
                weights[min(rating, _RARE_RATING)] += count
        return {rating: weight / sum(weights.values()) for rating, weight in weights.items()}


def _require(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"no {what} {value!r} in task chess; choose from {', '.join(allowed)}")


def _mixed(bin_N: Ints, weights: dict[int, float], size: int | None) -> Ints:
    """Rows, ascending, whose bins stand in the given proportions as nearly as whole rows can.

    The k-th row of a bin with weight w comes in at time (k + 1/2) / w, until a bin runs dry. At any
    time the bins are in proportion (Sainte-Laguë), and a smaller size is a subset of a larger one.
    """
    due_N = np.full(len(bin_N), np.inf)
    dry = np.inf
    for rating, weight in weights.items():
        (rows,) = np.nonzero(bin_N == rating)
        due_N[rows] = (np.arange(len(rows)) + 0.5) / weight
        dry = min(dry, (len(rows) + 0.5) / weight)
    chosen = np.argsort(due_N, kind="stable")[: np.count_nonzero(due_N < dry)]
    return np.sort(chosen[:size] if size is None or 0 <= size <= len(chosen) else chosen)


def _encoded(table: pa.Table) -> ExampleTables:
    fens, solutions = table["fen"].to_pylist(), table["moves"].to_pylist()
    packed_NB = pack_fens(fens)
    number_L, count_N = legal_moves(packed_NB)
    offset_N = np.concatenate(([0], np.cumsum(count_N))).astype(np.int32)
    boards = [None, pa.py_buffer(packed_NB.tobytes())]
    inputs = {
        "id": table["id"].combine_chunks(),
        "board": pa.FixedSizeBinaryArray.from_buffers(pa.binary(PACKED_BYTES), len(table), boards),
        "candidates": pa.ListArray.from_arrays(offset_N, number_L),
        "rating": table["rating"].combine_chunks(),
        "themes": table["themes"].combine_chunks(),
    }
    pairs = zip(fens, solutions, strict=True)
    solution_N = np.array([_number(moves.partition(" ")[0], " w " in fen) for fen, moves in pairs], np.int64)
    (place_N,) = np.nonzero(number_L == np.repeat(solution_N, count_N))
    truth = pa.array(place_N - offset_N[:-1], pa.int16())
    return ExampleTables(pa.table(inputs), pa.table({"id": inputs["id"], "truth": truth}))


@cache
def _number(uci: str, white: bool) -> int:
    """The number of a move as who makes it sees the board."""
    return move_index(chess.Move.from_uci(uci), chess.WHITE if white else chess.BLACK)
