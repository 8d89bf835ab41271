"""Models of images of transformers: ViT and its kind, and convolutional networks.

What one has for a state where its name does not say otherwise:

- the first token behind the last normalisation, where there is a class token (ViT, DeiT, DINO, DINOv2), as in
  the paper's release; DINO's authors add to it those of the three blocks before (ViT-S) or the mean of the
  other tokens (ViT-B) in their own linear evaluation;
- with the mean of the other tokens behind it, where its own classifier reads both (DINOv2);
- what the model itself pools, elsewhere: the mean over places, normalised where the model does so (ResNet,
  ConvNeXt, MobileNetV2, Swin, BEiT).

`pooling=mean` leaves the class token and its like out.

Source: Caron et al. 2021; Oquab et al. 2023; Burns et al. 2023, appendix D.1.

Shape suffixes: N images, C colours or channels, H height, W width, T tokens, D features.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.models.folders import CONFIG, read_config
from surpass.models.image_configs import classes_of
from surpass.models.image_preparing import Preparation
from surpass.models.vision_readers import Classifier, Reader

_CLASS_TOKENS = ("cls_token", "class_embedding")
_POOLS_CLASS_TOKEN = ("clip_vision_model",)
_BOTH = ("dinov2", "dinov2_with_registers")
_CLOSE = 1e-3


class TransformersReader(Reader):
    """Of a model of transformers."""

    def __init__(self, path: Path, body: Any, preparation: Preparation) -> None:
        super().__init__(path.name, body, preparation)
        self.config = body.config
        self._prefix = _prefix_of(body)
        takes = "interpolate_pos_encoding" in inspect.signature(body.forward).parameters
        self._more = {"interpolate_pos_encoding": True} if takes and self._other_size() else {}
        self.with_mean = False
        self._pools = not self._prefix or _pools_itself(self.config)
        if not self._pools and isinstance(getattr(body, "pooler", None), nn.Module):
            body.pooler = None

    def _other_size(self) -> bool:
        size = getattr(self.config, "image_size", None)
        height, width = self.preparation.sides
        return size is not None and (tuple(size) if isinstance(size, list | tuple) else (size, size)) != (
            height,
            width,
        )

    @property
    def blocks(self) -> list[nn.Module]:
        """The longest list of modules that is in no other, by their weights: layers, or stages."""
        stacks = [module for module in self.body.modules() if isinstance(module, nn.ModuleList)]
        inner = {id(part) for stack in stacks for part in stack.modules() if part is not stack}
        outer = [stack for stack in stacks if id(stack) not in inner]
        weights = [sum(weight.numel() for weight in stack.parameters()) for stack in outer]
        return list(outer[weights.index(max(weights))]) if outer else []

    def run(self, images_NCHW: Tensor) -> Any:
        """What the model gives, with `last_hidden_state`."""
        try:
            return self.body(pixel_values=images_NCHW, **self._more)
        except ValueError as error:
            height, width = self.preparation.sides
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"{self.name} cannot read images of {height} x {width} pixels ({reason}); name other pixels"
            ) from error

    def at_end(self, given: Any, pooling: str | None) -> Tensor:
        """Behind the last normalisation."""
        if pooling is not None and not (
            self._pools and pooling == "mean" and given.pooler_output is not None
        ):
            return self._pooled(given.last_hidden_state, pooling)
        if self._pools:
            own = getattr(given, "pooler_output", None)
            return self._pooled(given.last_hidden_state, "mean") if own is None else own.flatten(1)
        first = self._pooled(given.last_hidden_state, "first")
        if not self.with_mean:
            return first
        return torch.cat([first, given.last_hidden_state[:, self._prefix :].mean(dim=1)], dim=1)

    def at_layer(self, given: Tensor, pooling: str | None) -> Tensor:
        """Behind a block: the first token where there is a class token, else the mean."""
        return self._pooled(given, pooling or ("first" if self._prefix else "mean"))

    def _pooled(self, given: Tensor, pooling: str) -> Tensor:
        if given.dim() == 4:
            return self.mean_of(given, pooling)
        if pooling == "first" and self._prefix:
            return given[:, 0]
        if pooling == "mean":
            return given[:, self._prefix :].mean(dim=1)
        raise ConfigError(
            f"{self.name} has no token of its own for {pooling}; pooling is mean, or leave it out"
        )


def _prefix_of(body: nn.Module) -> int:
    """How many tokens are before those of the patches, registers too; 0 without a class token."""
    names = {name.rpartition(".")[2] for name, _ in body.named_parameters()}
    if not names & set(_CLASS_TOKENS):
        return 0
    registers = getattr(body.config, "num_register_tokens", 0) or 0
    return 1 + int("distillation_token" in names) + int(registers)


def _pools_itself(config: Any) -> bool:
    return bool(getattr(config, "use_mean_pooling", False)) or config.model_type in _POOLS_CLASS_TOKEN


def read_transformers(path: Path, preparation: Preparation, *, pickled: bool = False) -> Reader:
    """The model of a folder, with its own classifier if it has one.

    Args:
        path: The folder.
        preparation: How it sees an image.
        pickled: Whether weights are a pickle, of which only tensors are read.

    Raises:
        ConfigError: It cannot read images of this size.
        DataError: It cannot be read, lacks weights, or its classifier reads another state than is known here.
        MissingExtraError: A package is missing.
    """
    if classes_of(read_config(path / CONFIG)) is None:
        return TransformersReader(path, _read("AutoModel", path, pickled), preparation)
    whole = _read("AutoModelForImageClassification", path, pickled)
    reader = TransformersReader(path, whole.base_model, preparation)
    linear = [
        layer for layer in getattr(whole, "classifier", whole).modules() if isinstance(layer, nn.Linear)
    ]
    reader.with_mean = reader.config.model_type in _BOTH
    if len(linear) == 1:
        bias = linear[0].bias
        weight = linear[0].weight.detach()
        reader.classifier = Classifier(
            weight, weight.new_zeros(len(weight)) if bias is None else bias.detach()
        )
    _require_same(path, whole, reader)
    return reader


@torch.no_grad()
def _require_same(path: Path, whole: Any, reader: TransformersReader) -> None:
    """Refuse a classifier that reads something else than the state that is known here."""
    whole.eval()
    height, width = reader.preparation.sides
    images_NCHW = torch.linspace(-1, 1, 3 * height * width).view(1, 3, height, width)
    given = reader.run(images_NCHW)
    wanted = whole(pixel_values=images_NCHW, **reader._more).logits
    if reader.classifier is not None:
        states = reader.at_end(given, None)
        if states.shape[1] == reader.classifier.weight.shape[1]:
            logits = nn.functional.linear(states, *reader.classifier)
            if logits.shape == wanted.shape and torch.allclose(logits, wanted, rtol=_CLOSE, atol=_CLOSE):
                return
    raise DataError(
        f"the classifier of {type(whole).__name__} in {path} is not one linear map of the state that is "
        "known here; save its base_model with save_pretrained, and name that"
    )


def library() -> Any:
    """The package transformers, imported when it is needed.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module("transformers")
    except ImportError as error:
        raise MissingExtraError(
            f"this model of images needs the package transformers ({error}); pip install 'surpass[vision]'"
        ) from None


def _read(loader: str, path: Path, pickled: bool) -> Any:
    """A model in float32; no code from its folder is run. A pooler may be missing."""
    package = library()
    logging = package.utils.logging
    shown, loudness = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model, said = getattr(package, loader).from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=not pickled,
            output_loading_info=True,
            # Version 5 calls it otherwise.
            **{"torch_dtype" if package.__version__.startswith("4.") else "dtype": torch.float32},
        )
    # Whatever a damaged or foreign file makes the library raise.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise DataError(
            f"the image model in {path} cannot be read ({reason}); save it with save_pretrained again"
        ) from error
    finally:
        logging.set_verbosity(loudness)
        if shown:
            logging.enable_progress_bar()
    missing = sorted(name for name in said["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise DataError(f"the image model in {path} has no weights for {missing[0]}; save all of it")
    return model
