"""Convolutional networks out of files of pickled weights, of which tensors alone are read."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from surpass.errors import DataError
from surpass.models.convnets import multiply_adds
from surpass.models.convnets_known import NETWORKS, Known, network_of
from surpass.models.folders import CONFIG, WEIGHTS
from surpass.models.image_configs import OWN, PREPROCESSOR

_INSIDE = ("state_dict", "model")


def convert(path: Path, out: Path) -> None:
    """Write the network of a file as a folder: configuration, preprocessing, weights under their own names.

    Args:
        path: The file, as `torch.save` writes a state.
        out: An empty folder.

    Raises:
        DataError: It is no such file, holds more than tensors, or is of no network that is known.
    """
    weights = _weights(path)
    name = network_of(weights)
    if name is None:
        raise DataError(
            f"{path} holds weights of no network that is known ({', '.join(NETWORKS)}); its names are "
            f"{', '.join(list(weights)[:3]) or 'none'}; save the model with transformers and name its folder"
        )
    known = NETWORKS[name]
    head = weights.get(f"{known.classifier}.weight")
    config = {
        "model_type": OWN,
        "network": name,
        "num_classes": None if head is None else len(head),
        "flops_per_pixel": 2 * _multiply_adds(known, head) / known.pixels**2,
    }
    (out / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    (out / PREPROCESSOR).write_text(json.dumps(known.preprocessor(), indent=1) + "\n")
    save_file({key: value.contiguous() for key, value in weights.items()}, out / WEIGHTS)


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the file
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    # Whatever a damaged or foreign file makes torch raise.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path} cannot be read as pickled weights alone ({reason})") from error
    for key in _INSIDE:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError(f"{path} holds more than weights; save the model's state_dict() with torch.save")
    return {str(key).removeprefix("module."): value for key, value in found.items()}


def _multiply_adds(known: Known, head: Tensor | None) -> int:
    with torch.device("meta"):
        network = known.build()
        heads = [] if head is None else [nn.Linear(head.shape[1], head.shape[0])]
    return multiply_adds(network, heads, known.pixels)
