"""The command line from the first run to the last look, as users have it."""

import json
import re
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import surpass
from processes import STUDY, Ended, cold, nursery
from surpass.overrides import override
from surpass.recipes.chess import FINE_TUNING

SETTINGS = ("pairs=1-2", "seeds=2", "num_train=200", "num_test=150", "epochs=1")
NUM_STAGES = 27
WIDTH = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def first(folder) -> Ended:
    ended = cold("run", "chess", *SETTINGS, cwd=folder)
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture
def results(first, folder) -> Path:
    (found,) = (folder / "results").iterdir()
    return found


def show(*arguments: str, cwd: Path) -> Ended:
    """A command that only looks; what it prints suits a log."""
    ended = nursery().run(*arguments, cwd=cwd)
    assert_plain(ended.out)
    return ended


def assert_plain(text: str) -> None:
    for line in text.splitlines():
        assert len(line) <= WIDTH, line
        assert line == line.rstrip(), line
        assert "\x1b" not in line


def test_first_run_prints_the_table_and_its_progress_apart(first, folder, results):
    assert_plain(first.out)
    assert first.out.startswith("pair, method ")
    assert "chess-1 → chess-2" in first.out
    assert re.search(r"\n  naive +\d+\.\d +\d+\.\d +\d+\.\d ", first.out)
    progress, last = first.err.rstrip().split("\n\n")
    # A slow machine says of a stage how far it is, too.
    lines = [line for line in progress.splitlines() if "%, about" not in line]
    assert len(lines) == NUM_STAGES
    for number, line in enumerate(lines, 1):
        assert re.match(rf" ?{number}/{NUM_STAGES} (examples|fit|label|score|compare) \S+: \d+\.\d s", line)
    assert re.fullmatch(
        rf"{NUM_STAGES} stages computed, \d+\.\d s, \d+ MB at most; "
        r"results in (results/chess-[0-9a-f]{8}), page \1/report\.html",
        last,
    )
    assert last.endswith(str(results.relative_to(folder) / "report.html"))


def test_results_agree_with_each_other_and_with_python(folder, results):
    document = json.loads((results / "results.json").read_bytes())
    names = ["report.html", "report.json", "results.json", "results.parquet"]
    assert sorted(path.name for path in results.iterdir()) == names
    rows = pq.read_table(results / "results.parquet").to_pylist()
    assert [row["seed"] for row in rows] == [0, 1]
    nan_as_none = [{k: None if v != v else v for k, v in row.items()} for row in rows]
    assert nan_as_none == document["rows"]
    study = override(surpass.find_recipe("chess"), SETTINGS)
    ours = surpass.run(study, str(folder / "surpass-store"))
    assert ours == surpass.Results.from_json(results / "results.json")
    assert results.name == f"chess-{study.id[:8]}"


def test_second_run_computes_nothing(first, folder, results):
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in results.glob("report.*")}
    numbers = (results / "results.json").read_bytes()
    second = cold("run", "chess", *SETTINGS, cwd=folder)
    assert second.code == 0
    assert second.out == first.out
    said = r"\nnothing to compute, \d+\.\d s; results in (results/chess-\w+), page \1/report\.html\n"
    assert re.fullmatch(said, second.err)
    assert (results / "results.json").read_bytes() == numbers
    assert before == {path: (path.read_bytes(), path.stat().st_ino) for path in results.glob("report.*")}
    assert len(before) == 2


LOOK = """
import sys
from surpass.cli import main
sys.argv = ["surpass", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
# Where pandas is installed, pyarrow imports it for any table.
loaded = sorted(name for name in ("torch", "sympy", "scipy", "sklearn", "cleanlab") if name in sys.modules)
assert not loaded, loaded
"""


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("command", [("plan", "seeds=1"), ("run", *SETTINGS), ("report", *SETTINGS)])
def test_looking_imports_no_torch(folder, command):
    name, *changes = command
    look = LOOK.format(arguments=[name, "chess", *changes])
    ended = cold(sys.executable, "-W", "error", "-c", look, cwd=folder)
    assert ended.code == 0, ended.err


@pytest.mark.usefixtures("first")
def test_quiet_run_shows_the_table_alone(folder):
    ended = show("run", "chess", *SETTINGS, "--quiet", cwd=folder)
    assert ended.err == ""
    assert "naive" in ended.out


@pytest.mark.usefixtures("first")
def test_run_as_json_prints_the_file(folder, results):
    ended = nursery().run("run", "chess", *SETTINGS, "--json", cwd=folder)
    assert ended.json() == json.loads((results / "results.json").read_bytes())


@pytest.mark.usefixtures("first")
def test_out_names_the_folder_of_results(folder, results, tmp_path):
    ended = show("run", "chess", *SETTINGS, "--out", str(tmp_path / "a" / "b"), cwd=folder)
    assert str(tmp_path / "a" / "b") in ended.err
    for name in ("results.json", "results.parquet"):
        assert (tmp_path / "a" / "b" / name).read_bytes() == (results / name).read_bytes()


