"""Every number of a study is the same wherever it is shown: as text where printed, to the last bit elsewhere.

`surpass run --json` is what all others are held against.
"""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from processes import nursery
from surpass.report.document import read_document
from surpass.rows import METRICS

STUDY = (
    "planted",
    "pairs=linear:4>linear:all,linear:16>linear:4",
    "methods=naive,top_confident,mix_truth(frac=0.5),gce(q=0.9),bootstrap",
    "seeds=3",
    "labels=soft",
    "num_train=200",
    "num_test=300",
    "epochs=3",
)
METHODS = ("naive", "top_confident", "mix_truth(frac=0.5)", "gce(q=0.9)")
NUM_PAIRS, NUM_SEEDS = 2, 3
_PRINTED = re.compile(r"undefined \(\d+\)|<0\.001|[-+]?\d[\d,]*(?:\.\d+)?(?:/\d+)?")

Cells = list[list[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("same")
    ended = nursery().run("run", *STUDY, cwd=folder)
    assert ended.code == 0, ended.err
    (folder / "terminal.txt").write_text(ended.out)
    return folder


@pytest.fixture(scope="module")
def results(folder) -> dict[str, Any]:
    return nursery().run("run", *STUDY, "--json", cwd=folder).json()


@pytest.fixture(scope="module")
def place(folder) -> Path:
    (found,) = (folder / "results").iterdir()
    return found


def printed(text: str) -> list[str]:
    """The numbers of a text, in their order; a minus sign of any kind is one."""
    return _PRINTED.findall(text.replace("\N{MINUS SIGN}", "-"))


def terminal(folder: Path, which: int) -> Cells:
    """The numbers of each line of the first or second table."""
    tables = re.split(r"\n─+\n", (folder / "terminal.txt").read_text())[1:]
    body, _, _ = tables[which].partition("\n\n(1)" if which == 0 else "\n\nvs naive")
    lines = [line for line in body.splitlines() if (line.startswith("  ") if which == 0 else line)]
    return [printed(line.strip().partition(" ")[2]) for line in lines]


def table(folder: Path, format: str, what: str) -> str:
    ended = nursery().run("table", *STUDY, "--format", format, "--what", what, cwd=folder)
    assert ended.code == 0, ended.err
    return ended.out


def latex(folder: Path, what: str) -> Cells:
    text = table(folder, "latex", what)
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    lines = [
        line.replace("$", "").replace(r"\textless{}", "<") for line in body.splitlines() if " & " in line
    ]
    return [printed(" ; ".join(line.split(" & ")[1:])) for line in lines]


def markdown(folder: Path, what: str) -> Cells:
    lines = [line for line in table(folder, "markdown", what).splitlines() if line.startswith("| ")][1:]
    cells = [line.replace("\\", "").strip("| ").split(" | ") for line in lines]
    return [printed(" ; ".join(line[1:])) for line in cells if any(line[1:])]


class Rows(HTMLParser):
    """The cells of rows of a table that carry an attribute, headings and drawings left out."""

    def __init__(self, attribute: str) -> None:
        super().__init__()
        self.attribute, self.rows, self.places = attribute, [], []
        self.wanted = self.inside = False

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        if tag == "tr":
            self.inside, self.wanted = False, self.attribute in said
            if self.wanted:
                self.rows.append([])
                self.places.append(int(said[self.attribute]))
        elif tag == "td":
            self.inside = self.wanted and "drawn" not in (said.get("class") or "")
            if self.inside:
                self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag in ("td", "table"):
            self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def page(place: Path, attribute: str) -> Cells:
    parser = Rows(attribute)
    parser.feed((place / "report.html").read_text())
    cells = [printed(" ; ".join(row)) for row in parser.rows]
    if attribute == "data-rank":
        return cells
    # Within a pair the page shows oracles last.
    return [row for _, row in sorted(zip(parser.places, cells, strict=True))]


def as_csv(folder: Path, what: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table(folder, "csv", what))))


def value(text: str) -> Any:
    """What a field of a CSV says."""
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    try:
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
    except ValueError:
        return text


def close(text: str, value: float | None) -> bool:
    """Whether a printed percentage is a fraction's."""
    return value is not None and abs(float(text) - 100 * value) <= 0.05 + 1e-9


