from collections import Counter
from itertools import chain

import chess
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surpass.boards import index_move, legal_move_indices, pack_board
from surpass.errors import ConfigError, DataError
from surpass.tasks import TASKS
from surpass.tasks.chess import PROPORTIONS, ChessTask
from surpass.tasks.puzzles import puzzles_digest, shipped_puzzles, source_histogram

TASK = ChessTask()


def ids(examples):
    return examples.inputs["id"].to_pylist()


def bins(examples, width=200):
    return Counter((examples.inputs["rating"].to_numpy() // width * width).tolist())


def own_file(path, puzzles):
    pq.write_table(puzzles, path / "own.parquet")
    return ChessTask(str(path / "own.parquet"))


def test_registered():
    assert TASKS["chess"]() == TASK
    assert TASK.name == "chess"
    assert TASK.parts == ("weak", "student", "validation", "test")


def test_columns():
    inputs, truth, _ = TASK.examples(part="test", size=10, seed=0)
    assert inputs.schema.equals(
        pa.schema(
            [
                ("id", pa.string()),
                ("board", pa.binary(34)),
                ("candidates", pa.list_(pa.uint16())),
                ("rating", pa.int16()),
                ("themes", pa.string()),
            ]
        )
    )
    assert truth.schema.equals(pa.schema([("id", pa.string()), ("truth", pa.int16())]))


def test_examples_say_what_the_puzzles_say():
    inputs, truth, _ = TASK.examples(part="student", size=300, seed=1)
    puzzles = {row["id"]: row for row in shipped_puzzles().to_pylist()}
    assert truth["id"].equals(inputs["id"])
    for row, right in zip(inputs.to_pylist(), truth["truth"].to_pylist(), strict=True):
        puzzle = puzzles[row["id"]]
        board = chess.Board(puzzle["fen"])
        assert row["board"] == pack_board(board)
        assert row["candidates"] == legal_move_indices(board)
        assert index_move(row["candidates"][right], board).uci() == puzzle["moves"].split()[0]
        assert (row["rating"], row["themes"]) == (puzzle["rating"], puzzle["themes"])


def test_ids_never_change():
    assert ids(TASK.examples(part="weak", size=3, seed=0)) == ["2G0mh", "0IDcd", "1r0SN"]


def test_parts_share_no_game_and_hold_everything(monkeypatch):
    keys = [f"game{number // 3}" for number in range(3000)]
    puzzles = shipped_puzzles()[:3000].set_column(5, "game", pa.array(keys))
    monkeypatch.setattr("surpass.tasks.chess.shipped_puzzles", lambda: puzzles)
    game = dict(zip(puzzles["id"].to_pylist(), keys, strict=True))
    found = {part: ids(ChessTask().examples(part=part, size=None, seed=0)) for part in PROPORTIONS}
    assert sorted(chain.from_iterable(found.values())) == sorted(game)
    games = [{game[name] for name in names} for names in found.values()]
    assert sum(map(len, games)) == 1000


def test_parts_of_the_shipped_puzzles_have_their_shares():
    parts = Counter(TASK._parts.tolist())
    for part, share in PROPORTIONS.items():
        assert parts[part] / len(shipped_puzzles()) == pytest.approx(share, abs=0.005)
    assert min(parts["weak"], parts["student"]) >= 50_000


def test_smaller_sizes_are_prefixes_and_seeds_differ():
    small, large = (ids(TASK.examples(part="validation", size=size, seed=0)) for size in (40, 200))
    assert small == large[:40]
    assert ids(TASK.examples(part="validation", size=40, seed=1)) != small
    other = ChessTask(split_seed=1).examples(part="validation", size=40, seed=0)
    assert ids(other) != small


@pytest.mark.parametrize("mix", ["source", "even"])
def test_mixes_nest_and_keep_the_order(mix):
    whole = ids(TASK.examples(part="validation", size=None, seed=0))
    large = ids(TASK.examples(part="validation", size=None, seed=0, mix=mix))
    small = ids(TASK.examples(part="validation", size=300, seed=0, mix=mix))
    assert set(small) < set(large) < set(whole)
    assert large == [name for name in whole if name in set(large)]
    assert small == [name for name in large if name in set(small)]


def test_source_mix_has_the_ratings_of_the_source():
    examples = TASK.examples(part="test", size=3000, seed=0, mix="source")
    found, wanted = bins(examples, 100), source_histogram()
    for rating in range(400, 2400, 100):
        assert abs(found[rating] - 3000 * wanted[rating] / sum(wanted.values())) <= 1
    assert sum(found.values()) == 3000


@pytest.mark.parametrize("size", [999, 1000, 1001, None])
def test_even_mix_has_equal_bins(size):
    examples = TASK.examples(part="validation", size=size, seed=0, mix="even")
    rating_N = examples.inputs["rating"].to_numpy().clip(max=2200)
    counts = Counter((rating_N // 200 * 200).tolist())
    assert sorted(counts) == list(range(400, 2201, 200))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert size is None or sum(counts.values()) == size


def test_sizes_at_the_edge():
    everything = len(ids(TASK.examples(part="validation", size=None, seed=0)))
    assert len(ids(TASK.examples(part="validation", size=everything, seed=0))) == everything
    empty = TASK.examples(part="validation", size=0, seed=0)
    assert (len(empty.inputs), len(empty.truth)) == (0, 0)
    for size in (everything + 1, -1):
        with pytest.raises(
            ConfigError, match=f"{size} puzzles asked for and {everything} in part 'validation'"
        ):
            TASK.examples(part="validation", size=size, seed=0)
    with pytest.raises(ConfigError, match=r"90000 puzzles asked for and .* mix 'even'"):
        TASK.examples(part="validation", size=90_000, seed=0, mix="even")


def test_a_part_without_puzzles_is_said(tmp_path):
    task = own_file(tmp_path, shipped_puzzles()[:1].replace_schema_metadata(None))
    refused = []
    for part in task.parts:
        try:
            assert len(ids(task.examples(part=part, size=None, seed=0, mix="even"))) == 1
        except ConfigError as error:
            refused.append(str(error))
    assert len(refused) == len(task.parts) - 1
    assert all("there is no puzzle in part" in text for text in refused)


def test_unknown_names_list_the_known():
    with pytest.raises(ConfigError, match="no part 'train' in task chess; choose from weak, student, "):
        TASK.examples(part="train", size=1, seed=0)
    with pytest.raises(ConfigError, match="no mix 'hard' in task chess; choose from all, source, even"):
        TASK.examples(part="weak", size=1, seed=0, mix="hard")


def test_own_puzzles(tmp_path):
    puzzles = shipped_puzzles()[20_000:20_400].replace_schema_metadata(None)
    task = own_file(tmp_path, puzzles)
    found = [ids(task.examples(part=part, size=None, seed=0)) for part in task.parts]
    assert sorted(chain.from_iterable(found)) == sorted(puzzles["id"].to_pylist())
    assert set(found[3]) <= set(ids(TASK.examples(part="test", size=None, seed=0)))
    assert task.digests()["puzzles"] != TASK.digests()["puzzles"] == puzzles_digest()
    even = task.examples(part="weak", size=None, seed=0, mix="even")
    assert len(set(bins(even).values())) <= 2
    assert np.all(even.inputs["rating"].to_numpy() > 0)
    some = ChessTask(task.puzzles, max_puzzles=100)
    assert sum(len(ids(some.examples(part=part, size=None, seed=0))) for part in some.parts) == 100


def test_own_puzzles_not_there():
    task = ChessTask("nowhere.csv")
    for ask in (task.digests, lambda: task.examples(part="weak", size=1, seed=0)):
        with pytest.raises(DataError, match=r"there is no puzzle file nowhere\.csv"):
            ask()
