"""What the name of a model says about its shape, for families whose models are no files. No torch."""

from __future__ import annotations

import re
from typing import NamedTuple

from surpass.errors import ConfigError

HIDDEN = 64
_FORM = re.compile(r"(linear|mlp):(all|[1-9]\d{0,5})(?:x([1-9]\d{0,4}))?")


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
