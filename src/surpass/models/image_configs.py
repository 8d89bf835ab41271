"""What the files beside a model of images say without loading it: kind, classes, pixels, cost. No torch."""

from __future__ import annotations

from importlib import metadata
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from surpass.errors import MissingExtraError

PREPROCESSOR = "preprocessor_config.json"
"""Where image models say how pictures are cut and scaled; it changes numbers, so it counts."""

OWN = "surpass_convnet"
"""Model type of the convolutional networks that Surpass itself runs."""

CLASSIFIER = "ForImageClassification"
TYPES = frozenset(
    {
        OWN,
        "beit",
        "bit",
        "clip_vision_model",
        "convnext",
        "convnextv2",
        "data2vec-vision",
        "deit",
        "dinov2",
        "dinov2_with_registers",
        "dinov3_convnext",
        "dinov3_vit",
        "efficientnet",
        "hiera",
        "levit",
        "mobilenet_v1",
        "mobilenet_v2",
        "poolformer",
        "pvt",
        "pvt_v2",
        "regnet",
        "resnet",
        "siglip_vision_model",
        "swin",
        "swinv2",
        "vit",
        "vit_msn",
    }
)
"""Model types of `config.json` that read images alone."""

_SAYS_IMAGES = ("image_mean", "image_processor_type", "crop_size")
_USUAL_PIXELS = 224
_USUAL_CLASSES = 2
_REUSE = 4.0


def reads_images(config: dict[str, Any]) -> bool:
    """Whether a `config.json` is of a model of images."""
    names = config.get("architectures") or ()
    return config.get("model_type") in TYPES or any(str(name).endswith(CLASSIFIER) for name in names)


def prepares_images(preprocessor: dict[str, Any]) -> bool:
    """Whether a `preprocessor_config.json` is about images, not about sound."""
    return any(key in preprocessor for key in _SAYS_IMAGES)


def classes_of(config: dict[str, Any]) -> int | None:
    """How many classes a pretrained classifier tells apart; None without one."""
    if config.get("model_type") == OWN:
        count = config.get("num_classes")
        return count if isinstance(count, int) else None
    if not any(str(name).endswith(CLASSIFIER) for name in config.get("architectures") or ()):
        return None
    labels, count = config.get("id2label"), config.get("num_labels")
    if isinstance(labels, dict) and labels:
        return len(labels)
    return count if isinstance(count, int) else _USUAL_CLASSES


def pixels_of(preprocessor: dict[str, Any]) -> int:
    """The side of the square that is read of an image, where a preprocessor says one."""
    crop = (
        preprocessor.get("crop_size")
        if preprocessor.get("do_center_crop", "crop_size" in preprocessor)
        else None
    )
    for said in (crop, preprocessor.get("size")):
        if isinstance(said, dict):
            said = said.get("height", said.get("shortest_edge"))
        if isinstance(said, int) and said > 0:
            return said
    return _USUAL_PIXELS


def flops_of(config: dict[str, Any], parameters: int, pixels: int) -> float:
    """Floating-point operations of one forward pass of one image of so many pixels a side.

    Of networks of Surpass as counted when they were written out (two for a multiply-add). Of others an
    estimate: two for each parameter and each patch; of a network without patches, each parameter is used as
    often as the last map has places, at a 32nd of the size, times 4 for the larger maps before it.
    """
    per_pixel = config.get("flops_per_pixel")
    if isinstance(per_pixel, int | float):
        return float(per_pixel) * pixels**2
    patch = config.get("patch_size")
    if isinstance(patch, int) and patch > 0 and isinstance(config.get("num_hidden_layers"), int):
        return 2.0 * parameters * ((pixels // patch) ** 2 + 1)
    return 2.0 * parameters * _REUSE * (pixels / 32) ** 2


class Cost(NamedTuple):
    """What a network costs: parameters, and floating-point operations of one forward pass of one image."""

    parameters: int
    flops: float


NUM_STAGES = 3


def cost_of_convolution(width: int, pixels: int) -> Cost:
    """Of `cnn:WIDTH` below its head, for images of so many pixels a side (`convnets_small.SmallNet`).

    Convolutions alone count as operations, two for a multiply-add.
    """
    parameters, products, channels, side = 3 * 9 * width + 2 * width, 27 * width * pixels**2, width, pixels
    for stage in range(NUM_STAGES):
        wider = width * 2**stage
        side = side if stage == 0 else -(-side // 2)
        weights = 9 * channels * wider + 9 * wider**2 + (channels * wider if wider != channels else 0)
        parameters += weights + 4 * wider
        products += weights * side**2
        channels = wider
    return Cost(parameters, 2.0 * products)


class Installed(NamedTuple):
    """A package: its version, and where it lies."""

    version: str
    path: Path


def timm_package(name: str) -> Installed:
    """The timm that is installed; what its names mean may change with its version.

    Args:
        name: The model, for the message.

    Raises:
        MissingExtraError: It is not installed.
    """
    found = _spec("timm")
    if found is None:
        raise MissingExtraError(
            f"{name} needs the package timm, which is not installed; pip install 'surpass[timm]'"
        )
    try:
        version = metadata.version("timm")
    except metadata.PackageNotFoundError:
        version = ""
    return Installed(version, Path(found.origin or "timm").parent)


def _spec(package: str) -> ModuleSpec | None:
    try:
        return find_spec(package)
    except (ImportError, ValueError):  # what a broken installation, or a module without a spec, says
        return None
