"""Every block of code and every command of the README and docs runs; `rules.py` says how, and what cannot."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer
from blocks import ROOT, Block, Command, blocks, inline_commands
from comparing import compare
from made_up import variables
from rules import ELSEWHERE, PLACEHOLDERS, PYTHON, RULES, TEXTS, Rule, rule_for

from processes import Nursery
from surpass.cli import app

HERE = [block for block in blocks() if block.page not in ELSEWHERE]
OF_COMMANDS = [block for block in HERE if block.commands]
OF_PYTHON = [block for block in HERE if block.is_python]
OTHERS = [block for block in HERE if not block.commands and not block.is_python]
PLANNED: set[tuple[str, ...]] = set()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def parse(words: list[str]) -> None:
    """Look whether the command line has such a command with such options; nothing is run."""
    command = typer.main.get_command(app)
    words = [word for word in words if word != "..."]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands") or not words, f"no command {words}"
    if not words:
        return
    try:
        command.make_context(command.name, words)
    except typer.BadParameter as error:
        said = error.format_message()
        if not re.search(r"does not exist|[Mm]issing", said):  # a file of the reader's, or a word left out
            raise


def changed(command: Command, rule: Rule) -> list[str]:
    """The words of a command of Surpass as a rule wants them, options behind overrides."""
    text = shlex.join(command.words[1:])
    for pattern, instead in (PLACEHOLDERS | rule.change).items():
        text = re.sub(pattern, instead, text)
    words = [word for word in shlex.split(text) if word and word != "..."]
    options = first_option(words)
    return [*words[:options], *rule.add, *words[options:]]


def first_option(words: list[str]) -> int:
    """Where options begin."""
    return next((place for place, word in enumerate(words) if word.startswith("--")), len(words))


def plan(command: Command, rule: Rule, surpass: Nursery, folder: Path) -> None:
    """Plan a study with all words of the page, whether the command runs so, with fewer, or not at all."""
    name, *words = changed(command, Rule("", change=rule.change))
    study = tuple(words[: first_option(words)])
    if name not in ("run", "analyse") or not rule.plan or study in PLANNED:
        return
    ended = surpass.run("plan", *study, "--store", "none", cwd=folder)
    assert ended.code == 0, ended.err
    PLANNED.add(study)


def run(command: Command, surpass: Nursery, folder: Path) -> str:
    """Run a command of Surpass as its rule says; gives what it printed."""
    rule = rule_for(" ".join(command.words))
    parse(list(command.words[1:]))
    plan(command, rule, surpass, folder)
    if rule.cannot:
        return ""
    if rule.first:
        ended = surpass.run(*rule.first, "--quiet", cwd=folder)
        assert ended.code == 0, ended.err
    words = [
        word.replace("{id}", some_id(folder)).replace("{results}", some_results(folder))
        for word in changed(command, rule)
    ]
    child = surpass.start(*words, cwd=folder)
    if rule.stop_when:
        assert child.await_(lambda: any(folder.glob(rule.stop_when))), "it ended by itself"
        child.signal(signal.SIGTERM)
    ended = child.wait()
    assert ended.code == rule.code, f"surpass {shlex.join(words)}\n{ended.out}\n{ended.err}"
    return ended.out


def some_id(folder: Path) -> str:
    """How the id of some score in the store begins."""
    return next(iter(sorted(folder.glob("surpass-store/score/*"))), Path("none")).name.rpartition("-")[2]


def some_results(folder: Path) -> str:
    """A folder of results, as the command line names it."""
    found = sorted(folder.glob("results/chess-*/report.json"))
    return str(found[0].parent.relative_to(folder)) if found else "none"


@pytest.mark.parametrize("block", OF_COMMANDS, ids=str)
def test_commands(block: Block, workspace: Path, shown_store: Path, surpass: Nursery, tmp_path: Path) -> None:
    folder = workspace
    if any(command.shown for command in block.commands):
        folder = shutil.copytree(shown_store, tmp_path / "shown")
    for command in block.commands:
        program, *words = command.words
        if words == ["store", "verify"]:
            damage(folder)
        if program == "surpass":
            printed = run(command, surpass, folder)
            if command.shown and not rule_for(" ".join(command.words)).cannot:
                compare(command.shown, printed)
        elif program == "make":
            subprocess.run(["make", "-n", *words], cwd=ROOT, check=True, capture_output=True)
        elif program == "pip":
            assert extras(words) <= EXTRAS.keys()
        else:
            assert rule_for(" ".join(command.words)).cannot, f"{command}: no rule in rules.py"


def damage(folder: Path) -> None:
    """What the page on the store shows `verify` to find."""
    (folder / "surpass-store" / "notes.txt").write_text("bread")
    curve = next(folder.glob("surpass-store/fit/chess-1-truth-xent-s0-*/curve.parquet"))
    curve.write_bytes(curve.read_bytes() + b"0")


def extras(words: list[str]) -> set[str]:
    """The extras that a command installs."""
    listed = re.findall(r"(?:surpass|\.)\[([\w,]+)\]", " ".join(words))
    assert listed, words
    return {name for names in listed for name in names.split(",")}


@pytest.mark.parametrize("block", OF_PYTHON, ids=str)
def test_python(block: Block, workspace: Path, shown_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = PYTHON.get((block.page, block.first))
    compile(block.text, str(block), "exec")
    if setting is not None and setting.cannot:
        return
    monkeypatch.chdir(workspace)
    for name, value in variables(workspace).items():
        monkeypatch.setenv(name, value)
    code = block.text
    names: dict[str, object] = {"__name__": "page"}
    if setting is not None:
        for pattern, instead in setting.change.items():
            assert re.search(pattern, code), f"{block}: nothing to change for {pattern}"
            code = re.sub(pattern, instead, code)
        exec(compile(setting.before, str(block), "exec"), names)
    execute(code, names, str(block))
    if setting is not None:
        exec(compile(setting.after, str(block), "exec"), names)


def execute(code: str, names: dict[str, object], called: str) -> None:
    """Run code; where a comment behind an expression is a value, the expression has it."""
    lines = code.splitlines()
    for statement in ast.parse(code, called).body:
        piece = ast.Module([statement], [])
        said = stated(lines[(statement.end_lineno or 1) - 1])
        if isinstance(statement, ast.Expr) and said is not None:
            value = eval(compile(ast.Expression(statement.value), called, "eval"), names)
            assert value == pytest.approx(said), f"{called}:{statement.lineno}"
        else:
            exec(compile(piece, called, "exec"), names)


def stated(line: str) -> object:
    """The value that a comment gives, if it is one."""
    _, mark, comment = line.partition("  # ")
    try:
        return ast.literal_eval(comment.strip()) if mark else None
    except (SyntaxError, ValueError):
        return None


@pytest.mark.parametrize("block", OTHERS, ids=str)
def test_what_is_no_code_is_listed(block: Block) -> None:
    assert (block.page, block.first) in TEXTS, "neither commands nor Python: say in rules.py what it is"


def test_nothing_is_listed_that_is_not_there() -> None:
    first = {(block.page, block.first) for block in HERE}
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(), f"{test} does not read {page}"
    assert not PYTHON.keys() - first
    assert not TEXTS.keys() - {(block.page, block.first) for block in OTHERS}
    commands = [str(command) for block in OF_COMMANDS for command in block.commands]
    used = {rule_for(re.sub(r"^\S+=\S+ ", "", command)).pattern for command in commands}
    assert not {rule.pattern for rule in RULES} - used


@pytest.mark.parametrize(("page", "text"), inline_commands())
def test_commands_in_sentences(page: str, text: str) -> None:
    parse(shlex.split(text)[1:])


def test_rows_of_ones_own(tmp_path: Path) -> None:
    from surpass.data.solutions_reading import read_solutions

    (row,) = (block.text for block in OTHERS if block.first.startswith('{"problem"'))
    (tmp_path / "rows.jsonl").write_text(row)
    (solution,) = read_solutions(tmp_path / "rows.jsonl").solutions
    assert solution.first_error == json.loads(row)["first_error"]


def test_ratings_of_the_world() -> None:
    from surpass.world.checker import solution_of

    (block,) = (block for block in OTHERS if block.first == "(7+5)*3-8")
    problem, *lines = block.text.splitlines()
    rows = [re.match(r"(\S.*?)(?: {2,}([-+0]) .*| {2,}not rated.*)?$", line) for line in lines]
    signs = {"+": 1, "0": 0, "-": -1, None: None}
    said = [(row[1], signs[row[2]]) for row in rows if row is not None]
    assert len(said) == 4
    solution = solution_of("p", problem, "\n".join(step for step, _ in said))
    assert list(solution.ratings)[: len(said)] == [rating for _, rating in said][: len(solution.ratings)]
