"""Tables for papers: the terminal's numbers, marks of the formats as text, all digits in CSV."""

from __future__ import annotations

import csv
import json
import math
import re

import pytest
from typer.testing import CliRunner

from reference.figure_documents import METHODS, PAIRS, document, joined, study_rows
from surpass.cli import app
from surpass.errors import ConfigError, DataError
from surpass.report.figures.reading import Shown
from surpass.report.methods import methods_table
from surpass.report.paper_tables import FORMATS, WHAT, latex, latex_number, markdown, table_text
from surpass.report.table_source import parts_of
from surpass.report.terminal import plain_text
from surpass.results import Results

NO_GAP = ("chess-3", "chess-4", 260, 260)
HOSTILE = 'a_b%{c}$\\d& e#~^<x>|"[*]`→\u202e\x00\nz'


@pytest.fixture
def made():
    return document(pairs=(*PAIRS, NO_GAP))


def terminal_of(made):
    """What `surpass run` prints of the same study."""
    rows, correct = study_rows((*PAIRS, NO_GAP), METHODS, task="chess-puzzles", labels="hard", num_seeds=2)
    return plain_text(Results.build(rows, correct))


def numbers_of(text):
    return re.findall(r"[<+-]?\d+(?:[.,]\d+)*", text)


def cells_of_latex(text):
    """Rows of the only tabular, its marks taken away: lists of cells."""
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    rows = [line.strip().removesuffix(r" \\") for line in body.splitlines() if " & " in line]
    unmarked = [re.sub(r"\\quad |\\textbf|[{}$]", "", row).replace("\\_", "_") for row in rows]
    return [[cell.strip() for cell in row.split(" & ")] for row in unmarked]


def check_latex(text):
    """Braces and environments are closed in order, and every mark of LaTeX is escaped or meant."""
    depth, open_ = 0, []
    for found in re.finditer(r"\\begin\{(\w+)\}|\\end\{(\w+)\}|\\[\\{}$&#_% ]|\\[A-Za-z]+|[{}]", text):
        if found[1]:
            open_.append(found[1])
        elif found[2]:
            assert open_.pop() == found[2]
        elif found[0] in "{}":
            depth += 1 if found[0] == "{" else -1
            assert depth >= 0
    assert depth == 0
    assert open_ == []
    bare = re.sub(r"\\.|^%.*$", "", text, flags=re.MULTILINE)
    assert bare.count("$") % 2 == 0
    assert not set(re.sub(r"\$[^$]*\$", "", bare)) & set('#_%~^<>|"`\x00\n→') - {"\n", "`"}
    columns = len(re.search(r"\\begin\{tabular\}\{(l?r*)\}", text)[1])
    for line in text.split(r"\toprule")[1].split(r"\bottomrule")[0].splitlines():
        if line.strip().endswith(r"\\") and "multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == columns - 1, line


class TestSameNumbers:
    def test_latex_has_the_cells_of_the_terminal(self, made):
        rows = cells_of_latex(table_text(made))
        lines = [
            re.sub(r"\[ +", "[", line) for line in terminal_of(made).splitlines() if line.startswith("  ")
        ]
        expected = [re.split(r"  +", line.strip()) for line in lines]
        assert len(rows) == 12
        assert rows == expected

    @pytest.mark.parametrize("format", ["latex", "markdown", "text"])
    @pytest.mark.parametrize("what", ["summary", "methods"])
    def test_every_number_of_the_terminal_is_there_as_it_stands(self, made, format, what):
        text = table_text(made, format=format, what=what).replace("$", "").replace("\\", "")
        summary, *ranked = terminal_of(made).split("\n\nmethod ")
        table = summary if what == "summary" else ranked[0]
        shown = table.split("\n\n(1)")[0].split("\n\nvs naive:")[0].splitlines()[1:]
        expected = [number for line in shown for number in numbers_of(line)]
        assert len(expected) > 10
        found = numbers_of(text)
        assert [n for n in expected if n not in found] == []

    def test_the_methods_are_in_the_order_of_the_terminal(self, made):
        (part,) = parts_of(Shown(made))
        names = [cell.name for cell in methods_table(part.results.ranks).columns[0].cells]
        assert [row[0].strip("*") for row in cells_of_latex(table_text(made, what="methods"))] == names

    def test_undefined_pgr_has_its_reason_and_oracles_their_mark(self, made):
        for format in ("latex", "markdown", "text"):
            text = table_text(made, format=format)
            assert "undefined (1)" in text
            assert "(1) the ceiling" in text
            assert text.replace("\\", "").count("early_stop_truth*") == 4
            assert "used ground truth (oracle)" in text
        assert "undefined" not in table_text(document())

    def test_rows_are_seeds(self, made):
        rows = cells_of_latex(table_text(made, what="rows"))
        assert len(rows) == len(made["rows"]["seed"]) == 24
        assert rows[0] == ["naive", "0", "30.0", "35.0", "50.0", "25.0", "0.0"]
        assert [row[5] for row in rows[-6:]] == ["-"] * 6
        assert "where the ceiling of a seed does not beat its supervisor" in table_text(made, what="rows")

    def test_several_studies_are_several_tables(self, made):
        both = joined(made, document(name="other", task="another"))
        text = table_text(both)
        assert text.count(r"\begin{table}") == 2
        assert r"\label{tab:other-summary}" in text
        assert text.split(r"\end{table}")[1].count("undefined") == 0
        check_latex(text.split(r"\end{table}")[0] + r"\end{table}")