class TestPrinted:
    def test_the_terminal_rounds_the_results(self, folder, results):
        lines = terminal(folder, 0)
        assert len(lines) == len(results["summaries"]) == NUM_PAIRS * len(METHODS)
        for line, summary in zip(lines, results["summaries"], strict=True):
            estimate = summary["estimate"]
            assert all(map(close, line[:3], (estimate[role] for role in ("weak", "student", "ceiling"))))
            if estimate["valid"]:
                assert all(map(close, line[3:6], (estimate[name] for name in ("value", "low", "high"))))
            else:
                assert line[3] == "undefined (1)"
            assert line[-2] == str(NUM_SEEDS)
        assert {summary["estimate"]["valid"] for summary in results["summaries"]} == {True, False}

    def test_summaries_are_the_same_text_everywhere(self, folder, place):
        expected = terminal(folder, 0)
        assert len({tuple(line) for line in expected}) > NUM_PAIRS
        assert page(place, "data-summary") == expected
        assert latex(folder, "summary") == expected
        assert markdown(folder, "summary") == expected
        text = table(folder, "text", "summary").partition("\n\n(1)")[0]
        lines = [line for line in text.splitlines() if line.startswith("  ")]
        assert [printed(line.strip().partition(" ")[2]) for line in lines] == expected

    def test_methods_are_the_same_text_everywhere(self, folder, place, results):
        expected = terminal(folder, 1)
        assert len(expected) == len(METHODS)
        assert page(place, "data-rank") == expected
        assert latex(folder, "methods") == expected
        assert markdown(folder, "methods") == expected
        compared = {rank["method"]: rank["comparison"] for rank in results["methods"] if rank["comparison"]}
        differences = sorted(float(line[3]) for line in expected if len(line) > 3)
        assert differences == pytest.approx(
            sorted(100 * one["difference"] for one in compared.values()), abs=0.05 + 1e-9
        )

    def test_rows_by_seed(self, folder, results):
        expected = latex(folder, "rows")
        assert markdown(folder, "rows") == expected
        assert len(expected) == len(results["rows"]) == NUM_PAIRS * len(METHODS) * NUM_SEEDS
        for line, row in zip(expected, results["rows"], strict=True):
            assert int(line[0]) == row["seed"]
            assert all(map(close, line[1:4], (row[f"{role}_acc"] for role in ("weak", "student", "ceiling"))))
            assert close(line[-1], row["agreement"])
            assert len(line) == (5 if row["pgr"] is None else 6)
            assert row["pgr"] is None or close(line[4], row["pgr"])

    def test_sentences(self, folder, place):
        document = read_document(place)
        text = " ".join((folder / "terminal.txt").read_text().split())
        assert text.endswith(document["answer"])
        for note in document["studies"][0]["footnotes"]:
            assert note in text
        shown = (place / "report.html").read_text()
        assert document["answer"] in shown.replace("&#x27;", "'")


class TestToTheLastBit:
    def test_the_document_is_the_results(self, place, results):
        document = read_document(place)
        for told, summary in zip(document["summaries"], results["summaries"], strict=True):
            assert (told["estimate"], told["metrics"]) == (summary["estimate"], summary["metrics"])
            assert told["seconds"] == summary["seconds"]
            assert (told["weak"], told["strong"]) == (summary["weak_model"], summary["strong_model"])
        for name in (
            "seed",
            "weak_acc",
            "student_acc",
            "ceiling_acc",
            "pgr",
            "seconds",
            "num_test",
            *METRICS,
        ):
            assert document["rows"][name] == [row[name] for row in results["rows"]]
        for told, rank in zip(document["ranks"], results["methods"], strict=True):
            assert told["pgr"] == rank["pgr"]
            if rank["comparison"] is not None:
                assert rank["comparison"].items() <= told["comparison"].items()
        left = [(one["method"], one["reason"]) for one in results["left_out"]]
        assert [(one["method"], one["reason"]) for one in document["studies"][0]["left_out"]] == left
        assert left

    def test_csv_of_summaries(self, folder, results):
        for line, summary in zip(as_csv(folder, "summary"), results["summaries"], strict=True):
            estimate = dict(summary["estimate"])
            told = {f"{role}_acc": estimate.pop(role) for role in ("weak", "student", "ceiling")}
            told |= {
                f"pgr{end}": estimate.pop(name)
                for name, end in (("value", ""), ("low", "_low"), ("high", "_high"))
            }
            told |= estimate | summary["metrics"] | {"seconds": summary["seconds"]}
            assert {name: value(line[name]) for name in told} == told

    def test_csv_of_methods_and_rows(self, folder, results):
        for line, rank in zip(as_csv(folder, "methods"), results["methods"], strict=True):
            assert value(line["pgr_median"]) == rank["pgr"]["median"]
            for name in ("difference", "low", "high", "p_value", "adjusted_p"):
                assert value(line[name]) == (rank["comparison"] or {}).get(name)
        for line, row in zip(as_csv(folder, "rows"), results["rows"], strict=True):
            names = ("seed", "weak_acc", "student_acc", "ceiling_acc", "pgr", *METRICS)
            assert {name: value(line[name]) for name in names} == {name: row[name] for name in names}

    def test_a_report_made_anew_is_the_same(self, folder, place):
        ended = nursery().run("report", *STUDY, "--json", cwd=folder)
        told, left = ended.json(), read_document(place)
        assert {name: told[name] for name in told if name != "made"} == {
            name: left[name] for name in left if name != "made"
        }
        assert json.dumps(told["rows"]) == json.dumps(left["rows"])
