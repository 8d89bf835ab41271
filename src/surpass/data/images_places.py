"""Where an image set lies: a folder, an archive, a Parquet file, a clone of a hub's repository, the hub."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from surpass.data.base import DataSet, HubPlace
from surpass.data.files import FilePart, is_archive
from surpass.data.hub import HubFiles, Layout, files_in, hub_files
from surpass.data.images_stored import RECORDS
from surpass.data.loading import FOLDER_VARIABLE
from surpass.errors import ConfigError

HUB = "hub:"


class Place(NamedTuple):
    """Where an image set is: a folder or file, or the Parquet files of a hub's repository."""

    path: str
    parquet: HubFiles | None = None


def find_images(data_set: DataSet, source: str) -> Place:
    """Where a data set of the catalog is: in a place that is named, in $SURPASS_DATA, or on the hub.

    Raises:
        ConfigError: It is not there.
    """
    own = os.environ.get(FOLDER_VARIABLE)
    if source:
        return find_own(source, data_set.hub)
    if own and (folder := Path(own).expanduser() / data_set.name).is_dir():
        return find_own(str(folder), data_set.hub)
    if data_set.hub is None:
        raise ConfigError(f"{data_set.name} is not on the hub; name a folder: {data_set.name}(source=FOLDER)")
    found = hub_files(data_set.hub)
    if isinstance(found, str):
        raise ConfigError(
            f"no data for {data_set.name} from hub:{data_set.hub.repository}: {found}; name a folder or an "
            f"archive: {data_set.name}(source=FOLDER), or put it at ${FOLDER_VARIABLE}/{data_set.name}"
        )
    return Place(found.layout.folder, found)


def find_own(path: str, known: HubPlace | None = None, config: str = "") -> Place:
    """A folder, an archive, a Parquet file, or `hub:org/name` with `@revision` if wanted.

    Args:
        path: Which.
        known: How a clone of the hub's repository lies, if that is known.
        config: The hub's configuration, where there are several.

    Raises:
        ConfigError: It is not there, or the hub's files have no split to learn from.
    """
    if path.startswith(HUB):
        repository, _, revision = path.removeprefix(HUB).partition("@")
        found = _first(map(hub_files, _places(repository, config, revision or "main")))
        if isinstance(found, str):
            raise ConfigError(f"no images from {path}: {found}")
        return Place(found.layout.folder, found)
    full = os.path.abspath(os.path.expanduser(path))
    if os.path.isfile(full) and full.endswith(".parquet"):
        parts = (FilePart(full),)
        return Place(full, HubFiles({"train": parts, "test": ()}, Layout(os.path.dirname(full))))
    if os.path.isfile(full) and not (is_archive(full) or RECORDS.search(full)):
        raise ConfigError(f"{path} is no folder, archive or Parquet file; images lie in one of these")
    if not os.path.exists(full):
        raise ConfigError(
            f"there is no {path!r} to read images from; name a folder, an archive or a Parquet file"
        )
    if os.path.isdir(full) and any(
        name.endswith(".parquet") for _, _, names in os.walk(full) for name in names
    ):
        places = [known] if known else _places("", config, "main")
        found = _first(files_in(Path(full), place) for place in places)
        if isinstance(found, str):
            raise ConfigError(f"{path} holds Parquet files, but {found}; name one file, or config=")
        return Place(full, found)
    return Place(full)


def _places(repository: str, config: str, revision: str) -> list[HubPlace]:
    """A repository by the usual names of splits: those with a test first."""
    tests: Sequence[tuple[str, ...]] = (("test",), ("validation",), ())
    return [HubPlace(repository, config or None, revision, ("train",), test) for test in tests]


def _first(found: Iterable[HubFiles | str]) -> HubFiles | str:
    reason = ""
    for one in found:
        if isinstance(one, HubFiles):
            return one
        reason = reason or one
    return reason