class TestMarks:
    def test_latex_is_closed_and_escaped(self, made):
        for what in WHAT:
            check_latex(table_text(made, what=what))

    def test_hostile_names_are_text_in_latex(self):
        made = document(
            pairs=((HOSTILE, "[strong]*", 120, 200),),
            methods=((HOSTILE, 0.5, True), ("naive", 0.25, False), ("[x]", 0.25, False)),
            task=HOSTILE,
        )
        for what in WHAT:
            text = table_text(made, what=what)
            check_latex(text)
            assert not re.search(r"\\\\\s*\n?\s*[\[*]", text), (
                "LaTeX reads [ or * behind a line's end as an option"
            )
            assert "\u202e" not in text
            assert "\x00" not in text
        with pytest.raises(AssertionError):
            check_latex(text.replace(r"\_", "_"))
        with pytest.raises(AssertionError):
            check_latex(text.replace(r"\bottomrule", r"} \bottomrule"))

    def test_what_latex_makes_of_text(self):
        assert latex("50 % of a_b {x} → \\") == r"50 \% of a\_b \{x\} $\rightarrow$ \textbackslash{}"
        assert latex("a\x00b\u202e") == "a?b?"
        assert latex_number("-3.2 [-11.0, +5.1]") == "$-3.2$ [$-11.0$, $+5.1$]"
        assert latex_number("<0.001") == "$<0.001$"
        assert latex_number("7.6 [4.1, 10.9]") == "7.6 [4.1, 10.9]"
        assert latex_number("-") == "-"

    def test_markdown_has_as_many_cells_in_each_line(self):
        made = document(
            pairs=((HOSTILE, "strong|", 120, 200),), methods=(("a|b", 0.5, True), ("naive", 0.1, False))
        )
        for what in WHAT:
            lines = table_text(made, format="markdown", what=what).splitlines()
            table = [line for line in lines if line.startswith("|")]
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
            assert re.fullmatch(r"\|:---(\|---:)+\|", table[1])
        assert markdown("<b>[x](y)_z|`") == r"\<b\>\[x\](y)\_z\|\`"

    def test_text_has_80_columns_at_most(self, made):
        for what in WHAT:
            assert max(map(len, table_text(made, format="text", what=what).splitlines())) <= 80


class TestCsv:
    def read(self, made, what):
        return list(csv.DictReader(table_text(made, format="csv", what=what).splitlines()))

    def test_summaries_read_back_to_the_same_numbers(self, made):
        records = self.read(made, "summary")
        assert len(records) == len(made["summaries"])
        for record, entry in zip(records, made["summaries"], strict=True):
            estimate = entry["estimate"]
            for column, name in (("pgr", "value"), ("pgr_low", "low"), ("weak_acc", "weak"), ("gap", "gap")):
                expected = estimate[name]
                assert record[column] == "" if expected is None else float(record[column]) == expected
            assert float(record["student_high"]) == entry["accuracy"]["student"][1]
            assert float(record["agreement"]) == entry["metrics"]["agreement"]
            assert (record["weak"], record["method"]) == (entry["weak"], entry["method"])
            assert record["reason"] == (estimate["reason"] or "")

    def test_rows_read_back_to_the_same_numbers(self, made):
        records = self.read(made, "rows")
        for name in ("seed", "weak_acc", "student_acc", "ceiling_acc", "pgr", "kl_misfit", "num_test"):
            found = [math.nan if record[name] == "" else float(record[name]) for record in records]
            expected = [math.nan if v is None else float(v) for v in made["rows"][name]]
            assert [repr(x) for x in found] == [repr(x) for x in expected]
        assert records[0]["strong"] == "chess-2"
        assert "weak_stage" not in records[0]

    def test_methods_read_back_to_the_same_numbers(self, made):
        records = self.read(made, "methods")
        assert [record["method"] for record in records] == [method for method, *_ in METHODS]
        for record, rank in zip(records, made["ranks"], strict=True):
            assert float(record["pgr_median"]) == rank["pgr"]["median"]
            comparison = rank["comparison"] or {"difference": None}
            expected = comparison["difference"]
            assert record["difference"] == "" if expected is None else float(record["difference"]) == expected

    def test_hostile_names_read_back(self):
        made = document(pairs=((HOSTILE, 'a,"b"', 120, 200),))
        text = table_text(made, format="csv", what="summary")
        record = next(csv.DictReader(iter(text.splitlines(keepends=True))))
        assert (record["weak"], record["strong"]) == (HOSTILE, 'a,"b"')


class TestMistakes:
    @pytest.fixture
    def folder(self, tmp_path, made):
        (tmp_path / "report.json").write_text(json.dumps(made))
        return tmp_path

    def run(self, *words):
        return CliRunner().invoke(app, ["table", *map(str, words)])

    def test_the_command_prints_and_writes(self, folder, made):
        done = self.run(folder, "--format", "markdown")
        assert done.stdout == table_text(made, format="markdown")
        assert self.run(folder, "--out", folder / "new" / "t.tex").exit_code == 0
        assert (folder / "new" / "t.tex").read_text() == table_text(made)

    @pytest.mark.parametrize(
        ("words", "error"),
        [
            (("--format", "html"), f"--format html must be one of {', '.join(FORMATS)}"),
            (("--what", "all"), f"--what all must be one of {', '.join(WHAT)}"),
        ],
    )
    def test_what_there_is_not_is_named(self, folder, words, error):
        assert error in str(self.run(folder, *words).exception)

    def test_methods_without_naive_cannot_be_compared(self):
        with pytest.raises(ConfigError, match="no method to compare with naive"):
            table_text(document(methods=METHODS[:1]), what="methods")

    def test_damaged_documents_are_refused(self, made):
        del made["summaries"][0]["estimate"]["gap"]
        with pytest.raises(DataError, match="the report is damaged"):
            table_text(made)
        with pytest.raises(DataError, match="'other'"):
            table_text(made | {"format": "other"})
