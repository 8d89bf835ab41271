from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from surpass.errors import ConfigError, DataError
from surpass.tasks.generation import GenerationTask, hashed, written

DATA = Path(__file__).parents[3] / "shared" / "data" / "gsm8k"


def rows(num: int) -> list[dict[str, object]]:
    return [
        {"q": f"question {number}", "a": f"answer {number}", "topic": f"t{number // 2}", "name": f"n{number}"}
        for number in range(num)
    ]


def jsonl(path: Path, values: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


SETTINGS = {"prompt": "Q: {q} A:", "completion": " {a}", "group": "topic", "id": "name"}


def everything(task: GenerationTask) -> dict[str, list[tuple[str, str, str]]]:
    found = {}
    for part in task.parts:
        tables = task.examples(part=part, size=None, seed=0)
        assert tables.inputs["id"].to_pylist() == tables.truth["id"].to_pylist()
        columns = (tables.inputs["id"], tables.inputs["prompt"], tables.truth["truth"])
        found[part] = list(zip(*(column.to_pylist() for column in columns), strict=True))
    return found


class TestOwnFile:
    def test_columns_and_templates(self, tmp_path):
        task = GenerationTask(path=str(jsonl(tmp_path / "a.jsonl", rows(40))), **SETTINGS)
        found = [row for part in everything(task).values() for row in part]
        assert sorted(found) == sorted((f"n{k}", f"Q: question {k} A:", f" answer {k}") for k in range(40))

    def test_plain_names(self, tmp_path):
        path = jsonl(tmp_path / "a.jsonl", [{"prompt": f"p{k}", "completion": k} for k in range(20)])
        task = GenerationTask(path=str(path))
        found = [row for part in everything(task).values() for row in part]
        assert sorted(found) == sorted((hashed(f"p{k}"), f"p{k}", str(k)) for k in range(20))

    def test_every_format_is_the_same(self, tmp_path):
        first = GenerationTask(path=str(jsonl(tmp_path / "a.jsonl", rows(30))), **SETTINGS)
        with open(tmp_path / "b.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows(1)[0]))
            writer.writeheader()
            writer.writerows(rows(30))
        second = GenerationTask(path=str(tmp_path / "b.csv"), **SETTINGS)
        assert everything(first) == everything(second)
        assert first.digests().keys() == {"completions"}
        assert first.digests() != second.digests()

    def test_groups_stay_together(self, tmp_path):
        task = GenerationTask(path=str(jsonl(tmp_path / "a.jsonl", rows(80))), **SETTINGS)
        part_of = {name: part for part, found in everything(task).items() for name, _, _ in found}
        assert len(set(part_of.values())) == 4
        assert all(part_of[f"n{2 * k}"] == part_of[f"n{2 * k + 1}"] for k in range(40))

    def test_a_smaller_size_is_a_prefix_and_other_rows_do_not_matter(self, tmp_path):
        task = GenerationTask(path=str(jsonl(tmp_path / "a.jsonl", rows(60))), **SETTINGS)
        large, small = (task.examples(part="weak", size=size, seed=1) for size in (9, 4))
        assert small.inputs.equals(large.inputs.slice(0, 4))
        fewer = GenerationTask(path=str(jsonl(tmp_path / "b.jsonl", rows(60)[::-2])), **SETTINGS)
        parts, others = everything(task), everything(fewer)
        assert all(set(others[part]) <= set(parts[part]) for part in parts)

    def test_columns_of_the_inputs(self, tmp_path):
        task = GenerationTask(path=str(jsonl(tmp_path / "a.jsonl", rows(40))), max_new_tokens=7, **SETTINGS)
        tables = task.examples(part="weak", size=3, seed=0)
        assert tables.inputs.column_names == ["id", "prompt", "length", "max_new_tokens"]
        assert tables.inputs["length"].to_pylist() == [
            len(text) for text in tables.inputs["prompt"].to_pylist()
        ]
        assert tables.inputs["max_new_tokens"].to_pylist() == [7] * 3
        assert [str(kind) for kind in tables.truth.schema.types] == ["string", "string"]
        assert "answer" not in str(tables.inputs.to_pylist())

    def test_what_is_empty_or_repeated_is_counted(self, tmp_path):
        plain = [{"prompt": f"p{k}", "completion": " c"} for k in range(20)]
        more = [{"prompt": " ", "completion": "c"}, {"prompt": "x", "completion": None}, plain[3]]
        task = GenerationTask(path=str(jsonl(tmp_path / "a.jsonl", plain + more)))
        assert sum(map(len, everything(task).values())) == 20
        assert task.examples(part="test", size=0, seed=0).notes == {
            "examples with an empty prompt or completion": 2,
            "examples whose prompt is there already": 1,
        }

    @pytest.mark.parametrize(
        ("values", "settings", "said"),
        [
            ([{"prompt": "a"}], {}, "row 0 has no column 'completion'; it has prompt"),
            (
                [{"prompt": "a", "completion": "b"}],
                {"prompt": "{question}"},
                "no column 'question'; it has prompt",
            ),
            ([{"prompt": "a", "completion": "b"}], {"prompt": "{prompt"}, "'{prompt' is no template"),
            ([{"prompt": "", "completion": "b"}], {}, "holds no row with a prompt and a completion"),
            (
                [{"id": "x", "prompt": text, "completion": "b"} for text in "ab"],
                {},
                "rows 0 and 1 have id 'x'; keep one",
            ),
        ],
    )
    def test_what_does_not_read(self, tmp_path, values, settings, said):
        task = GenerationTask(path=str(jsonl(tmp_path / "a.jsonl", values)), **settings)
        with pytest.raises(DataError, match=said):
            task.examples(part="test", size=1, seed=0)

    def test_too_few(self, tmp_path):
        task = GenerationTask(path=str(jsonl(tmp_path / "a.jsonl", rows(8))), **SETTINGS)
        with pytest.raises(ConfigError, match="99 examples asked for"):
            task.examples(part="weak", size=99, seed=0)
        with pytest.raises(ConfigError, match="no part 'train' in task generation"):
            task.examples(part="train", size=1, seed=0)

    def test_no_file(self, tmp_path):
        with pytest.raises(DataError, match=r"there is no table of completions .*none.jsonl; name a file"):
            GenerationTask(path=str(tmp_path / "none.jsonl")).digests()


def test_templates():
    row = {"a": 1, "b": None, "a b": "c", "{a}": "whole"}
    assert written("f", 0, row, "{a}") == "whole", "a column of that name comes first"
    assert written("f", 0, row, "{{{a b}}}") == "{c}"
    assert written("f", 0, row, "x{a}y") == "x1y"
    assert written("f", 0, row, "x{b}y") == "", "as a column without a value"
    assert written("f", 0, row, "b") == ""
    with pytest.raises(DataError, match="f, row 0 has no column 'c'; it has a, b, a b"):
        written("f", 0, row, "c")


class TestPublished:
    def folder(self, tmp_path: Path) -> Path:
        train = [
            {"question": f"How much is {k} and {k}?", "answer": f"Twice.\n#### {2 * k}"} for k in range(40)
        ]
        test = [{"question": f"How much is {k} less 1?", "answer": f"#### {k - 1}"} for k in range(5)]
        jsonl(tmp_path / "train.jsonl", [*train, train[7], test[2], {"question": "", "answer": "#### 1"}])
        jsonl(tmp_path / "test.jsonl", test)
        return tmp_path

    def test_tested_on_what_its_authors_say(self, tmp_path):
        task = GenerationTask(name="gsm8k", source=str(self.folder(tmp_path)))
        found = everything(task)
        assert sorted(prompt for _, prompt, _ in found["test"]) == [
            f"Question: How much is {k} less 1?\nAnswer:" for k in range(5)
        ]
        learned = [row for part in ("weak", "student", "validation") for row in found[part]]
        assert len(learned) == len({name for name, _, _ in learned}) == 40
        assert (hashed(learned[0][1]), learned[0][1]) == learned[0][:2]
        assert all(truth.startswith(" Twice.\n#### ") for _, _, truth in learned)
        notes = task.examples(part="weak", size=1, seed=0).notes
        assert notes["examples to learn from that are in the test too"] == 1
        assert notes["examples whose prompt is there already"] == 1
        assert task.digests().keys() == {"train", "test"}

    def test_its_own_checker(self, tmp_path):
        task = GenerationTask(name="gsm8k", source=str(self.folder(tmp_path)))
        assert task.checked_by == "number"
        assert GenerationTask(name="gsm8k", source="x", checker="exact").checked_by == "exact"

    def test_without_a_test_part_of_its_own(self, tmp_path):
        folder = self.folder(tmp_path)
        task = GenerationTask(name="gsm8k", source=str(folder / "train.jsonl"))
        sizes = {part: len(found) for part, found in everything(task).items()}
        assert sum(sizes.values()) == 41
        assert sizes["test"] > 0

    @pytest.mark.shared
    @pytest.mark.skipif(not DATA.is_dir(), reason="needs gsm8k of the developers' folder of data")
    def test_as_published(self):
        task = GenerationTask(name="gsm8k", source=str(DATA))
        found = everything(task)
        assert len(found["test"]) == 1319
        assert sum(map(len, found.values())) == 7473 + 1319
        assert all("####" in truth for _, _, truth in found["test"])


def test_settings_that_make_no_sense(tmp_path):
    for wrong, said in (
        ({"name": "gsm9k"}, "no data set of prompts and completions 'gsm9k'; there are: .*gsm8k"),
        ({"name": "sst2"}, "no data set of prompts and completions 'sst2'"),
        ({"path": "x", "checker": "nunber"}, "no checker 'nunber'; did you mean number"),
        ({"path": "x", "max_new_tokens": 0}, "max_new_tokens=0 must be a whole number of at least 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            GenerationTask(**wrong)
    task = GenerationTask(path="x")
    assert (task.checked_by, task.num_classes, task.difficulty, task.stops_early) == (
        "exact",
        None,
        None,
        False,
    )
    assert task.families == {"causal"}
    assert task.mixes == ("all",)
