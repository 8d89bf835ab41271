"""Images as examples: the bytes of their files, decoded when they are read, a few ahead of the model.

Every kind of picture becomes red, green and blue: grey and palettes, CMYK, what is transparent on white,
16 bits brought to 8; of an animation the first picture; turned as its EXIF data says.

Shape suffixes: N images, H height, W width.
"""

from __future__ import annotations

import io
import math
import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from surpass.errors import DataError, MissingExtraError
from surpass.models.depth import Below
from surpass.models.image_preparing import Preparation
from surpass.models.tokens import Rows

IMAGE = "image"
AHEAD = 2
"""Passes whose images are decoded while the model reads the one before."""

KEPT = 256 * 2**20
"""Bytes that a set of small images may take decoded; they are then decoded once."""

_MOST_THREADS = 8
_WHITE = (255, 255, 255, 255)
_SIXTEEN_BITS = 257

Pixels = npt.NDArray[np.uint8]


def pillow(module: str) -> Any:
    """A module of PIL, imported when it is needed.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(f"PIL.{module}")
    except ImportError as error:
        raise MissingExtraError(
            f"images need the package Pillow ({error}); pip install 'surpass[vision]'"
        ) from None


def in_colour(data: bytes) -> Any:
    """The picture of a file, in PIL's mode RGB.

    Raises:
        DataError: It cannot be decoded; the message says why, not of which example.
    """
    library = pillow("Image")
    try:
        with library.open(io.BytesIO(data)) as image:
            # What is not turned is not copied.
            pillow("ImageOps").exif_transpose(image, in_place=True)
            return _plain(library, image)
    except MissingExtraError:
        raise
    # Whatever a damaged file makes the decoders of PIL raise.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"cannot be decoded ({reason})") from error


def _plain(library: Any, image: Any) -> Any:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return library.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        seen = image.convert("RGBA")
        return library.alpha_composite(library.new("RGBA", seen.size, _WHITE), seen).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: npt.NDArray[Any]) -> Pixels:
    """Of values up to 255, or up to 65535, or up to 1 where they have fractions."""
    top = float(values.max(initial=0))
    if values.dtype.kind == "f":
        scaled = values * 255.0 if top <= 1.0 else values
    elif values.dtype.itemsize == 2 or top > 255:
        scaled = values / _SIXTEEN_BITS
    else:
        scaled = values
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def prepared(image: Any, preparation: Preparation) -> Pixels:
    """A picture in RGB resized and cut, uint8 (H, W, 3).

    A longer side is cut to whole pixels, and the middle begins where the preparation says.
    """
    if preparation.exact is not None:
        height, width = preparation.exact
        image = image.resize((width, height), preparation.resample)
    elif preparation.shorter is not None:
        width, height = image.size
        short, long = min(width, height), max(width, height)
        longer = int(preparation.shorter * long / short)
        new = (preparation.shorter, longer) if width <= height else (longer, preparation.shorter)
        image = image.resize(new, preparation.resample)
    if preparation.crop is not None:
        height, width = preparation.crop
        around = image.size[0] - width, image.size[1] - height
        left, top = (round(each / 2) if preparation.nearest else each // 2 for each in around)
        image = image.crop((left, top, left + width, top + height))
    return np.asarray(image, np.uint8)


class ImageExamples:
    """Images of some examples; of what they are made, only small ones are kept.

    Args:
        inputs: Columns `id` and `image`, the bytes of a file each.
        preparation: How the model sees them.

    Attributes:
        below: What the lower layers of a model give for them, where that is known.

    Raises:
        DataError: There is no such column.
    """

    def __init__(self, inputs: pa.Table, preparation: Preparation) -> None:
        if IMAGE not in inputs.column_names:
            raise DataError(
                f"examples have no column {IMAGE!r}, which a model of images reads; they have "
                f"{', '.join(inputs.column_names)}: take a task of images, or another model"
            )
        self._ids, self._images = inputs["id"], inputs[IMAGE]
        self.preparation = preparation
        self.below: Below | None = None
        self._shape = (*preparation.sides, 3)
        self._kept: Pixels | None = None
        if math.prod(self._shape) * len(self._images) <= KEPT:
            self._kept = np.empty((len(self._images), *self._shape), np.uint8)
        self._has = np.zeros(len(self._images), bool)

    def __len__(self) -> int:
        return len(self._images)

    def digest(self) -> str:
        """The sha256 of all files, where each ends, and how they are seen."""
        found = sha256(repr(self.preparation).encode())
        for scalar in self._images:
            data = scalar.as_py() or b""
            found.update(len(data).to_bytes(8, "little"))
            found.update(data)
        return found.hexdigest()

    def in_turn(self, passes: Iterable[Rows]) -> Generator[Tensor, None, None]:
        """The images of each pass, uint8 (N, H, W, 3); those of the next are decoded meanwhile.

        Raises:
            DataError: One cannot be decoded.
            MissingExtraError: Pillow is missing.
        """
        pillow("Image")
        waiting: deque[tuple[Pixels, list[Future[None]]]] = deque()
        try:
            for rows in passes:
                waiting.append(self._begun(rows))
                if len(waiting) > AHEAD or _num_threads() == 1:
                    yield _ended(*waiting.popleft())
            while waiting:
                yield _ended(*waiting.popleft())
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()

    def _begun(self, rows: Rows) -> tuple[Pixels, list[Future[None]]]:
        """Memory for the images of a pass, and what fills it; with one core alone it is full at once."""
        if self._kept is not None and self._has[rows].all():
            return self._kept[rows], []
        images_NHWC = np.empty((len(rows), *self._shape), np.uint8)
        if _num_threads() == 1:
            self._fill(images_NHWC, rows)
            return images_NHWC, []
        each = -(-len(rows) // _num_threads())
        parts = [slice(start, start + each) for start in range(0, len(rows), each)]
        return images_NHWC, [_threads().submit(self._fill, images_NHWC[part], rows[part]) for part in parts]

    def _fill(self, images_NHWC: Pixels, rows: Rows) -> None:
        for place, row in enumerate(rows.tolist()):
            if self._kept is not None and self._has[row]:
                images_NHWC[place] = self._kept[row]
                continue
            images_NHWC[place] = self._pixels(row)
            if self._kept is not None:
                self._kept[row] = images_NHWC[place]
                self._has[row] = True

    def _pixels(self, row: int) -> Pixels:
        data = self._images[row].as_py()
        try:
            if data is None:
                raise DataError("is missing")
            return prepared(in_colour(data), self.preparation)
        except DataError as error:
            raise DataError(
                f"the image of example {self._ids[row].as_py()!r} {error}; mend its file or leave it out"
            ) from error


@cache
def _num_threads() -> int:
    """Of those that decode: as many as cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_THREADS, cores)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_num_threads(), thread_name_prefix="images")


def _ended(images_NHWC: Pixels, futures: list[Future[None]]) -> Tensor:
    for future in futures:
        future.result()
    return torch.from_numpy(images_NHWC)
