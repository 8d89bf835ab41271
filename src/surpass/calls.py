"""A function named by a text: `confidence`, `confidence(alpha=0.75)`, `my_module:my_loss(scale=2)`.

Losses, rules, adapters and methods are named like this everywhere, so a name with its settings is part
of an identity as it stands, and what outsiders write needs no registration.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

from surpass.errors import ConfigError
from surpass.identity import remembered_digest

_FORM = re.compile(r"([A-Za-z_][\w.]*(?::[A-Za-z_]\w*)?)(?:\((.*)\))?", re.DOTALL)
PACKAGE = "surpass"

Settings = dict[str, "str | int | float | bool"]


class Call(NamedTuple):
    """A name, and the settings given with it."""

    name: str
    settings: Settings


def parse(text: str) -> Call:
    """Read `name(key=value, ...)`; values are numbers, True, False, quoted or plain words, or calls.

    A value that is a call, as in `naive(loss=gce(q=0.5))`, is kept as text.

    Raises:
        ConfigError: The text has another form.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no name; write name, name(key=value) or module:function(key=value)")
    settings: Settings = {}
    for part in split(match[2] or "") if (match[2] or "").strip() else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (equals and key.isidentifier() and value) or key in settings:
            raise ConfigError(f"{text!r}: {part!r} is no setting; write key=value, each key once")
        settings[key] = _value(value)
    return Call(match[1], settings)


def split(text: str) -> list[str]:
    """The parts between commas, without spaces around them; commas in brackets or quotes are none."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if char in "'\"" and quote in ("", char):
            quote = "" if quote else char
        elif not quote:
            depth += (char == "(") - (char == ")")
        if char == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def _value(text: str) -> str | int | float | bool:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return text
    return value if isinstance(value, str | int | float | bool) else text


def find(text: str, known: Mapping[str, Callable[..., Any]], what: str) -> partial[Any]:
    """The function that a text names, with its settings bound.

    Args:
        text: As `parse` takes it.
        known: Functions by name. Their settings are keyword-only parameters with a default.
        what: What they are, for messages: "loss".

    Raises:
        ConfigError: There is no such function, or it has no such setting.
    """
    name, settings = parse(text)
    function = _outside(name, what) if ":" in name else known.get(name)
    if function is None:
        close = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(sorted(known))}"
        raise ConfigError(f"no {what} {name!r}; {hint}")
    allowed = settings_of(function)
    for key in settings:
        if key not in allowed:
            hint = f"it has {', '.join(allowed) if allowed else 'none'}"
            if key in inspect.signature(function).parameters:
                hint = "put it behind a * in the function, with a default"
            raise ConfigError(f"{what} {name} has no setting {key!r}; {hint}")
    return partial(function, **settings)


def settings_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The settings of a function and their defaults: its keyword-only parameters that have one."""
    parameters = inspect.signature(function).parameters.values()
    return {
        entry.name: entry.default
        for entry in parameters
        if entry.kind is entry.KEYWORD_ONLY and entry.default is not entry.empty
    }


def _outside(name: str, what: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    look_here()
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"no {what} {name!r} ({error}); name it as your_module:function") from None
    code_digest(name)
    if not callable(function):
        raise ConfigError(f"{what} {name!r} is a {type(function).__name__}; it must be a function")
    return function  # type: ignore[no-any-return]


def look_here() -> None:
    """Let `module:function` find modules in the current folder, as `python -m` does."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def is_outside(text: str) -> bool:
    """Whether a text names a `module:function` of somebody else's."""
    if ":" not in text:
        return False
    module, colon, _ = parse(text).name.partition(":")
    return bool(colon) and module.partition(".")[0] != PACKAGE


_first_seen: dict[str, str] = {}
"""The digest that a file of somebody else's had when this process first asked."""


def code_digest(name: str) -> dict[str, str]:
    """The sha256 of the file that a `module:function` lies in, as an entry {"code": digest}; else nothing.

    Its author raises no version of ours, so whatever its module says is part of the identity.
    What that module imports is not.

    Raises:
        ConfigError: It lies in no file, as in a notebook; or the file was changed, while this process
            would go on with what it has read.
    """
    if not is_outside(name):
        return {}
    path = _file_of(parse(name).name.partition(":")[0])
    if not os.path.isfile(path):
        raise ConfigError(
            f"{name} lies in no file, so edits would go unseen; put it into a module of its own"
        )
    digest = remembered_digest(path)
    if _first_seen.setdefault(path, digest) != digest:
        raise ConfigError(f"{path} was changed after it was read; start Python again")
    return {"code": digest}


def _file_of(module: str) -> str:
    """Where a module was read from, or will be; nothing for one without a file."""
    if module in sys.modules:  # first, for a script that is being run has no spec
        return getattr(sys.modules[module], "__file__", None) or ""
    look_here()
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return ""
    return (spec.origin if spec is not None else None) or ""
