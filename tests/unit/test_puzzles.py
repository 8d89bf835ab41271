import bz2
import gzip
import lzma
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surpass.errors import ConfigError, DataError
from surpass.hashing import unit
from surpass.tasks.positions import pack_fens
from surpass.tasks.puzzles import (
    SCHEMA,
    SHIPPED,
    game_id,
    legal_line,
    puzzles_digest,
    read_puzzles,
    shipped_puzzles,
    source_histogram,
)

HEADER = "PuzzleId,FEN,Moves,Rating,RatingDeviation,Popularity,NbPlays,Themes,GameUrl,OpeningTags"
START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
FOOLS = "rnbqkbnr/pppp1ppp/8/4p3/8/5P2/PPPPP1PP/RNBQKBNR w KQkq - 0 2"
MATE = f"mate1,{FOOLS},g2g4 d8h4,800,75,90,100,mateIn1 mate,https://lichess.org/abcdefgh/black#3,Barnes"
QUIET = f"quiet,{START},e2e4 e7e5 g1f3,1200,75,90,100,opening,https://lichess.org/12345678#1,"
TWIN = f"twin1,{START},d2d4 d7d5,1300,75,90,100,opening,,"


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


CODECS = {
    "csv": bytes,
    "csv.zst": zstd,
    "csv.gz": gzip.compress,
    "csv.bz2": bz2.compress,
    "csv.xz": lzma.compress,
}


def written(path, *rows, header=HEADER, ending="csv"):
    file = path / f"puzzles.{ending}"
    file.write_bytes(CODECS[ending]("\n".join([header, *rows, ""]).encode()))
    return file


@pytest.mark.parametrize("ending", CODECS)
def test_official_file(tmp_path, ending):
    puzzles = read_puzzles(written(tmp_path, MATE, QUIET, ending=ending))
    assert puzzles.schema.equals(SCHEMA)
    assert puzzles.to_pylist() == [
        {
            "id": "mate1",
            "fen": "rnbqkbnr/pppp1ppp/8/4p3/6P1/5P2/PPPPP2P/RNBQKBNR b KQkq - 0 1",
            "moves": "d8h4",
            "rating": 800,
            "themes": "mate mateIn1",
            "game": "abcdefgh",
        },
        {
            "id": "quiet",
            "fen": "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1",
            "moves": "e7e5 g1f3",
            "rating": 1200,
            "themes": "opening",
            "game": "12345678",
        },
    ]


def test_columns_count_by_name(tmp_path):
    plain = read_puzzles(written(tmp_path, MATE, QUIET))
    indexed = written(tmp_path, f"7,{MATE}", f"9,{QUIET}", header=f",{HEADER}", ending="csv.gz")
    assert read_puzzles(indexed).equals(plain)


def test_own_parquet_reads_back(tmp_path):
    file = tmp_path / "own.parquet"
    some = shipped_puzzles()[1000:1200]
    pq.write_table(some, file)
    assert read_puzzles(file).equals(some.replace_schema_metadata(None))


def test_first_of_equal_positions_stays_colours_aside(tmp_path):
    turned = f"turn1,{FOOLS.replace(' w ', ' b ')},e8e7 e1f2,900,75,90,100,opening,,"
    mirrored = (
        "mirr1,rnbqkbnr/ppppp1pp/5p2/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 2,g7g5 d1h5,900,75,90,100,mate,,"
    )
    again = MATE.replace("mate1", "mate2")
    puzzles = read_puzzles(written(tmp_path, MATE, again, mirrored, turned, TWIN))
    assert puzzles["id"].to_pylist() == ["mate1", "turn1", "twin1"]
    assert puzzles["game"].to_pylist() == ["abcdefgh", None, None]


def test_sample_is_nested_and_ignores_order(tmp_path):
    lines = [
        f"{row['id']},{row['fen']},{row['moves']},1000,75,90,100,x,,"
        for row in shipped_puzzles()[::1000].to_pylist()
        if len(row["moves"].split()) > 1
    ]
    file = written(tmp_path, *lines)
    five, nine = (read_puzzles(file, max_puzzles=size)["id"].to_pylist() for size in (5, 9))
    assert (len(five), len(nine)) == (5, 9)
    assert set(five) < set(nine)
    assert nine == [line.split(",")[0] for line in lines if line.split(",")[0] in nine]
    assert set(read_puzzles(written(tmp_path, *lines[::-1]), max_puzzles=9)["id"].to_pylist()) == set(nine)
    assert read_puzzles(file, max_puzzles=9, seed=1)["id"].to_pylist() != nine
    assert len(read_puzzles(file, max_puzzles=10**6)) == len(lines)
    with pytest.raises(ConfigError, match="max_puzzles is 0"):
        read_puzzles(file, max_puzzles=0)


