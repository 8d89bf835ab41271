"""Folders in the format of Hugging Face: which files make a language model, and what their headers say.

No torch, no transformers, and no pickle: weights are `model.safetensors`, or the shards that
`model.safetensors.index.json` names.
"""

from __future__ import annotations

import json
import math
import struct
from functools import cache
from pathlib import Path
from typing import NamedTuple

from surpass.errors import ConfigError, DataError
from surpass.identity import digest_of, remembered_digest

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
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
PATTERNS = (CONFIG, INDEX, *TOKENIZERS, "*.safetensors")
"""What a download needs of a repository."""

_TOKENIZER_ALONE = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_ADAPTER = "adapter_config.json"
_LONGEST_HEADER = 100_000_000
_WHOLE_OR_TRUE = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")


class Folder(NamedTuple):
    """A language model in a folder.

    Attributes:
        path: Where it is.
        digest: The sha256 of its files' names and digests: configuration, tokenizer, weights.
        parameters: How many there are.
    """

    path: Path
    digest: str
    parameters: int


def read_folder(path: Path) -> Folder:
    """Digest and size of a language model.

    Raises:
        ConfigError: The folder lacks something that a model is made of, or holds an adapter.
        DataError: A file is damaged.
    """
    reason = lacking(path)
    if reason is not None:
        raise ConfigError(f"no language model at {path}: {reason}")
    named = [CONFIG, *(name for name in TOKENIZERS if (path / name).is_file())]
    shards = _weights(path)
    index = [INDEX] if WEIGHTS not in shards else []
    digests = {name: remembered_digest(path / name) for name in sorted([*named, *index, *shards])}
    return _folder(path, digest_of(digests), tuple(shards))


def lacking(path: Path) -> str | None:
    """Why a folder holds no language model that can be loaded, and what to do; None where it does."""
    if not (path / CONFIG).is_file():
        return f"it has no {CONFIG}; name a folder that save_pretrained wrote"
    if (path / _ADAPTER).is_file():
        return f"it has an {_ADAPTER}; merge the adapter into the weights and save those"
    if not any((path / name).is_file() for name in _TOKENIZER_ALONE):
        return "it has no tokenizer; save that with save_pretrained too"
    shards = _weights(path)
    missing = [name for name in shards if not (path / name).is_file()]
    if missing:
        return f"{INDEX} names {missing[0]}, which is not there; copy it too"
    if not shards:
        found = sorted(entry.name for entry in path.glob("*.bin")) or ["no weights"]
        return (
            f"it has {found[0]}, no {WEIGHTS}; only safetensors are read, pickles never: "
            "load it elsewhere and save it with save_pretrained"
        )
    return None


def _weights(path: Path) -> list[str]:
    """Names of the weights files, as transformers chooses them."""
    if (path / WEIGHTS).is_file():
        return [WEIGHTS]
    if not (path / INDEX).is_file():
        return []
    try:
        names = set(json.loads((path / INDEX).read_text())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path / INDEX} is damaged; copy it again") from None
    if not all(isinstance(name, str) and "/" not in name and name.endswith(".safetensors") for name in names):
        raise DataError(f"{path / INDEX} names files that are no safetensors beside it; save the model again")
    return sorted(names)


@cache
def _folder(path: Path, digest: str, shards: tuple[str, ...]) -> Folder:
    return Folder(path, digest, sum(_parameters(path / name) for name in shards))


def _parameters(path: Path) -> int:
    """How many numbers a safetensors file holds, by its header; without masks that old files keep."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("too long")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        shapes = [entry["shape"] for entry in header.values() if entry["dtype"] not in _WHOLE_OR_TRUE]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        raise DataError(f"{path} is no safetensors file; save the model again") from None
    size = path.stat().st_size
    if size != 8 + length + end:
        raise DataError(f"{path} is cut short: {size} of {8 + length + end} bytes; copy it again")
    return sum(math.prod(shape) for shape in shapes if len(shape) != 4 or shape[:2] != [1, 1])
