import bz2
import gzip
import io
import lzma
import tarfile

import pyarrow as pa
import pytest

from surpass.errors import DataError
from surpass.ladder.pgn import (
    CASTLE_KING_SIDE,
    CASTLE_QUEEN_SIDE,
    UNREADABLE,
    MoveVocabulary,
    WrittenGame,
    is_pgn,
    pgn_texts,
    read_games,
    written_move,
    written_moves,
)

GAME = '[Event "{}"]\n[Result "1-0"]\n\n1. e4 e5 2. {} 1-0\n\n'


def numbers(text):
    return [written_move(san) for san in text.split()]


def games_of(text, newline="\n"):
    return list(read_games([line + newline for line in text.split("\n")], MoveVocabulary()))


def games_in(path):
    return [game for text in pgn_texts(path) for game in read_games(text, MoveVocabulary())]


PLAIN = numbers("e4 e5 Nf3 Nc6")


@pytest.mark.parametrize(
    "text",
    [
        "1. e4 e5 2. Nf3 Nc6 1-0",
        "1.e4 e5 2.Nf3 Nc6 *",
        "1 e4 e5 2 Nf3 Nc6",
        "1. e4 {best; by test (really) } e5 2. Nf3 {a } Nc6",
        "1. e4 1... e5 2. Nf3 2. ... Nc6",
        "1. e4 $1 e5 $12 2. Nf3!? Nc6?! 1/2-1/2",
        "1. e4 ! e5 ?! 2. Nf3 Nc6",
        "1. e4 (1. d4 d5 (1... Nf6 {x) } 2. c4 (2. Nf3)) 2. c4) e5 2. Nf3 (2. f4) Nc6",
        "1. e4 ; a remark (with 1. d4\n e5 ; another\n 2. Nf3 Nc6",
        "1. e4 e5\n% a line for programs\n2. Nf3 Nc6",
        "1. e4 e5 2. Nf3 Nc6 1-0 3. Bb5",
        "1. e4 e5 2. Nf3 Nc6 garbage 3. Bb5",
        "1. e4 e5 2. Nf3 Nc6 3. Zb5 a6",
        "1. e4 e5 2. Nf3 Nc6 (3. Bb5 a6",
        "1. e4 e5 2. Nf3 Nc6 {3. Bb5 a6",
    ],
)
@pytest.mark.parametrize("newline", ["\n", ""])
def test_text_around_moves(text, newline):
    (game,) = games_of(f'[Event "?"]\n\n{text}', newline)
    assert game.moves == PLAIN


@pytest.mark.parametrize(
    ("san", "same"),
    [("O-O", "0-0"), ("O-O-O", "0-0-0"), ("e8=Q", "e8Q+"), ("Nbd2", "Nbd2!?"), ("Qxh7", "Qxh7#")],
)
def test_ways_to_write_a_move(san, same):
    assert written_move(san) == written_move(same) != UNREADABLE


def test_castling_has_numbers_of_its_own():
    assert (written_move("O-O+"), written_move("O-O-O#")) == (CASTLE_KING_SIDE, CASTLE_QUEEN_SIDE)


def test_all_parts_of_a_move_count():
    texts = ["d2", "Nd2", "Nbd2", "Ndd2", "N1d2", "Nb1d2", "Nxd2", "Nd3", "cxd8=Q", "d8=Q", "d8=N", "dxd2"]
    assert len({written_move(text) for text in texts}) == len(texts)


@pytest.mark.parametrize("token", ["", "e9", "i4", "Ke", "--", "Pe4", "e8=K", "1-0", "½"])
def test_tokens_that_are_no_move(token):
    assert written_move(token) == UNREADABLE


def test_en_passant_may_be_said():
    assert written_moves("1. exd6 e.p. Nf6", MoveVocabulary()) == numbers("exd6 Nf6")


def test_headers():
    text = '[Event "a"]\n[WhiteElo "2750"]\n[BlackElo "?"]\n[Result "0-1"]\n\n1. e4 e5 0-1'
    assert games_of(text) == [WrittenGame(2750, 0, -1, numbers("e4 e5"))]


