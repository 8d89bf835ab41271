"""The compact file of games: games that are written alike once, two bytes a move.

Written as one safetensors file: `moves` uint16 (all games in a row), `ends` int64 (G), `elo`
int16 (G, 2; 0 unknown), `result` int8 (G; for White), `holdout` bool (G).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from surpass.boards import PACKED_BYTES
from surpass.disk import atomic_write
from surpass.errors import DataError
from surpass.ladder import pgn, replay

BATCH = 8192
SHORTEST_GAME = 10
HOLDOUT_ONE_IN = 100

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Games:
    """Games as flat arrays; see the module for their meaning."""

    moves: npt.NDArray[np.uint16]
    ends: npt.NDArray[np.int64]
    elo: npt.NDArray[np.int16]
    result: npt.NDArray[np.int8]
    holdout: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ends)

    def game(self, index: int) -> npt.NDArray[np.uint16]:
        """The move numbers of one game."""
        return self.moves[self.ends[index - 1] if index else 0 : self.ends[index]]

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        atomic_write(path, save(vars(self)))

    @classmethod
    def load(cls, path: Path) -> Games:
        """Read the file.

        Raises:
            DataError: The file is missing, cut short, or something else.
        """
        try:
            games = cls(**load_file(path))
        except (OSError, SafetensorError, TypeError) as error:
            reason = str(error).removeprefix("Games.__init__() ")
        else:
            if len(games) and games.ends[-1] == len(games.moves):
                return games
            reason = "its arrays do not fit together"
        raise DataError(f"{path} is no file of games ({reason}); make it with `surpass ladder games`")

    @property
    def digest(self) -> str:
        """What training depends on, in 32 hexadecimal digits: the moves and which games are held out."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.moves, self.ends, self.holdout):
            digest.update(array.tobytes())
        return digest.hexdigest()


def _written(paths: Sequence[Path]) -> Iterator[pgn.WrittenGame]:
    """Games of ten plies or more, each sequence of moves once."""
    vocabulary = pgn.MoveVocabulary()
    seen: set[bytes] = set()
    for path in paths:
        for text in pgn.pgn_texts(path):
            for game in pgn.read_games(text, vocabulary):
                key = hashlib.blake2b(np.array(game.moves, np.int32).tobytes(), digest_size=12).digest()
                if len(game.moves) >= SHORTEST_GAME and key not in seen:
                    seen.add(key)
                    yield game


def _is_holdout(moves: npt.NDArray[np.uint16]) -> bool:
    digest = hashlib.blake2b(moves.tobytes(), digest_size=8, person=b"holdout").digest()
    return int.from_bytes(digest, "big") % HOLDOUT_ONE_IN == 0


def collect(paths: Sequence[Path], progress: Progress = lambda _: None) -> Games:
    """All unique games of PGN files, folders and archives, one in a hundred marked as unseen.

    A game is cut before its first illegal move. Which games are held out depends on their moves
    alone, so it is the same whatever else is read.

    Args:
        paths: Files or folders; see `pgn.pgn_texts`.
        progress: Called with the number of games read so far.

    Raises:
        DataError: A path is missing or holds no game.
    """
    numbers: list[npt.NDArray[np.uint16]] = []
    ratings: list[tuple[int, int]] = []
    results: list[int] = []
    batch: list[pgn.WrittenGame] = []

    def flush() -> None:
        resolved = replay.resolve([np.array(game.moves, np.int32) for game in batch])
        for game, moves in zip(batch, resolved, strict=True):
            if len(moves) >= SHORTEST_GAME:
                numbers.append(moves)
                ratings.append((min(game.white_elo, 4000), min(game.black_elo, 4000)))
                results.append(game.result)
        batch.clear()
        progress(len(numbers))

    for game in _written(paths):
        batch.append(game)
        if len(batch) == BATCH:
            flush()
    flush()
    if not numbers:
        raise DataError(f"no games of {SHORTEST_GAME} plies or more in {', '.join(map(str, paths))}")
    return Games(
        moves=np.concatenate(numbers),
        ends=np.cumsum([len(moves) for moves in numbers], dtype=np.int64),
        elo=np.array(ratings, np.int16),
        result=np.array(results, np.int8),
        holdout=np.array([_is_holdout(moves) for moves in numbers]),
    )


@dataclass(frozen=True)
class Positions:
    """Positions to learn from: boards uint8 (P, 34) and the moves played there, uint16 (P)."""

    boards_PB: npt.NDArray[np.uint8]
    moves_P: npt.NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.moves_P)


def positions_of(
    games: Games, *, holdout: bool, first_ply: int = 0, max_positions: int | None = None, seed: int = 0
) -> Positions:
    """The positions of the games, from ply `first_ply` on, in an order that has no meaning.

    Args:
        games: The games.
        holdout: Whether those of the held-out games or of all others.
        first_ply: Plies before this one are left out (openings repeat).
        max_positions: Take about this many: whole games at random, until there are enough.
        seed: Which games those are.
    """
    chosen = np.flatnonzero(games.holdout == holdout)
    lengths = np.diff(games.ends, prepend=0)
    if max_positions is not None:
        chosen = np.random.default_rng(seed).permutation(chosen)
        useful = np.cumsum(np.maximum(lengths[chosen] - first_ply, 0))
        chosen = chosen[: int(np.searchsorted(useful, max_positions)) + 1]
    chosen = chosen[np.argsort(-lengths[chosen], kind="stable")]
    total = int(np.maximum(lengths[chosen] - first_ply, 0).sum())
    boards_PB, moves_P = np.empty((total, PACKED_BYTES), np.uint8), np.empty(total, np.uint16)
    filled = 0
    for start in range(0, len(chosen), BATCH):
        batch = [games.game(int(index)) for index in chosen[start : start + BATCH]]
        for ply, packed_GB, moves_G, _ in replay.positions(batch):
            if ply >= first_ply:
                boards_PB[filled : filled + len(moves_G)] = packed_GB
                moves_P[filled : filled + len(moves_G)] = moves_G
                filled += len(moves_G)
    return Positions(boards_PB, moves_P)
