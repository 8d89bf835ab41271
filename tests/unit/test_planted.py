from __future__ import annotations

import math
from itertools import combinations, pairwise, product

import numpy as np
import pyarrow as pa
import pytest
import torch

from reference.tabular import boundary_distance, gaussians, log_posteriors, two_class_accuracy
from surpass.errors import ConfigError
from surpass.models.sources import resolve
from surpass.models.tabular import TabularChoice
from surpass.recipes.planted import FITTING, planted, planted_many
from surpass.tasks import TASKS
from surpass.tasks.planted import MAX_SIZE, PARTS, PlantedTask
from surpass.train.loop import Labels, fit

TASK = PlantedTask()
FOUR = planted_many().task
ODD = PlantedTask(num_classes=3, num_features=11, imbalance=4.0, label_noise=0.2, growth=-0.5)
TASKS_HERE = [TASK, FOUR, ODD]

PINNED_TRUTH = [1, 0, 1, 1, 1, 0]
PINNED_FEATURES = [2.2287242, -0.6034331, -1.1241617, -0.5882566, 0.384572, -2.3138144]
PINNED_LENGTH = [135, 147, 11, 41, 52, 35]


def features(examples):
    rows = examples.inputs["features"].combine_chunks()
    return rows.flatten().to_numpy().reshape(len(rows), -1)


def truth(examples):
    return examples.truth["truth"].to_numpy()


def ids(examples):
    return examples.inputs["id"].to_pylist()


def classes_of(task, num_leading=None):
    return gaussians(task.concepts_CU.tolist(), task.weights_UD.tolist(), task.prior_C.tolist(), num_leading)


def best_guesses(task, features_ND):
    """The best rule, worked out from the covariance of the features."""
    classes = classes_of(task, features_ND.shape[1])
    means_CD, inverse_DD = np.array(classes.means), np.array(classes.inverse)
    constants = np.log(classes.prior) - np.einsum("cd,de,ce->c", means_CD, inverse_DD, means_CD) / 2
    return (features_ND.astype(np.float64) @ inverse_DD @ means_CD.T + constants).argmax(axis=1)


class TestForm:
    def test_registered(self):
        assert TASKS["planted"]() == TASK
        assert (TASK.name, TASK.parts, TASK.mixes) == ("planted", PARTS, ("all",))
        assert (TASK.num_classes, TASK.difficulty) == (2, "difficulty")
        assert TASK.families == {"tabular"}
        assert TASK.digests() == {}

    @pytest.mark.parametrize("task", TASKS_HERE)
    def test_columns(self, task):
        inputs, sealed, _ = task.examples(part="test", size=10, seed=0)
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
        assert sealed.schema.equals(pa.schema([("id", pa.string()), ("truth", pa.int16())]))
        assert sealed["id"].equals(inputs["id"])
        assert inputs["candidates"].to_pylist() == [list(range(task.num_classes))] * 10
        assert {len(row) for row in inputs["features"].to_pylist()} == {task.num_features}
        assert all(0 <= right < task.num_classes for right in sealed["truth"].to_pylist())

    def test_examples_never_change(self):
        found = TASK.examples(part="weak", size=6, seed=2)
        assert ids(found) == [f"weak-2-{number}" for number in range(6)]
        assert truth(found).tolist() == PINNED_TRUTH
        assert features(found)[:2, :3].ravel().tolist() == pytest.approx(PINNED_FEATURES, abs=1e-6)
        assert found.inputs["length"].to_pylist() == PINNED_LENGTH


