"""Memory of processes that train: a faster allocator for workers, and memory that is not given back.

The convolution library describes an operation anew each time it is called, in hundreds of small aligned
pieces of memory, on which the C library's allocator spends a tenth of a small model's step. Workers have that
of the package tbb instead, where it is installed. Numbers stay as they are.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

_PRELOAD = "LD_PRELOAD"
_LIBRARIES = ("libtbbmalloc.so.2", "libtbbmalloc_proxy.so.2")
# Of glibc's malloc.h: at what size free memory at the end is given back, by how much more is asked for, and
# from what size (at most this) a piece is asked for by itself.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT = {_TRIM_THRESHOLD: 1 << 30, _TOP_PAD: 64 << 20, _MMAP_THRESHOLD: 32 << 20}


def found() -> list[Path]:
    """The allocator's libraries; empty where there are none, or other systems would not know what to do."""
    paths = [Path(sys.prefix, "lib", name) for name in _LIBRARIES]
    usable = sys.platform == "linux" and not set(" :") & set(sys.prefix)  # the loader ends paths at these
    return paths if usable and all(path.exists() for path in paths) else []


def preloaded() -> dict[str, str]:
    """The environment in which a new process has it; empty where `LD_PRELOAD` is set, be it to nothing."""
    paths = [] if _PRELOAD in os.environ else found()
    return {_PRELOAD: ":".join(map(str, paths))} if paths else {}


def keep_freed() -> None:
    """Let the C library keep up to 1 GB that is free, rather than give it back and ask again in each step.

    For this process, for good; where the C library is not glibc nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _KEPT.items():
            mallopt(option, value)
