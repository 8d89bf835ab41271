import numpy as np
import pytest
from safetensors.numpy import save_file

from reference import replay as twin
from reference.random_games import pgn, random_game, sans
from surpass.boards import pack_board
from surpass.errors import DataError
from surpass.ladder import games as module
from surpass.ladder.games import SHORTEST_GAME, Games, collect, positions_of


@pytest.fixture(scope="module")
def played():
    return [sans(random_game(seed, plies=40)) for seed in range(24)]


@pytest.fixture
def one_in_three(monkeypatch):
    monkeypatch.setattr(module, "HOLDOUT_ONE_IN", 3)


def write(path, games):
    path.write_text(pgn(games))
    return path


def moves_of(games):
    return [games.game(index).tolist() for index in range(len(games))]


def test_games_as_played(tmp_path, played):
    games = collect([write(tmp_path / "a.pgn", played)])
    assert moves_of(games) == [twin.resolve(moves) for moves in played]
    assert games.elo.tolist() == [[2000 + place, 0] for place in range(len(played))]
    assert games.result.tolist() == [(1, -1, 0)[place % 3] for place in range(len(played))]


@pytest.mark.parametrize("size", [1, 7, 24, 25])
def test_batches_change_nothing(tmp_path, played, monkeypatch, size):
    path = write(tmp_path / "a.pgn", played)
    whole, counts = collect([path]), []
    monkeypatch.setattr(module, "BATCH", size)
    split = collect([path], counts.append)
    assert split.digest == whole.digest
    assert counts[-1] == len(whole)
    for holdout in (False, True):
        boards_PB, moves_P = (
            positions_of(split, holdout=holdout).boards_PB,
            positions_of(split, holdout=holdout).moves_P,
        )
        assert (
            len(boards_PB)
            == len(moves_P)
            == sum(map(len, np.array(moves_of(split), object)[split.holdout == holdout]))
        )


def test_each_game_once(tmp_path, played):
    first, second = (
        write(tmp_path / "a.pgn", played[:10] + played[:3]),
        write(tmp_path / "b.pgn", played[5:15]),
    )
    checks = [[san.rstrip("+#") for san in game] for game in played[:15]]
    games = collect([first, second, write(tmp_path / "c.pgn", checks)])
    assert moves_of(games) == [twin.resolve(moves) for moves in played[:15]]


def test_short_games_are_left_out(tmp_path, played):
    cut = [*played[0][: SHORTEST_GAME - 1], "Ka5", *played[0][SHORTEST_GAME:]]
    kept = [*played[1][:SHORTEST_GAME], "Ka5"]
    games = collect(
        [write(tmp_path / "a.pgn", [played[2][: SHORTEST_GAME - 1], cut, kept, played[3][:SHORTEST_GAME]])]
    )
    assert moves_of(games) == [twin.resolve(moves[:SHORTEST_GAME]) for moves in (played[1], played[3])]


@pytest.mark.usefixtures("one_in_three")
def test_holdout_depends_on_the_game_alone(tmp_path, played):
    games = collect([write(tmp_path / "a.pgn", played)])
    held = {tuple(moves) for moves, out in zip(moves_of(games), games.holdout, strict=True) if out}
    assert 0 < len(held) < len(played)
    for place, some in enumerate([played[::-1], played[3:9], played[::2] + played[1::2]]):
        again = collect([write(tmp_path / f"{place}.pgn", some)])
        marked = [tuple(moves) for moves, out in zip(moves_of(again), again.holdout, strict=True) if out]
        assert set(marked) == held & {tuple(moves) for moves in moves_of(again)}


@pytest.mark.usefixtures("one_in_three")
@pytest.mark.parametrize("first_ply", [0, 8, 100])
def test_positions(tmp_path, played, first_ply):
    games = collect([write(tmp_path / "a.pgn", played)])
    for holdout in (False, True):
        positions = positions_of(games, holdout=holdout, first_ply=first_ply)
        expected = [
            pair
            for moves, out in zip(moves_of(games), games.holdout, strict=True)
            if out == holdout
            for pair in list(zip(twin.positions(moves), moves, strict=True))[first_ply:]
        ]
        boards = [packed.tobytes() for packed in positions.boards_PB]
        assert sorted(zip(boards, positions.moves_P.tolist(), strict=True)) == sorted(expected)


def test_about_so_many_positions(tmp_path, played):
    games = collect([write(tmp_path / "a.pgn", played)])
    few = positions_of(games, holdout=False, first_ply=8, max_positions=100)
    assert 100 <= len(few) <= 100 + 32
    again = positions_of(games, holdout=False, first_ply=8, max_positions=100)
    other = positions_of(games, holdout=False, first_ply=8, max_positions=100, seed=1)
    np.testing.assert_array_equal(few.boards_PB, again.boards_PB)
    assert few.boards_PB.tobytes() != other.boards_PB.tobytes()
    everything = positions_of(games, holdout=False, first_ply=8)
    assert len(positions_of(games, holdout=False, first_ply=8, max_positions=10**9)) == len(everything)


def test_saved_and_loaded(tmp_path, played):
    games = collect([write(tmp_path / "a.pgn", played)])
    games.save(tmp_path / "games.safetensors")
    again = Games.load(tmp_path / "games.safetensors")
    for name, array in vars(games).items():
        np.testing.assert_array_equal(getattr(again, name), array)
        assert getattr(again, name).dtype == array.dtype
    assert again.digest == games.digest
    games.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "games.safetensors").read_bytes()


def test_digest_tells_games_apart(tmp_path, played):
    paths = [write(tmp_path / f"{count}.pgn", played[:count]) for count in (5, 6)]
    assert collect(paths[:1]).digest != collect(paths[1:]).digest


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_truncated_file(tmp_path, played, keep):
    path = tmp_path / "games.safetensors"
    collect([write(tmp_path / "a.pgn", played)]).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"is no file of games .*`surpass ladder games`"):
        Games.load(path)


def test_files_of_something_else(tmp_path):
    path = tmp_path / "games.safetensors"
    save_file({"weights": np.zeros(3)}, path)
    with pytest.raises(DataError, match="is no file of games"):
        Games.load(path)
    nothing = {name: np.zeros(0) for name in ("moves", "ends", "elo", "result", "holdout")}
    save_file(nothing, path)
    with pytest.raises(DataError, match="do not fit together"):
        Games.load(path)


def test_missing_files(tmp_path):
    with pytest.raises(DataError, match=r"missing\.safetensors is no file of games"):
        Games.load(tmp_path / "missing.safetensors")
    with pytest.raises(DataError, match="no games at"):
        collect([tmp_path / "missing.pgn"])


def test_nothing_to_read(tmp_path):
    (tmp_path / "void.pgn").touch()
    with pytest.raises(DataError, match="no games of 10 plies or more"):
        collect([tmp_path / "void.pgn"])


def test_the_first_position_is_the_ordinary_one(tmp_path, played):
    import chess

    positions = positions_of(collect([write(tmp_path / "a.pgn", played[:1])]), holdout=False)
    assert positions.boards_PB[0].tobytes() == pack_board(chess.Board())
