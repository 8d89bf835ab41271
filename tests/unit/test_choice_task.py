from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from hashlib import sha256
from pathlib import Path

import pytest

from surpass.data.catalog import DATA_SETS
from surpass.data.loading import load
from surpass.errors import ConfigError, DataError
from surpass.identity import identity_fields
from surpass.labels import require_unique
from surpass.tasks import protocol
from surpass.tasks.text import ChoiceTask

PARTS = ("weak", "student", "validation", "test")


def sciq_row(number: int) -> dict[str, str]:
    row = {"question": f"what is {number}?", "correct_answer": f"right {number}", "support": ""}
    return row | {f"distractor{place}": f"wrong {place} of {number}" for place in (1, 2, 3)}


def sciq(folder: Path, *, train: range = range(300), test: range = range(300, 340)) -> Path:
    """SciQ as it is published, made up."""
    folder.mkdir(exist_ok=True)
    for name, numbers in (("train", train), ("test", test)):
        (folder / f"{name}.json").write_text(json.dumps([sciq_row(number) for number in numbers]))
    return folder


def sst2(folder: Path, train: list[tuple[str, int]], test: list[tuple[str, int]]) -> Path:
    """SST-2 as it is published, made up."""
    folder.mkdir(exist_ok=True)
    for name, rows in (("train", train), ("dev", test)):
        lines = ["sentence\tlabel", *(f"{text}\t{label}" for text, label in rows)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def everything(task: ChoiceTask) -> dict[str, list[tuple[str, int]]]:
    found = {}
    for part in task.parts:
        inputs, truth, _ = task.examples(part=part, size=None, seed=0)
        found[part] = list(zip(inputs["text"].to_pylist(), truth["truth"].to_pylist(), strict=True))
    return found


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> ChoiceTask:
    return ChoiceTask("sciq", source=str(sciq(tmp_path_factory.mktemp("data") / "sciq")))


class TestForm:
    def test_columns(self, task):
        inputs, truth, notes = task.examples(part="test", size=9, seed=0)
        assert inputs.schema.names == ["id", "text", "candidates", "length", "ask"]
        assert [str(kind) for kind in inputs.schema.types] == [
            "string",
            "string",
            "list<item: uint16>",
            "int32",
            "string",
        ]
        assert [str(kind) for kind in truth.schema.types] == ["string", "int16"]
        for row, right in zip(inputs.to_pylist(), truth.to_pylist(), strict=True):
            assert right["id"] == row["id"] == sha256(row["text"].encode()).hexdigest()[:32]
            assert row["candidates"] == [0, 1]
            assert row["length"] == len(row["text"])
            assert row["ask"] == DATA_SETS["sciq"].ask
            assert right["truth"] == int("right" in row["text"])
        assert notes == {protocol.UNMATCHED: 680}

    def test_what_it_says_of_itself(self, task):
        assert (task.name, task.parts, task.mixes) == ("sciq", PARTS, ("all",))
        assert (task.num_classes, task.class_names) == (2, ("wrong", "right"))
        assert task.families == {"causal", "encoder"}
        assert task.stops_early
        assert task.difficulty is None
        assert identity_fields(task) == {"name": "sciq", "split_seed": 0}

    def test_digests_are_those_of_the_files_wherever_they_lie(self, task, tmp_path):
        moved, changed = sciq(tmp_path / "sciq"), sciq(tmp_path / "b", test=range(300, 341))
        assert ChoiceTask("sciq", source=str(moved)).digests() == task.digests()
        other = ChoiceTask("sciq", source=str(changed)).digests()
        assert other["train"] == task.digests()["train"]
        assert other["test"] != task.digests()["test"]
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in other.values())

    def test_nothing_is_read_before_it_is_needed(self):
        task = ChoiceTask("sciq", source="/nowhere")
        assert task.num_classes == 2
        for call in (task.digests, lambda: task.examples(part="weak", size=1, seed=0)):
            with pytest.raises(ConfigError, match="there is no '/nowhere' to read sciq from"):
                call()

    def test_unknown_names(self, task):
        with pytest.raises(
            ConfigError, match="no data set with classes is called 'hh'; there are: boolq, cosmos"
        ):
            ChoiceTask("hh")
        with pytest.raises(ConfigError, match="no part 'train' in task sciq; choose from weak, student"):
            task.examples(part="train", size=1, seed=0)
        with pytest.raises(ConfigError, match=r"999 examples asked for and 80 in part 'test'; ask for fewer"):
            task.examples(part="test", size=999, seed=0)


