"""What `list`, `show` and `plan` print where nobody watches: at most 80 columns, no colour, names whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from processes import STUDY, Nursery
from surpass.methods import method_names
from surpass.recipes import RECIPES


@pytest.fixture(scope="module")
def finished(surpass: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert surpass.run("run", *STUDY, cwd=folder).code == 0
    return folder


def printed(surpass: Nursery, folder: Path, *words: str) -> list[str]:
    """The lines of a command, which are plain and fit."""
    ended = surpass.run(*words, cwd=folder)
    assert ended.code == 0, ended.err
    assert "\x1b" not in ended.out
    lines = ended.out.splitlines()
    assert all(len(line) <= 80 and line == line.rstrip() for line in lines)
    return lines


def test_list_has_a_block_for_each_kind_of_name(surpass, finished):
    lines = printed(surpass, finished, "list")
    headings = [line.partition(":")[0] for line in lines if line[:1].strip()]
    assert headings == ["Studies", "Methods", "Tasks", "Data sets", "Models", "Packaged models", "Store"]
    names = {line.split()[0] for line in lines if line.startswith("  ") and line[2:3].strip()}
    assert {*RECIPES, *method_names(), "sst2", "ladder:chess-6", "package:efficientnet-lite0"} <= names


def test_show_names_files_and_figures(surpass, finished):
    (score,) = finished.glob("surpass-store/score/chess-2-truth-*")
    text = "\n".join(printed(surpass, finished, "show", score.name))
    assert "score file" not in text, "the numbers of a score are no digest of a file"
    assert "num_examples=60" in text
    (examples,) = finished.glob("surpass-store/examples/chess-test-*")
    assert "puzzles file" in "\n".join(printed(surpass, finished, "show", examples.name))


def test_plan_fits_and_is_the_same_as_data(surpass, finished):
    lines = printed(surpass, finished, "plan", *STUDY, "seeds=2")
    stages = json.loads(surpass.run("plan", *STUDY, "seeds=2", "--json", cwd=finished).out)
    for stage in stages:
        assert sum(stage["id"][:8] in line for line in lines) == 1
    assert lines[-1].startswith(f"{len(stages)} stages (sharing saves ")
