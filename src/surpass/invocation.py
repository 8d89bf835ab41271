"""How this process was started, as a command that people can copy."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def program() -> list[str]:
    """The words that name the program, without its arguments."""
    name = Path(sys.argv[0]).name
    if name == "__main__.py":
        return [sys.executable, "-m", Path(sys.argv[0]).parent.name]
    found = shutil.which(name)
    same = found is not None and os.path.abspath(found) == os.path.abspath(sys.argv[0])
    return [name if same or os.sep not in sys.argv[0] else sys.argv[0]]


def command(arguments: Sequence[str]) -> str:
    """A command of this program, to be pasted into a shell."""
    return shlex.join([*program(), *arguments])


def again() -> str:
    """The command that this process was started with."""
    return command(sys.argv[1:])
