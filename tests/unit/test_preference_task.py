from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import protocol as reference
from surpass.errors import ConfigError, DataError
from surpass.identity import identity_fields
from surpass.labels import label_table
from surpass.stages import Context, Examples, Label, Score
from surpass.store.artifact import Artifact
from surpass.tasks import protocol
from surpass.tasks.pair_table import EMPTY, PairColumns, read_pairs
from surpass.tasks.preference import EQUAL, PreferenceTask, first_or_second


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def some_rows(num: int, prompts: int = 10**9) -> list[dict]:
    return [
        {"prompt": f"Q {n % prompts}\n", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(num)
    ]


@pytest.fixture
def task(tmp_path) -> PreferenceTask:
    return PreferenceTask(path=write(tmp_path / "pairs.jsonl", some_rows(401)))


def everything(task: PreferenceTask, seed: int = 0) -> dict[str, list[dict]]:
    found = {}
    for part in task.parts:
        inputs, truth, _ = task.examples(part=part, size=None, seed=seed)
        rows = zip(inputs.to_pylist(), truth["truth"].to_pylist(), strict=True)
        found[part] = [row | {"truth": right} for row, right in rows]
    return found


def preferred(row: dict) -> tuple[str, str]:
    """The preferred text of an example, and the other."""
    return row["texts"][row["truth"]], row["texts"][1 - row["truth"]]


def one_pair(tmp_path, **row) -> tuple[str, str]:
    """What becomes of one row: the preferred text and the other."""
    ((pair,), dropped) = read_pairs(write(tmp_path / "pairs.jsonl", [row]), PairColumns())
    assert dropped == {}
    return pair.prompt + pair.chosen, pair.prompt + pair.rejected


class TestExamples:
    def test_columns(self, task):
        inputs, truth, notes = task.examples(part="weak", size=7, seed=0)
        assert inputs.schema.names == ["id", "texts", "candidates", "length"]
        assert [str(kind) for kind in inputs.schema.types] == [
            "string",
            "list<item: string>",
            "list<item: uint16>",
            "int32",
        ]
        assert [str(kind) for kind in truth.schema.types] == ["string", "int16"]
        for row, right in zip(inputs.to_pylist(), truth.to_pylist(), strict=True):
            assert row["id"] == right["id"]
            assert row["candidates"] == [0, 1]
            assert row["length"] == sum(map(len, row["texts"]))
            good, bad = preferred(row | right)
            number = good.split()[-1]
            assert (good, bad) == (f"Q {number}\ngood {number}", f"Q {number}\nbad {number}")
        assert notes == {}

    def test_what_it_says_of_itself(self, task):
        assert (task.name, task.num_classes, task.class_names) == ("preference", 2, ("first", "second"))
        assert task.families == {"causal", "encoder"}
        assert not task.stops_early
        assert task.difficulty is None
        assert set(task.digests()) == {"pairs"}
        assert identity_fields(task) == {
            "name": "preference",
            "chosen": "chosen",
            "rejected": "rejected",
            "split_seed": 0,
        }

    def test_the_place_carries_nothing(self, task):
        for part in task.parts:
            for size in (0, 1, 2, 5, 11, 12):
                truth = task.examples(part=part, size=size, seed=3).truth["truth"].to_pylist()
                assert abs(2 * sum(truth) - size) == size % 2
            rows = everything(task)[part]
            assert abs(2 * sum(row["truth"] for row in rows) - len(rows)) == len(rows) % 2
        even = [row["truth"] for row in everything(task)["weak"]][::2]
        assert 0.3 < np.mean(even) < 0.7

    def test_an_example_is_the_same_in_every_draw(self, task):
        found = [
            {row["id"]: row for rows in everything(task, seed).values() for row in rows} for seed in (0, 1)
        ]
        assert found[0] == found[1]
        assert len(found[0]) == 401
        small, large = (task.examples(part="student", size=size, seed=4)[:2] for size in (9, 30))
        for few, many in zip(small, large, strict=True):
            assert many.slice(0, 9).equals(few)

    def test_the_order_of_the_file_does_not_count(self, task, tmp_path):
        rows = some_rows(401)
        random.Random(0).shuffle(rows)
        moved = PreferenceTask(path=write(tmp_path / "moved.jsonl", rows))
        assert everything(moved) == everything(task)

    def test_the_id_says_nothing_of_the_preference(self, tmp_path, task):
        rows = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in some_rows(401)]
        other = PreferenceTask(path=write(tmp_path / "other.jsonl", rows))
        ids = [[row["id"] for rows in everything(each).values() for row in rows] for each in (task, other)]
        assert sorted(ids[0]) == sorted(ids[1])

    def test_prompts_stay_together(self, tmp_path):
        task = PreferenceTask(path=write(tmp_path / "pairs.jsonl", some_rows(400, prompts=80)))
        part_of: dict[str, str] = {}
        for part, rows in everything(task).items():
            for row in rows:
                assert part_of.setdefault(row["texts"][0].partition("\n")[0], part) == part
        assert set(part_of.values()) == set(task.parts)

    def test_a_column_of_groups(self, tmp_path):
        rows = [row | {"thread": number // 10} for number, row in enumerate(some_rows(600))]
        task = PreferenceTask(path=write(tmp_path / "pairs.jsonl", rows), group="thread")
        part_of: dict[int, str] = {}
        for part, found in everything(task).items():
            for row in found:
                number = int(row["texts"][0].split()[1])
                assert part_of.setdefault(number // 10, part) == part

    def test_what_is_dropped_is_counted(self, tmp_path):
        rows = [
            *some_rows(100),
            some_rows(1)[0],
            {"prompt": "P", "chosen": "x", "rejected": "x "},
            {"prompt": "P", "chosen": "x", "rejected": " "},
            {"prompt": "P", "chosen": None, "rejected": "x"},
            {"prompt": "C", "chosen": "x", "rejected": "y"},
            {"prompt": "C", "chosen": "y", "rejected": "x"},
            {"prompt": "\ud83d", "chosen": "y", "rejected": "x"},
        ]
        task = PreferenceTask(path=write(tmp_path / "pairs.jsonl", rows))
        found = everything(task)
        assert sum(map(len, found.values())) == 100
        assert task.examples(part="test", size=1, seed=0).notes == {
            EMPTY: 2,
            EQUAL: 1,
            protocol.REPEATED: 1,
            protocol.CONTRADICTED: 2,
            protocol.NO_UNICODE: 1,
        }


@given(st.lists(st.text(max_size=4), unique=True, max_size=30), st.integers(0, 3))
def test_halves_are_those_of_the_twin(keys, seed):
    assert first_or_second(keys, ["weak"] * len(keys), seed) == reference.first_or_second(keys, seed)


class TestForms:
    def test_texts(self, tmp_path):
        assert one_pair(tmp_path, prompt="Why?", chosen="So.", rejected="Or.") == ("Why?\nSo.", "Why?\nOr.")
        assert one_pair(tmp_path, prompt="A: ", chosen="b", rejected=" c") == ("A: b", "A:  c")
        assert one_pair(tmp_path, chosen="H: hi\nA: b", rejected="H: hi\nA: c") == (
            "H: hi\nA: b",
            "H: hi\nA: c",
        )

    def test_messages(self, tmp_path):
        ask = [{"role": "user", "content": "Why?"}]
        good, bad = ([{"role": "assistant", "content": text}] for text in ("So.", "Or."))
        written = ("Human: Why?\n\nAssistant: So.", "Human: Why?\n\nAssistant: Or.")
        for row in (
            {"prompt": ask, "chosen": good, "rejected": bad},
            {"prompt": ask, "chosen": ask + good, "rejected": ask + bad},
            {"chosen": ask + good, "rejected": ask + bad},
            {"prompt": "Why?", "chosen": good, "rejected": bad},
            {"prompt": "Why?", "chosen": ask + good, "rejected": ask + bad},
            {"prompt": ask, "chosen": "So.", "rejected": "Or."},
        ):
            assert one_pair(tmp_path, **row) == written, row

    def test_parquet_and_templates(self, tmp_path):
        rows = [{"q": f"q{n}", "a": f"a{n}", "b": f"b{n}"} for n in range(80)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
        settings = {"prompt": r"Human: {q}\nAI:", "chosen": " {a}", "rejected": "b"}
        task = PreferenceTask(path=str(tmp_path / "pairs.parquet"), **settings)
        pairs = {preferred(row) for rows in everything(task).values() for row in rows}
        assert ("Human: q7\nAI: a7", "Human: q7\nAI:\nb7") in pairs
        assert len(pairs) == 80

    def test_without_a_prompt_what_begins_alike_stays_together(self, tmp_path):
        rows = [
            {"chosen": f"H: {n % 60}\nA: good {n}", "rejected": f"H: {n % 60}\nA: bad {n}"}
            for n in range(300)
        ]
        task = PreferenceTask(path=write(tmp_path / "pairs.jsonl", rows))
        part_of: dict[str, str] = {}
        for part, found in everything(task).items():
            for row in found:
                assert part_of.setdefault(row["texts"][0].partition("\n")[0], part) == part


class TestBadInput:
    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"chosen": "a"}, "has no column rejected; it has chosen"),
            (
                {"chosen": 3, "rejected": "b"},
                "row 0: chosen is 3; it must be a text or a list of messages; corr",
            ),
            ({"chosen": ["a"], "rejected": ["b"]}, "row 0: .*message of chosen"),
            (
                {
                    "chosen": [{"role": "tool", "content": "x"}],
                    "rejected": [{"role": "tool", "content": "y"}],
                },
                "row 0: a message of chosen is by 'tool'",
            ),
            (
                {
                    "chosen": [{"role": "user", "content": "x"}],
                    "rejected": [{"role": "user", "content": "y"}],
                },
                "row 0: chosen does not end with a message of the assistant",
            ),
        ],
    )
    def test_rows(self, tmp_path, row, message):
        with pytest.raises(DataError, match=message):
            everything(PreferenceTask(path=write(tmp_path / "pairs.jsonl", [row])))

    def test_files(self, tmp_path):
        for path in (tmp_path / "none.jsonl", tmp_path):
            task = PreferenceTask(path=str(path))
            for call in (task.digests, lambda task=task: everything(task)):
                with pytest.raises(DataError, match="there is no table of pairs"):
                    call()
        (tmp_path / "empty.jsonl").write_text("")
        with pytest.raises(DataError, match="holds no rows"):
            everything(PreferenceTask(path=str(tmp_path / "empty.jsonl")))

    def test_named_columns(self, tmp_path):
        path = write(tmp_path / "pairs.jsonl", some_rows(9))
        for settings in ({"prompt": "question"}, {"chosen": "{good}"}, {"group": "thread"}):
            with pytest.raises(
                DataError, match=r"has no column (question|good|thread); it has prompt, chosen, rej"
            ):
                everything(PreferenceTask(path=path, **settings))
        with pytest.raises(ConfigError, match="is no template"):
            PreferenceTask(path=path, prompt="{}")

    def test_too_few(self, tmp_path):
        task = PreferenceTask(path=write(tmp_path / "pairs.jsonl", some_rows(40, prompts=1)))
        with pytest.raises(
            DataError, match=r"preference is too small for its split: no example in part '\w+' \(weak"
        ):
            everything(task)

    def test_names(self):
        with pytest.raises(
            ConfigError, match="no data set of preferences is called 'sst2'; there are: hh, shp, u"
        ):
            PreferenceTask("sst2")


