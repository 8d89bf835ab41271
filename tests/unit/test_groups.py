"""Accuracy by group, and the attribute that makes groups: by hand, in closed form, and in users' files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surpass.errors import ConfigError, DataError
from surpass.identity import canonical_json, identity_fields
from surpass.metrics import group_accuracy
from surpass.tasks import find_task
from surpass.tasks.features import FeaturesTask
from surpass.tasks.planted import PlantedTask
from surpass.tasks.text import TextTask

SPURIOUS = PlantedTask(num_features=20, spurious=0.9)
FOUR = PlantedTask(num_classes=4, num_features=12, spurious=0.7, spurious_distance=5.0)


def truth(examples):
    return examples.truth["truth"].to_numpy()


def attribute(examples):
    return examples.inputs["attribute"].to_numpy()


def features(examples):
    return np.array(examples.inputs["features"].to_pylist())


class TestMetric:
    def test_by_hand(self):
        found = group_accuracy([0, 0, 1, 1, 1], ["b", "a", "b", "b", "b"], [1, 0, 1, 1, 0])
        assert found.truth_G == [0, 0, 1]
        assert found.attribute_G == ["a", "b", "b"]
        assert found.count_G == [1, 1, 3]
        assert found.accuracy_G == pytest.approx([0, 1, 2 / 3])
        assert (found.worst, found.mean) == (0, pytest.approx(5 / 9))
        assert found.empty == [(1, "a")]

    def test_one_group_is_plain_accuracy(self):
        found = group_accuracy([3, 3, 3, 3], [7, 7, 7, 7], [True, False, True, True])
        assert (found.worst, found.mean, found.empty) == (0.75, 0.75, [])

    def test_equals_the_loop(self):
        rng = np.random.default_rng(0)
        truth_N, attribute_N, right_N = rng.integers(0, [[5], [3], [2]], (3, 400))
        found = group_accuracy(truth_N, attribute_N.tolist(), right_N)
        cells = {}
        for t, a, r in zip(truth_N.tolist(), attribute_N.tolist(), right_N.tolist(), strict=True):
            cells.setdefault((t, a), []).append(r)
        assert list(zip(found.truth_G, found.attribute_G, strict=True)) == sorted(cells)
        means = [sum(cells[key]) / len(cells[key]) for key in sorted(cells)]
        assert found.accuracy_G == pytest.approx(means)
        assert found.worst == min(means)
        assert found.mean == pytest.approx(sum(means) / len(means))
        assert sum(found.count_G) == 400

    def test_what_does_not_fit(self):
        with pytest.raises(DataError, match="1 attributes and 2 truths"):
            group_accuracy([0, 1], ["a"], [1, 1])
        with pytest.raises(DataError, match="correct has 1 examples, not 2"):
            group_accuracy([0, 1], ["a", "b"], [1])
        with pytest.raises(DataError, match="must be one-dimensional and not empty"):
            group_accuracy([], [], [])


class TestPlanted:
    def test_without_it_nothing_changes(self):
        plain, named = PlantedTask(), PlantedTask(spurious=0.0)
        assert canonical_json(identity_fields(plain)) == canonical_json(identity_fields(named))
        assert "spurious" not in canonical_json(identity_fields(plain))
        assert "attribute" not in plain.examples(part="weak", size=2, seed=0).inputs.column_names
        assert canonical_json(identity_fields(SPURIOUS)) != canonical_json(
            identity_fields(PlantedTask(num_features=20))
        )

    @pytest.mark.parametrize("task", [SPURIOUS, FOUR])
    @pytest.mark.parametrize("part", ["weak", "student", "validation", "test"])
    def test_it_goes_with_the_truth_where_models_learn(self, task, part):
        examples = task.examples(part=part, size=20_000, seed=1)
        assert examples.inputs.schema.field("attribute").type == pa.int16()
        many = task.num_classes
        equal = task.spurious if part in ("weak", "student") else 1 / many
        found = np.array(
            [
                [((truth(examples) == t) & (attribute(examples) == a)).mean() for a in range(many)]
                for t in range(many)
            ]
        )
        expected = np.where(np.eye(many), equal, (1 - equal) / (many - 1)) / many
        assert np.abs(found - expected).max() < 4 * math.sqrt(0.25 / 20_000)

    @pytest.mark.parametrize("task", [SPURIOUS, FOUR])
    def test_it_moves_the_features_where_the_concept_does_not(self, task):
        moved_CD = task.attributes_CD
        assert np.abs(moved_CD @ task.weights_UD.T).max() < 1e-9
        for one in range(task.num_classes):
            for other in range(one):
                far = math.dist(moved_CD[one], moved_CD[other])
                assert far == pytest.approx(task.spurious_distance)
        plain = PlantedTask(num_classes=task.num_classes, num_features=task.num_features)
        drawn, without = (t.examples(part="test", size=50, seed=0) for t in (task, plain))
        assert truth(drawn).tolist() == truth(without).tolist()
        np.testing.assert_allclose(features(drawn) - features(without), moved_CD[attribute(drawn)], atol=1e-5)
        np.testing.assert_allclose(
            drawn.inputs["difficulty"].to_numpy(), without.inputs["difficulty"].to_numpy(), atol=1e-4
        )

    def test_what_the_best_rule_reaches_where_it_says_nothing(self):
        """The rule of the problem without the attribute is right as often: it looks elsewhere."""
        examples = SPURIOUS.examples(part="test", size=20_000, seed=0)
        said_N = (features(examples) @ SPURIOUS.weights_UD.T @ SPURIOUS.concepts_CU.T).argmax(axis=1)
        expected = SPURIOUS.bayes_accuracy()
        error = math.sqrt(expected * (1 - expected) / 20_000)
        assert (said_N == truth(examples)).mean() == pytest.approx(expected, abs=4 * error)

    def test_prefixes(self):
        whole = SPURIOUS.examples(part="student", size=1500, seed=3)
        some = SPURIOUS.examples(part="student", size=700, seed=3)
        assert some.inputs.equals(whole.inputs[:700])

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"spurious": 0.4}, r"spurious=0.4 must be from 1 / C = 0.5, where the attribute says nothing"),
            ({"spurious": 1.1}, "spurious=1.1 must be from"),
            ({"spurious": math.nan}, "spurious=nan must be"),
            ({"spurious": 0.9, "spurious_distance": -1.0}, "spurious_distance=-1.0 must be from 0 to 100"),
            ({"spurious": 0.9, "num_features": 1}, r"num_features=1 must be at least 2 \(C - 1\) = 2"),
        ],
    )
    def test_settings_that_make_no_sense(self, fields, message):
        with pytest.raises(ConfigError, match=message):
            PlantedTask(**fields)


PLACES = ["sea", "land"]


def text_rows(count: int = 120) -> list[dict[str, object]]:
    return [
        {"text": f"bird {n}", "label": n % 2, "place": PLACES[n // 2 % 2], "code": n % 3}
        for n in range(count)
    ]


class TestTexts:
    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        (tmp_path / "birds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in text_rows()))
        return str(tmp_path / "birds.jsonl")

    @pytest.mark.parametrize(("name", "kind"), [("place", pa.string()), ("code", pa.int16())])
    def test_a_column_is_the_attribute(self, path, name, kind):
        task = find_task(f"text(path={path}, attribute={name})")
        expected = {row["text"]: row[name] for row in text_rows()}
        for part in task.parts:
            inputs = task.examples(part=part, size=None, seed=0).inputs
            assert inputs.schema.field("attribute").type == kind
            assert inputs["attribute"].to_pylist() == [expected[text] for text in inputs["text"].to_pylist()]

    def test_balanced_rows_keep_theirs(self, path):
        task = TextTask(path, attribute="place", balance="yes")
        expected = {row["text"]: row["place"] for row in text_rows()}
        inputs = task.examples(part="test", size=None, seed=0).inputs
        assert inputs["attribute"].to_pylist() == [expected[text] for text in inputs["text"].to_pylist()]

    def test_of_delimited_files_they_are_strings(self, tmp_path):
        lines = [f"{row['text']},{row['label']},{row['code']}" for row in text_rows()]
        (tmp_path / "birds.csv").write_text("\n".join(["text,label,code", *lines]))
        inputs = (
            TextTask(str(tmp_path / "birds.csv"), attribute="code")
            .examples(part="test", size=None, seed=0)
            .inputs
        )
        assert set(inputs["attribute"].to_pylist()) == {"0", "1", "2"}

    def test_none_by_default_and_the_same_identity(self, path):
        task = TextTask(path)
        assert "attribute" not in task.examples(part="test", size=None, seed=0).inputs.column_names
        assert "attribute" not in canonical_json(identity_fields(task))
        assert "attribute" in canonical_json(identity_fields(TextTask(path, attribute="place")))

    def test_a_column_that_is_not_there(self, path):
        with pytest.raises(DataError, match="has no column habitat; it has text, label, place, code"):
            TextTask(path, attribute="habitat").examples(part="test", size=None, seed=0)

    def test_a_value_that_is_missing(self, tmp_path):
        rows = text_rows()
        rows[7]["place"] = None
        (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(DataError, match="row 7: place is missing"):
            TextTask(str(tmp_path / "r.jsonl"), attribute="place").examples(part="test", size=None, seed=0)


class TestFeatures:
    def write(self, path: Path, **columns: object) -> str:
        rng = np.random.default_rng(0)
        table = {"features": rng.normal(size=(80, 3)).tolist(), "truth": [n % 2 for n in range(80)]}
        pq.write_table(pa.table({**table, "id": [str(n) for n in range(80)], **columns}), path)
        return str(path)

    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            ([n % 5 - 2 for n in range(80)], pa.int16()),
            ([str(n % 4) for n in range(80)], pa.string()),
            ([n % 3 == 0 for n in range(80)], pa.int16()),
        ],
    )
    def test_a_column_is_the_attribute(self, tmp_path, values, kind):
        path = self.write(tmp_path / "f.parquet", water=values)
        task = find_task(f"features(path={path}, attribute=water)")
        for part in task.parts:
            inputs = task.examples(part=part, size=None, seed=0).inputs
            assert inputs.schema.field("attribute").type == kind
            assert inputs["attribute"].to_pylist() == [values[int(name)] for name in inputs["id"].to_pylist()]

    def test_it_must_be_named(self, tmp_path):
        """So that a file with such a column gives the examples that it gave before there were groups."""
        path = self.write(tmp_path / "f.parquet", attribute=[0] * 80)
        task = FeaturesTask(path)
        assert "attribute" not in task.examples(part="test", size=None, seed=0).inputs.column_names
        assert "attribute" not in canonical_json(identity_fields(task))

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([0.5] * 80, "column water is double; an attribute must be whole numbers or strings"),
            ([40_000] * 80, "row 0: water is 40000, which is not from -32768 to 32767"),
            ([None, *["a"] * 79], "row 0: water is missing"),
        ],
    )
    def test_what_is_no_attribute(self, tmp_path, values, message):
        path = self.write(tmp_path / "f.parquet", water=values)
        with pytest.raises(DataError, match=message):
            FeaturesTask(path, attribute="water").examples(part="test", size=None, seed=0)

    def test_a_column_that_is_not_there(self, tmp_path):
        path = self.write(tmp_path / "f.parquet")
        with pytest.raises(DataError, match="has no column water; it has features, truth, id"):
            FeaturesTask(path, attribute="water").examples(part="test", size=None, seed=0)
