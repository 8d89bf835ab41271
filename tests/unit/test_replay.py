import chess
import numpy as np
import pytest

from reference import replay as twin
from reference.random_games import random_game, sans
from surpass.ladder import replay
from surpass.ladder.pgn import written_move

SEEDS = range(40)


def written(games):
    return [np.array([written_move(san) for san in game], np.int32) for game in games]


def resolve(games):
    return [numbers.tolist() for numbers in replay.resolve(written(games))]


@pytest.fixture(scope="module")
def games():
    return [sans(random_game(seed)) for seed in SEEDS]


def test_the_games_are_rich(games):
    moves = [san for game in games for san in game]
    for mark in ("O-O-O", "O-O", "=N", "=Q+", "Nb"):
        assert any(mark in move for move in moves), mark


def test_move_numbers_as_one_game_at_a_time(games):
    resolved = resolve(games)
    assert resolved == [twin.resolve(game) for game in games]
    assert [len(numbers) for numbers in resolved] == [len(game) for game in games]


def test_positions_as_one_game_at_a_time(games):
    resolved = replay.resolve(written(games))
    seen = {}
    for ply, boards_GB, moves_G, games_G in replay.positions(resolved):
        for packed, number, game in zip(boards_GB, moves_G.tolist(), games_G.tolist(), strict=True):
            assert number == resolved[game][ply]
            seen[game, ply] = packed.tobytes()
    expected = {
        (game, ply): packed
        for game, numbers in enumerate(resolved)
        for ply, packed in enumerate(twin.positions(numbers.tolist()))
    }
    assert seen == expected


def test_numbers_are_read_back(games):
    resolved = replay.resolve(written(games))
    for _, boards_GB, moves_G, _ in replay.positions(resolved):
        codes_GS = np.stack((boards_GB[:, :32] & 15, boards_GB[:, :32] >> 4), axis=2).reshape(-1, 64)
        step = replay.moves_of_numbers(moves_G, codes_GS)
        np.testing.assert_array_equal(replay.move_numbers(step), moves_G)


def test_a_game_does_not_depend_on_its_company(games):
    together = resolve(games)
    assert [resolve([game])[0] for game in games[:2]] == together[:2]
    assert resolve(games[::-1]) == together[::-1]


@pytest.mark.parametrize("games", [[], [[]], [[], ["e4"], []]])
def test_no_games_and_empty_games(games):
    assert resolve(games) == [[64 * chess.E2 + chess.E4] * len(game) for game in games]
    assert len(list(replay.positions(replay.resolve(written(games))))) == max(map(len, games), default=0)


# What SAN leaves out because a pin decides it: the twin and the batch must both find the free piece.
@pytest.mark.parametrize(
    "game",
    [
        "e4 e5 d4 exd4 Qxd4 Nc6 Qe3 Bb4 Nc3 Nge7 Ne2",
        "e4 e5 a3 d6 Bb5+ Nc6 d4 Ne7",
    ],
)
def test_pins_make_a_text_unambiguous(game):
    moves = game.split()
    assert resolve([moves])[0] == twin.resolve(moves)
    assert len(resolve([moves])[0]) == len(moves)


CUT = {
    "two knights fit": "Nf3 d6 d3 d5 Nd2 d4 c3 e6 Nb3 e5 Nbd2 e4 Nd4",
    "no knight fits": "e4 e5 Nd5",
    "rook past a pawn": "e4 e5 Ra3",
    "own piece on the target": "e4 e5 Ke2 d6 Ke2 Qd7 Bd3 Qd8 Kd3",
    "pinned knight": "d4 e6 Nc3 Bb4 a3 a6 Ne4",
    "king into check": "e4 e5 Ke2 Qg5 Kf3 a6 Kg4",
    "check is left unanswered": "e4 e5 d4 Bb4+ a3",
    "castling past a bishop": "e4 e5 Nf3 Nc6 O-O",
    "castling through an attack": "e4 b6 Nf3 Ba6 Ba6 Na6 d3 Nb4 Qe2 Nd3+ Kd1 e5 Ke1 Be7 O-O",
    "castling through a bishop's line": "e4 b6 Nf3 Ba6 g3 e6 Bg2 Be7 d3 Bd3 O-O",
    "castling out of check": "e4 e5 Nf3 d6 Be2 Qe7 d4 exd4 Nd4 Qe4 Nc3 Qe5 Nd5 Qd5 a3 Qe5 Bg4 a6 O-O",
    "castling after the king moved": "e4 e5 Nf3 Nc6 Be2 Nf6 Kf1 d6 Ke1 a6 O-O",
    "castling after the rook moved": "e4 e5 Nf3 Nc6 Be2 Nf6 Rg1 d6 Rh1 a6 O-O",
    "long castling past a knight": "d4 d5 Bf4 Bf5 Qd3 Qd6 O-O-O",
    "pawn takes nothing": "e4 d6 exd5",
    "pawn takes its own": "e4 e5 d4 a6 dxe4",
    "pawn takes two files away": "e4 d6 e5 f5 a3 f4 axf4",
    "pawn takes straight on": "e4 e5 exe5",
    "cross without a file": "e4 d5 xd5",
    "push onto a piece": "e4 e5 e5",
    "push of two past a piece": "Nf3 e5 Nd4 e4 Nf3 a6 a3 e3 f4 a5 b4 a4 Ne5 a3 e4",
    "push of three": "e5 e5",
    "en passant too late": "e4 a6 e5 d5 a3 a5 exd6",
    "en passant after a single step": "e4 d6 e5 a6 a3 d5 a4 h6 exd6",
    "en passant that opens a line": "e4 e5 Ke2 Nc6 Kd3 Nf6 Kc3 Ng8 Kb4 Nf6 Ka5 Nb4 e6 h6",
    "promotion without a piece": "a4 b5 axb5 a6 bxa6 h6 a7 h5 axb8",
    "promotion too early": "a4 b5 axb5 a6 bxa6 h6 a7=Q",
    "a knight promotes": "Nf3=Q",
    "a pawn from the first rank": "e4 e5 e1",
}


@pytest.mark.parametrize("reason", CUT)
def test_a_game_is_cut_before_its_first_illegal_move(reason, games):
    moves = CUT[reason].split()
    expected = twin.resolve(moves)
    assert len(expected) < len(moves)
    assert resolve([moves])[0] == expected
    # Company that plays on, and what comes after the cut, change nothing.
    assert resolve([games[0], moves + games[1], games[2]])[1] == expected
    assert resolve([games[0], moves])[0] == twin.resolve(games[0])


@pytest.mark.parametrize("seed", range(100, 112))
def test_games_spoilt_at_random(seed, games):
    """A move of another game in the middle: cut there, or legal by chance, as python-chess says."""
    rng = np.random.default_rng(seed)
    spoilt = []
    for game in games:
        place = int(rng.integers(len(game)))
        other = games[int(rng.integers(len(games)))]
        spoilt.append([*game[:place], other[int(rng.integers(len(other)))], *game[place + 1 :]])
    assert resolve(spoilt) == [twin.resolve(game) for game in spoilt]


def test_capture_without_a_cross_is_read():
    moves = ["e4", "d5", "ed5", "e5", "de6", "Bxe6"]
    assert resolve([moves])[0] == twin.resolve(moves)
    assert len(resolve([moves])[0]) == len(moves)
