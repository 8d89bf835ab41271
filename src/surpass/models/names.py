"""What the name of a model says beside where it is: settings, and the shape of what is no file. No torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from surpass.calls import Settings, parse, split
from surpass.errors import ConfigError

MAX_TOKENS = 512
"""How many tokens of a text a language model reads where its name does not say."""

POOLINGS = ("mean", "first", "last")
"""How the states of tokens, or of places in an image, become one."""

_FILES = ("tokens", "weights", "layer", "pooling", "pixels")
_IMAGES = ("layer", "pooling", "pixels")
_TEXTS = ("tokens", "layer", "pooling")
SETTINGS = {
    "hub": _FILES,
    "dir": _FILES,
    "package": _FILES,
    "reasoner": _TEXTS,
    "timm": _IMAGES,
    "cnn": _IMAGES,
}
"""What each kind of name may say behind it."""

_READ_OUT = ("layer", "pooling")
HIDDEN = 64
_SETTING = re.compile(r"\s*[A-Za-z_]\w*\s*=.*", re.DOTALL)
_FORM = re.compile(r"(linear|mlp):(all|[1-9]\d{0,5})(?:x([1-9]\d{0,4}))?")
_WIDTH = re.compile(r"[1-9]\d{0,3}")


class ReadOut(NamedTuple):
    """Where in a model the states are read that its head sees.

    Attributes:
        layer: Behind which block, from 1; None where the model itself ends, with its last normalisation.
        pooling: Of `POOLINGS`; None for the model's own.
    """

    layer: int | None = None
    pooling: str | None = None


class ModelName(NamedTuple):
    """The parts of a name such as `hub:org/name@revision(tokens=256)`.

    Attributes:
        kind: What is before the colon: `hub`.
        rest: What is behind it, without settings: `org/name@revision`.
        tokens: How many tokens of a text are read: setting `tokens`.
        pickled: Whether its weights are the pickle `pytorch_model.bin`: setting `weights=bin`.
        plain: Whether it says nothing of these, so that all may be as it was.
        layer: Behind which block states are read: setting `layer`.
        pooling: How they become one: setting `pooling`.
        pixels: Side of the square that is read of an image: setting `pixels`.
    """

    kind: str
    rest: str
    tokens: int = MAX_TOKENS
    pickled: bool = False
    plain: bool = True
    layer: int | None = None
    pooling: str | None = None
    pixels: int | None = None

    @property
    def read_out(self) -> ReadOut:
        """Where states are read."""
        return ReadOut(self.layer, self.pooling)


def read_name(name: str) -> ModelName:
    """Take a name apart. Only names of folders, packages, the hub, timm and convolutions have settings.

    Brackets at the end of a path are settings if they hold `key=value` and nothing of that name is there.

    Raises:
        ConfigError: There is no such setting, or it cannot have this value.
    """
    kind, rest, inside = _apart(name)
    if inside is None:
        return ModelName(kind, rest)
    settings, known = parse(f"model({inside})").settings, SETTINGS[kind]
    unknown = [key for key in settings if key not in known]
    if unknown:
        has = f"{', '.join(known[:-1])} and {known[-1]}"
        raise ConfigError(f"model {name} has no setting {unknown[0]!r}; it has {has}")
    return ModelName(
        kind,
        rest,
        _count(name, settings, "tokens") or MAX_TOKENS,
        _pickled(name, settings),
        plain=False,
        layer=_count(name, settings, "layer"),
        pooling=_pooling(name, settings),
        pixels=_count(name, settings, "pixels"),
    )


def base_name(name: str) -> str:
    """A name without what it says of layer and pooling: `package:mpnet` of `package:mpnet(layer=6)`."""
    kind, rest, inside = _apart(name)
    parts = [] if inside is None else split(inside)
    kept = [part for part in parts if part.partition("=")[0].strip() not in _READ_OUT]
    if len(kept) == len(parts):
        return name
    return f"{kind}:{rest}({', '.join(kept)})" if kept else f"{kind}:{rest}"


def _apart(name: str) -> tuple[str, str, str | None]:
    """Kind, rest, and what is in the brackets of settings; None without any."""
    kind, _, rest = name.partition(":")
    start = _last_bracket(rest) if kind in SETTINGS else None
    if start is None or (kind == "dir" and Path(rest).expanduser().exists()):
        return kind, rest, None
    return kind, rest[:start], rest[start + 1 : rest.rindex(")")]


def _last_bracket(text: str) -> int | None:
    """Where the brackets begin that end a text and hold settings alone; None without any."""
    if not text.rstrip().endswith(")"):
        return None
    depth = 0
    for place in range(len(text) - 1, -1, -1):
        depth += (text[place] == ")") - (text[place] == "(")
        if depth == 0 and text[place] == "(":
            inside = text[place + 1 : text.rindex(")")]
            return place if all(_SETTING.fullmatch(part) for part in split(inside)) else None
    return None


def _count(name: str, settings: Settings, key: str) -> int | None:
    value = settings.get(key)
    if key in settings and (type(value) is not int or value < 1):
        raise ConfigError(f"model {name}: {key} is {value!r}; name a whole number from 1")
    return value if isinstance(value, int) else None


def _pickled(name: str, settings: Settings) -> bool:
    weights = settings.get("weights", "safetensors")
    if weights not in ("safetensors", "bin"):
        raise ConfigError(f"model {name}: weights is {weights!r}; it is safetensors or bin")
    return weights == "bin"


def _pooling(name: str, settings: Settings) -> str | None:
    pooling = settings.get("pooling")
    if "pooling" in settings and pooling not in POOLINGS:
        raise ConfigError(f"model {name}: pooling is {pooling!r}; it is one of {', '.join(POOLINGS)}")
    return pooling if isinstance(pooling, str) else None


class TabularShape(NamedTuple):
    """The settings of a tabular model.

    Attributes:
        num_leading: How many leading features it sees; None for all.
        hidden: Width of its hidden layer; None for a linear model.
    """

    num_leading: int | None
    hidden: int | None


def tabular_shape(name: str) -> TabularShape:
    """Read `linear:8`, `linear:all`, `mlp:8`, `mlp:8x32` or `mlp:allx32`; a width not named is 64.

    Raises:
        ConfigError: The name has another form.
    """
    match = _FORM.fullmatch(name)
    if match is None or (match[1] == "linear" and match[3]):
        raise ConfigError(
            f"no model {name!r}; name a tabular one linear:K or mlp:KxH, where K is a number of leading "
            f"features from 1 or all, and H a number of hidden units from 1 (xH may be left out: {HIDDEN})"
        )
    num_leading = None if match[2] == "all" else int(match[2])
    return TabularShape(num_leading, None if match[1] == "linear" else int(match[3] or HIDDEN))


def convolution_width(name: str, rest: str) -> int:
    """The width of `cnn:16`: its channels at full size.

    Raises:
        ConfigError: The name has another form.
    """
    if _WIDTH.fullmatch(rest) is None:
        raise ConfigError(
            f"no model {name!r}; name a small convolutional network cnn:WIDTH, as in cnn:16, where WIDTH is "
            "its number of channels at full size, from 1 to 9999"
        )
    return int(rest)
