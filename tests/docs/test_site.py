"""`make docs`: it builds without a warning, and has every page, public name and command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from blocks import ROOT, pages

import surpass
from surpass.cli import app


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "scripts" / "build_docs.py"), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_in_the_tree(site):
    contents = (site / "index.html").read_text()
    for page in pages():
        name = "readme" if page.name == "README.md" else str(page.relative_to(ROOT / "docs").with_suffix(""))
        assert (site / f"{name}.html").is_file()
        assert name == "index" or f'href="{name}.html"' in contents, (
            f"{name} is in no toctree of docs/index.md"
        )


def test_pictures_are_there(site):
    readme = (site / "readme.html").read_text()
    for source in re.findall(r'<img[^>]* src="([^"]+)"', readme):
        assert (site / source).is_file()
    assert "chess-report.png" in readme


def test_the_reference_has_all_public_names(site):
    page = (site / "reference" / "python.html").read_text()
    for name in surpass.__all__:
        assert f'id="surpass.{name}"' in page


def test_the_reference_has_all_commands(site):
    page = (site / "reference" / "command-line.html").read_text()
    shown = set(re.findall(r"<span class=\"pre\">surpass</span> <span class=\"pre\">([\w-]+)", page))
    assert shown >= set(typer.main.get_command(app).commands)
    assert "--checkpoint-seconds S" in re.sub(r"<[^>]+>", "", page)


def test_make_docs_is_what_the_test_builds():
    done = subprocess.run(["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ".venv/bin/python scripts/build_docs.py" in done.stdout.splitlines()


def test_the_citation_is_of_this_version():
    """Its form was held against the schema of CFF 1.2.0 when it was written; cffconvert does so again."""
    said = yaml.load((ROOT / "CITATION.cff").read_text(), Loader=yaml.BaseLoader)
    assert said["cff-version"] == "1.2.0"
    assert said["version"] == surpass.__version__
    assert {"message", "title", "authors"} <= said.keys()
    (paper,) = said["references"]
    assert paper["type"] == "article"
    assert len(paper["authors"]) == 12
    assert paper["url"] == "https://arxiv.org/abs/2312.09390"
    assert all(set(author) == {"family-names", "given-names"} for author in paper["authors"])
