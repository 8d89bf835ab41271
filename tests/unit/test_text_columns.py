"""A user's own texts: formats, names of columns, templates, balance."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surpass.errors import ConfigError, DataError
from surpass.identity import identity_fields
from surpass.tasks import protocol
from surpass.tasks.text import TextTask

ROWS = [
    {
        "premise": f"premise, {n} ü",
        "hypothesis": f'"so" {n}',
        "stars": n % 2,
        "key": f"k{n}",
        "page": n // 4,
        "hard": n / 2,
    }
    for n in range(200)
]
SETTINGS = {
    "text": "{premise}\n{hypothesis}",
    "label": "stars",
    "id": "key",
    "group": "page",
    "difficulty_column": "hard",
}


def json_lines(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_delimited(path: Path, rows, delimiter: str) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        if delimiter == ",":
            writer = csv.writer(file)
            writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
            return
        for values in (rows[0], *(row.values() for row in rows)):
            file.write("\t".join(map(str, values)) + "\n")


@pytest.fixture
def written(tmp_path) -> dict[str, str]:
    """The same rows in every format."""
    (tmp_path / "rows.jsonl").write_text(json_lines(ROWS))
    (tmp_path / "rows").write_text(json_lines(ROWS))
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    (tmp_path / "rows.jsonl.xz").write_bytes(lzma.compress(json_lines(ROWS).encode()))
    write_delimited(tmp_path / "rows.csv", ROWS, ",")
    write_delimited(tmp_path / "rows.tsv", ROWS, "\t")
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress((tmp_path / "rows.csv").read_bytes()))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    return {path.name: str(path) for path in tmp_path.iterdir()}


def everything(task: TextTask) -> list[dict[str, object]]:
    found = []
    for part in task.parts:
        inputs, truth, _ = task.examples(part=part, size=None, seed=0)
        for row, right in zip(inputs.to_pylist(), truth["truth"].to_pylist(), strict=True):
            found.append(row | {"truth": right, "part": part})
    return sorted(found, key=lambda row: str(row["id"]))


def test_every_format_is_the_same(written):
    expected = everything(TextTask(written["rows.jsonl"], **SETTINGS))
    assert len(expected) == 200
    assert len(written) == 8
    for path in written.values():
        assert everything(TextTask(path, **SETTINGS)) == expected, path


def test_columns_and_templates(written):
    task = TextTask(written["rows.csv"], **SETTINGS, ask="Is it? Answer with 1 or 0.")
    assert task.class_names == (0, 1)
    assert task.difficulty == "difficulty"
    parts: dict[int, set[object]] = {}
    for row in everything(task):
        number = int(str(row["id"])[1:])
        assert row["text"] == f'premise, {number} ü\n"so" {number}'
        assert (row["truth"], row["difficulty"]) == (number % 2, number / 2)
        assert row["ask"] == "Is it? Answer with 1 or 0."
        parts.setdefault(number // 4, set()).add(row["part"])
    assert all(len(part) == 1 for part in parts.values())
    assert len(set.union(*parts.values())) == 4


def test_one_column_and_a_line_break_in_words(written):
    task = TextTask(written["rows.jsonl"], text="hypothesis", label="stars")
    assert everything(task)[0]["text"].startswith('"so" ')
    task = TextTask(written["rows.jsonl"], text=r"{{{premise}}}\n{page}", label="stars", id="key")
    assert everything(task)[0]["text"] == "{premise, 0 ü}\n0"


def test_what_counts(tmp_path):
    assert identity_fields(TextTask("x")) == {"name": "text", "classes": [], "split_seed": 0}
    changed = identity_fields(TextTask("x", **SETTINGS, ask="?", balance="yes"))
    assert changed.keys() == {*SETTINGS, "name", "classes", "split_seed", "ask", "balance"}


class TestDelimited:
    def read(self, tmp_path, text, **settings):
        (tmp_path / "a.csv").write_text(text)
        return TextTask(str(tmp_path / "a.csv"), **settings)

    def test_classes(self, tmp_path):
        rows = "text,label\n" + "".join(f"a{n},{n}\n" for n in range(11))
        assert self.read(tmp_path, rows).class_names == tuple(range(11))
        words = ("0", "1", *map(str, range(2, 11)))
        assert self.read(tmp_path, rows, classes=words).class_names == words
        task = self.read(tmp_path, "text,label\na,1\nb,no\n")
        assert task.class_names == ("1", "no")
        assert self.read(tmp_path, "text,label\na,1\nb,0\n", classes=(1, 0)).class_names == (1, 0)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("text,label\na,1\n,0\n", "row 1: text is empty"),
            ("text,label\na,1\nb,\n", "row 1: label is missing"),
            ("text,label,id\na,1,x\nb,0,\n", "row 1: id is missing"),
            ("text,label,difficulty\na,1,2\nb,0,\n", "row 1: difficulty is nan and must be a number"),
            ("text,label,difficulty\na,1,2\nb,0,x\n", "column difficulty is string; it must hold numbers"),
            ("text,label\na,1,2\n", "line 2 has 3 fields, and there are 2 columns"),
            ("text,label\n", "holds no rows"),
        ],
    )
    def test_says_where(self, tmp_path, text, message):
        with pytest.raises(DataError, match=message):
            everything(self.read(tmp_path, text))

    def test_an_empty_group_is_none(self, tmp_path):
        task = self.read(tmp_path, "text,label,group\n" + "".join(f"a{n},{n % 2},\n" for n in range(60)))
        assert len({row["part"] for row in everything(task)}) > 1


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"text": "question"},
                "has no column question; it has premise, hypothesis, stars, key, page, hard",
            ),
            ({"text": "{premise} {question}"}, "has no column question; it has"),
            ({"label": "gold"}, "has no column gold; it has"),
            ({"label": ""}, "has neither of the columns truth and label"),
            ({"id": "name"}, "has no column name; it has"),
            ({"id": "page"}, "rows 0 and 1 have page '0'; keep one"),
            ({"group": "side"}, "has no column side"),
            ({"difficulty_column": "premise"}, "column premise is string; it must hold numbers"),
            ({"label": "hard"}, "column hard is double; classes must be whole numbers or strings"),
            ({"text": "page"}, "column page is int64; it must hold strings"),
        ],
    )
    def test_columns(self, written, changes, message):
        with pytest.raises(DataError, match=message):
            everything(TextTask(written["rows.jsonl"], **{**SETTINGS, **changes}))

    @pytest.mark.parametrize("text", ["{", "{}", "{a!r}", "{a:3}", "a } b"])
    def test_templates(self, text):
        with pytest.raises(ConfigError, match="is no template"):
            TextTask("x", text=text)

    def test_a_missing_value_in_a_template(self, tmp_path):
        (tmp_path / "a.jsonl").write_text('{"a": "x", "b": "y", "label": 0}\n{"a": "x", "label": 1}\n')
        with pytest.raises(DataError, match="row 1: text is empty"):
            everything(TextTask(str(tmp_path / "a.jsonl"), text="{a} {b}"))

    def test_two_columns_of_one_name(self, tmp_path):
        table = pa.Table.from_arrays([["a"], ["b"], [0]], names=["text", "text", "label"])
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(DataError, match="two columns called text"):
            everything(TextTask(str(tmp_path / "a.parquet")))

    def test_an_archive_of_two(self, tmp_path):
        import zipfile

        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a.csv", "text,label\na,1\n")
            archive.writestr("b.csv", "text,label\na,1\n")
        with pytest.raises(DataError, match="holds 2 files of data"):
            everything(TextTask(str(tmp_path / "a.zip")))

    def test_balance(self):
        with pytest.raises(ConfigError, match="balance='maybe' must be yes or no"):
            TextTask("x", balance="maybe")


class TestBalance:
    def task(self, tmp_path, labels, **settings) -> TextTask:
        rows = [{"text": f"t{n}", "label": label, "difficulty": n} for n, label in enumerate(labels)]
        (tmp_path / "a.jsonl").write_text(json_lines(rows))
        return TextTask(str(tmp_path / "a.jsonl"), **settings)

    def test_off_by_default(self, tmp_path):
        task = self.task(tmp_path, [0] * 300 + [1] * 100)
        assert Counter(row["truth"] for row in everything(task)) == {0: 300, 1: 100}
        assert task.examples(part="test", size=1, seed=0).notes == {}

    @pytest.mark.parametrize("labels", [[0] * 300 + [1] * 100, [0] * 300 + [1] * 200 + [2] * 60])
    def test_on(self, tmp_path, labels):
        task = self.task(tmp_path, labels, balance="yes")
        rows = everything(task)
        for part in task.parts:
            counts = Counter(row["truth"] for row in rows if row["part"] == part)
            assert len(counts) == len(set(labels))
            assert len(set(counts.values())) == 1
        assert all(row["text"] == f"t{row['difficulty']:g}" for row in rows)
        inputs, truth, notes = task.examples(part="test", size=None, seed=5)
        num = len(set(labels))
        assert all(
            len(set(truth["truth"].to_pylist()[start : start + num])) == num
            for start in range(0, len(inputs), num)
        )
        assert notes.keys() == {protocol.UNBALANCED, protocol.UNBALANCED_TEST}
        assert len(rows) + sum(notes.values()) == len(labels)

    def test_too_few(self, tmp_path):
        with pytest.raises(DataError, match=r"text is too small for its split: no example of class"):
            everything(self.task(tmp_path, [0] * 40 + [1], balance="yes"))
        task = self.task(tmp_path, ["a"] * 40 + ["b"] * 40, balance="yes", classes=("a", "b", "c"))
        with pytest.raises(DataError, match="text has no example of class 'c' at all"):
            everything(task)
