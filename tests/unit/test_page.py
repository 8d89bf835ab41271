"""The page without a browser: escapes, size, numbers as the terminal prints them, policy, vendored files."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import re
import sys
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest

from reference.page import METHODS, PAIRS, REASON, document
from reference.results import results
from surpass.report.methods import percent
from surpass.report.page import PACKED, SCRIPTS, embedded, packed, page_of, vendored
from surpass.report.page_marks import marks
from surpass.report.page_text import names_of, points, shown, written
from surpass.report.terminal import plain_text

ASSETS = files("surpass") / "assets" / "page"
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"'><img src=x onerror=alert(1)>",
    "\u202egnp.exe\u200f",
    "a\u2028b\u2029c\0d",
    "<!--{code}-->",
    "\ud800",
)


class Reader(HTMLParser):
    """Elements and attributes of a page, and its scripts with their text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "script"
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)

    def data(self, name: str) -> Any:
        (text,) = (text for attributes, text in self.scripts if attributes.get("id") == f"data-{name}")
        if name == "small":
            return json.loads(text)
        return json.loads(gzip.decompress(base64.b64decode(text)))


def table(page: str, kind: str) -> list[list[str]]:
    """The rows of the tables of a class, each a list of the texts of its cells."""
    found = re.findall(rf'<table class="{kind}">(.*?)</table>', page, re.DOTALL)
    rows = [row for one in found for row in re.findall(r"<tr.*?</tr>", one, re.DOTALL)]
    cells = [re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<svg.*?</svg>|<[^>]*>", "", cell, flags=re.DOTALL) for cell in row] for row in cells]


def document_like(found) -> dict[str, Any]:
    """A document with the summaries and ranks of results."""
    made = document(bare=True)
    told = found._document()
    made["summaries"] = [
        {
            "study": 0,
            "weak": summary["weak_model"].split(":")[-1],
            "strong": summary["strong_model"].split(":")[-1],
            **{name: summary[name] for name in ("task", "method", "labels", "oracle", "seconds")},
            **{name: summary[name] for name in ("estimate", "metrics")},
            "accuracy": {},
        }
        for summary in told["summaries"]
    ]
    made["ranks"] = [{"study": 0, **rank} for rank in told["methods"]]
    made["rows"] = {name: [] for name in made["rows"]}
    return made


class TestNumbers:
    PAIRS = (("ladder:chess-2", "ladder:chess-4", 121, 201), ("ladder:chess-4", "ladder:chess-5", 200, 196))

    def test_tables_are_those_of_the_terminal(self):
        methods = [("naive", 0.25, False), ("early_stop", 0.4, False), ("ceiling-stop", 0.5, True)]
        found = results(self.PAIRS, methods, num_seeds=3)
        page = page_of(document_like(found))
        printed = plain_text(found)
        for cells in table(page, "results"):
            if len(cells) == 8 and cells[0] != "method":
                name, weak, student, ceiling, pgr, _, seeds, time = cells
                line = " ".join((name, weak, student, ceiling, pgr, seeds, time))
                assert line in re.sub(r"[ ]+", " ", printed.replace("[ ", "["))
        for cells in table(page, "ranks")[1:]:
            line = " ".join(cell for cell in cells if cell).replace("&lt;", "<")
            assert line in re.sub(r"[ ]+", " ", printed)
        assert page.count("<tr data-summary=") == 6

    def test_halves_are_rounded_to_even(self):
        halves = [(2 * n + 1) / 800 for n in range(400)]
        for value in [*halves, -0.0001, -0.0004, 0.0, 1.0]:
            assert percent(value) in (f"{100 * value:.1f}", "0.0")
        assert written(0.00125, "percent") == "0.1"
        assert written(0.00375, "percent") == "0.4"
        assert points(-0.0001) == f"{-0.01:+.1f}"
        assert [written(value, "number") for value in (0.125, -0.001, None)] == ["0.12", "0.00", "-"]
        assert written(1234.0, "count") == "1,234"

    def test_undefined_says_why(self):
        page = page_of(document(undefined=True))
        assert "undefined (1)" in page
        assert f"(1) {REASON}" in page
        assert '<svg class="mark"' not in page

    def test_oracles_stand_behind_the_others_and_are_marked(self):
        page = page_of(document(methods=("easy_to_hard", "naive"), bare=True))
        names = [cells[0] for cells in table(page, "results") if len(cells) == 8]
        assert names == ["method", "naive", "easy_to_hard*", "naive", "easy_to_hard*"]

    def test_marks_stay_within_their_picture(self):
        wild = {"valid": True, "low": -50.0, "value": 3.0, "high": 90.0}
        scale, (mark, none) = marks([wild, {"valid": False, "low": None, "value": None, "high": None}])
        assert none == ""
        assert all(0 <= float(x) <= 140 for x in re.findall(r'x[12]?="([-\d.]+)"', scale + mark))


class TestSafety:
    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_hostile_text_is_text(self, text):
        plain, hostile = (page_of(document(hostile=extra)) for extra in ("", text))
        assert [tag for tag, _ in Reader(hostile).tags] == [tag for tag, _ in Reader(plain).tags]
        assert set(Reader(hostile).data("stages")[0]["fields"]) == {"seed", "epochs", "loss", "note"}
        assert Reader(hostile).data("small")["studies"][0]["name"] == f"chess{text}"
        hostile.replace("\ud800", "?").encode()

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_what_is_embedded_is_read_back(self, text):
        value = {"a": [text, None, 0.1], text: {}}
        assert json.loads(embedded(value)) == value
        assert not re.search("[<>&\u2028\u2029]", embedded(value))
        assert json.loads(gzip.decompress(base64.b64decode(packed(value)))) == value

    def test_texts_of_a_megabyte_are_cut_where_they_are_shown(self):
        made = document(bare=True)
        made["answer"] = made["studies"][0]["footnotes"][0] = "x" * 1_000_000
        before_data = page_of(made).split('<script type="application/json"')[0]
        assert "(1,000,000 characters)" in before_data
        assert len(before_data) < 60_000
        assert shown("x" * 401) == "x" * 400 + "… (401 characters)"

    def test_nan_is_refused(self):
        with pytest.raises(ValueError, match="not JSON compliant"):
            embedded({"a": float("nan")})

    def test_policy_names_the_scripts_that_are_there_and_no_place_to_ask(self):
        reader = Reader(page_of(document()))
        (policy,) = (a["content"] for _, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        run = [text for attributes, text in reader.scripts if "type" not in attributes]
        digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run}
        assert len(digests) == 3
        assert set(rules.pop("script-src").split()) == {f"'sha256-{digest}'" for digest in digests}
        assert rules == {
            "default-src": "'none'",
            "style-src": "'unsafe-inline'",
            "img-src": "data:",
            "base-uri": "'none'",
            "form-action": "'none'",
        }

    def test_nothing_is_fetched(self):
        for tag, attributes in Reader(page_of(document())).tags:
            assert not {"src", "srcset", "action", "background"} & set(attributes), tag
            assert (attributes.get("href") or "#").startswith("#")
            assert tag != "link"

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_our_scripts_make_no_html_of_text(self, name):
        code = (ASSETS / name).read_text()
        banned = (
            "innerHTML|outerHTML|insertAdjacentHTML|document.write|DOMParser|eval\\(|Function\\(|fetch\\("
        )
        assert not re.search(banned, code)
        assert "XMLHttpRequest" not in code
        assert len(code.splitlines()) < 250


class TestVendored:
    MANIFEST = json.loads((ASSETS / "vendor" / "manifest.json").read_text())

    def test_files_are_those_of_the_manifest(self):
        listed = {name for package in self.MANIFEST["packages"] for name in package["files"]}
        there = {entry.name for entry in (ASSETS / "vendor").iterdir()}
        assert there == listed | {"manifest.json"}
        for package in self.MANIFEST["packages"]:
            assert package["licence"] == "ISC"
            for name, told in package["files"].items():
                found = hashlib.sha256((ASSETS / "vendor" / name).read_bytes()).hexdigest()
                assert found == told["sha256"], name

    def test_versions_are_those_of_the_files(self):
        versions = {package["name"]: package["version"] for package in self.MANIFEST["packages"]}
        assert f"v{versions['d3']}" in (ASSETS / "vendor" / "d3.min.js").read_text()[:200]
        plot = (ASSETS / "vendor" / "plot.umd.min.js").read_text()[:400]
        assert f"v{versions['@observablehq/plot']}" in plot
        assert f"d3@{versions['d3']}" in plot

    def test_licences_stand_in_the_page(self):
        page = page_of(document())
        for text in vendored().values():
            assert "Permission to use, copy, modify" in text
            assert text in page

    def test_every_script_of_ours_is_joined(self):
        assert {entry.name for entry in ASSETS.iterdir() if entry.name.endswith(".js")} == set(SCRIPTS)


class TestPage:
    def test_equal_documents_make_equal_pages(self):
        assert page_of(document()) == page_of(document())

    def test_the_document_is_whole(self):
        made = document(methods=METHODS)
        reader = Reader(page_of(made))
        read = reader.data("small") | {name: reader.data(name) for name in PACKED}
        assert read.pop("names") == ["chess"]
        assert read == made

    def test_a_thousand_rows_stay_below_three_megabytes(self):
        made = document(pairs=PAIRS, methods=METHODS, num_seeds=9)
        assert len(made["rows"]["seed"]) > 1_000
        size = len(page_of(made).encode())
        sys.stdout.write(f"{len(made['rows']['seed'])} rows: {size / 1e6:.2f} MB\n")
        assert size < 3_000_000

    def test_a_report_without_results(self):
        made = document(bare=True)
        made |= {"summaries": [], "ranks": [], "rows": {name: [] for name in made["rows"]}}
        page = page_of(made)
        assert "No results." in page
        assert 'id="methods"' not in page

    def test_parts_that_a_document_does_not_have_are_empty(self):
        made = document(bare=True)
        made |= {"versions": [], "stages": []}
        assert Reader(page_of(made)).data("examples") == []

    def test_headings_are_in_order(self):
        page = page_of(document(num_studies=2, methods=METHODS))
        levels = [int(level) for level in re.findall(r"<h([1-6])\b", page.split("<script")[0])]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))

    def test_left_out_is_told_once(self):
        made = document(bare=True)
        assert page_of(made).count("left out for chess-1 → chess-3: two_class") == 1
        made["studies"][0]["footnotes"].append("left out: two_class: needs two classes")
        page = page_of(made).split("<script")[0]
        assert page.count("two_class") == 1

    def test_arrows_are_explained_where_there_are_boards(self):
        assert "Arrows on boards: dashed, orange" in page_of(document())
        assert "Arrows on boards" not in page_of(document(bare=True))

    def test_published_numbers(self):
        made = document(bare=True)
        made["studies"][0]["published"] = {"source": "<Burns>", "accuracy": {}, "pgr": {"naive": 0.2345}}
        assert ["naive", "PGR", "23.4"] in [
            [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
            for row in re.findall("<tr>.*?</tr>", page_of(made))
        ]
        assert "&lt;Burns&gt;" in page_of(made)


class TestNames:
    def name(self, *studies: tuple[str, list[str]]) -> list[str]:
        return names_of({"studies": [{"name": name, "called": called} for name, called in studies]})

    def test_a_study_has_its_name(self):
        assert self.name(("chess", ["chess", "seeds=10"])) == ["chess"]

    def test_namesakes_have_what_the_others_do_not_have(self):
        changes = ["chess", "num_test=10"]
        named = self.name(("chess", [*changes, "seeds=3"]), ("chess", [*changes, "seeds=9"]), ("a", ["a"]))
        assert named == ["chess seeds=3", "chess seeds=9", "a"]

    def test_names_are_short_and_differ(self):
        long = "x" * random.Random(0).randrange(100, 200)
        named = self.name((long, ["a"]), (long + "y", ["b"]))
        assert len(set(named)) == 2
        assert max(map(len, named)) < 70
