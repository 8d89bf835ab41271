from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from surpass.errors import DataError
from surpass.labels import (
    SCHEMA,
    join,
    label_table,
    probabilities,
    require_unique,
    rows,
    truth_labels,
    weights,
)

IDS = ["a", "b", "c"]
PROBS = [[0.25, 0.75], [1.0], [0.5, 0.25, 0.25]]
SIZES = [2, 1, 3]


def table(ids: Sequence[str] = IDS, probs: Sequence[Sequence[float]] = PROBS) -> pa.Table:
    return label_table(ids, [np.array(row, np.float32) for row in probs])


def lists(labels: pa.Table) -> list[list[float]]:
    return [row.tolist() for row in rows(labels)]


def test_table_and_rows_are_each_others_inverse():
    labels = table()
    assert labels.schema.equals(SCHEMA)
    assert lists(labels) == PROBS
    assert [row.dtype for row in rows(labels)] == [np.float32] * 3


def test_no_rows_at_all():
    empty = label_table([], [])
    assert empty.schema.equals(SCHEMA)
    assert rows(empty) == []
    assert rows(SCHEMA.empty_table()) == []
    assert join([], [], empty).num_rows == 0
    assert weights(empty).shape == (0,)
    assert truth_labels(pa.table({"id": pa.array([], pa.string()), "truth": []}), []).num_rows == 0


@pytest.mark.parametrize(("start", "length"), [(0, 1), (1, 1), (1, 2), (2, 1), (3, 0)])
def test_rows_of_a_slice_are_the_slice_of_the_rows(start, length):
    # Arrow slices share the buffers of the whole column: offsets must not be taken for places.
    assert lists(table().slice(start, length)) == PROBS[start : start + length]


def test_probabilities_are_one_array_where_all_have_as_many():
    square = label_table(["a", "b", "c"], [np.array([0.1, 0.9], np.float32)] * 2 + [np.array([1, 0])])
    for labels in (square, square.slice(1), square.slice(1, 1)):
        given = probabilities(labels)
        assert isinstance(given, np.ndarray)
        assert np.array_equal(given, np.stack(rows(labels)))
    ragged = probabilities(table())
    assert isinstance(ragged, list)
    assert all(map(np.array_equal, ragged, rows(table())))
    assert probabilities(square.slice(3)) == []


def test_a_table_of_one_array_is_that_of_its_rows():
    probs_NC = np.random.default_rng(0).dirichlet([1, 1, 1], 4).astype(np.float32)[:, ::-1]
    ids = ["a", "b", "c", "d"]
    assert label_table(ids, probs_NC).equals(label_table(ids, list(probs_NC)))


def test_rows_of_slices_put_together():
    labels = pa.concat_tables([table().slice(2, 1), table().slice(0, 2), table().slice(1, 0)])
    assert labels["probs"].num_chunks > 1
    assert lists(labels) == [PROBS[2], PROBS[0], PROBS[1]]


def test_join_puts_labels_in_the_order_of_the_examples():
    joined = join(["c", "a", "b"], [3, 2, 1], table())
    assert joined["id"].to_pylist() == ["c", "a", "b"]
    assert lists(joined) == [PROBS[2], PROBS[0], PROBS[1]]
    assert lists(join(["b", "c"], [1, 3], table().slice(1))) == PROBS[1:]


def test_join_is_by_id_for_every_order():
    rng = np.random.default_rng(0)
    names = [f"p{number}" for number in range(50)]
    probs = {name: rng.dirichlet(np.ones(1 + number % 7)) for number, name in enumerate(names)}
    order, other = rng.permutation(names).tolist(), rng.permutation(names).tolist()
    labels = table(other, [probs[name] for name in other])
    joined = join(order, [len(probs[name]) for name in order], labels)
    assert joined["id"].to_pylist() == order
    for name, row in zip(order, rows(joined), strict=True):
        np.testing.assert_array_equal(row, probs[name].astype(np.float32))


def test_missing_labels_are_an_error_unless_a_subset_will_do():
    with pytest.raises(DataError, match=r"no labels for 'd', 'e'; label all 5 examples"):
        join([*IDS, "d", "e"], [*SIZES, 2, 2], table())
    joined = join(["d", "c", "e", "a", "b"], [2, 3, 2, 2, 1], table(), subset=True)
    assert joined["id"].to_pylist() == ["c", "a", "b"]
    assert join(IDS, SIZES, table([], []), subset=True).num_rows == 0


def test_many_ids_are_named_in_part():
    with pytest.raises(DataError, match=r"no labels for '0', '1', '2' and 5 more; label all 8"):
        join([str(number) for number in range(8)], [2] * 8, table([], []))


