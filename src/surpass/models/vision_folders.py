"""The bodies of models of images by where they are: folders, and networks that begin untrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from surpass.errors import DataError
from surpass.models.convnets_known import NETWORKS
from surpass.models.convnets_small import SmallNet
from surpass.models.folders import CONFIG, WEIGHTS, read_config
from surpass.models.image_configs import OWN
from surpass.models.image_preparing import Preparation, read_preparation, with_pixels
from surpass.models.vision_readers import Classifier, ConvNetReader, Reader
from surpass.models.vision_transformers import read_transformers

SMALL = Preparation(32, None, (32, 32), 2, 1 / 255, (0.5,) * 3, (0.25,) * 3)
"""How an untrained network sees an image: values of about one deviation around zero."""


def small_network(name: str, width: int, pixels: int | None) -> Reader:
    """An untrained network, its weights drawn from torch's generator."""
    preparation = SMALL if pixels is None else with_pixels(SMALL, pixels)
    return ConvNetReader(name, SmallNet(width), preparation)


def read_folder_of_images(path: Path, pixels: int | None, *, pickled: bool = False) -> Reader:
    """The model of a folder.

    Args:
        path: The folder.
        pixels: Another side of the square that is read.
        pickled: Whether weights are a pickle, of which only tensors are read.

    Raises:
        ConfigError: It cannot read squares of this side.
        DataError: It cannot be read.
        MissingExtraError: A package is missing.
    """
    preparation = read_preparation(path, pixels)
    config = read_config(path / CONFIG)
    if config.get("model_type") == OWN:
        return _own_network(path, config, preparation)
    return read_transformers(path, preparation, pickled=pickled)


def _own_network(path: Path, config: dict[str, Any], preparation: Preparation) -> Reader:
    known = NETWORKS.get(str(config.get("network")))
    if known is None:
        raise DataError(
            f"{path / CONFIG} names no network of {', '.join(NETWORKS)}; convert the weights again"
        )
    with torch.device("meta"):
        body = known.build()
    try:
        weights = load_file(path / WEIGHTS)
        head = [weights.pop(f"{known.classifier}.{key}", None) for key in Classifier._fields]
        counts = {key: torch.tensor(0) for key in body.state_dict() if key.endswith("num_batches_tracked")}
        body.load_state_dict(counts | weights, assign=True)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"the weights in {path} are of another network ({reason}); fetch them again"
        ) from error
    weight, bias = head
    classifier = None if weight is None or bias is None else Classifier(weight, bias)
    return ConvNetReader(path.name, body, preparation, classifier)
