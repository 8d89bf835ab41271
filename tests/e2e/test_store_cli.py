"""`surpass store` as users have it: what takes room, what goes, why, and studies carried elsewhere."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from processes import STUDY, Ended, nursery

WIDTH = 80


def say(*arguments: str, cwd) -> Ended:
    """A command whose output suits a log."""
    ended = nursery().run("store", *arguments, cwd=cwd)
    assert ended.code == 0, ended.err
    for line in ended.out.splitlines():
        assert line == line.rstrip(), line
        assert "\x1b" not in line
        assert len(line) <= WIDTH or line.startswith("  surpass ") or "--json" in arguments, line
    return ended


def results(folder) -> dict:
    return nursery().run("run", *STUDY, "--json", cwd=folder).json()


def test_du(finished):
    out = say("du", *STUDY, cwd=finished).out
    assert re.search(r"\ncompare +1 +[\d.]+ k?B +1 +[\d.]+ k?B\n", out)
    assert re.search(r"\nall +14 +\d+ kB +14 +\d+ kB\n", out)
    assert "\nLargest\n" in out
    found = nursery().run("store", "du", "--json", "--largest", "2", cwd=finished).json()
    assert sum(share["number"] for share in found["kinds"].values()) == 14
    assert found["study"] is None
    assert len(found["largest"]) == 2


def test_gc_shows_first_and_removes_when_told(finished):
    before = results(finished)
    out = say("gc", "--keep-results", cwd=finished).out
    assert re.search(r"\nWould remove 3 artifacts: [\d.]+ kB; --yes removes it\.\n$", out)
    assert len(list((finished / "surpass-store" / "fit").iterdir())) == 3
    out = say("gc", "--keep-results", "--yes", cwd=finished).out
    assert re.search(r"\nRemoved 3 artifacts: [\d.]+ kB freed\.\n$", out)
    assert not list((finished / "surpass-store" / "fit").iterdir())
    ended = nursery().run("run", *STUDY, "--json", cwd=finished)
    assert "nothing to compute" in ended.err
    assert ended.json() == before
    assert say("gc", "--keep-results", cwd=finished).out == "Nothing to remove.\n"


def test_gc_by_study_and_age(finished):
    everything = say("gc", "--unreachable-from", "chess pairs=2-3 seeds=1", "--json", cwd=finished)
    assert len(json.loads(everything.out)["goes"]) == 14
    nothing = say("gc", "--unreachable-from", " ".join(STUDY), "--older-than", "0s", "--json", cwd=finished)
    assert json.loads(nothing.out) == {"removed": False, "goes": [], "stays": []}
    assert 'goes": []' in say("gc", "--older-than", "30d", "--json", cwd=finished).out
    ended = nursery().run("store", "gc", "--older-than", "soon", cwd=finished)
    assert (ended.code, ended.err) == (
        2,
        "error: --older-than soon is no age; write 12h, 30d or 8w (s, m, h, d, w)\n",
    )


def test_what_went_is_computed_again(finished):
    before = results(finished)
    say("gc", "--older-than", "0s", "--yes", cwd=finished)
    ended = nursery().run("run", *STUDY, "--json", cwd=finished)
    assert "14 stages computed" in ended.err
    for document in (before, after := ended.json()):
        for entry in document["rows"] + document["summaries"]:
            del entry["seconds"]
    assert after == before


def test_explain(finished):
    assert say("explain", *STUDY, cwd=finished).out == "all done\n"
    out = say("explain", *STUDY, "epochs=2", cwd=finished).out
    assert out.startswith("11 stages to do, for 1 reason\n")
    assert "nearest, same label: " in out
    assert "recipe.epochs 2, there 1" in out
    assert re.search(r"behind them: \d+ more to do", out)
    plan = nursery().run("plan", *STUDY, "--json", cwd=finished).json()
    fit = next(entry for entry in plan if entry["kind"] == "fit")
    assert say("explain", *STUDY, fit["id"][:10], cwd=finished).out == f"fit {fit['label']}: done\n"
    found = nursery().run("store", "explain", *STUDY, "epochs=2", "--json", cwd=finished).json()
    assert len(found) == 11
    assert {d["words"] for one in found for d in one["differences"]} == {"recipe.epochs 2, there 1"}
    ended = nursery().run("store", "explain", *STUDY, "a", "b", cwd=finished)
    assert (ended.code, ended.err) == (2, "error: a b names 2 stages: name one, or none for all\n")


def test_carried_to_another_machine(finished, tmp_path):
    before = results(finished)
    out = say("export", *STUDY, "--out", "study.tar", cwd=finished).out
    assert re.fullmatch(r"study\.tar: 4 artifacts and 10 records, \d+ kB\n", out)
    there = tmp_path / "there"
    there.mkdir()
    shutil.copy(finished / "study.tar", there)
    out = say("import", "study.tar", cwd=there).out
    assert out.splitlines()[0] == "chess: 4 artifacts and 10 records are new"
    shown = say("show-results", "chess", cwd=there).out
    assert "chess-1 → chess-2" in shown
    assert "Whose errors" in shown
    assert say("show-results", "chess", "--json", cwd=there).json()["results"] == before
    ended = nursery().run("run", *STUDY, "--json", cwd=there)
    assert "nothing to compute" in ended.err
    assert ended.json() == before
    here, other = (
        nursery().run("analyse", *STUDY, "--json", cwd=folder).json() for folder in (finished, there)
    )
    assert other == here
    assert say("verify", cwd=there).out == "surpass-store is sound\n"
    again = say("import", "study.tar", "--json", cwd=there).json()
    assert (again["new"], again["records"], again["there"]) == (0, 0, 14)


def test_a_damaged_archive_is_refused(finished, tmp_path):
    say("export", *STUDY, "--out", "study.tar", cwd=finished)
    (tmp_path / "half.tar").write_bytes((finished / "study.tar").read_bytes()[:5000])
    ended = nursery().run("store", "import", "half.tar", "--store", "new", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: half.tar is refused: ")
    assert ended.err.endswith("nothing was imported\n")
    ended = nursery().run("store", "show-results", "chess", "--store", "new", cwd=tmp_path)
    assert re.fullmatch(r"error: no study 'chess' was imported into \S+; there are: none\n", ended.err)


@pytest.mark.parametrize("command", [["du"], ["gc"], ["export", *STUDY], ["show-results"]])
def test_where_there_is_no_store(command, tmp_path):
    ended = nursery().run("store", *command, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "no store at surpass-store" in ended.err
    assert list(tmp_path.iterdir()) == []
