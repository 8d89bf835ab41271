from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surpass.errors import ConfigError, DataError
from surpass.identity import identity_fields
from surpass.tasks.text import TextTask


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def some_rows(num: int, **columns) -> list[dict]:
    return [
        {"text": f"text {n} ü", "label": n % 3} | {name: make(n) for name, make in columns.items()}
        for n in range(num)
    ]


@pytest.fixture
def task(tmp_path) -> TextTask:
    return TextTask(write(tmp_path / "texts.jsonl", some_rows(400)))


class TestExamples:
    def test_columns(self, task):
        inputs, truth, _ = task.examples(part="weak", size=7, seed=0)
        assert inputs.schema.names == ["id", "text", "candidates", "length"]
        assert [str(kind) for kind in inputs.schema.types][1:] == ["string", "list<item: uint16>", "int32"]
        for row, right in zip(inputs.to_pylist(), truth.to_pylist(), strict=True):
            assert right["id"] == row["id"] == sha256(row["text"].encode()).hexdigest()[:32]
            assert row["candidates"] == [0, 1, 2]
            assert row["length"] == len(row["text"])
            assert right["truth"] == int(row["text"].split()[1]) % 3
        assert str(truth.schema.field("truth").type) == "int16"

    def test_what_it_says_of_itself(self, task):
        assert task.name == "text"
        assert task.num_classes == 3
        assert task.class_names == (0, 1, 2)
        assert task.families == {"causal", "encoder"}
        assert task.difficulty is None
        assert task.digests() == {"texts": sha256(Path(task.path).read_bytes()).hexdigest()}
        assert identity_fields(task) == {"name": "text", "classes": [], "split_seed": 0}

    def test_parts_share_nothing_and_are_all(self, task):
        parts = {part: task.examples(part=part, size=None, seed=0).inputs for part in task.parts}
        ids = [name for inputs in parts.values() for name in inputs["id"].to_pylist()]
        assert len(ids) == len(set(ids)) == 400
        assert 120 < len(parts["weak"]) < 200

    def test_a_smaller_size_is_a_prefix(self, task):
        large, small = (
            task.examples(part="student", size=size, seed=4).inputs["id"].to_pylist() for size in (30, 11)
        )
        assert large[:11] == small
        assert task.examples(part="student", size=30, seed=5).inputs["id"].to_pylist() != large
        assert len(task.examples(part="student", size=0, seed=4).inputs) == 0

    def test_groups_stay_together(self, tmp_path):
        rows = some_rows(400, group=lambda n: n // 10, id=lambda n: n)
        task = TextTask(write(tmp_path / "texts", rows))
        seen: dict[int, str] = {}
        for part in task.parts:
            for name in task.examples(part=part, size=None, seed=0).inputs["id"].to_pylist():
                assert seen.setdefault(int(name) // 10, part) == part
        assert len(set(seen.values())) > 1

    def test_rows_moved_or_dropped_move_no_other(self, tmp_path, task):
        rows = some_rows(400)[::-1][50:]
        other = TextTask(write(tmp_path / "other", rows))
        for part in task.parts:
            before, after = (
                set(each.examples(part=part, size=None, seed=0).inputs["id"].to_pylist())
                for each in (task, other)
            )
            assert after <= before

    def test_difficulty_and_strings(self, tmp_path):
        rows = some_rows(40, difficulty=lambda n: n / 2, label=lambda n: ["no", "yes"][n % 2])
        task = TextTask(write(tmp_path / "texts", rows), name="mine", classes=("yes", "no", "never"))
        assert (task.name, task.difficulty, task.num_classes) == ("mine", "difficulty", 3)
        inputs, truth, _ = task.examples(part="weak", size=None, seed=0)
        for row, right in zip(inputs.to_pylist(), truth["truth"].to_pylist(), strict=True):
            number = int(row["text"].split()[1])
            assert row["difficulty"] == number / 2
            assert right == 1 - number % 2

    def test_parquet_is_the_same(self, tmp_path, task):
        rows = [row | {"other": [1]} for row in some_rows(400)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "texts.parquet")
        other = TextTask(str(tmp_path / "texts.parquet"))
        for part in task.parts:
            for first, second in zip(
                task.examples(part=part, size=None, seed=1)[:2],
                other.examples(part=part, size=None, seed=1)[:2],
                strict=True,
            ):
                assert first.equals(second)

    def test_blank_lines_and_other_columns_are_passed_over(self, tmp_path):
        lines = [json.dumps(row | {"note": [row]}) for row in some_rows(5)]
        (tmp_path / "texts").write_text("\n\n".join(lines) + "\n \n")
        task = TextTask(str(tmp_path / "texts"))
        total = sum(len(task.examples(part=part, size=None, seed=0).inputs) for part in task.parts)
        assert total == 5


class TestBadInput:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "holds no rows"),
            ("{", "line 1 is no JSON .*correct the line"),
            ('{"text": "a", "label": 1}\n[1]\n', "line 2 is no object; write"),
            ('{"label": 1}\n', "has no column text; it has label"),
            ('{"text": "a"}\n', "has neither of the columns truth and label"),
            ('{"text": "a", "label": 1, "truth": 1}\n', "has both of the columns truth and label"),
            ('{"text": "a", "label": 1}\n{"text": " ", "label": 0}\n', "row 1: text is empty; correct"),
            ('{"text": "a", "label": 1}\n{"label": 0}\n', "row 1: text is empty"),
            ('{"text": 3, "label": 1}\n', "column text is int64; it must hold strings"),
            ('{"text": "a", "label": 1}\n{"text": "b", "label": "x"}\n', "column label is of several kinds"),
            ('{"text": "a", "label": 0.5}\n', "column label is double; classes must be whole numbers or"),
            ('{"text": "a", "label": 1}\n{"text": "b"}\n', "row 1: label is missing"),
            ('{"text": "a", "label": 1}\n', "label has 1 different values"),
            ('{"text": "a", "label": 1}\n{"text": "a", "label": 0}\n', "rows 0 and 1 have the same text"),
            (
                '{"text": "a", "label": 1, "id": 7}\n{"text": "b", "label": 0, "id": "7"}\n',
                "rows 0 and 1 have id '7'; keep one",
            ),
            (
                '{"text": "a", "label": 1, "difficulty": NaN}\n{"text": "b", "label": 0}\n',
                "row 0: difficulty is nan and must be a number",
            ),
            ('{"text": "\\ud800", "label": 1}\n', "column text is of several kinds|surrogates"),
        ],
    )
    def test_says_where(self, tmp_path, text, message):
        (tmp_path / "texts").write_text(text)
        with pytest.raises(DataError, match=message) as caught:
            TextTask(str(tmp_path / "texts")).examples(part="weak", size=None, seed=0)
        assert str(tmp_path / "texts") in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_value_that_is_no_class(self, tmp_path):
        path = write(tmp_path / "texts", some_rows(5))
        with pytest.raises(DataError, match=r"row 2: label is 2, which is none of the classes \(0, 1\)"):
            TextTask(path, classes=(0, 1)).examples(part="weak", size=1, seed=0)
        with pytest.raises(ConfigError, match="must be at least two, each named once"):
            TextTask(path, classes=(0, 0))

    def test_no_file(self, tmp_path):
        for path in (tmp_path / "none", tmp_path, tmp_path / "none.parquet"):
            task = TextTask(str(path))
            for call in (task.digests, lambda task=task: task.num_classes):
                with pytest.raises(DataError, match="there is no text table"):
                    call()

    def test_other_bytes(self, tmp_path):
        for name in ("texts.jsonl", "texts.parquet"):
            (tmp_path / name).write_bytes(b"\xff\xfe\x00")
            with pytest.raises(DataError, match="cannot be read") as caught:
                TextTask(str(tmp_path / name)).examples(part="weak", size=None, seed=0)
            assert "\n" not in str(caught.value)

    def test_what_is_not_there(self, task):
        with pytest.raises(ConfigError, match="no part 'train' in task text; choose from weak, student"):
            task.examples(part="train", size=1, seed=0)
        with pytest.raises(ConfigError, match="no mix 'even' in task text; choose from all"):
            task.examples(part="weak", size=1, seed=0, mix="even")
        with pytest.raises(ConfigError, match=r"500 examples asked for and \d+ in part 'weak'; ask for"):
            task.examples(part="weak", size=500, seed=0)
