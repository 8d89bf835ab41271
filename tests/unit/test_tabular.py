from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch

from reference.tabular import layer, mlp_logits, softmax, train_softmax
from surpass.errors import ConfigError, DataError
from surpass.models.names import TabularShape, tabular_shape
from surpass.models.sources import resolve
from surpass.models.tabular import TabularChoice
from surpass.train.loop import Labels, Running, fit
from surpass.train.recipe import Recipe

RNG = np.random.default_rng(0)
NUM_EXAMPLES, NUM_FEATURES, NUM_CLASSES = 23, 5, 3
FEATURES_ND = RNG.standard_normal((NUM_EXAMPLES, NUM_FEATURES)).astype(np.float32)
LABELS_NC = RNG.dirichlet(np.ones(NUM_CLASSES), NUM_EXAMPLES).astype(np.float32)
ROWS = np.arange(NUM_EXAMPLES)


def table(features=FEATURES_ND, *, num_classes=NUM_CLASSES, hints=None):
    columns = {
        "id": [f"e{number}" for number in range(len(features))],
        "features": pa.array([list(map(float, row)) for row in features], pa.list_(pa.float32())),
        "candidates": pa.array([list(range(num_classes))] * len(features), pa.list_(pa.uint16())),
    }
    if hints is not None:
        columns["hint"] = pa.array([list(map(float, row)) for row in hints], pa.list_(pa.float32()))
    return pa.table(columns)


INPUTS = table()
HINTED = table(hints=LABELS_NC)


def load(name, inputs=INPUTS, seed=0):
    torch.manual_seed(seed)
    return TabularChoice.load(resolve(name), inputs)


def logits(model, inputs, rows=ROWS):
    with torch.no_grad():
        return model(model.encode(inputs), rows)


NONSENSE = (
    *("linear:", "linear", "linear:0", "linear:-1", "linear:08", "linear:8x4", "linear:8 ", "linear:1.5"),
    *("mlp:8x0", "mlp:x8", "mlp:8x", "mlp:8x4x2", "mlp:ALL", "tree:3", "", "ladder:chess-1", "linear:8\n"),
)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("linear:1", (1, None)),
            ("linear:10", (10, None)),
            ("linear:all", (None, None)),
            ("mlp:8", (8, 64)),
            ("mlp:all", (None, 64)),
            ("mlp:8x1", (8, 1)),
            ("mlp:allx128", (None, 128)),
        ],
    )
    def test_shape(self, name, shape):
        assert tabular_shape(name) == TabularShape(*shape)

    @pytest.mark.parametrize(
        "name",
        NONSENSE,
    )
    def test_nonsense(self, name):
        with pytest.raises(
            ConfigError, match=r"no model .*; name a tabular one linear:K or mlp:KxH"
        ) as caught:
            tabular_shape(name)
        assert "\n" not in str(caught.value)

    def test_no_torch(self):
        code = "import sys, surpass.models.names; print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


