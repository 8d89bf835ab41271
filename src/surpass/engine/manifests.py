"""What an artifact's manifest says of the stage that made it, and of what computed it."""

from __future__ import annotations

import platform
import sys
from functools import cache
from importlib.metadata import version
from typing import Any

from surpass.stages import Stage


def manifest_of(stage: Stage) -> dict[str, Any]:
    """What a manifest says of its stage."""
    upstream = [{"kind": before.kind, "id": before.id, "label": before.label} for before in stage.upstream]
    return {"stage": stage.identity, "upstream": upstream}


def versions() -> dict[str, str]:
    """Versions of what computes."""
    names = ["surpass", "torch", "numpy", "pyarrow", "safetensors", "chess"]
    names += [name for name in ("scipy", "cleanlab", "transformers") if name in sys.modules]
    return {"python": platform.python_version(), "platform": sys.platform} | {
        name: _version(name) for name in names
    }


@cache
def _version(name: str) -> str:
    return version(name)
