from __future__ import annotations

import math
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reference.tabular import standardised
from surpass.errors import ConfigError, DataError
from surpass.identity import canonical_json, identity_fields
from surpass.tasks.features import PROPORTIONS, FeaturesTask

NUM_ROWS, NUM_FEATURES = 400, 4
FEATURES_ND = np.random.default_rng(0).normal(3, 2, (NUM_ROWS, NUM_FEATURES)).astype(np.float32)
IDS = [f"row{number}" for number in range(NUM_ROWS)]
TRUTH = [number % 3 for number in range(NUM_ROWS)]
LISTED = pa.array(FEATURES_ND.tolist(), pa.list_(pa.float32()))


def write(folder, columns, name="own.parquet"):
    pq.write_table(pa.table(columns), folder / name)
    return str(folder / name)


def table(**changes):
    columns = {"id": IDS, "features": LISTED, "truth": TRUTH} | changes
    return {name: values for name, values in columns.items() if values is not None}


def task_of(folder, fields=None, **changes):
    return FeaturesTask(write(folder, table(**changes)), **(fields or {}))


def everything(task, seed=0):
    return {part: task.examples(part=part, size=None, seed=seed) for part in task.parts}


def ids(examples):
    return examples.inputs["id"].to_pylist()


def by_id(task):
    """Features and truth of all examples, by their id."""
    found = {}
    for examples in everything(task).values():
        rows = zip(
            ids(examples),
            examples.inputs["features"].to_pylist(),
            examples.truth["truth"].to_pylist(),
            strict=True,
        )
        found |= {name: (features, right) for name, features, right in rows}
    return found


class TestForm:
    def test_columns(self, tmp_path):
        task = task_of(tmp_path, difficulty=np.arange(NUM_ROWS) / 7, length=range(NUM_ROWS), other=IDS)
        inputs, truth, _ = task.examples(part="student", size=5, seed=0)
        assert inputs.schema.equals(
            pa.schema(
                [
                    ("id", pa.string()),
                    ("features", pa.list_(pa.float32())),
                    ("candidates", pa.list_(pa.uint16())),
                    ("difficulty", pa.float32()),
                    ("length", pa.int32()),
                ]
            )
        )
        assert truth.schema.equals(pa.schema([("id", pa.string()), ("truth", pa.int16())]))
        assert truth["id"].equals(inputs["id"])
        assert inputs["candidates"].to_pylist() == [[0, 1, 2]] * 5
        for name, difficulty, length in zip(
            inputs["id"].to_pylist(),
            inputs["difficulty"].to_pylist(),
            inputs["length"].to_pylist(),
            strict=True,
        ):
            assert (difficulty, length) == (pytest.approx(int(name[3:]) / 7), int(name[3:]))
        assert (task.difficulty, task.num_classes, task.mixes) == ("difficulty", 3, ("all",))

    def test_name_and_identity(self, tmp_path):
        task = task_of(tmp_path, {"name": "mine"})
        assert (task.name, FeaturesTask(task.path).name) == ("mine", "features")
        assert task.difficulty is None
        assert task.families == {"tabular"}
        assert "path" not in identity_fields(task)
        canonical_json(identity_fields(task))
        other = write(tmp_path, table(truth=TRUTH[::-1]), "other.parquet")
        copy = write(tmp_path, table(), "copy.parquet")
        assert FeaturesTask(copy).digests() == task.digests() != FeaturesTask(other).digests()
        assert list(task.digests()) == ["features"]

    def test_unknown_names_list_the_known(self, tmp_path):
        task = task_of(tmp_path, {"name": "mine"})
        with pytest.raises(ConfigError, match="no part 'train' in task mine; choose from weak, student, "):
            task.examples(part="train", size=1, seed=0)
        with pytest.raises(ConfigError, match="no mix 'even' in task mine; choose from all"):
            task.examples(part="weak", size=1, seed=0, mix="even")

    @pytest.mark.parametrize("classes", [("a",), ("a", "a"), ("a", "b", "a")])
    def test_classes_that_are_none(self, classes):
        with pytest.raises(ConfigError, match=r"classes=.* must be at least two, each named once"):
            FeaturesTask("x", classes=classes)


