"""Build the documentation: gather the pages, write the reference from the code, run Sphinx.

python scripts/build_docs.py [OUT]    # build/docs by default; any warning is an error
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Pages that lie beside docs/, by what they are called in the tree.
BESIDE = {"README.md": "readme.md", "CHANGELOG.md": "changes.md"}


def gather(source: Path) -> None:
    """Put all pages into a folder: docs/, what lies beside it with its links put right, the reference."""
    from write_reference import write_reference

    shutil.copytree(ROOT / "docs", source, ignore=shutil.ignore_patterns("__pycache__"))
    for page in source.rglob("*.md"):
        up = "../" * len(page.relative_to(source).parts)
        text = page.read_text(encoding="utf-8")
        for other, its_name in BESIDE.items():
            text = text.replace(f"]({up}{other}", f"]({up[3:]}{its_name}")
        page.write_text(text, encoding="utf-8")
    for page_name, name in BESIDE.items():
        text = (ROOT / page_name).read_text(encoding="utf-8")
        text = re.sub(r"(\]\(|src=\")docs/", r"\1", text)
        for other, its_name in BESIDE.items():
            text = text.replace(f"]({other})", f"]({its_name})")
        (source / name).write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "CITATION.cff", source)
    write_reference(source / "reference")


def build(out: Path) -> int:
    """Build the pages; gives Sphinx's exit code."""
    from sphinx.cmd.build import main as sphinx

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "docs"
        gather(source)
        options = ["--quiet", "--fail-on-warning", "--keep-going", "-b", "html", "-d", f"{folder}/doctrees"]
        return sphinx([*options, str(source), str(out)])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    code = build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs")
    sys.exit(code)
