"""Every command that tells something tells it as JSON too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from surpass.cli import app

LADDER = Path(__file__).parents[2] / "src/surpass/assets/ladder/chess-1.safetensors"
STEPS = ("(7+5)*3-8", "12*3-8", "35-8", "# 27")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))
    if not hasattr(command, "commands"):
        yield path, command


@pytest.mark.parametrize(("path", "command"), list(commands(typer.main.get_command(app))), ids=str)
def test_there_is_an_option(path: tuple[str, ...], command: Any) -> None:
    assert "--json" in {text for parameter in command.params for text in parameter.opts}, " ".join(path)


def told(*words: str) -> Any:
    ended = CliRunner().invoke(app, [*words, "--json"])
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def test_problems() -> None:
    found = told("world", "problems", "3", "--mix", "algebra")
    assert [one["family"] for one in found] == ["algebra"] * 3
    assert all(one["solution"][-1].startswith("# ") for one in found)


def test_steps() -> None:
    found = told("world", "check", *STEPS)
    assert found["ratings"] == [1, -1, None]
    assert (found["answer"], found["correct"], found["reference"]) == ("27", False, "28")


def test_cards() -> None:
    (card,) = told("ladder", "card", str(LADDER))
    assert card["file"] == str(LADDER)
    assert card["name"] == "chess-1"
    assert card["parameters"] == 1757


def test_games(tmp_path: Path) -> None:
    pgn = tmp_path / "games.pgn"
    moves = "1. e4 e5 2. Nf3 Nc6 3. Bc4 Bc5 4. d3 d6 5. O-O Nf6 6. Qe2 O-O"
    pgn.write_text(f'[Event "x"]\n[Result "*"]\n\n{moves} *\n\n')
    found = told("ladder", "games", str(pgn), "--out", str(tmp_path / "games.safetensors"))
    assert found == {"file": str(tmp_path / "games.safetensors"), "games": 1, "moves": 12}
