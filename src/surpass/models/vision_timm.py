"""Models of images of the package timm, by its documented interface.

States are what its models give with `num_classes=0`. Blocks are those of `forward_intermediates`, where a
model has it.

Shape suffixes: N images, C colours or channels, H height, W width, D features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.hub import one_line
from surpass.models.image_preparing import Preparation, with_pixels
from surpass.models.names import ReadOut
from surpass.models.vision_readers import Reader

_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


def read_timm(name: str, pixels: int | None) -> Reader:
    """A pretrained model of timm, without its classifier; timm downloads it where it is not in its cache.

    Args:
        name: As timm calls it: `vit_base_patch8_224.dino`.
        pixels: Another side of the square that is read.

    Raises:
        ConfigError: There is no such model, or it cannot be downloaded.
        DataError: It says of the images that it reads what is not known.
        MissingExtraError: timm is missing, or cannot be imported.
    """
    try:
        timm = import_module("timm")
        data = import_module("timm.data")
    except (ImportError, RuntimeError) as error:  # torchvision beside another torch raises RuntimeError
        raise MissingExtraError(
            f"timm:{name} needs the package timm, which cannot be imported ({one_line(error)}); pip install "
            "'surpass[timm]', with a torchvision that goes with the torch that is installed"
        ) from None
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    # It raises what its hub, its network or its registry of names raise.
    except Exception as error:
        raise ConfigError(
            f"timm:{name} cannot be had ({one_line(error)}); see timm.list_models(pretrained=True) for names"
        ) from error
    preparation = _preparation(name, data.resolve_model_data_config(model))
    if pixels is not None:
        preparation = with_pixels(preparation, pixels)
        if hasattr(model, "set_input_size"):
            model.set_input_size(img_size=(pixels, pixels))
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return TimmReader(f"timm:{name}", model, preparation)


def _preparation(name: str, said: dict[str, Any]) -> Preparation:
    try:
        _, height, width = said["input_size"]
        share, resample = float(said.get("crop_pct") or 1.0), _FILTERS[said.get("interpolation", "bicubic")]
        mode = said.get("crop_mode", "center")
        if mode not in ("center", "squash"):
            raise ValueError(f"crop_mode={mode}")
        crop = (int(height), int(width))
        exact = (math.floor(height / share), math.floor(width / share))
        mean, std = (tuple(float(value) for value in said[key]) for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DataError(
            f"timm:{name} says of its images what is not known ({error}); name another model"
        ) from None
    squashed = mode == "squash" or height != width
    shorter, around = (None, exact) if squashed else (exact[0], None)
    return Preparation(shorter, around, crop, resample, 1 / 255, mean, std, nearest=True)


class TimmReader(Reader):
    """Of a model of timm."""

    body: Any

    @property
    def blocks(self) -> list[Any]:
        """One entry for each block that `forward_intermediates` can give: the module, where timm names it."""
        found = list(self.body.feature_info) if hasattr(self.body, "forward_intermediates") else []
        return [self.body.get_submodule(each["module"]) if "module" in each else each for each in found]

    def __call__(self, images_NCHW: Tensor, read_outs: Sequence[ReadOut]) -> list[Tensor]:
        """The states at these places, (N, D) each."""
        layers = sorted({read_out.layer for read_out in read_outs if read_out.layer is not None})
        seen: list[Any] = []
        ends = any(read_out.layer is None for read_out in read_outs)
        if not layers:
            last = self.body.forward_features(images_NCHW)
        else:
            last, seen = self._with_blocks(images_NCHW, [layer - 1 for layer in layers], ends)
        found = dict(zip(layers, seen, strict=True))
        return [
            self.at_end(last, pooling) if layer is None else self._of_block(found[layer], pooling)
            for layer, pooling in read_outs
        ]

    def _with_blocks(self, images_NCHW: Tensor, indices: list[int], ends: bool) -> tuple[Any, list[Any]]:
        more = {"return_prefix_tokens": True} if self._num_prefix else {}
        given = self.body.forward_intermediates(
            images_NCHW, indices=indices, output_fmt="NCHW", norm=False, intermediates_only=not ends, **more
        )
        return given if ends else (None, given)

    @property
    def _num_prefix(self) -> int:
        return int(getattr(self.body, "num_prefix_tokens", 0) or 0)

    def at_end(self, given: Any, pooling: str | None) -> Tensor:
        """As the model itself pools; tokens also by their mean or the first."""
        if pooling is None or (pooling == "mean" and given.dim() == 4):
            states_ND: Tensor = self.body.forward_head(given, pre_logits=True)
            return states_ND
        if given.dim() != 3 or (pooling == "first" and not self._num_prefix):
            raise ConfigError(f"{self.name} has no {pooling} token; leave pooling out")
        tokens_NTD: Tensor = given
        return tokens_NTD[:, 0] if pooling == "first" else tokens_NTD[:, self._num_prefix :].mean(dim=1)

    def _of_block(self, given: Any, pooling: str | None) -> Tensor:
        maps_NCHW, prefix_NTD = given if isinstance(given, tuple | list) else (given, None)
        if prefix_NTD is not None and pooling in (None, "first"):
            first_ND: Tensor = prefix_NTD[:, 0]
            return first_ND
        return self.mean_of(maps_NCHW, pooling)
