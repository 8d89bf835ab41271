"""What a page shows, held to what was printed."""

from __future__ import annotations

import re

import pytest

TOLERANCE = 5.0
"""Points of accuracy by which tables of results may differ: other machines round differently."""
_ROW = re.compile(r"^  (\S+) +(\d+\.\d) +(\d+\.\d) +(\d+\.\d) ", re.M)


def compare(shown: str, printed: str) -> None:
    """Words are the same, accuracies within the tolerance, other numbers may differ; `...` is anything."""
    parts = [re.escape(part.strip()) for part in masked(shown).split("...")]
    pattern = r"\s*.*".join(parts) if len(parts) > 1 else parts[0]
    assert re.fullmatch(pattern, masked(printed).strip(), re.S), f"{shown}\n--- but\n{printed}"
    compare_accuracies(shown, printed)


def compare_accuracies(shown: str, printed: str) -> None:
    """Rows of a table of results that are shown are among those that were printed, within the tolerance."""
    there = {row[0]: list(map(float, row[1:])) for row in _ROW.findall(printed)}
    for name, *accuracies in _ROW.findall(shown):
        assert there[name] == pytest.approx(list(map(float, accuracies)), abs=TOLERANCE), f"{name}\n{printed}"


def masked(text: str) -> str:
    """A text without digits, hexadecimal names, and blanks and lines that columns are made with."""
    text = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b", "ID", text)
    text = re.sub(r"[-+<]?\d+(?:[.,]\d+)*( [kMG]?B\b| m?s\b| min\b)?", "N", text)
    text = re.sub(r"─+", "─", text)
    return "\n".join(" ".join(line.replace("[ ", "[").split()) for line in text.strip().splitlines())
