"""The page: one HTML file that holds a report and everything it needs, and asks nobody for anything.

`page_of` puts together the template, the style, d3 and Observable Plot, our own scripts and the document.
Tables are written here, so that they are there without scripts; figures, filters and the panel that leads
from a number to its stages are made by the scripts in `assets/page`. Text of the document reaches the page
escaped (tables) or as JSON that the scripts show as text; none of it is ever read as HTML.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from surpass.report.page_methods import methods_section
from surpass.report.page_sections import (
    arrows_note,
    contents,
    head_of,
    results_section,
    studies_section,
)
from surpass.report.page_text import names_of, plain, shown

SCRIPTS = (
    "numbers.js",
    "dom.js",
    "data.js",
    "state.js",
    "chart.js",
    "chart_sizes.js",
    "chart_methods.js",
    "chart_errors.js",
    "chart_training.js",
    "figures.js",
    "tables.js",
    "examples.js",
    "rows.js",
    "panel.js",
    "sides.js",
    "filters.js",
    "main.js",
)
"""Our own scripts in `assets/page`, in the order in which they are joined: one scope, no build step."""

PACKED = ("rows", "stages", "versions", "examples", "overlap", "curves", "calibration")
"""Parts of the document that are compressed; the rest can be read in the file."""

_PLACE = re.compile(r"<!--\{(\w+)\}-->")


def page_of(document: dict[str, Any]) -> str:
    """Write the page of a report.

    Args:
        document: What `surpass.report.document.document_of` makes; fractions are fractions, NaN is None.
    """
    code = _own_code()
    vendor = vendored()
    parts = {
        "title": shown(head_of(document)),
        "policy": _policy([*vendor.values(), code]),
        "style": _asset("page.css"),
        "contents": contents(document),
        "results": results_section(document),
        "methods": methods_section(document),
        "arrows": arrows_note(document),
        "studies": studies_section(document),
        "data": _data_blocks(document),
        "vendor": "\n".join(f"<script>{text}</script>" for text in vendor.values()),
        "code": f"<script>{code}</script>",
    }
    # One pass: what is put in is not looked at again, so that no text of a study can name a place.
    return _PLACE.sub(lambda place: parts[place[1]], _asset("template.html"))


@cache
def vendored() -> dict[str, str]:
    """The libraries as they stand in the page, each with its licence in front, by name of the package."""
    manifest = json.loads(_asset("vendor/manifest.json"))
    texts = {}
    for package in manifest["packages"]:
        code, licence = (
            next(_asset(f"vendor/{name}") for name in package["files"] if name.endswith(ending))
            for ending in (".js", ".LICENSE")
        )
        if "</script" in code.lower() or "<!--" in code or "*/" in licence:
            raise ValueError(f"{package['name']} cannot stand in a page as it is")
        texts[package["name"]] = f"/*! {package['name']} {package['version']}\n{licence}*/\n{code}"
    return texts


def embedded(value: Any) -> str:
    """JSON that can stand in a script element: no character in it can end the element or start another."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    # All others beyond ASCII, the line separators among them, are escaped by `json` itself.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def packed(value: Any) -> str:
    """JSON compressed by gzip, in base64; the same text for the same value."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _data_blocks(document: dict[str, Any]) -> str:
    small = {name: part for name, part in document.items() if name not in PACKED}
    small["names"] = names_of(document)
    blocks = [f'<script type="application/json" id="data-small">{embedded(small)}</script>']
    for name in PACKED:
        held = packed(document.get(name, []))
        blocks.append(f'<script type="text/plain" id="data-{name}">{held}</script>')
    return "\n".join(blocks)


@cache
def _own_code() -> str:
    joined = "\n".join(f"// {name}\n{_asset(name)}" for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{joined}}})();\n'


def _policy(scripts: list[str]) -> str:
    """Nothing is fetched, and no script runs but those that we put in (by their digests).

    Observable Plot writes style elements into its figures, so that styles cannot be listed by digest.
    """
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return plain(
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _asset(name: str) -> str:
    """The text of a file of the page; scripts are compared by digest, so that line ends are made equal."""
    text = (files("surpass") / "assets" / "page" / name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")
