"""What the name of a model says beside where it is: settings, and the shape of what is no file. No torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from surpass.calls import Settings, parse, split
from surpass.errors import ConfigError

MAX_TOKENS = 512
"""How many tokens of a text a language model reads where its name does not say."""

WITH_SETTINGS = ("hub", "dir", "package")
HIDDEN = 64
_SETTING = re.compile(r"\s*[A-Za-z_]\w*\s*=.*", re.DOTALL)
_FORM = re.compile(r"(linear|mlp):(all|[1-9]\d{0,5})(?:x([1-9]\d{0,4}))?")


class ModelName(NamedTuple):
    """The parts of a name such as `hub:org/name@revision(tokens=256)`.

    Attributes:
        kind: What is before the colon: `hub`.
        rest: What is behind it, without settings: `org/name@revision`.
        tokens: How many tokens of a text are read: setting `tokens`.
        pickled: Whether its weights are the pickle `pytorch_model.bin`: setting `weights=bin`.
        plain: Whether it says nothing of these, so that all may be as it was.
    """

    kind: str
    rest: str
    tokens: int = MAX_TOKENS
    pickled: bool = False
    plain: bool = True


def read_name(name: str) -> ModelName:
    """Take a name apart. Only names of folders, packages and the hub have settings.

    Brackets at the end of a path are settings if they hold `key=value` and nothing of that name is there.

    Raises:
        ConfigError: There is no such setting, or it cannot have this value.
    """
    kind, _, rest = name.partition(":")
    start = _last_bracket(rest) if kind in WITH_SETTINGS else None
    if start is None or (kind == "dir" and Path(rest).expanduser().exists()):
        return ModelName(kind, rest)
    settings = parse(f"model{rest[start:]}").settings
    unknown = [key for key in settings if key not in ("tokens", "weights")]
    if unknown:
        raise ConfigError(f"model {name} has no setting {unknown[0]!r}; it has tokens and weights")
    return ModelName(kind, rest[:start], _tokens(name, settings), _pickled(name, settings), plain=False)


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


def _tokens(name: str, settings: Settings) -> int:
    tokens = settings.get("tokens", MAX_TOKENS)
    if type(tokens) is not int or tokens < 1:
        raise ConfigError(f"model {name}: tokens is {tokens!r}; name a whole number from 1")
    return tokens


def _pickled(name: str, settings: Settings) -> bool:
    weights = settings.get("weights", "safetensors")
    if weights not in ("safetensors", "bin"):
        raise ConfigError(f"model {name}: weights is {weights!r}; it is safetensors or bin")
    return weights == "bin"


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
