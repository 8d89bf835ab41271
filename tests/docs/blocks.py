"""Every block of code and every command of the README and the pages, as a Markdown parser finds them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PROGRAMS = ("surpass", "make", "pip", "python", "export", "cd")
_WORD = re.compile(r"(?:\.venv/bin/|\.\./\.venv/bin/)?(\w+)$")


@dataclass(frozen=True)
class Command:
    """A line that people are told to type, and what is shown below it."""

    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    shown: str = ""

    def __str__(self) -> str:
        return " ".join([*(f"{name}={value}" for name, value in self.variables), *self.words])


@dataclass(frozen=True)
class Block:
    """A block of a page; `line` is where its text begins."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def first(self) -> str:
        """Its first line, which names it in tables."""
        return self.text.strip().splitlines()[0].strip()

    @property
    def commands(self) -> list[Command]:
        """What is to be typed, where this is a block of commands."""
        return commands_of(self.text) if self.language in ("", "sh", "console") else []

    @property
    def is_python(self) -> bool:
        """Whether it is Python: marked so, or an indented block that is no command and can be compiled."""
        if self.language:
            return self.language == "python"
        if self.commands or not re.search(
            r"^(import|from|class|def|with|results = |surpass\.)", self.text, re.M
        ):
            return False
        try:
            compile(self.text, str(self), "exec")
        except SyntaxError:
            return False
        return True


def pages() -> list[Path]:
    """The README and all pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def blocks() -> tuple[Block, ...]:
    """Every fenced and indented block of all pages; directives of the site are none."""
    found = []
    for page in pages():
        for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
            if token.type not in ("fence", "code_block") or token.info.startswith("{"):
                continue
            assert token.map is not None
            line = token.map[0] + (2 if token.type == "fence" else 1)
            name = str(page.relative_to(ROOT))
            found.append(Block(name, line, token.info.strip(), token.content))
    return tuple(found)


def inline_commands() -> list[tuple[str, str]]:
    """Page and text of every inline span that begins with `surpass` and a word."""
    found = []
    for page in pages():
        for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
            for child in token.children or ():
                if child.type == "code_inline" and re.match(r"(\.venv/bin/)?surpass [a-z]", child.content):
                    found.append((str(page.relative_to(ROOT)), " ".join(child.content.split())))
    return found


def commands_of(text: str) -> list[Command]:
    """The commands of a block, or none if its first line is no command."""
    lines = text.replace("\\\n", " ").splitlines()
    prompted = any(line.startswith("$ ") for line in lines)
    commands: list[Command] = []
    for line in lines:
        parsed = _parsed(line.removeprefix("$ ")) if line.startswith("$ ") or not prompted else []
        if parsed:
            commands += parsed
        elif commands and (prompted or not line.strip()):
            last = commands[-1]
            commands[-1] = Command(last.words, last.variables, f"{last.shown}{line}\n")
        elif line.strip():
            return []
    return commands


def _parsed(line: str) -> list[Command]:
    """A line as one or, with `&&` between, several commands; nothing if it begins with no known program."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return []
    found: list[Command] = []
    for part in _split(words):
        variables = []
        while part and re.match(r"[A-Z_]+=", part[0]):
            name, _, value = part.pop(0).partition("=")
            variables.append((name, value))
        match = _WORD.match(part[0]) if part else None
        if match is None or match[1] not in PROGRAMS:
            return []
        found.append(Command((match[1], *part[1:]), tuple(variables)))
    return found


def _split(words: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts
