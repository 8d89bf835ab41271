"""A study by name, as the command line names it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TypeVar

from surpass.calls import look_here
from surpass.errors import ConfigError
from surpass.layers import layer_study
from surpass.overrides import given, override, whole_numbers
from surpass.recipes import find_recipe, settings_of
from surpass.study import Study

_LAYERS = "layers="

Made = TypeVar("Made")


def find_study(name: str, overrides: Sequence[str] = ()) -> Study:
    """The study of a name, or of a function `module:function`, with overrides applied.

    Args:
        name: A key of `RECIPES`, or `your_module:function`.
        overrides: Texts `name=value`, as `overrides.override` takes them, and `layers=1-6`, which reads the
            students at each of these layers and at their end.

    Raises:
        ConfigError: There is no such study, or an override makes no sense.
    """
    sweeps = [text for text in overrides if text.startswith(_LAYERS)]
    if sweeps:
        rest = [text for text in overrides if text not in sweeps]
        return layer_study(find_study(name, rest), whole_numbers(sweeps[-1].removeprefix(_LAYERS), "layers"))
    if ":" not in name:
        told, others = given(settings_of(name), overrides)
        return override(find_recipe(name, **told), others)
    return override(made_elsewhere(name, Study, "a surpass.Study"), overrides)


def made_elsewhere(name: str, kind: type[Made], called: str) -> Made:
    """What somebody's `module:function` gives, or what is called so there.

    Args:
        name: The module and the function.
        kind: What it has to be.
        called: What that is for people.

    Raises:
        ConfigError: There is no such thing, or it is something else.
    """
    module, _, function = name.partition(":")
    look_here()
    try:
        make = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"no study {name!r} ({error}); name it as your_module:function") from None
    study = make() if callable(make) else make
    if not isinstance(study, kind):
        raise ConfigError(f"{name} gives {type(study).__name__}; it must return {called}")
    return study
