"""How a model wants to see an image: what its `preprocessor_config.json` says, in numbers. No torch.

What comes out is what the image processors of transformers make of the same file with PIL.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from surpass.errors import ConfigError, DataError
from surpass.models.folders import read_config
from surpass.models.image_configs import PREPROCESSOR

_BILINEAR, _BICUBIC = 2, 3
_FILTERS = range(6)
_SQUARE = ("ViT", "DeiT", "Beit", "Siglip", "EfficientNet")
"""Beginnings of the names of processors that bring an image to a square where one number is its size."""

_USUALLY_BILINEAR = ("ViT", "MobileNetV1", "MobileNetV2")
_UNCROPPED = 384
_CROP_SHARE = 224 / 256
_LEVIT = 256 / 224


class Preparation(NamedTuple):
    """How an image becomes numbers.

    Attributes:
        shorter: To what the shorter side is brought, in pixels; None where the next says it.
        exact: Height and width to which the image is brought, whatever its shape; None where it keeps its
            shape, or is not resized.
        crop: Height and width of what is cut out of the middle, with black around what is smaller; None for
            all of it.
        resample: The filter that resizes: its number in PIL.
        scale: What each value from 0 to 255 is multiplied with.
        mean: What is subtracted from it then, of each colour.
        std: What that is divided by.
        nearest: Whether the middle begins at the nearest pixel, the even one of two, as torchvision cuts it;
            else at the pixel before it, as transformers does.
    """

    shorter: int | None
    exact: tuple[int, int] | None
    crop: tuple[int, int] | None
    resample: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    nearest: bool = False

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of what comes out."""
        found = self.crop or self.exact
        assert found is not None
        return found


def read_preparation(folder: Path, pixels: int | None = None) -> Preparation:
    """What the file beside a model says.

    Args:
        folder: The model's folder.
        pixels: Another side of the square that comes out. What is cut off the edges keeps its share.

    Raises:
        ConfigError: `pixels` does not go with what it says.
        DataError: The file is damaged, or asks for what is not known.
    """
    path = folder / PREPROCESSOR
    said = read_config(path)
    try:
        found = _prepared(said)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} says nothing of use about {error}; save the image processor again with save_pretrained"
        ) from None
    if said.get("do_flip_channel_order"):
        raise DataError(f"{path} wants colours in another order (do_flip_channel_order), which is not known")
    return found if pixels is None else with_pixels(found, pixels)


def with_pixels(preparation: Preparation, pixels: int) -> Preparation:
    """The same for a square of another side; an image whose shorter side is cut keeps the share that is cut.

    Raises:
        ConfigError: The image is not resized.
    """
    shorter, exact, crop = preparation.shorter, preparation.exact, preparation.crop
    if shorter is None and exact is None:
        raise ConfigError(
            f"pixels={pixels} asks for another size, and the model's {PREPROCESSOR} resizes nothing"
        )
    square = (pixels, pixels)
    if crop is None:
        return preparation._replace(exact=square)
    if shorter is not None:
        return preparation._replace(shorter=max(round(shorter * pixels / min(crop)), pixels), crop=square)
    assert exact is not None
    around = (round(exact[0] * pixels / crop[0]), round(exact[1] * pixels / crop[1]))
    return preparation._replace(exact=around, crop=square)


def _prepared(said: dict[str, Any]) -> Preparation:
    kind = str(said.get("image_processor_type") or said.get("feature_extractor_type") or "")
    shorter, exact, crop = _geometry(said, kind)
    resample = said.get("resample", _BILINEAR if kind.startswith(_USUALLY_BILINEAR) else _BICUBIC)
    if resample not in _FILTERS:
        raise ValueError("resample")
    scale = float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    if said.get("do_normalize", True):
        mean, std = _three(said["image_mean"], "image_mean"), _three(said["image_std"], "image_std")
    if said.get("rescale_offset"):  # EfficientNet: values from -1 to 1
        mean = tuple(value + 1.0 for value in mean)
    if said.get("include_top"):  # EfficientNet again: divided by the deviation twice
        std = tuple(value**2 for value in std)
    if not all(value > 0 and math.isfinite(value) for value in (scale, *std)):
        raise ValueError("image_std")
    return Preparation(shorter, exact, crop, int(resample), scale, mean, std)


def _geometry(
    said: dict[str, Any], kind: str
) -> tuple[int | None, tuple[int, int] | None, tuple[int, int] | None]:
    """Shorter side, exact size, crop."""
    crop = _sides(said["crop_size"]) if said.get("do_center_crop", "crop_size" in said) else None
    if not said.get("do_resize", True):
        if crop is None:
            raise ValueError("size: images of one size are needed, and it neither resizes nor cuts")
        return None, None, crop
    size = said["size"]
    if isinstance(size, int):
        size = {"height": size, "width": size} if kind.startswith(_SQUARE) else {"shortest_edge": size}
    if "longest_edge" in size:
        raise ValueError("size: longest_edge")
    if "height" in size:
        return None, _sides(size), crop
    shorter = _whole(size["shortest_edge"])
    if kind.startswith("ConvN"):
        if shorter >= _UNCROPPED:
            return None, (shorter, shorter), crop
        return int(shorter / float(said.get("crop_pct", _CROP_SHARE))), None, (shorter, shorter)
    if kind.startswith("Levit"):
        shorter = int(_LEVIT * shorter)
    # Without a crop there would be as many shapes as images: the square in the middle is read.
    return shorter, None, crop or (shorter, shorter)


def _sides(said: object) -> tuple[int, int]:
    if isinstance(said, dict):
        return _whole(said["height"]), _whole(said["width"])
    return _whole(said), _whole(said)


def _whole(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"a size ({value!r})")
    return value


def _three(values: Any, what: str) -> tuple[float, ...]:
    found = tuple(float(value) for value in values)
    if len(found) != 3:
        raise ValueError(what)
    return found