METHODS = "methods=naive,confidence(alpha=0.75, warmup_frac=0.1),mix_truth(frac=0.5),knn_filter"


def test_several_methods_share_their_fits_and_are_compared(finished):
    ended = show("run", *STUDY, METHODS, cwd=finished)
    assert ended.code == 0, ended.err
    # Beside what is there already: the truth, a rule's labels, and of two students what is asked of each.
    assert re.search(
        r"\n10 stages computed, \d+\.\d s, \d+ MB at most; sharing saved 4 of 9 fits; results in "
        r"(results/chess-\w+), page \1/report\.html\n$",
        ended.err,
    )
    first, second = ended.out.split("\n\nmethod ")
    assert re.search(r"\n  mix_truth\S+\* ", first)
    assert "\n* used ground truth (oracle): not a weak-to-strong result\n" in first
    assert "\nleft out: knn_filter: it needs classes that all examples share, " in first
    table, note, last = second.split("\n\n")
    assert {line[:5] for line in table.splitlines()[2:4]} == {"naive", "confi"}
    assert re.match(r"mix_truth\S+\* ", table.splitlines()[4])
    assert note.startswith("vs naive: mean difference of accuracy over the pairs")
    assert last.startswith(("Of 1 method without ground truth, ", "No PGR to report"))


def test_several_methods_as_json(finished):
    ended = nursery().run("run", *STUDY, METHODS, "--json", cwd=finished)
    document = ended.json()
    assert document["version"] == 2
    names = ["naive", "confidence(alpha=0.75, warmup_frac=0.1)", "mix_truth(frac=0.5)"]
    assert [row["method"] for row in document["rows"]] == names
    assert [rank["method"] for rank in document["methods"]] == names
    assert [rank["oracle"] for rank in document["methods"]] == [False, False, True]
    assert [rank["comparison"] is None for rank in document["methods"]] == [True, False, False]
    (left,) = document["left_out"]
    assert (left["weak_model"], left["strong_model"], left["method"]) == ("chess-1", "chess-2", "knn_filter")
    again = nursery().run("run", *STUDY, METHODS, cwd=finished)
    assert re.match(r"\nnothing to compute, \d+\.\d s; sharing saved 4 of 9 fits; results in ", again.err)


def test_study_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import surpass\ndef study():\n    return surpass.find_recipe('chess')\n"
    )
    ended = show("plan", "mine:study", "seeds=1", cwd=tmp_path)
    assert (ended.code, ended.out) == (0, show("plan", "chess", "seeds=1", cwd=tmp_path).out)


def states(plan: list[dict]) -> dict[str, int]:
    found = [entry["state"] for entry in plan]
    return {state: found.count(state) for state in sorted(set(found))}


def test_plan_before_in_the_middle_and_after(finished):
    store = finished / "surpass-store"

    def plan(*options: str) -> tuple[list[dict], str]:
        arguments = ("plan", *STUDY, *options)
        return nursery().run(*arguments, "--json", cwd=finished).json(), show(*arguments, cwd=finished).out

    before, text = plan("--store", "none-yet")
    assert states(before) == {"to do": 14}
    assert "14 to do, about " in text
    assert not (finished / "none-yet").exists()

    after, text = plan()
    assert states(after) == {"done": 14}
    assert text.endswith("14 stages (sharing saves 11): all done\n")
    assert sum(entry["seconds"] for entry in after) == 0
    for entry in after:
        assert entry["id"][:8] in text

    # Without the student's labels no score is made; nothing needs what only done stages read.
    (fit,) = (entry for entry in after if entry["kind"] == "fit" and "-from-" in entry["label"])
    for kind in ("label", "score", "compare"):
        (lost,) = (store / kind).glob("chess-2-from-*")
        shutil.rmtree(lost)
    middle, text = plan()
    assert states(middle) == {"done": 11, "to do": 3}
    shutil.rmtree(next((store / "fit").glob("chess-1-*")))
    middle, text = plan()
    assert states(middle) == {"done": 10, "not needed": 1, "to do": 3}
    assert fit in middle
    assert "3 to do, about " in text


def test_list_says_what_there_is(finished):
    found = nursery().run("list", "--json", cwd=finished).json()
    assert "chess" in found["studies"]
    assert "naive" in found["methods"]
    assert found["models"]["ladder:chess-2"]["parameters"] > found["models"]["ladder:chess-1"]["parameters"]
    assert found["store"]["artifacts"] == {"examples": 3, "fit": 3, "label": 4, "score": 3, "compare": 1}
    text = show("list", cwd=finished).out
    for name in (*found["studies"], *found["methods"], *found["models"]):
        assert name in text
    assert "3 fit" in text
    assert "nothing yet" in show("list", "--store", "elsewhere", cwd=finished).out
    assert not (finished / "elsewhere").exists()