class TestDraws:
    @pytest.mark.parametrize("task", TASKS_HERE)
    def test_smaller_sizes_are_prefixes_to_the_bit(self, task):
        whole = task.examples(part="student", size=3000, seed=1)
        for size in (0, 1, 17, 1023, 1024, 1025, 2048, 2999):
            some = task.examples(part="student", size=size, seed=1)
            assert some.inputs.equals(whole.inputs[:size])
            assert some.truth.equals(whole.truth[:size])

    def test_parts_seeds_and_problems_share_nothing(self):
        keys = list(product(PARTS, (0, 1, 7), (0, 1)))
        drawn = [
            PlantedTask(problem_seed=problem).examples(part=part, size=100, seed=seed)
            for part, seed, problem in keys
        ]
        rows = {row.tobytes() for found in drawn for row in features(found)}
        assert len(rows) == 100 * len(keys)
        assert len({name for found in drawn for name in ids(found)}) == 100 * len(keys) // 2

    def test_the_most_there_is(self):
        small = PlantedTask(num_features=1)
        assert len(small.examples(part="test", size=None, seed=0).inputs) == MAX_SIZE
        assert len(small.examples(part="test", size=MAX_SIZE, seed=0).inputs) == MAX_SIZE
        for size in (MAX_SIZE + 1, -1):
            message = f"{size} examples asked for and {MAX_SIZE} in part 'weak'; ask for fewer"
            with pytest.raises(ConfigError, match=message):
                TASK.examples(part="weak", size=size, seed=0)

    def test_unknown_names_list_the_known(self):
        with pytest.raises(ConfigError, match="no part 'train' in task planted; choose from weak, student, "):
            TASK.examples(part="train", size=1, seed=0)
        with pytest.raises(ConfigError, match="no mix 'even' in task planted; choose from all"):
            TASK.examples(part="weak", size=1, seed=0, mix="even")
        with pytest.raises(ConfigError, match="seed=-1 must be at least 0"):
            TASK.examples(part="weak", size=1, seed=-1)

    def test_shares_of_the_classes(self):
        task = PlantedTask(num_classes=3, num_features=4, imbalance=9.0)
        assert task.prior_C.tolist() == pytest.approx([9 / 13, 3 / 13, 1 / 13])
        found = np.bincount(truth(task.examples(part="weak", size=20_000, seed=0))) / 20_000
        for share, expected in zip(found, task.prior_C, strict=True):
            assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 20_000))

    def test_label_noise_moves_the_truth_evenly_and_nothing_else(self):
        clean, noisy = (
            PlantedTask(num_classes=4, num_features=6, label_noise=noise).examples(
                part="student", size=20_000, seed=0
            )
            for noise in (0.0, 0.3)
        )
        assert noisy.inputs.equals(clean.inputs)
        moved = np.bincount((truth(noisy) - truth(clean)) % 4, minlength=4) / 20_000
        assert moved.tolist() == pytest.approx([0.7, 0.1, 0.1, 0.1], abs=4 * math.sqrt(0.21 / 20_000))

    def test_length_says_nothing(self):
        examples = TASK.examples(part="test", size=20_000, seed=0)
        length_N = examples.inputs["length"].to_numpy().astype(float)
        assert length_N.min() >= 1
        assert np.median(length_N) == pytest.approx(math.exp(4), rel=0.02)
        for other_N in (truth(examples), examples.inputs["difficulty"].to_numpy(), features(examples)[:, 63]):
            assert abs(np.corrcoef(length_N, other_N)[0, 1]) < 4 / math.sqrt(20_000)


