"""The exceptions that Surpass raises for its users.

Every message names the value that was wrong, what is allowed, and what to do next. The command
line prints the message alone, on one line; a traceback is for our own mistakes only.
"""

from __future__ import annotations


class SurpassError(Exception):
    """Base of every error that a user can cause or mend."""


def error_named(name: str) -> type[SurpassError] | None:
    """The kind of error that another process names; None where it is none of ours."""
    kind = globals().get(name)
    return kind if isinstance(kind, type) and issubclass(kind, SurpassError) else None


class ConfigError(SurpassError, ValueError):
    """What was asked for does not exist or does not fit together."""


class DataError(SurpassError, ValueError):
    """Input data is malformed: a file, a row, a label, a chess position."""


class StoreError(SurpassError, OSError):
    """The artifact store cannot be read or written."""


class MissingExtraError(SurpassError, ImportError):
    """An optional package is needed and not installed."""


class Stopped(SurpassError):
    """The run was asked to stop, and what it had done so far is saved."""


class NotApplicable(SurpassError):
    """A method makes no sense for this task or these models; it is left out, and the reason is shown."""
