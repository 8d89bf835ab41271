"""How the states of images are read out of a body.

Shape suffixes: N images, C colours or channels, H height, W width, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from surpass.errors import ConfigError
from surpass.models.convnets import ConvNet, spatial_mean
from surpass.models.image_preparing import Preparation
from surpass.models.layers import states_of_layers
from surpass.models.names import ReadOut


class Classifier(NamedTuple):
    """The linear map to a model's own classes."""

    weight: Tensor
    bias: Tensor


class Reader:
    """Runs a body and takes states out of it.

    Attributes:
        name: What the model is called in messages.
        body: The model below its classifier.
        preparation: How it sees an image.
        classifier: Its own, which reads the state at its end; None without one.
    """

    def __init__(
        self, name: str, body: nn.Module, preparation: Preparation, classifier: Classifier | None = None
    ) -> None:
        self.name, self.body, self.preparation, self.classifier = name, body, preparation, classifier

    @property
    def blocks(self) -> list[nn.Module]:
        """What `layer=` counts."""
        raise NotImplementedError

    def run(self, images_NCHW: Tensor) -> Any:
        """What the body gives."""
        raise NotImplementedError

    def at_end(self, given: Any, pooling: str | None) -> Tensor:
        """The state (N, D) of what `run` gave.

        Raises:
            ConfigError: There is no such pooling.
        """
        raise NotImplementedError

    def at_layer(self, given: Tensor, pooling: str | None) -> Tensor:
        """The state (N, D) of what a block gave.

        Raises:
            ConfigError: There is no such pooling.
        """
        return self.mean_of(given, pooling)

    def mean_of(self, maps_NCHW: Tensor, pooling: str | None) -> Tensor:
        """The only pooling of maps.

        Raises:
            ConfigError: Another is asked for.
        """
        if pooling not in (None, "mean"):
            raise ConfigError(
                f"{self.name} gives maps, which have no {pooling} place; pooling is mean, or leave it out"
            )
        return spatial_mean(maps_NCHW)

    def __call__(self, images_NCHW: Tensor, read_outs: Sequence[ReadOut]) -> list[Tensor]:
        """The states at these places, (N, D) each."""
        layers = {read_out.layer for read_out in read_outs}
        if layers == {None}:
            seen: dict[int | None, Any] = {None: self.run(images_NCHW)}
        else:
            seen = states_of_layers(self.blocks, layers, lambda: self.run(images_NCHW))
        return [
            self.at_end(seen[None], pooling) if layer is None else self.at_layer(seen[layer], pooling)
            for layer, pooling in read_outs
        ]


class ConvNetReader(Reader):
    """Of the networks that Surpass runs itself, which end in a state."""

    body: ConvNet

    @property
    def blocks(self) -> list[nn.Module]:
        """The last module of each stage."""
        return self.body.blocks

    def run(self, images_NCHW: Tensor) -> Tensor:
        """The state at the end, (N, D)."""
        states_ND: Tensor = self.body(images_NCHW)
        return states_ND

    def at_end(self, given: Tensor, pooling: str | None) -> Tensor:
        """As it is: the mean of the last map, or what dense layers made of it."""
        if pooling not in (None, "mean") or (pooling and hasattr(self.body, "classifier")):
            raise ConfigError(
                f"{self.name} ends in one state of the image, so there is no pooling={pooling}; leave it out"
            )
        return given
