"""Methods of weak-to-strong training: one function each, and one line in `METHODS`."""

from __future__ import annotations

from surpass.errors import ConfigError
from surpass.methods.naive import naive
from surpass.methods.setting import Method, WeakToStrong

METHODS: dict[str, Method] = {
    "naive": naive,
}


def find_method(name: str) -> Method:
    """The method of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in METHODS:
        raise ConfigError(f"no method {name!r}; there are: {', '.join(sorted(METHODS))}")
    return METHODS[name]


__all__ = ["METHODS", "Method", "WeakToStrong", "find_method"]
