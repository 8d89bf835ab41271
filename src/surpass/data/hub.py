"""Repositories of the Hugging Face hub: how their files lie, whether cloned, cached or downloaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from surpass.data.base import HubPlace
from surpass.data.files import FORMATS, FilePart, glob_expression, plain_files
from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.hub import cache_folder, cached_snapshot, one_line

README = "README.md"
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(-[0-9a-f]+)?")
_OTHER_NAMES = {"train": ("training",), "validation": ("valid", "dev", "val"), "test": ("testing", "eval")}
_USUAL = (".", "data", "default")
_NO_DATA = ("config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_NO_OPTIONS = ("config_name", "data_files", "data_dir", "default", "description", "version")


@dataclass(frozen=True)
class Layout:
    """What a repository's README says of how its files are read.

    Attributes:
        folder: The repository.
        options: What it says of the configuration beside its files: a separator, names of columns.
    """

    folder: str
    options: Mapping[str, Any] = field(default_factory=dict)


class HubFiles(NamedTuple):
    """The files of a data set in a repository: of each role, and how they are read."""

    files: Mapping[str, tuple[FilePart, ...]]
    layout: Layout


def files_in(folder: Path, place: HubPlace) -> HubFiles | str:
    """The files of a data set in a clone of its repository, by what its README says, or by their names.

    Without configurations in the README, a split is `{split}.jsonl`, `{split}-00000-of-00001.parquet` or a
    folder `{split}`, below the folder of the configuration where there is one. Where there is no README
    either, only at the top and in `data` and `default`: a folder of many data sets is no repository.

    Returns:
        The files, or why they are not there.

    Raises:
        DataError: The README's header is no YAML.
    """
    configs = _configs(folder)
    chosen = _chosen(configs, place.config)
    if chosen is None:
        layout = Layout(str(folder))
        base = folder / (place.config or "")
        if place.config and not base.is_dir():
            said = (
                f"README.md has the configurations {', '.join(configs)}" if configs else "README.md has none"
            )
            return f"there is no configuration {place.config!r}: {said}, and no folder is called so"
        patterns: Mapping[str, Sequence[str]] = {}
    else:
        options = {name: value for name, value in chosen.items() if name not in _NO_OPTIONS}
        layout = Layout(str(folder), options)
        base = folder / str(chosen.get("data_dir") or "")
        if not base.resolve().is_relative_to(folder.resolve()):
            return f"README.md names a folder outside, {chosen['data_dir']!r}"
        patterns = _patterns(chosen.get("data_files"))
    names = {str(Path(part.path).relative_to(base)): part for part in plain_files(base)}
    anywhere = bool(place.config) or (folder / README).is_file()
    files: dict[str, tuple[FilePart, ...]] = {}
    for role, splits in (("train", place.train), ("test", place.test)):
        found: list[FilePart] = []
        for split in splits:
            of_split = _split_files(names, split, patterns, anywhere)
            if isinstance(of_split, str):
                return of_split
            found += of_split
        files[role] = tuple(found)
    return HubFiles(files, layout)


def hub_files(place: HubPlace) -> HubFiles | str:
    """The files of a data set in the hub's local cache, else downloaded.

    Returns:
        The files, or why they cannot be had.
    """
    cached = cached_snapshot("datasets", place.repository, place.revision)
    reason = f"it is not in the cache {cache_folder()}"
    if cached is not None:
        found = files_in(cached, place)
        if not isinstance(found, str):
            return found
        reason = f"it is not whole in the cache {cache_folder()} ({found})"
    folder = _downloaded(place)
    if isinstance(folder, str):
        return f"{reason}, and {folder}"
    found = files_in(folder, place)
    return f"{reason}, and of the download {found}" if isinstance(found, str) else found


def _configs(folder: Path) -> dict[str, dict[str, Any]]:
    """The configurations that a README's header names."""
    try:
        text = (folder / README).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    header = re.match(r"\ufeff?---\r?\n(.*?\n)---\s*(?:\n|$)", text, re.DOTALL)
    if header is None or not re.search(r"^configs:", header[1], re.MULTILINE):
        return {}
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError(
            f"PyYAML, which reads {folder / README}, is not installed; pip install 'surpass[text]'"
        ) from None
    try:
        configs = yaml.safe_load(header[1])["configs"]
        return {str(config["config_name"]): dict(config) for config in configs}
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder / README} has a damaged header ({one_line(error)}); fetch it again"
        ) from None


def _chosen(configs: Mapping[str, dict[str, Any]], name: str | None) -> dict[str, Any] | None:
    if name is not None or not configs:
        return configs.get(name or "")
    marked = [config for key, config in configs.items() if key == "default" or config.get("default")]
    return marked[0] if marked else next(iter(configs.values()))


