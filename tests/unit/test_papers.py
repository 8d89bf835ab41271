"""What the pages say exists does exist, and all that exists is on them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from surpass import metrics
from surpass.losses import LOSSES
from surpass.methods import METHODS
from surpass.recipes import RECIPES
from surpass.rules import RULES
from surpass.stats import comparison, gap, paired, power, variance

ROOT = Path(__file__).parents[2]
PAPERS = (ROOT / "docs" / "papers.md").read_text()
STATISTICS = [name for module in (gap, paired, power, variance, comparison) for name in vars(module)]
KNOWN = {
    "method": METHODS,
    "loss": LOSSES,
    "rule": RULES,
    "study": RECIPES,
    "metric": metrics.__all__,
    "statistic": STATISTICS,
}
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAPERS.splitlines()
    if line.startswith("| `")
]
LISTED = {
    (name, kind)
    for names, kinds, *_ in ROWS
    for name in re.findall("`(.+?)`", names)
    for kind in kinds.split(", ")
}


@pytest.mark.parametrize("kind", ["method", "loss", "rule", "study"])
def test_everything_has_a_line(kind):
    missing = [name for name in KNOWN[kind] if (name, kind) not in LISTED]
    assert not missing, f"add a line with the {kind} to docs/papers.md, or name its kind in the line it has"


def test_every_line_has_its_cells():
    assert [row for row in ROWS if len(row) != 4 or not row[2]] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_is_listed_exists(row):
    kinds = row[1].split(", ")
    assert set(kinds) <= set(KNOWN)
    for name in re.findall("`(.+?)`", row[0]):
        assert any(name in KNOWN[kind] for kind in kinds), f"there is no {row[1]} {name}"
    for kind in kinds:
        assert any(name in KNOWN[kind] for name in re.findall("`(.+?)`", row[0]))


def test_names_in_remarks_exist():
    everything = {name for names in KNOWN.values() for name in names}
    others = {"labels=hard", "loss.py", "s2s"}
    remarks = " ".join(cell for row in ROWS for cell in row[2:])
    assert set(re.findall("`(.+?)`", remarks)) - everything - others == set()


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_page_of_methods_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import write_methods

    monkeypatch.delitem(sys.modules, "write_methods")
    page = (ROOT / "docs" / "methods.md").read_text()
    assert page == write_methods.page(), "run python scripts/write_methods.py > docs/methods.md"
    for name in (*METHODS, *LOSSES):
        assert f"| `{name}` |" in page or name == "xent"


def test_results_in_the_readme_are_those_of_their_page():
    page = (ROOT / "docs" / "results" / "chess-methods.md").read_text().splitlines()
    shown = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert len(shown) >= 5
    assert set(shown) <= set(page)