class TestLoad:
    def test_linear_starts_at_zero(self):
        for seed in (0, 1):
            model = load("linear:all", seed=seed)
            assert not any(value.any() for value in model.state_dict().values())
            assert not logits(model, INPUTS).any()

    def test_mlp_starts_from_the_global_generator(self):
        first, again, other = (load("mlp:all", seed=seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not any(torch.equal(first[name], other[name]) for name in first)

    @pytest.mark.parametrize(
        ("name", "inputs", "shapes"),
        [
            ("linear:2", INPUTS, {"head.weight": (3, 2), "head.bias": (3,)}),
            ("linear:all", table(num_classes=2), {"head.weight": (2, 5), "head.bias": (2,)}),
            ("linear:5", HINTED, {"head.weight": (3, 8), "head.bias": (3,)}),
            (
                "mlp:4x7",
                HINTED,
                {"body.weight": (7, 7), "body.bias": (7,), "head.weight": (3, 7), "head.bias": (3,)},
            ),
        ],
    )
    def test_shapes_come_from_name_and_examples(self, name, inputs, shapes):
        model = load(name, inputs)
        assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == shapes
        assert all(value.dtype == torch.float32 for value in model.parameters())

    def test_what_a_probe_trains(self):
        for name in ("linear:2", "mlp:2x4"):
            model = load(name)
            head = [value for key, value in model.named_parameters() if key.startswith("head.")]
            assert [id(value) for value in model.head_parameters()] == [id(value) for value in head]

    def test_more_features_than_there_are(self):
        load("linear:5")
        with pytest.raises(
            ConfigError, match="linear:6 reads 6 features and examples have 5; name at most 5"
        ):
            load("linear:6")

    def test_examples_that_do_not_fit(self):
        uneven = INPUTS.set_column(2, "candidates", pa.array([[0, 1]] + [[0, 1, 2]] * 22))
        with pytest.raises(DataError, match=r"candidates has from 2 to 3 entries; .* the same number"):
            load("linear:2", uneven)
        with pytest.raises(DataError, match=r"examples have no column 'features', .* they have id, board"):
            load("linear:2", pa.table({"id": ["a"], "board": ["b"]}))
        with pytest.raises(DataError, match="no examples to tell the length of features from"):
            load("linear:2", INPUTS[:0])


class TestEncode:
    def test_leading_features_then_the_hint(self):
        for count in (1, 4, 5):
            found = load(f"linear:{count}", HINTED).encode(HINTED)
            assert found.dtype == torch.float32
            assert found.is_contiguous()
            expected = np.hstack([FEATURES_ND[:, :count], LABELS_NC])
            np.testing.assert_array_equal(found.numpy(), expected)
        np.testing.assert_array_equal(load("mlp:all").encode(INPUTS).numpy(), FEATURES_ND)

    def test_a_model_loaded_without_hints_does_not_look_at_them(self):
        model = load("linear:2")
        assert torch.equal(model.encode(HINTED), model.encode(INPUTS))

    @pytest.mark.parametrize(("start", "length"), [(0, 1), (1, 1), (7, 10), (22, 1)])
    def test_slices_and_pieces(self, start, length):
        model = load("linear:3", HINTED)
        whole = model.encode(HINTED)
        assert torch.equal(model.encode(HINTED[start : start + length]), whole[start : start + length])
        pieces = pa.concat_tables([HINTED[start:], HINTED[:0], HINTED[:start]])
        assert torch.equal(model.encode(pieces), torch.cat([whole[start:], whole[:start]]))

    def test_no_examples(self):
        assert load("mlp:3", HINTED).encode(HINTED[:0]).shape == (0, 6)

    def test_other_kinds_of_number(self):
        doubles = INPUTS.set_column(1, "features", INPUTS["features"].cast(pa.list_(pa.float64())))
        model = load("linear:3", doubles)
        assert torch.equal(model.encode(doubles), model.encode(INPUTS))

    def test_examples_that_do_not_fit(self):
        model = load("linear:all", HINTED)
        with pytest.raises(DataError, match="examples have 4 features and the model reads 5"):
            model.encode(table(FEATURES_ND[:, :4], hints=LABELS_NC))
        with pytest.raises(DataError, match="examples have no column 'hint'"):
            model.encode(INPUTS)
        with pytest.raises(DataError, match="hints have 2 probabilities and the model reads 3"):
            model.encode(table(hints=LABELS_NC[:, :2]))


class TestForward:
    @pytest.mark.parametrize("name", ["mlp:3x4", "mlp:allx1", "mlp:1", "linear:2"])
    @pytest.mark.parametrize("rows", [[0], [3, 3, 22], list(range(NUM_EXAMPLES))])
    def test_equals_the_loop(self, name, rows):
        model = load(name, HINTED)
        for parameter in model.head_parameters():
            torch.nn.init.normal_(parameter)
        examples, state = model.encode(HINTED), {k: v.tolist() for k, v in model.state_dict().items()}
        found = logits(model, HINTED, np.array(rows))
        for row, logits_C in zip(rows, found.tolist(), strict=True):
            seen = examples[row].tolist()
            if name.startswith("linear"):
                expected = layer(seen, state["head.weight"], state["head.bias"])
            else:
                expected = mlp_logits(seen, state)
            assert logits_C == pytest.approx(expected, abs=1e-5)
        assert found.shape == (len(rows), NUM_CLASSES)
        assert found.dtype == torch.float32

    @pytest.mark.parametrize("name", ["linear:3", "mlp:3x6"])
    def test_the_head_reads_what_embed_gives(self, name):
        model = load(name, seed=3)
        examples = model.encode(INPUTS)
        with torch.no_grad():
            embedded = model.embed(examples, ROWS)
            assert torch.equal(model.head(embedded), model(examples, ROWS))
        assert embedded.shape == (NUM_EXAMPLES, 3 if name == "linear:3" else 6)
        if name == "linear:3":
            np.testing.assert_array_equal(embedded.numpy(), FEATURES_ND[:, :3])
        else:
            assert embedded.min() == 0 < embedded.max()

    def test_features_behind_the_leading_ones_do_not_matter(self):
        changed = FEATURES_ND.copy()
        changed[:, 2:] += 100
        for name in ("linear:2", "mlp:2"):
            model = load(name)
            torch.nn.init.normal_(model.head.weight)
            assert torch.equal(logits(model, INPUTS), logits(model, table(changed)))

    def test_huge_features_stay_finite(self):
        model = load("mlp:all")
        assert logits(model, table(FEATURES_ND * 1e30)).isfinite().all()


class TestTraining:
    @pytest.mark.parametrize(
        "recipe",
        [
            Recipe(epochs=4, batch_size=8, learning_rate=0.05),
            Recipe(epochs=2, batch_size=23, learning_rate=0.1, schedule="cosine", weight_decay=0.5),
            Recipe(epochs=1, batch_size=1, learning_rate=0.01, schedule="constant"),
        ],
    )
    @pytest.mark.parametrize("inputs", [INPUTS, HINTED])
    def test_linear_is_softmax_regression(self, recipe, inputs):
        model = load("linear:4", inputs)
        examples = model.encode(inputs)
        labels = Labels(list(LABELS_NC), np.ones(NUM_EXAMPLES, np.float32))
        losses = fit(model, examples, labels, loss="xent", recipe=recipe, seed=5)
        expected = train_softmax(examples.tolist(), LABELS_NC.tolist(), recipe, seed=5)
        assert losses.tolist() == pytest.approx(expected.losses, abs=1e-5)
        np.testing.assert_allclose(model.head.weight.detach().numpy(), expected.weight, atol=1e-4)
        np.testing.assert_allclose(model.head.bias.detach().numpy(), expected.bias, atol=1e-4)

    def test_a_converged_model_is_the_one_of_scikit_learn(self):
        linear_model = pytest.importorskip("sklearn.linear_model")
        rng = np.random.default_rng(1)
        features_ND = rng.standard_normal((300, 4)).astype(np.float32)
        truth_N = (features_ND @ rng.standard_normal((4, 3)) + rng.gumbel(size=(300, 3))).argmax(1)
        inputs, model = table(features_ND), load("linear:all", table(features_ND))
        labels = Labels(list(np.eye(3, dtype=np.float32)[truth_N]), np.ones(300, np.float32))
        recipe = Recipe(epochs=300, batch_size=300, learning_rate=0.1)
        fit(model, model.encode(inputs), labels, loss="xent", recipe=recipe, seed=0)
        theirs = linear_model.LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
        theirs.fit(features_ND, truth_N)
        found = [softmax(row) for row in logits(model, inputs, np.arange(300)).tolist()]
        np.testing.assert_allclose(found, theirs.predict_proba(features_ND), atol=2e-3)

    @pytest.mark.parametrize("name", ["linear:all", "mlp:allx8"])
    def test_micro_batches_change_nothing(self, name):
        recipe = Recipe(epochs=2, batch_size=8, learning_rate=0.01)
        labels = Labels(list(LABELS_NC), np.ones(NUM_EXAMPLES, np.float32))
        states = []
        for micro_batch in (None, 3):
            model = load(name)
            fit(
                model,
                model.encode(INPUTS),
                labels,
                loss="xent",
                recipe=recipe,
                seed=0,
                running=Running(micro_batch=micro_batch),
            )
            states.append(torch.cat([value.flatten() for value in model.state_dict().values()]))
        torch.testing.assert_close(states[0], states[1], atol=1e-5, rtol=0)

    def test_hints_are_learnt(self):
        """What is shown is imitated: the trivial case of Burns et al. 2023, appendix E.3."""
        hard = np.eye(NUM_CLASSES, dtype=np.float32)[LABELS_NC.argmax(1)]
        inputs = table(hints=hard)
        model = load("linear:1", inputs)
        recipe = Recipe(epochs=100, batch_size=23, learning_rate=0.1)
        labels = Labels(list(hard), np.ones(NUM_EXAMPLES, np.float32))
        fit(model, model.encode(inputs), labels, loss="xent", recipe=recipe, seed=0)
        assert (logits(model, inputs).argmax(1).numpy() == hard.argmax(1)).all()
