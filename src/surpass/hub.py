"""The local cache of the Hugging Face hub: where it is, and what it holds. A leaf; asks no network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

_COMMIT = re.compile(r"[0-9a-f]{40}")


def cache_folder() -> Path:
    """Where the hub's library keeps what it has downloaded."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    general = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{general}/huggingface"
    return Path(home).expanduser() / "hub"


def cached_snapshot(kind: Literal["models", "datasets"], repository: str, revision: str) -> Path | None:
    """The folder of a repository as the cache holds it, which may be a part of its files; None without.

    Args:
        kind: What the repository is one of.
        repository: "org/name".
        revision: A commit, or a branch: the commit that it was when it was fetched. Nobody asks for newer.
    """
    folder = cache_folder() / f"{kind}--{repository.replace('/', '--')}"
    commit = revision
    if not _COMMIT.fullmatch(revision):
        try:
            commit = (folder / "refs" / revision).read_text().strip()
        except (OSError, ValueError):
            return None
    found = folder / "snapshots" / commit
    return found if _COMMIT.fullmatch(commit) and found.is_dir() else None


def one_line(error: BaseException) -> str:
    """What an error of another library says, in one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