class TestProtocol:
    def test_one_right_and_one_wrong_of_each_question(self, task):
        found = everything(task)
        of_question = defaultdict(list)
        for part, rows in found.items():
            for text, label in rows:
                number = int(re.findall(r"\d+", text)[0])
                of_question[number].append((part, label))
        assert len(of_question) == 340
        for number, rows in of_question.items():
            assert len({part for part, _ in rows}) == 1
            assert sorted(label for _, label in rows) == [0, 1]
            assert (rows[0][0] == "test") == (number >= 300)
        assert len(found["test"]) == 80
        assert sum(len(found[part]) for part in PARTS[:3]) == 600
        assert 200 < len(found["weak"]) < 340

    def test_another_split_seed(self, task):
        other = ChoiceTask("sciq", source=task.source, split_seed=1)
        assert everything(task)["weak"] != everything(other)["weak"]
        assert {text for text, label in everything(task)["test"] if not label} != {
            text for text, label in everything(other)["test"] if not label
        }

    def test_prefixes(self, task):
        long, short = (task.examples(part="test", size=size, seed=3) for size in (60, 21))
        assert long.inputs["id"].to_pylist()[:21] == short.inputs["id"].to_pylist()
        truth = long.truth["truth"].to_pylist()
        for size in range(61):
            assert abs(2 * sum(truth[:size]) - size) == size % 2
        other = task.examples(part="test", size=60, seed=4)
        assert other.inputs["id"].to_pylist() != long.inputs["id"].to_pylist()
        weak = [task.examples(part="weak", size=size, seed=3).inputs["id"].to_pylist() for size in (60, 21)]
        assert weak[0][:21] == weak[1]

    def test_the_order_of_the_file_does_not_count(self, task, tmp_path):
        folder = sciq(tmp_path / "sciq")
        for name in ("train", "test"):
            rows = json.loads((folder / f"{name}.json").read_text())
            (folder / f"{name}.json").write_text(json.dumps(rows[::-1]))
        moved = ChoiceTask("sciq", source=str(folder))
        for part in PARTS:
            for before, after in zip(
                task.examples(part=part, size=None, seed=2)[:2],
                moved.examples(part=part, size=None, seed=2)[:2],
                strict=True,
            ):
                assert before.equals(after)

    def test_what_is_dropped_is_counted(self, tmp_path):
        train = [(f"text {n} {'ja' * (n % 7)}", int(n % 10 < 7)) for n in range(1000)]
        train += [("again", 1), ("again", 1), ("both", 0), ("both", 1), ("in the test", 0), (" ", 1)]
        test = [(f"tested {n}", int(n < 40)) for n in range(100)] + [("in the test", 0)]
        task = ChoiceTask("sst2", source=str(sst2(tmp_path / "sst2", train, test)))
        found = everything(task)
        for rows in found.values():
            counts = Counter(label for _, label in rows)
            assert counts[0] == counts[1]
        notes = dict(task.examples(part="weak", size=0, seed=0).notes)
        assert notes.pop("examples with an empty text") == 1
        assert notes.pop(protocol.REPEATED) == 1
        assert notes.pop(protocol.CONTRADICTED) == 2
        assert notes.pop(protocol.IN_TEST) == 1
        assert notes.pop(protocol.UNBALANCED_TEST) == 21
        assert notes.pop(protocol.UNBALANCED) == 1001 - sum(len(found[part]) for part in PARTS[:3])
        assert not notes
        assert len(found["test"]) == 80
        assert sum(len(found[part]) for part in PARTS[:3]) == 600

    def test_without_a_test_of_its_own(self, tmp_path):
        (tmp_path / "train.tsv").write_text(
            "sentence\tlabel\n" + "".join(f"text {n}\t{n % 2}\n" for n in range(2000))
        )
        task = ChoiceTask("sst2", source=str(tmp_path / "train.tsv"))
        found = everything(task)
        assert 240 < len(found["test"]) < 360
        assert 700 < len(found["weak"]) < 900
        texts = [text for rows in found.values() for text, _ in rows]
        require_unique(texts, "texts")
        counts = Counter(label for _, label in found["test"])
        assert counts[0] == counts[1]
        assert set(task.digests()) == {"train"}

    def test_errors_name_counts(self, tmp_path):
        few = sst2(tmp_path / "few", [("a", 0), ("b", 1), ("c", 0)], [("x", 0), ("y", 1)])
        with pytest.raises(
            DataError, match=r"sst2 is too small for its split: .* test: 1 negative, 1 positive\)"
        ):
            everything(ChoiceTask("sst2", source=str(few)))
        one = sst2(tmp_path / "one", [(f"a{n}", 0) for n in range(99)], [("x", 0), ("y", 0)])
        with pytest.raises(DataError, match="sst2 has no example of class 'positive' at all"):
            everything(ChoiceTask("sst2", source=str(one)))


def test_equal_tasks_are_read_once_and_changed_files_again(tmp_path, monkeypatch):
    from surpass.tasks import text

    times = []
    monkeypatch.setattr(text, "load", lambda found: times.append(1) or load(found))
    rows = [(f"a film of {number} minutes", number % 2) for number in range(200)]
    folder = sst2(tmp_path / "one", rows, [(f"test {n}", n % 2) for n in range(40)])
    first, again = (everything(ChoiceTask("sst2", source=str(folder))) for _ in range(2))
    assert first == again
    assert len(times) == 1
    everything(ChoiceTask("sst2", source=str(folder), split_seed=1))
    assert len(times) == 2
    sst2(tmp_path / "one", [*rows, ("a film without end", 1)], [(f"test {n}", n % 2) for n in range(40)])
    more = everything(ChoiceTask("sst2", source=str(folder)))
    assert len(times) == 3
    assert sum(map(len, more.values())) > sum(map(len, first.values()))
