"""Rows of a hub repository's files, read by the `datasets` library as it reads the hub; no script runs."""

from __future__ import annotations

import csv
import glob
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from surpass.data.files import FilePart, unreadable
from surpass.data.hub import README, Layout
from surpass.errors import MissingExtraError

_TSV = {"sep": "\t", "quoting": csv.QUOTE_NONE}
_AT_ONCE = 1000


def hub_rows(part: FilePart, layout: Layout) -> Iterator[dict[str, Any]]:
    """The rows of one file, in its order, as plain Python values.

    The library's own copy is in a temporary folder, and gone when the last row is read.

    Raises:
        DataError: The library cannot read the file.
        MissingExtraError: It is not installed.
    """
    with TemporaryDirectory(prefix="surpass-") as temporary:
        for columns in _loaded(part, layout, temporary):
            names = list(columns)
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(names, values, strict=True))


def _loaded(part: FilePart, layout: Layout, temporary: str) -> Iterator[dict[str, list[Any]]]:
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError(
            f"datasets, which reads {layout.folder}, is not installed; pip install 'surpass[text]'"
        ) from None
    options = dict(layout.options) or (_TSV if part.format == ".tsv" else {})
    try:
        with _quiet(datasets):
            dataset = datasets.load_dataset(
                str(_repository(Path(temporary), options)),
                data_files={"train": [glob.escape(part.path)]},
                split="train",
                cache_dir=temporary,
                verification_mode="no_checks",
            )
        yield from dataset.iter(_AT_ONCE)
    # The library hands on whatever its readers raise, and a StopIteration where there is no row.
    except Exception as error:
        raise unreadable(part, error.__cause__ or error) from None


def _repository(folder: Path, options: Mapping[str, Any]) -> Path:
    """A repository of a README alone, which says how files elsewhere are read.

    The real one may hold a script, which the library refuses or, before version 4, would run. Of a format's
    name instead of a folder the library counts the uses, over the network.
    """
    repository = folder / "repository"
    repository.mkdir()
    configs = [{"config_name": "default", "data_files": "*", **options}]
    # JSON is YAML too.
    (repository / README).write_text(f"---\nconfigs: {json.dumps(configs, default=str)}\n---\n")
    return repository


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """No progress bars, warnings or logged errors of the library; what fails is raised anyway."""
    bars, level = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()
