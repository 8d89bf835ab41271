"""Models of the Hugging Face hub: found in its local cache, else downloaded. No torch."""

from __future__ import annotations

import re
from pathlib import Path

from surpass.errors import ConfigError, MissingExtraError
from surpass.hub import cache_folder, cached_snapshot
from surpass.models.folders import lacking, patterns

_FORM = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w-][\w./-]*))?")


def hub_folder(name: str, *, pickled: bool = False) -> Path:
    """The folder of `org/name` or `org/name@revision`; without a revision it is `main`.

    Weights are safetensors, or, if `pickled`, the pickle `pytorch_model.bin`.

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
    found = cached_snapshot("models", repository, revision)
    if found is not None and lacking(found, pickled=pickled) is None:
        return found
    return _download(repository, revision, pickled)


def _download(repository: str, revision: str, pickled: bool) -> Path:
    cache = cache_folder()
    what = f"hub:{repository}@{revision} is not in the cache {cache}"
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError(
            f"{what}, and huggingface_hub, which downloads it, is not installed; pip install 'surpass[text]'"
        ) from None
    try:
        found = snapshot_download(
            repository, revision=revision, cache_dir=cache, allow_patterns=patterns(pickled)
        )
    # The library's errors of network, names and rights; all are OSError or ValueError.
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"{what} and cannot be downloaded ({reason}); check name and revision, fetch it where there is "
            "a network, copy the model here and name it dir:FOLDER, or take one of `surpass models list`"
        ) from None
    return Path(found)
