"""The pretrained convolutional networks that Surpass runs itself, and how each of them sees an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from surpass.models.convnets import AlexNet, ConvNet, MobileNetV2, ResNet50
from surpass.models.convnets_lite import EfficientNetLite

_BILINEAR, _BICUBIC = 2, 3
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_LITE = ((127 / 255,) * 3, (128 / 255,) * 3)
_COUNTS = ".num_batches_tracked"


@dataclass(frozen=True)
class Known:
    """A network.

    Attributes:
        build: Makes it with weights that are thrown away.
        classifier: Under which name its file has the weights of its classes.
        pixels: Side of the square that it was trained to be read with.
        shorter: To what the shorter side of an image is brought before the square is cut out.
        norm: Mean and standard deviation of each colour, of a scale from 0 to 1.
        resample: How PIL resizes: its number.
    """

    build: Callable[[], ConvNet]
    classifier: str
    pixels: int = 224
    shorter: int = 256
    norm: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET
    resample: int = _BILINEAR

    def preprocessor(self) -> dict[str, Any]:
        """How it sees an image, as image processors of transformers say it."""
        return {
            "do_resize": True,
            "size": {"shortest_edge": self.shorter},
            "resample": self.resample,
            "do_center_crop": True,
            "crop_size": {"height": self.pixels, "width": self.pixels},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.norm[0]),
            "image_std": list(self.norm[1]),
        }


def _lite(width: float, depth: float, pixels: int) -> Known:
    build = partial(EfficientNetLite, width, depth)
    return Known(build, "_fc", pixels, pixels + 32, _LITE, _BICUBIC)


NETWORKS = {
    "mobilenetv2": Known(MobileNetV2, "classifier.1"),
    "efficientnet-lite0": _lite(1.0, 1.0, 224),
    "efficientnet-lite1": _lite(1.0, 1.1, 240),
    "efficientnet-lite2": _lite(1.1, 1.2, 260),
    "alexnet": Known(AlexNet, "classifier.6"),
    "resnet50": Known(ResNet50, "fc"),
}
"""By the name that `config.json` says."""


def network_of(weights: Mapping[str, Tensor]) -> str | None:
    """Which network has weights of these names and shapes; its classifier may be missing. None for none."""
    given = {name: value.shape for name, value in weights.items() if not name.endswith(_COUNTS)}
    for name, known in NETWORKS.items():
        wanted = _shapes(known)
        rest = {key: shape for key, shape in given.items() if key.rpartition(".")[0] != known.classifier}
        if rest == wanted:
            return name
    return None


def _shapes(known: Known) -> dict[str, torch.Size]:
    with torch.device("meta"):
        network = known.build()
    return {name: value.shape for name, value in network.state_dict().items() if not name.endswith(_COUNTS)}