class TestGeometry:
    @pytest.mark.parametrize("num_classes", [2, 3, 4, 7, 30])
    def test_concepts_of_classes_are_equally_far_apart(self, num_classes):
        task = PlantedTask(num_classes=num_classes, separation=1.7)
        assert np.abs(task.concepts_CU.sum(axis=0)).max() < 1e-12
        for first, second in combinations(task.concepts_CU, 2):
            assert math.dist(first, second) == pytest.approx(1.7)

    @pytest.mark.parametrize("task", [*TASKS_HERE, PlantedTask(num_classes=4, num_features=3, growth=2.0)])
    def test_features_tell_every_axis_equally_and_leading_ones_as_growth_says(self, task):
        axes = task.num_classes - 1
        blocks = task.num_features // axes
        np.testing.assert_allclose(
            task.weights_UD @ task.weights_UD.T, task.precision * np.eye(axes), atol=1e-12
        )
        told = [
            np.linalg.norm(task.weights_UD[:, block * axes : (block + 1) * axes]) for block in range(blocks)
        ]
        expected = [told[0] * (block + 1) ** task.growth for block in range(blocks)]
        assert told == pytest.approx(expected)
        assert not task.weights_UD[:, blocks * axes :].any()

    def test_another_problem_has_other_directions(self):
        assert not np.allclose(FOUR.weights_UD, PlantedTask(4, 63, problem_seed=1).weights_UD)

    @pytest.mark.parametrize("task", TASKS_HERE)
    def test_difficulty_equals_the_loop(self, task):
        examples = task.examples(part="validation", size=40, seed=0)
        classes = classes_of(task)
        expected = [-boundary_distance(row.tolist(), classes) for row in features(examples).astype(float)]
        assert examples.inputs["difficulty"].to_pylist() == pytest.approx(expected, abs=1e-4)

    def test_harder_examples_are_got_wrong_more_often(self):
        examples = TASK.examples(part="test", size=6_000, seed=0)
        right_N = best_guesses(TASK, features(examples)) == truth(examples)
        thirds = np.array_split(np.argsort(examples.inputs["difficulty"].to_numpy()), 3)
        easy, middle, hard = (right_N[rows].mean() for rows in thirds)
        assert easy > 0.98
        assert easy > middle + 0.02
        assert middle > hard + 0.1


class TestBayesAccuracy:
    @pytest.mark.parametrize("num_leading", [1, 2, 8, 63, 64, None])
    @pytest.mark.parametrize("imbalance", [1.0, 3.0, 50.0])
    @pytest.mark.parametrize("label_noise", [0.0, 0.25])
    def test_two_classes_in_closed_form(self, num_leading, imbalance, label_noise):
        task = PlantedTask(imbalance=imbalance, label_noise=label_noise)
        precision = float((task.weights_UD[0, :num_leading] ** 2).sum())
        distance = task.separation / math.sqrt(1 + 1 / precision)
        right = two_class_accuracy(distance, (imbalance / (1 + imbalance), 1 / (1 + imbalance)))
        expected = right * (1 - label_noise) + (1 - right) * label_noise
        assert task.bayes_accuracy(num_leading) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize(
        ("task", "num_leading"), [(TASK, 8), (TASK, 64), (FOUR, 15), (FOUR, 63), (ODD, 4), (ODD, 11)]
    )
    def test_what_the_best_rule_reaches(self, task, num_leading):
        examples = task.examples(part="student", size=40_000, seed=1)
        guess_N = best_guesses(task, features(examples)[:, :num_leading])
        expected = task.bayes_accuracy(None if num_leading == task.num_features else num_leading)
        error = math.sqrt(expected * (1 - expected) / 40_000)
        assert (guess_N == truth(examples)).mean() == pytest.approx(expected, abs=4 * error)

    def test_the_best_rule_equals_the_loop(self):
        examples = ODD.examples(part="weak", size=50, seed=0)
        scores = [log_posteriors(row.tolist(), classes_of(ODD)) for row in features(examples).astype(float)]
        slow = [row.index(max(row)) for row in scores]
        assert best_guesses(ODD, features(examples)).tolist() == slow

    def test_what_logistic_regression_reaches(self):
        linear_model = pytest.importorskip("sklearn.linear_model")
        for task, num_leading in ((TASK, 8), (TASK, 64), (FOUR, 15)):
            train, test = (task.examples(part=part, size=20_000, seed=0) for part in ("weak", "student"))
            model = linear_model.LogisticRegression(max_iter=1000)
            model.fit(features(train)[:, :num_leading], truth(train))
            found = model.score(features(test)[:, :num_leading], truth(test))
            assert found == pytest.approx(task.bayes_accuracy(num_leading), abs=0.012)

    def test_more_features_tell_more(self):
        found = [TASK.bayes_accuracy(count) for count in range(1, 65)]
        assert all(less < more for less, more in pairwise(found))
        assert 0.5 < found[0] < 0.6

    def test_limits(self):
        assert PlantedTask(separation=0.01).bayes_accuracy() == pytest.approx(0.5, abs=0.005)
        assert PlantedTask(separation=100).bayes_accuracy() == pytest.approx(1)
        assert PlantedTask(num_classes=5, separation=0.01).bayes_accuracy() == pytest.approx(0.2, abs=0.005)
        assert PlantedTask(separation=100, label_noise=0.1).bayes_accuracy() == pytest.approx(0.9)
        lopsided = PlantedTask(separation=0.01, imbalance=1e6)
        assert lopsided.bayes_accuracy() == pytest.approx(1e6 / (1e6 + 1))

    @pytest.mark.parametrize("num_leading", [0, -2, 1, 3, 12])
    def test_no_such_number_of_features(self, num_leading):
        with pytest.raises(
            ConfigError, match=f"num_leading={num_leading} must be a multiple of .* 2, at most"
        ):
            ODD.bayes_accuracy(num_leading)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_classes": 1}, "num_classes=1 must be a whole number from 2 to 100"),
        ({"num_classes": 101}, "num_classes=101 must be"),
        ({"num_classes": 2.0}, "num_classes=2.0 must be a whole number"),
        ({"num_classes": 5, "num_features": 3}, "num_features=3 must be a whole number from 4 to 4096"),
        ({"num_features": 4097}, "num_features=4097 must be"),
        ({"num_features": True}, "num_features=True must be"),
        ({"separation": 0}, "separation=0 must be from 0.01 to 100"),
        ({"separation": math.nan}, "separation=nan must be"),
        ({"precision": math.inf}, "precision=inf must be"),
        ({"growth": -4.1}, "growth=-4.1 must be from -4 to 4"),
        ({"imbalance": 0.5}, "imbalance=0.5 must be from 1 to"),
        ({"label_noise": 0.5}, r"label_noise=0.5 must be at least 0 and below \(C - 1\) / C = 0.5"),
        ({"num_classes": 4, "label_noise": 0.76}, "label_noise=0.76 .* = 0.75"),
        ({"label_noise": -0.1}, "label_noise=-0.1 must"),
        ({"problem_seed": -1}, "problem_seed=-1 must be a whole number from 0"),
    ],
)
def test_settings_that_make_no_sense(fields, message):
    with pytest.raises(ConfigError, match=message):
        PlantedTask(**fields)