class TestCatalog:
    def test_a_published_test(self, tmp_path):
        def row(n: int) -> dict[str, str]:
            begin = f"\n\nHuman: ask {n % 150}\n\nAssistant:"
            return {"chosen": f"{begin} good {n}", "rejected": f"{begin} bad {n}"}

        folder = tmp_path / "hh" / "helpful-base"
        folder.mkdir(parents=True)
        swapped = {"chosen": row(5)["rejected"], "rejected": row(5)["chosen"]}
        write(
            folder / "train.jsonl",
            [*map(row, range(5, 450)), swapped, {**row(0), "rejected": row(0)["chosen"]}],
        )
        write(folder / "test.jsonl", [row(n) for n in range(440, 480)])
        task = PreferenceTask("hh", source=str(tmp_path / "hh"))
        found = everything(task)
        assert len(found["test"]) == 40
        assert sum(map(len, found.values())) == 474
        assert task.examples(part="weak", size=0, seed=0).notes == {
            EQUAL: 1,
            protocol.CONTRADICTED: 2,
            protocol.IN_TEST: 10,
        }
        part_of: dict[str, str] = {}
        for part in ("weak", "student", "validation"):
            for one in found[part]:
                assert (
                    part_of.setdefault(one["texts"][0].partition(" Assistant")[0].split("\n\n")[0], part)
                    == part
                )
        assert set(task.digests()) == {"train", "test"}
        assert all(" good" in preferred(one)[0] for rows in found.values() for one in rows)


def test_quality_of_a_reward_model_is_what_scoring_says(task, tmp_path):
    """Probabilities of "first" against the truth, through the stage that scores everything else."""
    size = 40
    inputs, truth, _ = task.examples(part="test", size=size, seed=0)
    examples = Examples(task=task, part="test", size=size, seed=0)
    truths = truth["truth"].to_numpy()
    first_N = np.where(truths == 0, 0.8, 0.2)
    first_N[:10] = 1 - first_N[:10]
    for name in ("examples", "labels", "out"):
        (tmp_path / name).mkdir()
    pq.write_table(inputs, tmp_path / "examples" / "inputs.parquet")
    pq.write_table(truth, tmp_path / "examples" / "truth.parquet")
    probs = [np.array([first, 1 - first], np.float32) for first in first_N]
    pq.write_table(label_table(inputs["id"].to_pylist(), probs), tmp_path / "labels" / "labels.parquet")

    def find(stage) -> Artifact:
        folder = tmp_path / {"examples": "examples"}.get(stage.kind, "labels")
        return Artifact("made-up", "0" * 64, folder, {"files": {path.name: {} for path in folder.iterdir()}})

    stage = Score(labels=Label(source="ladder:chess-1", examples=examples), examples=examples)
    said = stage.run(Context(find=find, out=tmp_path / "out", work=tmp_path))["score"]
    assert said["accuracy"] == 0.75
    assert said["log_loss"] == pytest.approx(-(30 * np.log(0.8) + 10 * np.log(0.2)) / 40)
    assert said["brier"] == pytest.approx(2 * (30 * 0.04 + 10 * 0.64) / 40)
    assert said["calibration_error"] == pytest.approx(0.05)
    # Of a pair of a truly second and a truly first example, which has the higher probability of "second"?
    seconds, firsts = (1 - first_N)[truths == 1], (1 - first_N)[truths == 0]
    higher = [(one > other) + (one == other) / 2 for one in seconds for other in firsts]
    assert said["auroc"] == pytest.approx(np.mean(higher))
    assert Counter(truths) == {0: 20, 1: 20}