class TestParts:
    def test_hold_everything_once_and_have_their_shares(self, tmp_path):
        found = everything(task_of(tmp_path))
        assert sorted(chain.from_iterable(map(ids, found.values()))) == sorted(IDS)
        for part, share in PROPORTIONS.items():
            error = math.sqrt(NUM_ROWS * share * (1 - share))
            assert len(ids(found[part])) == pytest.approx(NUM_ROWS * share, abs=4 * error)

    def test_groups_stay_together(self, tmp_path):
        groups = [number // 8 for number in range(NUM_ROWS)]
        found = everything(task_of(tmp_path, group=groups))
        seen = [{groups[int(name[3:])] for name in ids(examples)} for examples in found.values()]
        assert sum(map(len, seen)) == len(set.union(*seen)) == NUM_ROWS // 8

    def test_equal_features_stay_together_where_no_group_is_known(self, tmp_path):
        twice = pa.array((FEATURES_ND[:200].tolist()) * 2, pa.list_(pa.float32()))
        group = pa.array([None] * NUM_ROWS, pa.string())
        for changes in ({}, {"group": group}):
            found = everything(task_of(tmp_path, features=twice, **changes))
            seen = [{int(name[3:]) % 200 for name in ids(examples)} for examples in found.values()]
            assert sum(map(len, seen)) == 200

    def test_rows_that_come_or_go_move_no_other(self, tmp_path):
        whole = {part: set(ids(found)) for part, found in everything(task_of(tmp_path)).items()}
        order = np.random.default_rng(1).permutation(NUM_ROWS)[:300]
        some = pa.table(table()).take(order)
        few = everything(FeaturesTask(write(tmp_path, some, "some.parquet")))
        kept = set(some["id"].to_pylist())
        assert {part: set(ids(found)) for part, found in few.items()} == {
            part: names & kept for part, names in whole.items()
        }
        assert ids(few["weak"]) == [
            name for name in ids(everything(task_of(tmp_path))["weak"]) if name in kept
        ]

    def test_seeds(self, tmp_path):
        task, other = task_of(tmp_path), task_of(tmp_path, {"split_seed": 1})
        small, large = (ids(task.examples(part="weak", size=size, seed=0)) for size in (20, 60))
        assert small == large[:20]
        assert ids(task.examples(part="weak", size=20, seed=1)) != small
        assert set(ids(everything(other)["weak"])) != set(ids(everything(task)["weak"]))

    def test_sizes_at_the_edge(self, tmp_path):
        task = task_of(tmp_path)
        count = len(ids(everything(task)["test"]))
        assert len(ids(task.examples(part="test", size=count, seed=0))) == count
        empty = task.examples(part="test", size=0, seed=0)
        assert (len(empty.inputs), len(empty.truth)) == (0, 0)
        for size in (count + 1, -1):
            with pytest.raises(
                ConfigError, match=f"{size} examples asked for and {count} in part 'test'; ask"
            ):
                task.examples(part="test", size=size, seed=0)

    def test_a_table_that_is_too_short(self, tmp_path):
        path = write(tmp_path, pa.table(table())[:2])
        found = [FeaturesTask(path, split_seed=seed, standardise=False) for seed in range(20)]
        without = [task.split_seed for task in found if not ids(everything(task)["weak"])]
        assert 0 < len(without) < 20
        for seed in range(20):
            task = FeaturesTask(path, split_seed=seed)
            if seed in without:
                with pytest.raises(DataError, match="has no row in part 'weak', whose means are needed"):
                    task.examples(part="test", size=None, seed=0)
            else:
                assert len(by_id(task)) == 2


class TestValues:
    def test_standardised_by_the_supervisors_part(self, tmp_path):
        constant = FEATURES_ND.copy()
        constant[:, 2] = 7.3
        task = task_of(tmp_path, features=pa.array(constant.tolist(), pa.list_(pa.float32())))
        like = [int(name[3:]) for name in ids(everything(task)["weak"])]
        expected = standardised(constant.astype(float).tolist(), like)
        for name, (features, right) in by_id(task).items():
            row = int(name[3:])
            assert features == pytest.approx(expected[row], abs=1e-5)
            assert right == TRUTH[row]
            assert features[2] == pytest.approx(0, abs=1e-5)

    def test_truth_is_not_looked_at(self, tmp_path):
        first, other = task_of(tmp_path), FeaturesTask(write(tmp_path, table(truth=TRUTH[::-1]), "b.parquet"))
        for part in first.parts:
            found = (task.examples(part=part, size=None, seed=0).inputs for task in (first, other))
            assert next(found).equals(next(found))

    def test_as_they_are(self, tmp_path):
        for name, (features, _) in by_id(task_of(tmp_path, {"standardise": False})).items():
            assert features == FEATURES_ND[int(name[3:])].tolist()

    @pytest.mark.parametrize("kind", ["large", "fixed", "doubles", "columns", "whole", "half"])
    def test_other_ways_to_write_features(self, tmp_path, kind):
        whole = np.round(FEATURES_ND)
        columns = {f"f{place}": whole[:, place] for place in range(NUM_FEATURES)}
        rows = whole.tolist()
        changes = {
            "large": {"features": pa.array(rows, pa.large_list(pa.float32()))},
            "fixed": {"features": pa.array(rows, pa.list_(pa.float32(), NUM_FEATURES))},
            "doubles": {"features": pa.array(rows, pa.list_(pa.float64()))},
            "columns": {"features": None} | dict(reversed(columns.items())),
            "whole": {"features": None} | {name: values.astype(np.int8) for name, values in columns.items()},
            "half": {"features": pa.array(whole.astype(np.float16).tolist(), pa.list_(pa.float16()))},
        }[kind]
        plain = by_id(task_of(tmp_path, features=pa.array(rows, pa.list_(pa.float32()))))
        assert by_id(task_of(tmp_path, **changes)) == plain

    def test_ids_from_the_features(self, tmp_path):
        found = by_id(task_of(tmp_path, {"standardise": False}, id=None))
        assert len(found) == NUM_ROWS
        assert all(len(name) == 32 for name in found)
        turned = write(tmp_path, pa.table(table(id=None)).take(list(range(NUM_ROWS))[::-1]), "turned.parquet")
        assert by_id(FeaturesTask(turned, standardise=False)) == found

    def test_zeros_are_one(self, tmp_path):
        rows = pa.array([[0.0, 1.0], [-0.0, 1.0]], pa.list_(pa.float32()))
        path = write(tmp_path, {"features": rows, "truth": [0, 1]})
        with pytest.raises(
            DataError, match="rows 0 and 1 have the same features; keep one, or add a column id"
        ):
            FeaturesTask(path).examples(part="weak", size=None, seed=0)

    @pytest.mark.parametrize(
        ("names", "classes"),
        [
            ([0, 1, 2], (0, 1, 2)),
            ([7, -1, 3], (-1, 3, 7)),
            (["c", "a", "b"], ("a", "b", "c")),
            ([False, True, True], (0, 1)),
        ],
    )
    @pytest.mark.parametrize("column", ["truth", "label"])
    def test_classes(self, tmp_path, names, classes, column):
        task = task_of(tmp_path, **({"truth": None} | {column: [names[right] for right in TRUTH]}))
        assert task.class_names == classes
        assert task.num_classes == len(classes)
        for name, (_, right) in by_id(task).items():
            assert classes[right] == names[TRUTH[int(name[3:])]]

    def test_classes_in_an_order_of_ones_own(self, tmp_path):
        words = pa.array([("no", "yes", "maybe")[right] for right in TRUTH]).dictionary_encode()
        task = task_of(tmp_path, {"classes": ("yes", "no", "maybe", "never")}, truth=words)
        assert task.num_classes == 4
        assert all(right == (1, 0, 2)[TRUTH[int(name[3:])]] for name, (_, right) in by_id(task).items())

    def test_whole_numbers_as_ids(self, tmp_path):
        assert set(by_id(task_of(tmp_path, id=range(NUM_ROWS)))) == {str(row) for row in range(NUM_ROWS)}


def with_row(values, row, value, kind=None):
    changed = list(values)
    changed[row] = value
    return pa.array(changed, kind)


LISTS = pa.list_(pa.float64())
ROWS = FEATURES_ND.tolist()
F = {"features": None} | {f"f{place}": FEATURES_ND[:, place] for place in range(NUM_FEATURES)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": with_row(ROWS, 7, None, LISTS)}, "row 7: features is missing"),
        ({"features": with_row(ROWS, 0, None, LISTS)}, "row 0: features is missing"),
        ({"features": with_row(ROWS, 0, [], LISTS)}, "row 0: features is empty"),
        ({"features": with_row(ROWS, 9, [1.0] * 5, LISTS)}, "row 9: 5 features, and 4 in row 0; correct"),
        ({"features": with_row(ROWS, 9, [1.0] * 3, LISTS)}, "row 9: 3 features, and 4 in row 0"),
        ({"features": with_row(ROWS, 3, [1, 2, None, 4], LISTS)}, r"row 3: features\[2\] is nan"),
        ({"features": with_row(ROWS, 3, [1, 2, math.inf, 4], LISTS)}, r"row 3: features\[2\] is inf"),
        ({"features": with_row(ROWS, 3, [1, -1e39, 3, 4], LISTS)}, r"row 3: features\[1\] is -1e\+39"),
        ({"features": IDS}, "column features is string; make it lists of numbers"),
        ({"features": [["a"]] * NUM_ROWS}, "column features is list<.*string>; make it lists of numbers"),
        ({"features": None}, "has no column features and none called f0, f1, ...; it has id, truth"),
        (F | {"f2": None}, "has 3 columns f0, f1, ..., but no f2; leave out none"),
        (F | {"f1": IDS}, "column f1 is string; it must hold numbers"),
        (F | {"f1": with_row(FEATURES_ND[:, 1].tolist(), 5, None)}, "row 5: f1 is nan"),
        (F | {"f3": with_row(FEATURES_ND[:, 3].tolist(), 399, math.nan)}, "row 399: f3 is nan"),
        ({"truth": None}, "has neither of the columns truth and label; it needs one of them"),
        ({"label": TRUTH}, "has both of the columns truth and label"),
        ({"truth": [0.5] * NUM_ROWS}, "column truth is double; classes must be whole numbers or strings"),
        ({"truth": with_row(TRUTH, 11, None)}, "row 11: truth is missing"),
        (
            {"truth": [1] * NUM_ROWS},
            r"column truth has 1 different values \(1, ...\); give it from 2 to 1000",
        ),
        ({"id": with_row(IDS, 4, None)}, "row 4: id is missing"),
        ({"id": with_row(IDS, 4, "row2")}, "rows 2 and 4 have id 'row2'; keep one"),
        (
            {"difficulty": with_row([0.1] * NUM_ROWS, 6, None)},
            "row 6: difficulty is nan and must be a number",
        ),
        ({"difficulty": IDS}, "column difficulty is string; it must hold numbers"),
        ({"length": with_row([1.0] * NUM_ROWS, 6, 2.5)}, "row 6: length is 2.5 and must be a whole number"),
        ({"length": with_row([1] * NUM_ROWS, 6, 2**31)}, "row 6: length is 2.14748e.09 and must be a whole"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, message):
    task = task_of(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as caught:
        task.examples(part="weak", size=1, seed=0)
    assert task.path in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_classes_are_named(tmp_path):
    task = task_of(tmp_path, {"classes": (0, 1)})
    with pytest.raises(DataError, match=r"row 2: truth is 2, which is none of the classes \(0, 1\)"):
        task.examples(part="weak", size=1, seed=0)


def test_too_many_classes(tmp_path):
    rows = pa.array([[float(number)] for number in range(1001)])
    for count in (1000, 1001):
        path = write(
            tmp_path, {"features": rows, "label": [min(number, count - 1) for number in range(1001)]}
        )
        if count == 1000:
            assert FeaturesTask(path).num_classes == 1000
        else:
            with pytest.raises(DataError, match="column label has 1001 different values"):
                _ = FeaturesTask(path).num_classes


def test_two_columns_of_one_name(tmp_path):
    twice = pa.Table.from_arrays([LISTED, pa.array(TRUTH), pa.array(TRUTH)], ["features", "truth", "truth"])
    with pytest.raises(DataError, match="has two columns called truth; rename one"):
        FeaturesTask(write(tmp_path, twice)).examples(part="weak", size=1, seed=0)


def test_files_that_are_none(tmp_path):
    (tmp_path / "text.parquet").write_text("no table at all")
    (tmp_path / "cut.parquet").write_bytes(Path(write(tmp_path, table())).read_bytes()[:-9])
    for path in ("text.parquet", "cut.parquet"):
        with pytest.raises(DataError, match=f"{path} cannot be read as Parquet") as caught:
            FeaturesTask(str(tmp_path / path)).examples(part="weak", size=1, seed=0)
        assert "\n" not in str(caught.value)
    empty = FeaturesTask(write(tmp_path, pa.table(table())[:0], "empty.parquet"))
    with pytest.raises(DataError, match="holds no rows"):
        empty.examples(part="weak", size=1, seed=0)
    for path in ("nowhere.parquet", str(tmp_path)):
        task = FeaturesTask(path)
        for ask in (task.digests, lambda task=task: task.examples(part="weak", size=1, seed=0)):
            with pytest.raises(DataError, match=f"there is no feature table {path}; name a Parquet file"):
                ask()