@pytest.mark.parametrize("elo", ["", "-", "2\u00b2", "9" * 5000, "27 50"])
def test_ratings_that_are_none(elo):
    (game,) = games_of(f'[WhiteElo "{elo}"]\n[Result "what"]\n\n1. e4')
    assert (game.white_elo, game.result) == (0, 0)


@pytest.mark.parametrize("tag", ['[FEN "8/8/8/8/8/8/8/8 w - - 0 1"]', '[Variant "Chess960"]'])
def test_other_beginnings_are_skipped(tag):
    text = GAME.format(1, "Nf3") + tag + "\n" + GAME.format(2, "d4") + GAME.format(3, "c4")
    assert [game.moves[-1] for game in games_of(text)] == numbers("Nf3 c4")


def test_standard_variant_is_no_other_beginning():
    assert len(games_of('[Variant "Standard"]\n' + GAME.format(1, "Nf3"))) == 1


def test_headers_of_a_game_without_moves_are_forgotten():
    text = '[Event "void"]\n[FEN "8/8/8/8/8/8/8/8 w - - 0 1"]\n\n' + GAME.format(1, "Nf3")
    assert [game.moves[-1] for game in games_of(text)] == numbers("Nf3")


@pytest.mark.parametrize("text", ["", "\n\n", '[Event "?"]\n', "% nothing"])
def test_empty(text):
    assert games_of(text) == []


def zst(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def tar_xz(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, data in (("games/a.pgn", content), ("games/readme.txt", b"1. d4"), ("b.pgn", content)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


CONTENT = "".join(
    GAME.format(place, san) for place, san in enumerate(["Nf3 ; a remark\n", "d4", "c4"])
).encode()
FORMS = {
    "x.pgn": lambda content: content,
    "x.pgn.gz": gzip.compress,
    "x.pgn.bz2": bz2.compress,
    "x.pgn.xz": lzma.compress,
    "x.pgn.zst": zst,
    "x.tar.xz": tar_xz,
}


@pytest.mark.parametrize("name", FORMS)
def test_files(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FORMS[name](CONTENT))
    copies = 2 if name == "x.tar.xz" else 1
    assert [game.moves[-1] for game in games_in(path)] == numbers("Nf3 d4 c4") * copies


def test_zst_of_two_frames(tmp_path):
    path = tmp_path / "x.pgn.zst"
    path.write_bytes(zst(CONTENT) + zst(CONTENT))
    assert len(games_in(path)) == 6


def test_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.pgn.xz").write_bytes(lzma.compress(GAME.format(1, "d4").encode()))
    (tmp_path / "a.pgn").write_text(GAME.format(1, "Nf3"))
    (tmp_path / "a.pgn.zip").write_bytes(b"not read")
    (tmp_path / "notes.txt").write_text(GAME.format(1, "c4"))
    assert [game.moves[-1] for game in games_in(tmp_path)] == numbers("Nf3 d4")


def test_empty_folder_and_file(tmp_path):
    (tmp_path / "void.pgn").touch()
    assert games_in(tmp_path) == []


@pytest.mark.parametrize("name", [name for name in FORMS if name != "x.pgn"])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_damaged_files(tmp_path, name, damage):
    path = tmp_path / name
    whole = FORMS[name](CONTENT)
    path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"this is something else altogether")
    with pytest.raises(DataError, match="cannot read") as caught:
        games_in(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_unknown(tmp_path):
    with pytest.raises(DataError, match="no games at"):
        games_in(tmp_path / "missing.pgn")
    (tmp_path / "games.txt").touch()
    with pytest.raises(DataError, match="is no PGN file"):
        games_in(tmp_path / "games.txt")


def test_is_pgn(tmp_path):
    names = ["a.pgn", "a.pgn.zst", "b.1.pgn.xz", "a.tar", "a.tar.xz", "a.tgz"]
    assert all(is_pgn(tmp_path / name) for name in names)
    assert is_pgn(tmp_path)
    assert not any(is_pgn(tmp_path / name) for name in ["a.safetensors", "a.zst", "a.pgn.zip", "pgn"])
