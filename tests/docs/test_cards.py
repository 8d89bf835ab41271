"""Model and data cards name the files that ship."""

from __future__ import annotations

import hashlib
import re

import pytest
from blocks import ROOT

from surpass.models.sources import ladder_names

CARD = (ROOT / "docs" / "data" / "chess-ladder.md").read_text()
ASSETS = ROOT / "src" / "surpass" / "assets"


@pytest.mark.parametrize("name", ladder_names())
def test_the_card_has_the_digest_of_each_rung(name):
    content = (ASSETS / "ladder" / f"{name}.safetensors").read_bytes()
    assert f"| {name} | {len(content):,} | `{hashlib.sha256(content).hexdigest()}` |" in CARD


def test_the_card_of_puzzles_has_their_digest():
    page = (ROOT / "docs" / "data" / "chess-puzzles.md").read_text()
    content = (ASSETS / "puzzles.parquet").read_bytes()
    assert f"{len(content):,} bytes" in page
    assert re.findall(r"sha256 `([0-9a-f]{64})`", page) == [hashlib.sha256(content).hexdigest()]
