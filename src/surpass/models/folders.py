"""Folders in the format of Hugging Face: which files make a model of texts or images, what their headers say.

No torch, no transformers, and no pickle: weights are `model.safetensors`, or the shards that
`model.safetensors.index.json` names. Only where a name allows it (`weights=bin`) are they
`pytorch_model.bin` or its shards, which transformers unpickles with nothing but tensors allowed.
"""

from __future__ import annotations

import json
import math
import struct
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from surpass.errors import ConfigError, DataError
from surpass.identity import digest_of, remembered_digest
from surpass.models.image_configs import (
    PREPROCESSOR,
    classes_of,
    flops_of,
    pixels_of,
    prepares_images,
    reads_images,
)

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
POOLING = "1_Pooling/config.json"
"""Where sentence encoders say how the states of tokens become one; it changes numbers, so it counts."""

PICKLED = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
BESIDE = (CONFIG, POOLING, *TOKENIZERS)
"""What counts beside the weights of texts; all but the configuration and some tokenizer may be missing."""

BESIDE_IMAGES = (CONFIG, PREPROCESSOR)
"""What counts beside the weights of a model of images."""

_TOKENIZER_ALONE = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_ADAPTER = "adapter_config.json"
_LONGEST_HEADER = 100_000_000
_WHOLE_OR_TRUE = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")
_HALVES = ("float16", "bfloat16")
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_TWO_PARTS = "ForConditionalGeneration"
_STATISTICS = (".running_mean", ".running_var")


class Folder(NamedTuple):
    """A model of texts or of images in a folder.

    Attributes:
        path: Where it is.
        digest: The sha256 of its files' names and digests: configuration, pooling or preprocessing,
            tokenizer, weights.
        parameters: How many there are; of a pickle, which is not read, by its size.
        family: "causal", "encoder" or "vision".
        pixels: Side of the square that it reads of an image; 0 of texts.
        num_classes: How many classes of images its own classifier tells apart; None without one.
        flops_per_pixel: Floating-point operations of one forward pass for each pixel; 0 of texts.
    """

    path: Path
    digest: str
    parameters: int
    family: str
    pixels: int = 0
    num_classes: int | None = None
    flops_per_pixel: float = 0.0


def patterns(pickled: bool = False) -> list[str]:
    """What a download needs of a repository."""
    weights = (PICKLED_INDEX, "pytorch_model*.bin") if pickled else (INDEX, "*.safetensors")
    return [*BESIDE, PREPROCESSOR, *weights]


def read_folder(path: Path, *, pickled: bool = False) -> Folder:
    """Digest, size and family of a model.

    Raises:
        ConfigError: The folder lacks something that a model is made of, holds an adapter, or a model
            that is neither causal nor an encoder nor of images.
        DataError: A file is damaged.
    """
    reason = lacking(path, pickled=pickled)
    images = _is_of_images(path)
    if reason is not None:
        raise ConfigError(f"no {'image' if images else 'language'} model at {path}: {reason}")
    named = [name for name in (BESIDE_IMAGES if images else BESIDE) if (path / name).is_file()]
    shards = _weights(path, pickled)
    index = [] if shards in ([WEIGHTS], [PICKLED]) else [PICKLED_INDEX if pickled else INDEX]
    digests = {name: remembered_digest(path / name) for name in sorted([*named, *index, *shards])}
    return _folder(path, digest_of(digests), tuple(shards))


def family_of(config: dict[str, Any]) -> str:
    """The family of a model, by its `config.json`.

    One whose model type is known to read images, or of whose `architectures` a name ends in
    ForImageClassification, is of vision. One of whose `architectures` a name ends in ForCausalLM or
    LMHeadModel is causal; any other is an encoder, also where none is named.

    Raises:
        ConfigError: It has an encoder and a decoder, or reads more than text.
    """
    names = [str(name) for name in config.get("architectures") or ()]
    if config.get("is_encoder_decoder") or any(name.endswith(_TWO_PARTS) for name in names):
        what = names[0] if names else f"model type {config.get('model_type')}"
        raise ConfigError(
            f"{what} is an encoder with a decoder, or reads more than text; name a causal language model "
            "(GPT-2, Llama, Qwen) or an encoder alone (BERT, MPNet)"
        )
    if reads_images(config):
        return "vision"
    return "causal" if any(name.endswith(_CAUSAL) for name in names) else "encoder"


