"""Rules that use features or out-of-sample predictions: planted errors, closed forms, and edges."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from surpass.errors import DataError
from surpass.labels import label_table, rows, weights
from surpass.rules import RULES, Given
from surpass.rules.linear import fit_predict


def binary(chances: NDArray[np.float64] | list[float]) -> pa.Table:
    return label_table(
        [f"e{row}" for row in range(len(chances))], [np.array([1 - p, p], np.float32) for p in chances]
    )


def given(chances: NDArray[np.float64] | list[float], features: object, *more: pa.Table) -> Given:
    features_ND = np.array(features, np.float32).reshape(len(chances), -1)
    return Given((binary(chances), *more), None, features_ND, (), 2)


def kept(labels: pa.Table) -> set[int]:
    return {int(example[1:]) for example in labels["id"].to_pylist()}


def planted(*, count: int = 200, wrong: int = 20, seed: int = 0) -> tuple[Given, set[int]]:
    """Two clouds, labelled by cloud but for the first examples."""
    rng = np.random.default_rng(seed)
    cloud = rng.integers(2, size=count)
    features = rng.standard_normal((count, 4)) + 8 * cloud[:, None]
    said = np.where(np.arange(count) < wrong, 1 - cloud, cloud)
    return given(0.1 + 0.8 * said, features), set(range(wrong))


@pytest.mark.parametrize("name", ["knn", "logistic", "topological"])
class TestProbes:
    def test_planted_errors_are_dropped(self, name):
        labels, wrong = planted()
        after = RULES[name](labels)
        assert kept(after) == set(range(200)) - wrong
        assert after["probs"].equals(labels.labels[0]["probs"].filter(pa.array(np.arange(200) >= 20)))

    def test_planted_errors_are_mended(self, name):
        labels, _ = planted()
        after = RULES[name](labels, use="relabel", sure=0.6)
        truth = labels.features_ND.mean(axis=1) > 4
        assert ([row.argmax() for row in rows(after)] == truth).all()
        assert rows(after)[50].tolist() == rows(labels.labels[0])[50].tolist(), "who agrees stays as it is"

    def test_predictions_are_smooth(self, name):
        labels, _ = planted(wrong=0)
        after = RULES[name](labels, use="predict")
        truth = labels.features_ND.mean(axis=1) > 4
        found = np.array([row[1] for row in rows(after)])
        assert np.abs(found - np.where(truth, 0.9, 0.1)).mean() < 0.07

    @pytest.mark.parametrize(("count", "expected"), [(9, 9), (10, 9), (11, 10), (20, 18)])
    def test_the_share_dropped_is_rounded_down(self, name, count, expected):
        rng = np.random.default_rng(1)
        labels = given(rng.uniform(0.6, 0.9, count), rng.standard_normal((count, 2)))
        assert RULES[name](labels).num_rows == expected

    def test_equal_features(self, name):
        after = RULES[name](given([0.1, 0.9, 0.8, 0.6], np.ones((4, 2))), use="predict")
        assert np.isfinite([row.tolist() for row in rows(after)]).all()

    def test_an_example_alone_keeps_its_label(self, name):
        for use in ("filter", "relabel", "predict"):
            assert rows(RULES[name](given([0.7], [[1.0]]), use=use))[0].tolist() == pytest.approx([0.3, 0.7])

    def test_candidates_are_the_classes(self, name):
        with pytest.raises(DataError, match="every example must have 3 candidates here"):
            RULES[name](given([0.7], [[1.0]])._replace(num_classes=3))


class TestNeighbours:
    def test_no_one_is_their_own_neighbour(self):
        after = RULES["knn"](given([1.0, 0.0, 0.5], [0, 1, 3]), k=1, use="predict")
        assert [row[1] for row in rows(after)] == [0, 1, 0]

    @pytest.mark.parametrize("k", [2, 3, 4, 50])
    def test_fewer_others_than_asked_for(self, k):
        after = RULES["knn"](given([1.0, 0.0, 0.5, 0.5], [0, 1, 3, 100]), k=k, use="predict")
        expected = 0.5 if k == 2 else 2 / 3
        assert rows(after)[3][1] == pytest.approx(0.25 if k == 2 else 0.5)
        assert rows(after)[1][1] == pytest.approx(0.75 if k == 2 else expected)

    def test_of_equally_near_ones_the_same_are_chosen_in_any_order(self):
        chances, features = np.linspace(0, 1, 30), np.zeros((30, 2))
        features[0] = 1
        forward = RULES["knn"](given(chances, features), k=5, use="predict")
        backward = given(chances, features)
        backward = backward._replace(
            labels=(backward.labels[0][::-1],), features_ND=backward.features_ND[::-1]
        )
        assert RULES["knn"](backward, k=5, use="predict")[::-1].equals(forward)

    def test_distances_far_from_the_origin(self):
        near = given([1.0, 1.0, 0.0, 0.0], np.array([0, 1, 10, 11]) + 1e4)
        after = RULES["knn"](near, k=1, use="predict")
        assert [row[1] for row in rows(after)] == [1, 1, 0, 0]


class TestTopology:
    def test_an_island_of_wrong_labels_goes(self):
        # Neighbours agree within the island, so only its connection gives it away.
        features = np.concatenate([np.linspace(0, 1, 20), np.linspace(50, 50.2, 4), np.linspace(51, 60, 20)])
        labels = given([0.1] * 20 + [0.1] * 4 + [0.9] * 20, features)
        assert kept(RULES["topological"](labels, k=3)) == set(range(20)) | set(range(24, 44))
        assert set(range(20, 24)) <= kept(RULES["knn"](labels, k=3))

    def test_the_components_may_cost_more_than_the_share(self):
        features = np.concatenate([np.linspace(0, 1, 6), np.linspace(50, 51, 4)])
        after = RULES["topological"](given([0.1] * 10, features), k=2, drop=0.0)
        assert kept(after) == set(range(6))


class TestLogisticRegression:
    @pytest.mark.parametrize("l2", [1e-3, 0.1, 1.0])
    def test_of_two_classes_it_is_that_of_scikit_learn(self, l2):
        linear_model = pytest.importorskip("sklearn.linear_model")
        rng = np.random.default_rng(0)
        inputs = rng.standard_normal((150, 3))
        inputs = (inputs - inputs.mean(0)) / inputs.std(0)
        label = (inputs[:, 0] + rng.standard_normal(150) > 0.3).astype(int)
        # Theirs is C x sum of losses + |w|^2 / 2, ours is mean of losses + l2 |w|^2.
        theirs = linear_model.LogisticRegression(C=1 / (2 * l2 * 150), tol=1e-10, max_iter=1000).fit(
            inputs, label
        )
        ours = fit_predict(inputs, np.eye(2)[label], inputs, l2=l2)
        np.testing.assert_allclose(ours, theirs.predict_proba(inputs), atol=1e-5)

    def test_soft_labels_count_in_parts(self):
        rng = np.random.default_rng(1)
        inputs, chance = rng.standard_normal((40, 2)), rng.choice([0.25, 0.75], 40)
        soft = fit_predict(inputs, np.stack([1 - chance, chance], 1), inputs, l2=0.01)
        repeated = np.repeat(inputs, 4, axis=0)
        ones = np.concatenate([[1] * round(4 * p) + [0] * round(4 - 4 * p) for p in chance])
        np.testing.assert_allclose(soft, fit_predict(repeated, np.eye(2)[ones], inputs, l2=0.01), atol=1e-5)

    def test_nothing_to_learn_from(self):
        inputs = np.ones((5, 2))
        target = np.array([[0.3, 0.7]] * 5)
        np.testing.assert_allclose(fit_predict(inputs, target, inputs, l2=0.0), target, atol=1e-5)

    def test_a_class_that_never_occurs(self):
        inputs = np.random.default_rng(2).standard_normal((30, 2))
        found = fit_predict(inputs, np.eye(3)[[0, 1] * 15], inputs, l2=1e-3)
        assert np.isfinite(found).all()
        assert found[:, 2].max() < 0.01


class TestConfidentLearning:
    def test_planted_errors_are_found(self):
        rng = np.random.default_rng(3)
        right = rng.integers(2, size=400)
        said = np.where(np.arange(400) < 60, 1 - right, right)
        predicted = binary(np.where(right == 1, 0.8, 0.2) + rng.uniform(-0.15, 0.15, 400))
        after = RULES["confident_learning"](given(said, np.zeros((400, 1)), predicted))
        assert kept(after) == set(range(60, 400))

    def test_weights_follow_the_prediction(self):
        after = RULES["confident_learning"](given([1.0, 0.0], [[0], [0]], binary([0.9, 0.7])), use="weight")
        assert weights(after).tolist() == pytest.approx([0.9 / 0.6, 0.3 / 0.6])

    @pytest.mark.parametrize("chances", [[0.9], [0.9, 0.8], [0.1, 0.2], [0.9, 0.1]])
    def test_few_examples_and_one_class(self, chances):
        labels = given(chances, [[0]] * len(chances), binary([1 - p for p in chances]))
        assert RULES["confident_learning"](labels).num_rows >= 1
        assert RULES["confident_learning"](labels, use="weight").num_rows == len(chances)

    def test_candidates_are_the_classes(self):
        with pytest.raises(DataError, match="every example must have 3 candidates here"):
            RULES["confident_learning"](given([0.7], [[1.0]], binary([0.7]))._replace(num_classes=3))


class TestOverlap:
    def test_points_that_look_like_hard_ones_are_kept(self):
        # Hard examples point along the first axis; half of the sure ones share that direction.
        features = [[1, 0, 0.0]] * 10 + [[1, 1, 0.0]] * 10 + [[0, 0, 1.0]] * 10
        labels = given([0.52] * 10 + [0.95] * 20, features)
        assert kept(RULES["overlap_density"](labels, keep=0.0)) == set(range(10, 20))
        assert kept(RULES["overlap_density"](labels, keep=2 / 3)) == set(range(10, 30)), "easy before hard"
        assert RULES["overlap_density"](labels, keep=1.0).num_rows == 30

    def test_the_hard_ones_come_last_and_the_surest_first(self):
        labels = given([0.51, 0.53, 0.55, 0.95, 0.96], np.ones((5, 2)))
        assert kept(RULES["overlap_density"](labels, keep=0.4)) == {3, 4}
        assert kept(RULES["overlap_density"](labels, keep=0.6)) == {2, 3, 4}

    def test_equal_confidence_has_no_hard_part(self):
        labels = given([0.7] * 4, np.eye(4))
        assert RULES["overlap_density"](labels, keep=0.5).num_rows == 2

    def test_features_of_no_length(self):
        labels = given([0.51, 0.9, 0.95], np.zeros((3, 2)))
        assert RULES["overlap_density"](labels, keep=0.6).num_rows == 2

    def test_the_change_point_of_a_step(self):
        labels = given([0.55] * 3 + [0.9] * 7, np.eye(10))
        assert kept(RULES["overlap_density"](labels, keep=0.7)) == set(range(3, 10))
