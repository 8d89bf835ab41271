"""Models of images: from files to pixels to a state to logits.

The body is always run as in evaluation, also while it is trained: batch normalisation uses the statistics of
pretraining, which stay as they are, and nothing is dropped. So no image's gradient depends on the others of
its batch, and equal fits are equal.

Source: Burns et al. 2023, appendix D.1.

Shape suffixes: N images, C classes (in `NCHW` colours), H height, W width, D features.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from surpass.clock import spent
from surpass.errors import ConfigError
from surpass.models.convnets_folding import folded
from surpass.models.depth_images import CutImages
from surpass.models.device import place
from surpass.models.heads import logits_of, new_head, scored_of
from surpass.models.image_examples import ImageExamples
from surpass.models.image_preparing import Preparation
from surpass.models.layers import require_layer
from surpass.models.names import ReadOut, read_name
from surpass.models.recompute import SavesMemory
from surpass.models.sources import ModelSource
from surpass.models.tokens import Rows
from surpass.models.vision_folders import read_folder_of_images, small_network
from surpass.models.vision_readers import Reader

_AT_ONCE = {"cpu": 16, "cuda": 128, "mps": 64}
"""Images of one forward pass without gradient.

Measured on one core with MobileNetV2 and EfficientNet-Lite0 at 224 and 128 pixels: passes of 16 are fastest,
up to 2.7 times as fast as those of 64, whose maps no longer fit the cache; with `cnn:16` and `cnn:32` at 32
pixels they are within about a tenth of the fastest. Those of accelerators are an estimate.
"""

_TOGETHER = 512


class VisionChoice(CutImages, SavesMemory):
    """Scores classes of images from one state of each.

    The head is the model's own classifier where that tells apart as many classes and reads the same state,
    else one of small weights, drawn from torch's generator.

    Attributes:
        body: The model below the head.
        head: The linear map that reads its states.
        read_out: Where the states are read.
    """

    def __init__(self, reader: Reader, read_out: ReadOut, inputs: pa.Table) -> None:
        """Raises `ConfigError` where the body has no such layer or pooling, `DataError` for odd examples."""
        super().__init__()
        _require_place(reader, read_out)
        scored = scored_of(inputs)
        self.body = reader.body
        self.read_out = read_out
        self.scored = scored
        self.place = place()
        # In a list, so that what it shares with `body` is registered once.
        self._reader = [reader]
        self.body.requires_grad_(True).eval().to(self.place.device, memory_format=torch.channels_last)
        width = self._probe([read_out])[0].shape[1]
        self.head = new_head(width, scored)
        self._own_head = False
        classifier = reader.classifier
        if classifier is not None and read_out == ReadOut() and len(classifier.weight) == scored.num_outputs:
            self.head.load_state_dict(classifier._asdict())
            self._own_head = True
        self.head.to(self.place.device)

    @classmethod
    def load(cls, source: ModelSource, inputs: pa.Table) -> Self:
        """The model of a name, with as many classes as these examples have.

        Raises:
            ConfigError: It has no such layer or pooling, or cannot be had.
            DataError: It cannot be read, or the examples differ in the number of classes.
            MissingExtraError: A package is missing.
        """
        named = read_name(source.name)
        if named.kind == "cnn":
            reader = small_network(source.name, int(named.rest), source.pixels)
        elif named.kind == "timm":
            from surpass.models.vision_timm import read_timm

            reader = read_timm(named.rest, source.pixels)
        else:
            assert source.path is not None
            reader = read_folder_of_images(source.path, source.pixels, pickled=source.pickled)
        return cls(reader, source.read_out, inputs)

    def train(self, mode: bool = True) -> Self:
        """Training mode reaches the head alone."""
        super().train(mode)
        self.body.eval()
        return self

    def encode(self, inputs: pa.Table) -> ImageExamples:
        """Examples with their images, which are decoded when they are read.

        Raises:
            DataError: There is no column `image`.
        """
        return ImageExamples(inputs, self._reader[0].preparation)

    def forward(self, examples: ImageExamples, rows: Rows) -> Tensor:
        """Logits of the classes of some examples, float32 (N, C) on the CPU."""
        return self.from_states(self.states(examples, rows), examples, rows)

    def from_states(self, states: Tensor, examples: ImageExamples, rows: Rows) -> Tensor:
        """The same from what `states` has given for these examples."""
        return logits_of(self.head, states.to(self.place.device), self.scored).float().cpu()

    def embed(self, examples: ImageExamples, rows: Rows) -> Tensor:
        """The state of each example below the head, float32 (N, D) on the CPU."""
        return self.states(examples, rows).cpu()

    def states(self, examples: ImageExamples, rows: Rows) -> Tensor:
        """What the head reads of some examples: float32 (N, D), where the model is."""
        return self.states_at(examples, rows, [self.read_out])[0]

    def states_at(self, examples: ImageExamples, rows: Rows, read_outs: Sequence[ReadOut]) -> list[Tensor]:
        """The same, read at several places in one pass.

        Raises:
            ConfigError: A layer or pooling is none of the model's.
            DataError: An image cannot be decoded.
        """
        for read_out in read_outs:
            _require_place(self._reader[0], read_out)
        passes = [rows] if torch.is_grad_enabled() else self._cut(rows)
        with self._weights_computed_once():
            if examples.below is not None:
                parts = [self._read_above(examples.below, some, read_outs) for some in passes]
            else:
                turn = _told(examples.in_turn(passes))
                parts = [self._read(images_NHWC, read_outs) for images_NHWC in turn]
        return [torch.cat(of_one) for of_one in zip(*parts, strict=True)]

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Read examples without gradient while the weights stay as they are, which is faster.

        States differ by rounding (`convnets_folding`).
        """
        with torch.no_grad(), folded(self.body):
            yield

    def passes(self, examples: ImageExamples, num_examples: int) -> list[Rows]:
        """All examples in equal groups, in their order."""
        starts = range(0, num_examples, _TOGETHER)
        return [np.arange(start, min(start + _TOGETHER, num_examples)) for start in starts]

    def initial_head(self) -> dict[str, Tensor] | None:
        """The head's weights where they are the model's own classifier; None where they are drawn anew."""
        return dict(self.head.state_dict()) if self._own_head else None

    def head_parameters(self) -> list[nn.Parameter]:
        """What a linear probe trains."""
        return list(self.head.parameters())

    def _cut(self, rows: Rows) -> list[Rows]:
        size = _AT_ONCE[self.place.device.type]
        return [rows[start : start + size] for start in range(0, max(len(rows), 1), size)]

    def _read(self, images_NHWC: Tensor, read_outs: Sequence[ReadOut]) -> list[Tensor]:
        with spent("data"):
            images_NCHW = normalised(images_NHWC.to(self.place.device), self._reader[0].preparation)
        with self.place.fast():
            return [states_ND.float() for states_ND in self._reader[0](images_NCHW, read_outs)]

    @torch.no_grad()
    def _probe(self, read_outs: Sequence[ReadOut]) -> list[Tensor]:
        """States of one black image: how wide they are, and whether there are such."""
        return self._read(torch.zeros(1, *self._reader[0].preparation.sides, 3, dtype=torch.uint8), read_outs)


def _require_place(reader: Reader, read_out: ReadOut) -> None:
    if read_out.layer is not None and not reader.blocks:
        raise ConfigError(f"{reader.name} has no layers to choose from; leave layer out of its name")
    require_layer(reader.name, read_out.layer, len(reader.blocks))


def _told(turn: Generator[Tensor, None, None]) -> Iterator[Tensor]:
    """The same images; waiting for them is time spent on data."""
    with closing(turn):
        while True:
            with spent("data"):
                images_NHWC = next(turn, None)
            if images_NHWC is None:
                return
            yield images_NHWC


def normalised(images_NHWC: Tensor, preparation: Preparation) -> Tensor:
    """What a body sees of pixels: float32 (N, C, H, W), colours last in memory.

    Colours are multiplied, moved and divided along whole rows of pixels, for which processors have wide
    instructions.
    """
    width = images_NHWC.shape[2]
    rows = images_NHWC.flatten(2).float()
    mean, std = (rows.new_tensor(each).repeat(width) for each in (preparation.mean, preparation.std))
    return rows.mul_(preparation.scale).sub_(mean).div_(std).view(images_NHWC.shape).permute(0, 3, 1, 2)