def _is_of_images(path: Path) -> bool:
    """Whether its model reads images, by its configuration or as it has a preprocessor and no tokenizer."""
    try:
        if reads_images(read_config(path / CONFIG)):
            return True
        return not _has_tokenizer(path) and prepares_images(read_config(path / PREPROCESSOR))
    except DataError:
        return False


def _has_tokenizer(path: Path) -> bool:
    return any((path / name).is_file() for name in _TOKENIZER_ALONE)


def lacking(path: Path, *, pickled: bool = False) -> str | None:
    """Why a folder holds no model that can be loaded, and what to do; None where it does."""
    if not (path / CONFIG).is_file():
        return f"it has no {CONFIG}; name a folder that save_pretrained wrote"
    if (path / _ADAPTER).is_file():
        return f"it has an {_ADAPTER}; merge the adapter into the weights and save those"
    if _is_of_images(path):
        if not (path / PREPROCESSOR).is_file():
            return f"it has no {PREPROCESSOR}; save the image processor with save_pretrained too"
    elif not _has_tokenizer(path):
        return "it has no tokenizer; save that with save_pretrained too"
    shards = _weights(path, pickled)
    missing = [name for name in shards if not (path / name).is_file()]
    if missing:
        return f"{PICKLED_INDEX if pickled else INDEX} names {missing[0]}, which is not there; copy it too"
    if not shards and pickled:
        return f"it has no {PICKLED}; leave weights=bin out of its name"
    if not shards:
        found = sorted(entry.name for entry in path.glob("*.bin")) or ["no weights"]
        return (
            f"it has {found[0]}, no {WEIGHTS}; only safetensors are read and no pickle: save it anew with "
            f"save_pretrained, or, if you trust a {PICKLED} there, put (weights=bin) behind its name"
        )
    return None


def _weights(path: Path, pickled: bool) -> list[str]:
    """Names of the weights files, as transformers chooses them."""
    alone, index, ending = (PICKLED, PICKLED_INDEX, ".bin") if pickled else (WEIGHTS, INDEX, ".safetensors")
    if (path / alone).is_file():
        return [alone]
    if not (path / index).is_file():
        return []
    try:
        names = set(json.loads((path / index).read_text())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path / index} is damaged; copy it again") from None
    if not all(isinstance(name, str) and "/" not in name and name.endswith(ending) for name in names):
        raise DataError(f"{path / index} names files that are no *{ending} beside it; save the model again")
    return sorted(names)


@cache
def _folder(path: Path, digest: str, shards: tuple[str, ...]) -> Folder:
    config = read_config(path / CONFIG)
    try:
        family = family_of(config)
    except ConfigError as error:
        raise ConfigError(f"no model for us at {path}: {error}") from None
    count = _pickled_parameters if shards[0].endswith(".bin") else _parameters
    parameters = sum(count(path / name, config) for name in shards)
    if not _is_of_images(path):
        return Folder(path, digest, parameters, family)
    pixels = pixels_of(read_config(path / PREPROCESSOR))
    flops = flops_of(config, parameters, pixels) / pixels**2
    return Folder(path, digest, parameters, "vision", pixels, classes_of(config), flops)


def read_config(path: Path) -> dict[str, Any]:
    """What a `config.json`, or another file of that form, says.

    Raises:
        DataError: It is damaged.
    """
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise DataError(f"{path} is damaged; copy it again")
    return config


def _pickled_parameters(path: Path, config: dict[str, Any]) -> int:
    """About how many numbers a pickle holds, by its size."""
    dtype = config.get("dtype") or config.get("torch_dtype")
    return path.stat().st_size // (2 if dtype in _HALVES else 4)


def _parameters(path: Path, config: dict[str, Any]) -> int:
    """How many numbers a safetensors file holds, by its header; without masks that old files keep.

    Nor statistics of a batch normalisation.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("too long")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        shapes = [
            entry["shape"]
            for name, entry in header.items()
            if entry["dtype"] not in _WHOLE_OR_TRUE and not name.endswith(_STATISTICS)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        raise DataError(f"{path} is no safetensors file; save the model again") from None
    size = path.stat().st_size
    if size != 8 + length + end:
        raise DataError(f"{path} is cut short: {size} of {8 + length + end} bytes; copy it again")
    images = reads_images(config)
    return sum(math.prod(shape) for shape in shapes if images or len(shape) != 4 or shape[:2] != [1, 1])