def test_rows_left_out_are_not_played_through(tmp_path):
    bad = [f"bad{number}" for number in range(20)]
    rows = [MATE.replace("mate1", name).replace("d8h4", "a1a8") for name in bad]
    file = written(tmp_path, MATE, *rows)
    seed = next(
        seed
        for seed in range(1000)
        if min(["mate1", *bad], key=lambda name: unit(name, seed=seed, purpose="file")) == "mate1"
    )
    assert read_puzzles(file, max_puzzles=1, seed=seed)["id"].to_pylist() == ["mate1"]
    with pytest.raises(DataError, match="not legal"):
        read_puzzles(file, max_puzzles=2, seed=seed)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (MATE.replace("w KQkq", "x KQkq"), r"line 3, puzzle 'mate1': not a FEN"),
        (MATE.replace("RNBQKBNR", "RNBQ1BNR"), r"line 3, puzzle 'mate1': not a legal position"),
        (
            MATE.replace("d8h4", "d8h5"),
            r"line 3, puzzle 'mate1': move 2 of 'g2g4 d8h5', 'd8h5', is not legal",
        ),
        (MATE.replace("d8h4", "Qh4#"), r"line 3, puzzle 'mate1': move 2 .* is not legal"),
        (MATE.replace("d8h4", "0000"), r"line 3, puzzle 'mate1': move 2 .* is not legal"),
        (MATE.replace("g2g4 d8h4", "g2g4"), r"line 3, puzzle 'mate1': no solution in moves 'g2g4'"),
        (MATE.replace("800", "high"), r"line 3, puzzle 'mate1': rating 'high' is no whole number"),
        (MATE.replace("800", ""), r"line 3, puzzle 'mate1': rating '' is no whole number"),
        (MATE.replace("800", "99999"), r"line 3, puzzle 'mate1': rating '99999' is no whole number"),
        (MATE[:40], r"puzzles.csv cannot be read .*cut short"),
        (MATE.replace("mate1", "quiet"), r"holds puzzle 'quiet' twice with different positions"),
    ],
)
def test_wrong_row_is_named(tmp_path, row, message):
    with pytest.raises(DataError, match=message) as caught:
        read_puzzles(written(tmp_path, QUIET, row))
    assert "puzzles.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["csv.zst", "csv.gz", "csv.bz2", "csv.xz"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_file_cut_short(tmp_path, ending, share):
    file = written(tmp_path, *[MATE] * 2000, ending=ending)
    data = file.read_bytes()
    file.write_bytes(data[: max(1, int(len(data) * share))])
    with pytest.raises(DataError, match=r"cannot be read .*cut short: fetch it again"):
        read_puzzles(file)


def test_files_that_hold_nothing(tmp_path):
    file = tmp_path / "puzzles.csv"
    file.write_bytes(b"")
    with pytest.raises(DataError, match="is empty; expected a header"):
        read_puzzles(file)
    with pytest.raises(DataError, match="holds no puzzles"):
        read_puzzles(written(tmp_path))
    with pytest.raises(DataError, match="lacks the columns Rating, GameUrl; it has PuzzleId"):
        read_puzzles(written(tmp_path, header="PuzzleId,FEN,Moves,Themes"))
    with pytest.raises(DataError, match="there is no puzzle file"):
        read_puzzles(tmp_path / "nowhere.csv.zst")
    with pytest.raises(DataError, match="there is no puzzle file"):
        puzzles_digest(tmp_path / "nowhere.csv.zst")


def test_parquet_of_something_else(tmp_path):
    file = tmp_path / "other.parquet"
    pq.write_table(pa.table({"id": ["a"], "text": ["b"]}), file)
    with pytest.raises(DataError, match="lacks the columns fen, moves, rating, themes, game"):
        read_puzzles(file)
    pq.write_table(pa.Table.from_pylist([{"id": "a", "rating": 1000}], SCHEMA), file)
    with pytest.raises(DataError, match="nulls in fen, moves, themes; only game may be null"):
        read_puzzles(file)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataError, match="cannot be read"):
        read_puzzles(file)


@pytest.mark.parametrize(
    ("url", "game"),
    [
        ("https://lichess.org/n8Ff742v#69", "n8Ff742v"),
        ("https://lichess.org/abcdefgh/black#2", "abcdefgh"),
        ("n8Ff742v", "n8Ff742v"),
        ("", None),
        (None, None),
    ],
)
def test_game_id(url, game):
    assert game_id(url) == game


def test_castling_is_written_one_way():
    line = legal_line("r3k3/8/8/8/8/8/8/4K2R w K - 5 40", "e1h1 a8a1", setup=False)
    assert line.moves == "e1g1 a8a1"
    assert line.fen == "r3k3/8/8/8/8/8/8/4K2R w K - 0 1"


def test_shipped_file():
    puzzles = shipped_puzzles()
    assert puzzles_digest() == "a0c65f0239aa4f7e56ea36abf34075ee004c0a9ed58b7d1be4322222cda25a51"
    assert SHIPPED.stat().st_size <= 4_000_000
    assert puzzles.schema.equals(SCHEMA)
    assert len(puzzles) == 115_927
    assert all(puzzles[name].null_count == 0 for name in SCHEMA.names if name != "game")
    assert len(set(puzzles["id"].to_pylist())) == len(puzzles)
    ratings = puzzles["rating"].to_numpy()
    assert (ratings.min(), ratings.max()) == (400, 2685)


def test_shipped_positions_are_unique():
    packed_NB = pack_fens(shipped_puzzles()["fen"].to_pylist())
    assert len({row.tobytes() for row in packed_NB}) == len(packed_NB)


def test_shipped_solutions_are_legal():
    puzzles = shipped_puzzles()
    rows = random.Random(0).sample(range(len(puzzles)), 300)
    for puzzle in puzzles.take(rows).to_pylist():
        line = legal_line(puzzle["fen"], puzzle["moves"], setup=False)
        assert (line.fen, line.moves) == (puzzle["fen"], puzzle["moves"])


def test_only_common_ratings_are_thinned():
    before = source_histogram()
    assert sum(before.values()) == 144_285
    ratings = shipped_puzzles()["rating"].to_numpy() // 100 * 100
    for rating, count in before.items():
        assert (ratings == rating).sum() == min(count, 12_500)