def _patterns(data_files: object) -> Mapping[str, Sequence[str]]:
    """Patterns of each split. What names no split is `train`; nothing at all leaves it to names."""
    if data_files is None:
        return {}
    entries = data_files if isinstance(data_files, list) else [data_files]
    patterns: dict[str, list[str]] = {}
    for entry in entries:
        split, paths = (
            (entry.get("split"), entry.get("path")) if isinstance(entry, dict) else ("train", entry)
        )
        patterns.setdefault(str(split), []).extend(map(str, paths if isinstance(paths, list) else [paths]))
    return patterns


def _split_files(
    names: Mapping[str, FilePart], split: str, patterns: Mapping[str, Sequence[str]], anywhere: bool
) -> list[FilePart] | str:
    """The files of a split, ascending, or why they are not there."""
    if patterns and split not in patterns:
        return f"README.md names no split {split!r}, only {', '.join(patterns)}"
    if patterns:
        found = [name for pattern in patterns[split] for name in _globbed(names, str(pattern))]
    else:
        found = []
        for called in (split, *_OTHER_NAMES.get(split, ())):
            found = found or [name for name in names if _is_of(name, called, anywhere)]
    parts = [names[name] for name in sorted(set(found)) if Path(name).name not in _NO_DATA]
    formats = {part.format for part in parts} & set(FORMATS)
    if not formats:
        wanted = ", ".join(patterns[split]) if patterns else f"{split}.jsonl or {split}-*.parquet, for one"
        return f"there is no file of split {split!r} ({wanted})"
    preferred = min(formats, key=FORMATS.index)
    once = {part.name: part for part in reversed(parts) if part.format == preferred}
    kept = sorted(once.values())
    return _missing_shard(kept) or kept


def _globbed(names: Mapping[str, FilePart], pattern: str) -> list[str]:
    expression = glob_expression(pattern.removeprefix("./"))
    return [name for name in names if expression.fullmatch(Path(name).as_posix())]


def _is_of(name: str, split: str, anywhere: bool) -> bool:
    path = Path(FilePart(name).name)
    folder = path.parent.parent if path.parent.name == split else path.parent
    shard = _SHARD.fullmatch(path.stem)
    named = path.parent.name == split or (shard[1] if shard else path.stem) == split
    return named and (anywhere or str(folder) in _USUAL)


def _missing_shard(parts: Sequence[FilePart]) -> str | None:
    """The first shard that other shards' names tell of and that is not there."""
    shards = [match for part in parts if (match := _SHARD.fullmatch(Path(part.name).stem))]
    for stem, total in sorted({(shard[1], shard[3]) for shard in shards}):
        there = {int(shard[2]) for shard in shards if shard[1] == stem and shard[3] == total}
        for number in range(int(total)):
            if number not in there:
                return f"{Path(stem).name}-{number:05d}-of-{total} is missing"
    return None


def _downloaded(place: HubPlace) -> Path | str:
    """A repository's folder in the cache, with the files of the splits in it; or why not.

    The README comes first: it says which files belong to the splits.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        return "huggingface_hub, which downloads it, is not installed (pip install 'surpass[text]')"
    fetch = partial(snapshot_download, place.repository, repo_type="dataset", cache_dir=cache_folder())
    try:
        first = Path(fetch(revision=place.revision, allow_patterns=[README]))
        wanted = _wanted(_configs(first), place)
        return Path(fetch(revision=first.name, allow_patterns=[README, *wanted]))
    # Errors of names, rights and networks, of several libraries below that one.
    except Exception as error:
        if isinstance(error, DataError | ConfigError | MissingExtraError):
            raise
        return f"it cannot be downloaded ({one_line(error)})"


def _wanted(configs: Mapping[str, dict[str, Any]], place: HubPlace) -> list[str]:
    """Patterns of the files of the splits, as the hub's library takes them: `*` goes over folders too."""
    chosen = _chosen(configs, place.config)
    below = f"{place.config}/" if chosen is None and place.config else ""
    patterns: Mapping[str, Sequence[str]] = {}
    if chosen is not None:
        below = f"{chosen['data_dir']}/" if chosen.get("data_dir") else ""
        patterns = _patterns(chosen.get("data_files"))
    wanted: list[str] = []
    for split in (*place.train, *place.test):
        names = [f"*{name}*" for name in (split, *_OTHER_NAMES.get(split, ()))]
        wanted += [f"{below}{pattern}".removeprefix("./") for pattern in patterns.get(split, names)]
    return wanted