def test_doubled_ids_are_refused_on_either_side():
    with pytest.raises(DataError, match="labels have doubled ids: 'a'"):
        join(IDS, SIZES, table(["a", "b", "a"]))
    with pytest.raises(DataError, match="examples have doubled ids: 'b'"):
        join(["b", "a", "b"], [1, 2, 1], table())
    with pytest.raises(DataError, match="examples of t have doubled ids: 'x', 'y'; each example is"):
        require_unique(["y", "x", "y", "x", "z"], "examples of t")
    require_unique([], "examples")


@pytest.mark.parametrize("subset", [False, True])
def test_foreign_labels_are_refused(subset):
    with pytest.raises(DataError, match="not here: 'c'; label these examples instead"):
        join(["a", "b"], [2, 1], table(), subset=subset)


@pytest.mark.parametrize("size", [1, 3])
def test_wrong_number_of_candidates(size):
    with pytest.raises(DataError, match=f"'a' has 2 candidates; the example has {size}"):
        join(IDS, [size, 1, 3], table())


@pytest.mark.parametrize(
    "row",
    [
        [np.nan, 1.0],
        [np.inf, 0.0],
        [-0.1, 1.1],
        [0.5, 0.498],
        [0.5, 0.502],
        [0.0, 0.0],
    ],
)
def test_what_is_no_distribution_is_refused(row):
    with pytest.raises(DataError, match=r"label of 'a' is no distribution: .*; it must sum to 1"):
        join(IDS, SIZES, table(probs=[row, *PROBS[1:]]))


def test_rounding_of_the_sum_is_allowed():
    assert join(IDS, SIZES, table(probs=[[0.5, 0.4995], *PROBS[1:]])).num_rows == 3


def test_a_missing_number_is_no_probability():
    labels = pa.table({"id": ["a"], "probs": pa.array([[None, 1.0]], SCHEMA.field("probs").type)})
    with pytest.raises(DataError, match="label of 'a' is no distribution"):
        join(["a"], [2], labels)


def test_every_message_is_one_line():
    for labels in (table(["a", "b", "x"]), table(probs=[[0.5] * 9, *PROBS[1:]])):
        with pytest.raises(DataError) as caught:
            join(IDS, SIZES, labels)
        assert "\n" not in str(caught.value)


def test_truth_as_labels():
    truth = pa.table({"id": IDS, "truth": pa.array([1, 0, 2], pa.int16())})
    labels = truth_labels(truth, SIZES)
    assert labels["id"].to_pylist() == IDS
    assert lists(labels) == [[0, 1], [1], [0, 0, 1]]
    assert join(IDS, SIZES, labels).equals(labels)


@pytest.mark.parametrize("right", [-1, 2, None])
def test_truth_that_is_no_candidate(right):
    truth = pa.table({"id": ["a"], "truth": pa.array([right], pa.int16())})
    with pytest.raises(DataError, match=rf"truth of 'a' is {right}; its candidates are 0 to 1"):
        truth_labels(truth, [2])


WEIGHTS = np.array([0.0, 2.5, 1.0], np.float32)


def weighted(values: Sequence[float | None] = WEIGHTS) -> pa.Table:
    return table().append_column("weight", pa.array(values, pa.float32()))


class TestWeights:
    def test_are_a_column_only_where_they_are_given(self):
        assert "weight" not in table().column_names
        labels = label_table(IDS, [np.array(row, np.float32) for row in PROBS], WEIGHTS)
        assert labels.equals(weighted())
        assert labels.schema.field("weight").type == pa.float32()
        assert lists(labels) == PROBS

    def test_are_one_where_there_are_none(self):
        for labels, expected in ((table(), [1, 1, 1]), (weighted(), WEIGHTS), (table().slice(2), [1])):
            found = weights(labels)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize(("start", "length"), [(0, 1), (1, 1), (1, 2), (3, 0)])
    def test_of_a_slice_and_of_pieces(self, start, length):
        np.testing.assert_array_equal(
            weights(weighted().slice(start, length)), WEIGHTS[start : start + length]
        )
        pieces = pa.concat_tables([weighted().slice(2), weighted().slice(start, length)])
        np.testing.assert_array_equal(weights(pieces), [1.0, *WEIGHTS[start : start + length]])

    def test_join_takes_them_along(self):
        np.testing.assert_array_equal(weights(join(["c", "a", "b"], [3, 2, 1], weighted())), [1.0, 0.0, 2.5])
        fewer = join(["x", "c", "b"], [1, 3, 1], weighted().slice(1), subset=True)
        np.testing.assert_array_equal(weights(fewer), [1.0, 2.5])
        assert "weight" not in join(IDS, SIZES, table()).column_names

    @pytest.mark.parametrize(
        ("value", "shown"),
        [(-0.1, "-0.1"), (np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (None, "nan")],
    )
    def test_bad_ones_are_refused(self, value, shown):
        with pytest.raises(DataError, match=rf"weight of 'b' is {shown}; it must be at least 0"):
            join(IDS, SIZES, weighted([1.0, value, 1.0]))

    def test_all_may_be_zero(self):
        assert join(IDS, SIZES, weighted([0.0, 0.0, -0.0])).num_rows == 3
