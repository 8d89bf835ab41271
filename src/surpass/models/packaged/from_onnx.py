"""BERT encoders out of ONNX files, as PyTorch's exporter writes them.

Embeddings, biases and layer norms keep their names there. The matrices have numbers for names, but each
is multiplied just before its bias is added, and that says which it is. No torch.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from surpass.errors import DataError, MissingExtraError
from surpass.models.folders import CONFIG, WEIGHTS

_PARTS = re.compile(r"(?:.*\.)?(embeddings\..*|encoder\.layer\..*)")
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")
_WORDS = "embeddings.word_embeddings.weight"
_PLACES = "embeddings.position_embeddings.weight"
_TYPES = "embeddings.token_type_embeddings.weight"


def convert(path: Path, out: Path) -> None:
    """Write the encoder of an ONNX file as `config.json` and `model.safetensors`, in float32.

    Raises:
        DataError: It is no ONNX file, or no BERT with GELU that we can read whole.
        MissingExtraError: The package onnx is missing.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError(
            "onnx, which reads ONNX files, is not installed; pip install 'surpass[packaged]'"
        ) from None
    try:
        graph = onnx.load(path).graph
        array = onnx.numpy_helper.to_array
        held = {entry.name: array(entry) for entry in graph.initializer}
        tensors = _tensors(graph, held)
        config = _config(graph, held, tensors, array)
    # A damaged file; protobuf's own error is none of the standard ones.
    except (onnx.onnx_cpp2py_export.checker.ValidationError, ValueError, KeyError, OSError) as error:
        raise DataError(f"{path} cannot be read as an encoder ({error})") from None
    except Exception as error:
        if type(error).__name__ != "DecodeError":
            raise
        raise DataError(f"{path} is no ONNX file ({error})") from None
    save_file(tensors, out / WEIGHTS, {"format": "pt"})
    (out / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def _tensors(graph: Any, held: dict[str, Any]) -> dict[str, Any]:
    """All weights by the names that transformers gives them.

    Raises:
        ValueError: A matrix has no bias that names it.
    """
    tensors = {}
    for name, value in held.items():
        match = _PARTS.fullmatch(name)
        if match is not None:
            tensors[match[1]] = np.ascontiguousarray(value, np.float32)
    biases = {}  # by what they are added to
    for node in graph.node:
        if node.op_type == "Add":
            for one, other in (node.input, reversed(node.input)):
                if one in held and one.endswith(".bias"):
                    biases[other] = _PARTS.fullmatch(one)
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in held:
            match = biases.get(node.output[0])
            if match is None:
                raise ValueError(f"no bias follows the matrix {node.input[1]}")
            name = f"{match[1].removesuffix('.bias')}.weight"
            tensors[name] = np.ascontiguousarray(held[node.input[1]].T, np.float32)
    return tensors


def _config(graph: Any, held: dict[str, Any], tensors: dict[str, Any], array: Any) -> dict[str, Any]:
    """The configuration, by the shapes of the weights and the constants of the graph.

    Raises:
        ValueError: Something differs from a BERT.
        KeyError: A weight is missing.
    """
    hidden = tensors[_WORDS].shape[1]
    layers = len({match[1] for name in tensors if (match := _LAYER.match(name))})
    expected = {f"encoder.layer.{layer}.{name}" for layer in range(layers) for name in _layer_names()}
    expected |= {_WORDS, _PLACES, _TYPES, "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"}
    if expected != tensors.keys() or not layers:
        differs = sorted(expected ^ tensors.keys()) or ["no layer"]
        raise ValueError(f"its weights are not those of a BERT: {differs[0]}")
    if sum(node.op_type == "Erf" for node in graph.node) != layers:
        raise ValueError("its activation is not GELU")
    constants = {node.output[0]: array(node.attribute[0].t) for node in graph.node if _is_tensor(node)}
    size = _head_size(graph, held, held | constants)
    epsilons = {_epsilon(node) for node in graph.node if node.op_type == "LayerNormalization"}
    if hidden % size or len(epsilons) != 1:
        raise ValueError(f"heads of size {size} in {hidden} features, layer norms with {epsilons}")
    return {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "dtype": "float32",
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": tensors["encoder.layer.0.intermediate.dense.weight"].shape[0],
        "layer_norm_eps": epsilons.pop(),
        "max_position_embeddings": tensors[_PLACES].shape[0],
        "model_type": "bert",
        "num_attention_heads": hidden // size,
        "num_hidden_layers": layers,
        "pad_token_id": 0,
        "type_vocab_size": tensors[_TYPES].shape[0],
        "vocab_size": tensors[_WORDS].shape[0],
    }


def _layer_names() -> list[str]:
    linear = [f"attention.self.{name}" for name in ("query", "key", "value")]
    linear += ["attention.output.dense", "intermediate.dense", "output.dense"]
    norms = ["attention.output.LayerNorm", "output.LayerNorm"]
    return [f"{name}.{kind}" for name in [*linear, *norms] for kind in ("weight", "bias")]


def _is_tensor(node: Any) -> bool:
    return bool(node.op_type == "Constant" and node.attribute[0].name == "value")


def _head_size(graph: Any, held: dict[str, Any], known: dict[str, Any]) -> int:
    """How many features a head of attention has: scores are divided by its square root.

    Raises:
        ValueError: Scores are scaled otherwise.
    """
    scores = {n.output[0] for n in graph.node if n.op_type == "MatMul" and n.input[1] not in held}
    divided = [n for n in graph.node if n.op_type == "Div" and n.input[0] in scores and n.input[1] in known]
    sizes = {round(float(known[node.input[1]]) ** 2) for node in divided}
    if len(sizes) != 1 or min(sizes) < 1:
        raise ValueError("its attention is not scaled by the root of the head's size")
    return sizes.pop()


def _epsilon(node: Any) -> float:
    # Written as float32; the number that was meant is the shortest that reads back to it.
    return next((float(str(np.float32(a.f))) for a in node.attribute if a.name == "epsilon"), 1e-5)