def test_show_finds_by_id_and_by_folder(finished):
    (folder,) = (finished / "surpass-store" / "fit").glob("chess-2-from-*")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    by_id = show("show", manifest["id"][:12], cwd=finished)
    assert by_id.code == 0
    for name in (folder.name, f"{folder}/", f"fit/{folder.name}", manifest["id"]):
        assert show("show", name, cwd=finished).out == by_id.out
    for text in (
        manifest["id"],
        "chess-student-source-64-s0",
        f"learning_rate={FINE_TUNING.learning_rate}",
        "used by",
        "torch ",
    ):
        assert text in by_id.out
    described = nursery().run("show", folder.name, "--json", cwd=finished).json()
    assert described["path"] == str(folder)
    assert [user["kind"] for user in described["used_by"]] == ["label"]
    assert {before["kind"] for before in described["upstream"]} == {"examples", "label"}


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("ffffffffffff", r"no artifact 'f+' in \S+; `surpass plan STUDY` names the ids of a study"),
        ("", r"'' begins 14 ids: [0-9a-f]{16}, .*, \.\.\.; give more digits"),
    ],
)
def test_show_says_what_it_cannot_find(finished, name, complaint):
    ended = nursery().run("show", name, cwd=finished)
    assert (ended.code, ended.out) == (2, "")
    assert re.fullmatch(f"error: {complaint}\n", ended.err)


def test_verify_and_clean(finished):
    store = finished / "surpass-store"
    sound = show("store", "verify", cwd=finished)
    assert (sound.code, sound.out) == (0, "surpass-store is sound\n")
    assert nursery().run("store", "verify", "--json", cwd=finished).json() == []

    (model,) = store.glob("fit/chess-2-from-chess-1-*/model.safetensors")
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    damaged = nursery().run("store", "verify", cwd=finished)
    assert damaged.code == 1
    assert model.parent.name in damaged.out
    assert "1 problem;" in damaged.out
    listed = nursery().run("store", "verify", "--json", cwd=finished)
    assert listed.code == 1
    assert [set(problem) for problem in json.loads(listed.out)] == [{"path", "reason"}]
    assert show("store", "clean", cwd=finished).out == "0 left-over folders removed\n"
    assert nursery().run("store", "clean", "--json", cwd=finished).json() == []


def test_damaged_artifact_is_computed_again(finished):
    (score,) = (finished / "surpass-store").glob("score/chess-2-from-chess-1-*/score.json")
    (table,) = (finished / "results").glob("*/results.json")
    before = json.loads(table.read_bytes())
    score.write_text("{}")
    ended = nursery().run("run", *STUDY, "--json", cwd=finished)
    assert ended.json() == before
    assert "damaged: " in ended.err
    assert "1 stage computed" in ended.err


def test_doctor_finds_nothing(finished):
    ended = show("doctor", cwd=finished)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("\nAll is well.\n")
    findings = nursery().run("doctor", "--json", cwd=finished).json()
    assert all(finding["fine"] for finding in findings)
    assert {finding["what"] for finding in findings} >= {"python", "packages", "puzzles", "ladder", "store"}
    show("doctor", "--store", "none-yet", cwd=finished)
    assert not (finished / "none-yet").exists()


def test_doctor_finds_damaged_assets(tmp_path):
    """In a copy of the package, which is imported in place of the installed one."""
    shutil.copytree(Path(surpass.__file__).parent, tmp_path / "surpass")
    assets = {"ladder": "ladder/chess-1.safetensors", "puzzles": "puzzles.parquet"}
    for asset in assets.values():
        damaged = tmp_path / "surpass" / "assets" / asset
        damaged.write_bytes(damaged.read_bytes()[:-1000])
    ended = cold("doctor", "--json", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert ended.code == 1, ended.err
    wrong = {finding["what"]: finding["text"] for finding in json.loads(ended.out) if not finding["fine"]}
    assert set(assets) <= set(wrong)
    for what, asset in assets.items():
        assert Path(asset).name in wrong[what]


@pytest.mark.parametrize("command", [(), ("ladder",), ("store",)])
def test_help_is_shown_where_a_command_is_missing(command, tmp_path):
    ended = nursery().run(*command, cwd=tmp_path)
    assert ended.code == 2
    assert "Usage: surpass" in ended.out + ended.err
    assert "Commands:" in ended.out + ended.err


@pytest.mark.parametrize(
    "command", [(), ("run",), ("report",), ("plan",), ("list",), ("show",), ("doctor",), ("store",)]
)
def test_help_fits_and_has_no_colour(command, tmp_path):
    ended = nursery().run(*command, "--help", cwd=tmp_path)
    assert ended.code == 0
    assert ended.out.startswith("Usage: surpass")
    assert "\x1b" not in ended.out
    assert all(len(line) <= WIDTH for line in ended.out.splitlines())
    whole = re.sub(r"([]},]|2e-3 )\.\.\.", "", ended.out)
    assert "..." not in whole, "a text was cut"


def test_version(tmp_path):
    assert show("--version", cwd=tmp_path).out == f"surpass {surpass.__version__}\n"
