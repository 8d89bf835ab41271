"""Models of images that are cut at a layer: what the layers below give, and how it is read again.

Shape suffixes: N images, D features.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surpass.models.depth import Below, Rows, blocks_at, entered
from surpass.models.image_examples import ImageExamples
from surpass.models.layers import states_of_layers
from surpass.models.names import ReadOut


class CutImages(nn.Module):
    """What `VisionChoice` knows of layers that stand still."""

    read_out: Any
    _reader: Any
    _read: Any
    _cut: Any

    def tried(self) -> Tensor:
        """The state of one black image, (1, D)."""
        return self._black([self.read_out])[0]

    def _black(self, read_outs: Sequence[ReadOut]) -> list[Tensor]:
        sides = self._reader[0].preparation.sides
        states: list[Tensor] = self._read(torch.zeros(1, *sides, 3, dtype=torch.uint8), read_outs)
        return states

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks or stages of the body, by which `layer=` counts."""
        blocks: list[nn.Module] = self._reader[0].blocks
        return blocks

    @property
    def first(self) -> nn.Module:
        """What reads the lowest states: the first block, or what the first stage begins with."""
        module: nn.Module = getattr(self._reader[0].body, "first", self.blocks[0])
        return module

    def knowing(self, examples: ImageExamples, below: Below) -> ImageExamples:
        """Examples with what the lower layers give for them."""
        known = copy.copy(examples)
        known.below = below
        return known

    def read_below(self, examples: ImageExamples, layer: int) -> Iterator[tuple[Rows, Tensor]]:
        """Of all images, in passes: which, and what a layer gives for them, (N, ...)."""
        passes: list[Rows] = self._cut(np.arange(len(examples)))
        for rows, images_NHWC in zip(passes, examples.in_turn(passes), strict=True):
            yield rows, self._behind(layer, images_NHWC)

    def _behind(self, layer: int, images_NHWC: Tensor) -> Tensor:
        def run() -> Tensor:
            states_ND: Tensor = self._read(images_NHWC, [self.read_out])[0]
            return states_ND

        return states_of_layers(blocks_at(self, self.blocks, layer), [layer], run)[layer]

    def _read_above(self, below: Below, rows: Rows, read_outs: Sequence[ReadOut]) -> list[Tensor]:
        """The states of some images, (N, D) each, at these places above the layers that stand still.

        No image is decoded: one black image goes through what is left of the lower part.
        """
        place: Any = self.place
        with entered(blocks_at(self, self.blocks, below.cut.layer), below.cut, below.of(rows, place.device)):
            return self._black(read_outs)
