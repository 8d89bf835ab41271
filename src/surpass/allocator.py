"""A faster memory allocator for worker processes: that of the package tbb, where it is installed.

The convolution library describes an operation anew each time it is called, in hundreds of small aligned
pieces of memory, on which the C library's allocator spends a tenth of a small model's step. Numbers stay as
they are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PRELOAD = "LD_PRELOAD"
_LIBRARIES = ("libtbbmalloc.so.2", "libtbbmalloc_proxy.so.2")


def found() -> list[Path]:
    """The allocator's libraries; empty where there are none, or other systems would not know what to do."""
    paths = [Path(sys.prefix, "lib", name) for name in _LIBRARIES]
    usable = sys.platform == "linux" and not set(" :") & set(sys.prefix)  # the loader ends paths at these
    return paths if usable and all(path.exists() for path in paths) else []


def preloaded() -> dict[str, str]:
    """The environment in which a new process has it; empty where `LD_PRELOAD` is set, be it to nothing."""
    paths = [] if _PRELOAD in os.environ else found()
    return {_PRELOAD: ":".join(map(str, paths))} if paths else {}