def accuracy(model, test):
    with torch.no_grad():
        logits_NC = model(model.encode(test.inputs), np.arange(len(test.inputs)))
    return float((logits_NC.argmax(1).numpy() == truth(test)).mean())


def fitted(name, examples, labels_NC):
    model = TabularChoice.load(resolve(name), examples.inputs)
    labels = Labels(list(labels_NC.astype(np.float32)), np.ones(len(labels_NC), np.float32))
    fit(model, model.encode(examples.inputs), labels, loss="xent", recipe=FITTING, seed=0)
    return model


@pytest.mark.parametrize("study", [planted(), planted_many()], ids=lambda study: study.name)
def test_the_student_lies_between(study):
    task, eye = study.task, np.eye(study.task.num_classes)
    weak_half, student_half, test = (
        task.examples(part=part, size=4_000, seed=0) for part in ("weak", "student", "validation")
    )
    weak_name, strong_name = study.pairs[1]
    weak = fitted(weak_name, weak_half, eye[truth(weak_half)])
    with torch.no_grad():
        logits_NC = weak(weak.encode(student_half.inputs), np.arange(4_000))
    labels_NC = eye[logits_NC.argmax(1)] if study.labels == "hard" else logits_NC.softmax(1).numpy()
    student = fitted(strong_name, student_half, labels_NC)
    ceiling = fitted(strong_name, student_half, eye[truth(student_half)])
    found = [accuracy(model, test) for model in (weak, student, ceiling)]
    assert 0.68 < found[0] < 0.74
    assert found[0] + 0.02 < found[1] < found[2] - 0.03
    assert 0.87 < found[2] < 0.91
