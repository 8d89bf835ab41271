"""What users get wrong, and what disks do: one line that says what and what next; nothing is harmed."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest

from processes import ENVIRONMENT, STUDY, Ended, cold, nursery
from surpass.models.sources import LADDER
from surpass.store import Store

OTHER = (*STUDY[:-1], "epochs=2")  # of which the store has the examples only
HEADER = "PuzzleId,FEN,Moves,Rating,RatingDeviation,Popularity,NbPlays,Themes,GameUrl,OpeningTags"
START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"


def puzzle(fen: str = START, moves: str = "f2f3 e7e5", name: str = "00008") -> str:
    return f"{name},{fen},{moves},1500,80,90,100,mateIn1,https://lichess.org/787zsVup/black#1,"


def complaint(ended: Ended, *parts: str) -> str:
    """The one line on stderr, which has all these parts."""
    assert ended.code == 2, ended
    assert ended.out == ""
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith("error: ")
    for part in parts:
        assert part in ended.err, (part, ended.err)
    return ended.err


def failure(ended: Ended, *parts: str) -> None:
    """Stages failed, and others went on: each is said at once, and the first again at the end."""
    assert ended.code == 1, ended
    assert ended.out == ""
    *others, last = ended.err.splitlines()
    assert last.startswith("error: ")
    assert any(line.startswith("failed: ") for line in others)
    assert "Traceback" not in ended.err
    for part in parts:
        assert part in last, (part, ended.err)


def snapshot(store: Path) -> dict[str, bytes]:
    """All that is stored; not who works on it."""
    found = {}
    for artifact in Store(store).artifacts():
        for name in ("manifest.json", *artifact.manifest["files"]):
            found[f"{artifact.kind}/{artifact.path.name}/{name}"] = (artifact.path / name).read_bytes()
    return found


@pytest.fixture
def sound(finished) -> Iterator[Path]:
    """A folder with a store, which the test must leave as it was."""
    store = finished / "surpass-store"
    before = snapshot(store)
    yield finished
    assert Store(store).verify() == []
    assert before.items() <= snapshot(store).items()


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["pairs=1-99"], ["no rung 'chess-99' on the ladder", "there are: chess-1, "]),
        (["pairs=3-3"], ["ladder:chess-3 -> ladder:chess-3", "name two"]),
        (["pairs=nonsense"], ["pairs=nonsense", "write 2-4"]),
        (["pairs=zoo:x>ladder:chess-2"], ["no model 'zoo:x'", "ladder:chess-1"]),
        (["pairs=hub:x>ladder:chess-2"], ["no model 'hub:x'", "hub:org/name@revision"]),
        (["pairs=linear:4>ladder:chess-2"], ["linear:4 cannot read task chess", "of the family policy"]),
        (["seeds=x"], ["seeds=x: 'x' is no seed", "a list 0,1,2 or a range 0-9"]),
        (["seeds=-1"], ["seeds=-1", "give a number of seeds"]),
        (["seeds=1.5"], ["seeds=1.5", "give a number of seeds"]),
        (["seeds=0"], ["seeds=0", "from 1 to"]),
        (["seeds="], ["'seeds=' is no override", "name=value"]),
        (["seeds"], ["'seeds' is no override", "name=value"]),
        (["num_trian=5"], ["no setting 'num_trian'", "did you mean num_train"]),
        (["zzz=5"], ["no setting 'zzz'", "there are: task, pairs, methods"]),
        (["num_train=many"], ["num_train=many", "whole number"]),
        (["num_train=0"], ["num_train=0", "at least 1"]),
        (["num_train=1000000"], ["1000000 puzzles asked for", "ask for fewer"]),
        (["num_test=1000000"], ["1000000 puzzles asked for", "ask for fewer"]),
        (["learning_rate=nan"], ["learning_rate=nan", "above 0"]),
        (["epochs=0"], ["epochs=0", "from 1 to"]),
        (["labels=firm"], ["labels='firm'", "soft, hard"]),
        (["methods=magic"], ["no method 'magic'", "naive"]),
        (["methods=gce(p=1)"], ["loss gce has no setting 'p'", "it has q"]),
        (["methods=gce(q=0.5"], ["'gce(q=0.5' is no name", "name(key=value)"]),
        (["methods=nowhere:method"], ["no method 'nowhere:method'", "your_module:function"]),
        (["methods=knn_filter"], ["no method applies: knn_filter: it needs classes"]),
        (["methods=bootstrap(steps=1)"], ["bootstrap(steps=1) must have at least 2"]),
        (["between=99"], ["no rung 'chess-99' on the ladder"]),
        (["num_validation=0"], ["num_validation=0", "at least 1"]),
        (["train_mix=odd"], ["no mix 'odd'", "all, source, even"]),
        (["test_part=train"], ["no part 'train'", "validation"]),
        (["puzzles=none.csv"], ["no puzzle file none.csv", "https://database.lichess.org/"]),
        (["puzzles=."], ["."]),
        (["pairs=dir:none.safetensors>ladder:chess-2"], ["no weights at ", "none.safetensors"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_override_that_makes_no_sense(sound, overrides, parts):
    ended = nursery().run("run", *STUDY, *overrides, cwd=sound)
    if "puzzles asked for" in parts[0]:  # what reads them says so; planning does not
        failure(ended, *parts)
    else:
        complaint(ended, *parts)
        complaint(nursery().run("plan", *STUDY, *overrides, cwd=sound), *parts)


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (["run", "ches"], ["no study 'ches'", "chess-triangle"]),
        (["run", "nowhere:study"], ["no study 'nowhere:study'", "your_module:function"]),
        (["run", ":study"], ["no study ':study'", "your_module:function"]),
        (["run", "json:nothing"], ["no study 'json:nothing'", "your_module:function"]),
        (["run", "time:time"], ["time:time gives float", "surpass.Study"]),
        (["run"], ["missing argument 'STUDY'", "surpass run --help"]),
        (["run", "chess", "--frob"], ["--frob", "surpass run --help"]),
        (["run", "chess", "--threads", "0"], ["--threads", "surpass run --help"]),
        (["run", "chess", "--checkpoint-seconds", "soon"], ["--checkpoint-seconds", "soon"]),
        (["plan", "chess", "num_trian=5"], ["no setting 'num_trian'", "did you mean num_train"]),
        (["rum", "chess"], ["'rum'", "surpass --help"]),
        (["show", "ffff"], ["no artifact 'ffff'", "surpass plan STUDY"]),
        (["show", "ffff", "--store", "none"], ["no store at none", "--store"]),
        (["store", "verify", "--store", "none"], ["no store at none", "--store"]),
        (["store", "frob"], ["'frob'", "surpass store --help"]),
        (["list", "--store", "s4://bucket/store"], ["s4://bucket/store", "s3://BUCKET/FOLDER"]),
        (["run", *STUDY, "--store", "gs://bucket/store"], ["gs://", "pip install"]),
    ],
    ids=lambda value: " ".join(value[:3]),
)
def test_command_that_makes_no_sense(sound, command, parts):
    before = sorted(sound.iterdir())
    complaint(nursery().run(*command, cwd=sound), *parts)
    assert sorted(sound.iterdir()) == before


PUZZLE_FILES = {
    "no-position.csv": (
        [HEADER, puzzle(), puzzle("not/a/fen w - - 0 1", name="00009")],
        ["no-position.csv, line 3, puzzle '00009'", "not/a/fen"],
    ),
    "no-king.csv": (
        [HEADER, puzzle("8/8/8/8/8/8/8/K7 w - - 0 1")],
        ["no-king.csv, line 2, puzzle '00008'", "8/8/8/8/8/8/8/K7"],
    ),
    "illegal-solution.csv": (
        [HEADER, puzzle(moves="f2f3 e7e2")],
        ["illegal-solution.csv, line 2, puzzle '00008'", "'e7e2', is not legal"],
    ),
    "no-solution.csv": ([HEADER, puzzle(moves="f2f3")], ["no-solution.csv, line 2", "no solution"]),
    "no-rating.csv": ([HEADER, puzzle().replace("1500", "high")], ["line 2", "'high' is no whole number"]),
    "empty.csv": ([], ["empty.csv is empty", "expected a header with PuzzleId"]),
    "header-only.csv": ([HEADER], ["header-only.csv holds no puzzles"]),
    "other-columns.csv": (["a,b", "1,2"], ["other-columns.csv lacks the columns PuzzleId", "it has a, b"]),
    "other.parquet": (["PuzzleId"], ["other.parquet cannot be read"]),
    "too-few.csv": ([HEADER, puzzle()], ["puzzles asked for and ", "ask for fewer"]),
}


@pytest.mark.parametrize("name", PUZZLE_FILES)
def test_puzzle_file_that_cannot_be_used(sound, name):
    lines, parts = PUZZLE_FILES[name]
    (sound / name).write_text("".join(f"{line}\n" for line in lines))
    ended = nursery().run("run", *STUDY, f"puzzles={name}", cwd=sound)
    failure(ended, "examples chess-weak-source-64-s0: ", *parts)


def test_download_that_was_cut_short(sound):
    lines = [HEADER, *(puzzle(name=f"{number:05}") for number in range(20_000))]
    with pa.CompressedOutputStream(sound / "whole.csv.zst", "zstd") as file:
        file.write("\n".join(lines).encode())
    content = (sound / "whole.csv.zst").read_bytes()
    (sound / "short.csv.zst").write_bytes(content[: len(content) // 2])
    ended = nursery().run("run", *STUDY, "puzzles=short.csv.zst", cwd=sound)
    failure(ended, "short.csv.zst cannot be read", "it may be cut short: fetch it again")


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("short", (LADDER / "chess-1.safetensors").read_bytes()[:-100], "is cut short"),
        ("tiny", b"\x00\x01", "is no weights file of the ladder"),
        ("text", b"these are no weights, but quite some text\n", "is no weights file of the ladder"),
        ("empty", b"", "is no weights file of the ladder"),
        ("no-card", b"\x02" + bytes(7) + b"{}", "is no weights file of the ladder"),
    ],
)
def test_weights_that_are_damaged(sound, name, content, part):
    (sound / f"{name}.safetensors").write_bytes(content)
    ended = nursery().run("run", *STUDY, f"pairs=dir:{name}.safetensors>ladder:chess-2", cwd=sound)
    complaint(ended, f"{name}.safetensors", part)


def test_store_that_is_a_file(tmp_path):
    (tmp_path / "store").write_text("precious")
    for command in (["run", *STUDY], ["plan", *STUDY], ["list"], ["show", "a"], ["store", "verify"]):
        complaint(nursery().run(*command, "--store", "store", cwd=tmp_path), str(tmp_path / "store"))
    assert (tmp_path / "store").read_text() == "precious"


def test_store_in_a_folder_with_other_things(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("precious")
    for command in (["run", *STUDY], ["plan", *STUDY], ["list"], ["show", "a"], ["store", "verify"]):
        ended = nursery().run(*command, "--store", "photos", cwd=tmp_path)
        complaint(ended, str(tmp_path / "photos"), "no Surpass store", "name a new or an empty folder")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.png"]


def test_store_of_a_later_version(sound):
    marker = sound / "surpass-store" / "STORE.json"
    before = marker.read_bytes()
    marker.write_text(json.dumps({"format": 99}))
    complaint(nursery().run("run", *STUDY, cwd=sound), "format 99", "update Surpass")
    marker.write_bytes(before)


def test_results_that_cannot_be_written(sound):
    (sound / "file").write_text("precious")
    for out in ("file", "file/below"):
        ended = nursery().run("run", *OTHER, "--out", out, cwd=sound)
        complaint(ended, f"results cannot go to {out}", "is no folder", "--out")
    assert (sound / "file").read_text() == "precious"
    assert not list((sound / "surpass-store" / "fit").glob("*-s1-*")), "nothing was computed in vain"


def test_results_on_a_disk_that_fills_up(sound):
    out = sound / "out"
    ended = nursery().run("run", *STUDY, "--out", str(out), cwd=sound, refuse=(out, errno.ENOSPC))
    complaint(ended, str(out), os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("number", "parts"),
    [
        (errno.EROFS, ["read-only store, cannot write ", "use another store"]),
        (errno.ENOSPC, ["disk full at ", "free space or use another store; nothing stored was harmed"]),
        (errno.EACCES, ["permission denied at ", "ask its owner for access or use another store"]),
    ],
)
def test_store_that_refuses(sound, number, parts):
    store = sound / "surpass-store"
    refuse = (store, number)
    complaint(nursery().run("run", *OTHER, cwd=sound, refuse=refuse), *parts)
    served = nursery().run("run", *STUDY, cwd=sound, refuse=refuse)
    assert served.code == 0, served.err
    assert "naive" in served.out
    assert "nothing to compute" in served.err


# In a mount namespace of their own, so that nothing is left mounted whatever happens.
IN_NAMESPACE = (shutil.which("unshare") or "unshare", "--mount", "--map-root-user", "--user", "sh", "-ec")


@cache
def may_mount() -> bool:
    try:
        tried = subprocess.run(
            [*IN_NAMESPACE, "mount -t tmpfs none /mnt"], env=ENVIRONMENT, capture_output=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0


def mounted(script: str, *arguments: str, cwd: Path) -> Ended:
    if not may_mount():
        pytest.skip("mounting in a namespace of one's own is not allowed here; see test_store_that_refuses")
    return cold(*IN_NAMESPACE, script, sys.executable, *arguments, cwd=cwd)


def test_store_on_a_read_only_file_system(sound):
    script = (
        "mount --bind surpass-store surpass-store; mount -o remount,bind,ro surpass-store; "
        'exec "$0" -m surpass run "$@"'
    )
    ended = mounted(script, *OTHER, cwd=sound)
    complaint(ended, "read-only store, cannot write ", "use another store")
    served = mounted(script, *STUDY, cwd=sound)
    assert served.code == 0, served.err
    assert "nothing to compute" in served.err


def test_store_on_a_full_disk(tmp_path):
    script = (
        "mount -t tmpfs -o size=24k none surpass-store; "
        '"$0" -m surpass run "$@" || code=$?; "$0" -m surpass store verify >verified; exit $code'
    )
    (tmp_path / "surpass-store").mkdir()
    ended = mounted(script, *STUDY, cwd=tmp_path)
    complaint(ended, "disk full at ", "free space or use another store; nothing stored was harmed")
    assert (tmp_path / "verified").read_text() == "surpass-store is sound\n"
