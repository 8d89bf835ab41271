"""Models of the Hugging Face hub: found in its local cache, else downloaded. No torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from surpass.errors import ConfigError, MissingExtraError
from surpass.models.folders import PATTERNS, lacking

_FORM = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w-][\w./-]*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_folder(name: str) -> Path:
    """The folder of `org/name` or `org/name@revision`; without a revision it is `main`.

    What the cache holds is taken as it is, and nobody asks for newer: name a commit to be sure. The
    cache is where `HF_HUB_CACHE` or `HF_HOME` say, as for the hub's own library.

    Raises:
        ConfigError: The name has another form, or the model is neither in the cache nor to be had.
        MissingExtraError: It has to be downloaded, and the package that does so is missing.
    """
    match = _FORM.fullmatch(name)
    if match is None or ".." in name:
        raise ConfigError(f"no model {'hub:' + name!r}; name one as hub:org/name or hub:org/name@revision")
    repository, revision = match[1], match[2] or "main"
    cache = cache_folder()
    found = _cached(cache, repository, revision)
    if found is not None and lacking(found) is None:
        return found
    return _download(cache, repository, revision)


def cache_folder() -> Path:
    """Where the hub's library keeps what it has downloaded."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    general = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{general}/huggingface"
    return Path(home).expanduser() / "hub"


def _cached(cache: Path, repository: str, revision: str) -> Path | None:
    folder = cache / f"models--{repository.replace('/', '--')}"
    commit = revision
    if not _COMMIT.fullmatch(revision):
        try:
            commit = (folder / "refs" / revision).read_text().strip()
        except (OSError, ValueError):
            return None
    found = folder / "snapshots" / commit
    return found if _COMMIT.fullmatch(commit) and found.is_dir() else None


def _download(cache: Path, repository: str, revision: str) -> Path:
    what = f"hub:{repository}@{revision} is not in the cache {cache}"
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError(
            f"{what}, and huggingface_hub, which downloads it, is not installed; pip install 'surpass[text]'"
        ) from None
    try:
        found = snapshot_download(
            repository, revision=revision, cache_dir=cache, allow_patterns=list(PATTERNS)
        )
    # The library's errors of network, names and rights; all are OSError or ValueError.
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"{what} and cannot be downloaded ({reason}); check name and revision, fetch it where there is "
            "a network, or copy the model here and name it dir:FOLDER"
        ) from None
    return Path(found)
