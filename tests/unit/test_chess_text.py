from __future__ import annotations

import gzip
import lzma

import chess
import pytest

from surpass.errors import ConfigError, DataError
from surpass.tasks.checkers import move as same_move
from surpass.tasks.chess import ChessTask
from surpass.tasks.chess_text import ChessTextTask, first_move, move_list, read_cuts

ITALIAN = "1. e4 e5 2. Nf3 Nc6 3. Bc4 Bc5 4. c3 Nf6 5. d4 exd4 6. cxd4 Bb4+ 7. Bd2 Bxd2+ 8. Nbxd2 d5 1-0"
QUEENS = "1. d4 {good} Nf6 2. Nf3 (2. c4 e6 3. Nc3) 2... d5 $1 3. c4 e6 4. Nc3 Be7 5. Bg5 O-O 6. e3 h6 *"
FRENCH = "1. e4 e6 2. d4 d5 3. Nc3 Bb4 4. e5 c5 5. a3 Bxc3+ 6. bxc3 Ne7 7. Ke4 Qc7 0-1"
"""Its seventh move of White is not legal."""


def game(moves: str, white: object = 2000, black: object = 1900, **headers: str) -> str:
    tags = {"Event": "made up", "WhiteElo": white, "BlackElo": black} | headers
    lines = [f'[{name} "{value}"]' for name, value in tags.items() if value is not None]
    return "\n".join(lines) + f"\n\n{moves}\n\n"


@pytest.fixture
def games(tmp_path):
    path = tmp_path / "games.pgn"
    path.write_text(
        game(ITALIAN)
        + game(QUEENS, 1800, 2500)
        + game(ITALIAN, 2100, 2100)
        + game(ITALIAN.replace("d5 1-0", "O-O *"), 1799, 2400)
        + game(FRENCH)
        + game("1. d4 d5 *")
        + game("1. e4 c5 2. Nf3 d6 3. d4 cxd4 4. Nxd4 Nf6 5. Nc3 a6 6. Be2 *", None, None)
        + game("1. Kd2 *", FEN="8/8/8/8/8/4k3/8/4K3 w - - 0 1", SetUp="1")
        + game(ITALIAN, Variant="Atomic")
    )
    return path


class TestWriting:
    def test_as_in_the_paper(self):
        """Figure 14: the list ends with the number of the move that is asked for."""
        assert move_list([]) == "1."
        assert move_list(["d4"]) == "1. d4 1..."
        assert move_list(["d4", "Nf6", "Nf3", "d5"]) == "1. d4 1... Nf6 2. Nf3 2... d5 3."
        long = move_list([*["d4", "Nf6", "Nf3", "d5"], *["Kh1", "Kh8"] * 19, "Rc1"])
        assert long.startswith("1. d4 1... Nf6 2. Nf3 2... d5 3. ")
        assert long.endswith(" 22. Rc1 22...")

    @pytest.mark.parametrize(
        ("fen", "uci", "wanted"),
        [
            ("6k1/5ppp/8/8/8/7P/2q2PP1/2R3K1 b - - 0 22", "c2c1 g1h2", " Qxc1+"),
            ("6k1/8/8/8/8/8/2q5/6K1 b - - 0 1", "c2f5", " Qf5"),
            ("6k1/5ppp/8/8/8/8/2q2PPP/2R3K1 b - - 0 22", "c2c1", " Qxc1#"),
            ("3r2k1/2P5/8/8/8/8/8/6K1 w - - 0 1", "c7d8q g8f7", " cxd8=Q+"),
            ("4k3/8/8/8/8/8/8/R3K2R w KQ - 0 1", "e1g1", " O-O"),
            ("4k3/8/8/3pP3/8/8/8/4K3 w - d6 0 1", "e5d6", " exd6"),
        ],
    )
    def test_moves_by_hand(self, fen, uci, wanted):
        assert first_move(fen, uci) == wanted


class TestFen:
    def test_the_same_puzzles_as_the_chess_task(self):
        task, other = ChessTextTask(), ChessTask()
        for part, mix in (("student", "all"), ("test", "even")):
            found = task.examples(part=part, size=20, seed=3, mix=mix)
            wanted = other.examples(part=part, size=20, seed=3, mix=mix)
            assert found.inputs["id"].to_pylist() == wanted.inputs["id"].to_pylist()
            assert found.truth["id"].to_pylist() == wanted.truth["id"].to_pylist()
            assert found.inputs["rating"].to_pylist() == wanted.inputs["rating"].to_pylist()
            assert "candidates" not in found.inputs.column_names
        assert task.digests() == other.digests()
        assert task.parts == other.parts
        assert task.difficulty == "rating"

    def test_the_completion_is_the_solution(self):
        tables = ChessTextTask().examples(part="validation", size=30, seed=0)
        puzzles = {row["id"]: row for row in ChessTask()._table.to_pylist()}
        for row, truth in zip(tables.inputs.to_pylist(), tables.truth.to_pylist(), strict=True):
            puzzle = puzzles[row["id"]]
            assert row["prompt"] == puzzle["fen"]
            assert row["length"] == len(row["prompt"])
            board = chess.Board(row["prompt"])
            assert truth["truth"][0] == " "
            assert board.parse_san(truth["truth"].strip()).uci() == puzzle["moves"].split()[0]
            assert same_move(truth["truth"], truth["truth"].rstrip("+#"))


