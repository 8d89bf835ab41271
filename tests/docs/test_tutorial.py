"""The tutorial (docs/tutorial.md), line by line: its files, its commands, and what it shows of them."""

from __future__ import annotations

from pathlib import Path

from blocks import blocks
from comparing import compare, compare_accuracies, masked

from processes import Nursery

PAGE = [block for block in blocks() if block.page == "docs/tutorial.md"]


def test_the_tutorial(tmp_path: Path, surpass: Nursery) -> None:
    printed = ""
    for block in PAGE:
        if block.is_python:
            with (tmp_path / "my_methods.py").open("a") as file:
                file.write(f"{block.text}\n\n")
        for command in block.commands:
            program, *words = command.words
            assert program == "surpass"
            ended = surpass.run(
                *(some_id(tmp_path) if word == "ID" else word for word in words), cwd=tmp_path
            )
            assert ended.code == 0, ended.err
            printed = ended.out
            if command.shown:
                compare(command.shown, printed)
        if not block.is_python and not block.commands:  # more of what the last command printed
            rows = [line for line in masked(block.text).splitlines() if line]
            assert set(rows) <= set(masked(printed).splitlines()), f"{block.text}\n--- but\n{printed}"
            compare_accuracies(block.text, printed)
    pages = list(tmp_path.glob("results/chess-*/report.html"))
    assert len(pages) == 3
    assert list(tmp_path.glob("results/chess-*/methods.pdf"))


def test_its_last_sentences_hold(surpass: Nursery) -> None:
    """It has a command for each thing that it promises to show."""
    named = [command.words[1] for block in PAGE for command in block.commands]
    assert [*dict.fromkeys(named)] == ["run", "analyse", "figure", "table", "plan", "show"]


def some_id(folder: Path) -> str:
    """How the id of some score begins."""
    return sorted(folder.glob("surpass-store/score/*"))[0].name.rpartition("-")[2]