class TestPgn:
    def task(self, games, **settings) -> ChessTextTask:
        return ChessTextTask(form="pgn", path=str(games), **settings)

    def all_of(self, task: ChessTextTask) -> list[tuple[str, str]]:
        pairs = []
        for part in task.parts:
            tables = task.examples(part=part, size=None, seed=0)
            pairs += zip(tables.inputs["prompt"].to_pylist(), tables.truth["truth"].to_pylist(), strict=True)
        return pairs

    def test_prompts_are_games_and_completions_what_was_played(self, games):
        pairs = self.all_of(self.task(games))
        assert len(pairs) == 3
        for prompt, completion in pairs:
            board = chess.Board()
            tokens = prompt.split()
            for number, san in zip(tokens[0::2], tokens[1::2], strict=False):
                assert number == f"{board.fullmove_number}{'.' if board.turn else '...'}"
                board.push_san(san)
            assert tokens[-1] == f"{board.fullmove_number}{'.' if board.turn else '...'}"
            assert board.ply() >= 10
            assert completion == f" {board.san(board.parse_san(completion.strip()))}"
            played = {"e5": ITALIAN, "Nf6": QUEENS, "e6": FRENCH}[tokens[3]]
            assert completion.strip() in played

    def test_what_is_left_out_is_counted(self, games):
        found = read_cuts(str(games), max_games=100, min_elo=1800, first_ply=10)
        assert found.notes == {
            "games with moves that were there before": 1,
            "games of players below 1800 or without rating": 2,
            "games of 10 half-moves or fewer": 1,
            "games from another position or of a variant": 2,
        }
        assert self.task(games).examples(part="test", size=0, seed=0).notes == found.notes
        assert len(read_cuts(str(games), max_games=2, min_elo=1800, first_ply=10).cuts) == 2
        assert len(read_cuts(str(games), max_games=100, min_elo=0, first_ply=1).cuts) == 6

    @pytest.mark.parametrize(("first_ply", "num_left"), [(11, 3), (12, 1), (15, 1), (16, 0)])
    def test_games_that_are_just_long_enough(self, games, first_ply, num_left):
        """They have 16, 12 and 12 half-moves (the last before one that is not legal)."""
        if not num_left:
            with pytest.raises(
                DataError, match=r"has no game to take a position from .*of 16 half-moves or fewer: 5"
            ):
                read_cuts(str(games), max_games=100, min_elo=1800, first_ply=first_ply)
            return
        found = read_cuts(str(games), max_games=100, min_elo=1800, first_ply=first_ply)
        assert len(found.cuts) == num_left
        assert all(len(cut.item.prompt.split()) >= 2 * first_ply + 1 for cut in found.cuts)

    def test_a_game_does_not_depend_on_the_others(self, games, tmp_path):
        one = tmp_path / "one.pgn"
        one.write_text(game(QUEENS))
        (alone,) = self.all_of(self.task(one))
        assert alone in self.all_of(self.task(games))

    def test_compressed(self, games):
        for ending, compress in ((".gz", gzip.compress), (".xz", lzma.compress)):
            path = games.with_name(f"games.pgn{ending}")
            path.write_bytes(compress(games.read_bytes()))
            assert self.all_of(self.task(path)) == self.all_of(self.task(games))

    def test_bad_files(self, tmp_path):
        with pytest.raises(DataError, match=r"there is no file of games .*; name a PGN file"):
            self.task(tmp_path / "no.pgn").digests()
        with pytest.raises(DataError, match="cannot be read"):
            self.task(tmp_path / "no.pgn").examples(part="test", size=1, seed=0)
        (tmp_path / "empty.pgn").write_text("")
        with pytest.raises(DataError, match=r"has no game to take a position from \(it is empty\)"):
            self.task(tmp_path / "empty.pgn").examples(part="test", size=1, seed=0)


def test_settings_that_make_no_sense(games):
    for wrong, said in (
        ({"form": "uci"}, "form='uci' must be one of fen, pgn"),
        ({"form": "pgn"}, "chess-pgn needs games: give the path of a PGN file"),
        ({"first_ply": 0}, "first_ply=0 must be at least 1"),
        ({"max_games": 0}, "max_games=0 must be at least 1"),
        ({"min_elo": -1}, "min_elo=-1 must be at least 0"),
        ({"max_new_tokens": 0}, "max_new_tokens=0 must be a whole number of at least 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            ChessTextTask(**wrong)
    task = ChessTextTask(form="pgn", path=str(games))
    with pytest.raises(ConfigError, match="no part 'train' in task chess-pgn; choose from weak"):
        task.examples(part="train", size=1, seed=0)
    with pytest.raises(ConfigError, match="no mix 'even' in task chess-pgn; choose from all"):
        task.examples(part="test", size=1, seed=0, mix="even")
    with pytest.raises(ConfigError, match="9 examples asked for"):
        task.examples(part="test", size=9, seed=0)
    assert not task.stops_early
    assert task.checked_by == "move"
    assert task.num_classes is None
    assert task.families == {"causal"}
