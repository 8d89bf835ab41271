"""Finding the files of a data set, and reading them into items.

Nothing heavy is imported before rows are read: `find` and `digests` serve plans too.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from surpass.data.base import Choice, Completion, DataSet, Form, Item, Pair, Published, Row
from surpass.data.files import (
    FilePart,
    is_archive,
    matching,
    members,
    plain_files,
    require_content,
    unreadable,
)
from surpass.data.formats import rows_of
from surpass.data.hub import HubFiles, Layout, files_in, hub_files
from surpass.data.hub_rows import hub_rows
from surpass.errors import ConfigError, DataError
from surpass.identity import digest_of, remembered_digest

ROLES = ("train", "test")
FOLDER_VARIABLE = "SURPASS_DATA"
"""Environment variable: a folder with one folder for each data set, called by its name."""

_EMPTY = {
    Choice: "examples with an empty text",
    Pair: "pairs with an empty completion",
    Completion: "examples with an empty prompt or completion",
}
_MISSING = "rows with a missing value"


class Found(NamedTuple):
    """The files of a data set, found and not yet read.

    Attributes:
        data_set: The data set.
        place: Where they are, for messages: a path, or "hub:org/name@commit".
        files: Of each of `ROLES`, in order; none for "test" where a part of "train" has to serve.
        columns: Names of the columns of files without a header.
        layout: How a hub repository's files are read; None for files as published.
    """

    data_set: DataSet
    place: str
    files: Mapping[str, tuple[FilePart, ...]]
    columns: tuple[str, ...] = ()
    layout: Layout | None = None


class Loaded(NamedTuple):
    """The items of a data set.

    Attributes:
        items: Of each of `ROLES`, in the order of the files.
        notes: What was dropped, in words, and how often.
    """

    items: Mapping[str, tuple[Item, ...]]
    notes: Mapping[str, int]


def find(data_set: DataSet, source: str = "") -> Found:
    """Finds the files of a data set: in a place that is named, else on this machine, else on the hub.

    Args:
        data_set: What to look for.
        source: A file: an archive, or what to learn from. A folder: with the published files somewhere in it
            or in its archives, or a clone of the hub's repository. Empty for the folder called like the data
            set in $SURPASS_DATA, if there is one, else the hub's local cache, else a download.

    Raises:
        ConfigError: It is not there; the message says what was looked for, and what else can be done.
        DataError: An archive, or the header of a README, is damaged.
    """
    if source:
        path = Path(os.path.abspath(Path(source).expanduser()))
        if path.is_dir():
            return _in_folder(data_set, path)
        if path.is_file():
            return _in_file(data_set, path)
        raise ConfigError(f"there is no {source!r} to read {data_set.name} from; name a file or a folder")
    own = os.environ.get(FOLDER_VARIABLE)
    if own and (folder := Path(own).expanduser() / data_set.name).is_dir():
        return _in_folder(data_set, Path(os.path.abspath(folder)))
    if data_set.hub is None:
        raise ConfigError(f"{data_set.name} is not on the hub; {_alternatives(data_set)}")
    found = hub_files(data_set.hub)
    if isinstance(found, str):
        place = f"hub:{data_set.hub.repository}@{data_set.hub.revision}"
        raise ConfigError(f"no data for {data_set.name} from {place}: {found}; {_alternatives(data_set)}")
    commit = Path(found.layout.folder).name
    return _of_hub(data_set, f"hub:{data_set.hub.repository}@{commit}", found)


def digests(found: Found) -> dict[str, str]:
    """The sha256 of the files of each role that has any: the same for the same files, wherever they lie.

    Raises:
        DataError: A file is gone.
    """
    said = (
        {"options": repr(sorted(found.layout.options.items()))}
        if found.layout and found.layout.options
        else {}
    )
    return {
        role: digest_of([[{"file": _digest(part), "member": part.member} for part in parts], said])
        for role, parts in found.files.items()
        if parts
    }


def load(found: Found) -> Loaded:
    """Reads the rows, and makes items of them by the first form whose columns are there, file by file.

    Items with an empty text, and rows where a column of the form has no value, are dropped and counted.

    Raises:
        DataError: A file is damaged, its columns are those of no form, a row has something wrong with it, or
            a role has no rows.
        MissingExtraError: The files are a hub repository's, and `datasets` is not installed.
    """
    notes: Counter[str] = Counter()
    items: dict[str, tuple[Item, ...]] = {}
    for role, parts in found.files.items():
        for part in parts:
            require_content(part)
        items[role] = tuple(item for part in parts for item in _items(found, part, notes))
        if parts and not items[role]:
            dropped = f" (dropped: {dict(notes)})" if notes else ""
            raise DataError(
                f"{found.data_set.name} has no row to {'learn from' if role == 'train' else 'test on'} in "
                f"{', '.join(map(str, parts))}{dropped}; fetch it again"
            )
    return Loaded(items, dict(notes))


def read_rows(path: str) -> list[dict[str, Any]]:
    """The rows of a user's own file: JSON lines, JSON, CSV, TSV or Parquet, also compressed.

    An archive must hold one such file. `formats.rows_of` says how each format is read.

    Raises:
        DataError: It is missing, damaged, or of another format.
    """
    part = FilePart(str(path))
    require_content(part)
    if is_archive(path):
        inside = [member for member in members(path) if member.format]
        if len(inside) != 1:
            names = ", ".join(member.member for member in inside)[:200]
            raise DataError(
                f"{path} holds {len(inside)} files of data ({names}); take out the one to be read"
            )
        part = inside[0]
    return list(rows_of(part))


def _in_folder(data_set: DataSet, folder: Path) -> Found:
    parts = plain_files(folder)
    reasons = []
    for published in data_set.published:
        found = _published(data_set, published, parts, str(folder))
        if isinstance(found, Found):
            return found
        reasons.append(found)
    if data_set.hub is not None:
        of_hub = files_in(folder, data_set.hub)
        if isinstance(of_hub, HubFiles):
            return _of_hub(data_set, str(folder), of_hub)
        reasons.append(f"as a clone of hub:{data_set.hub.repository}, {of_hub}")
    said = "; ".join(dict.fromkeys(reasons)) or "nothing says what its files are called"
    raise ConfigError(f"{folder} does not hold {data_set.name}: {said}; {_alternatives(data_set)}")


def _in_file(data_set: DataSet, path: Path) -> Found:
    part = FilePart(str(path))
    if is_archive(path):
        reasons = []
        for published in data_set.published:
            found = _published(data_set, published, [part], str(path))
            if isinstance(found, Found):
                return found
            reasons.append(found)
        raise ConfigError(
            f"{path} does not hold {data_set.name}: {'; '.join(reasons)}; {_alternatives(data_set)}"
        )
    columns: tuple[str, ...] = ()
    for published in data_set.published:
        if any(matching([part], pattern) for pattern in (*published.train, *published.test)):
            columns = published.columns
            break
    return Found(data_set, str(path), {"train": (part,), "test": ()}, columns)


def _published(data_set: DataSet, published: Published, parts: list[FilePart], place: str) -> Found | str:
    """The files of one published form, each among the plain ones or else in an archive; or what lacks."""
    files: dict[str, tuple[FilePart, ...]] = {}
    for role, patterns in (("train", published.train), ("test", published.test)):
        found: list[FilePart] = []
        for pattern in patterns:
            fitting = matching(parts, pattern) or matching(_inside(parts), pattern)
            if not fitting:
                return f"there is no {pattern}"
            if len({part.name for part in fitting}) > 1 and not any(sign in pattern for sign in "*?["):
                return f"both {fitting[0]} and {fitting[1]} may be {pattern}"
            # One that is there compressed too counts once: as it is.
            once = {part.name: part for part in reversed(fitting)}
            found += [part for part in reversed(once.values()) if part not in found]
        files[role] = tuple(found)
    return Found(data_set, place, files, published.columns)


def _inside(parts: Iterable[FilePart]) -> list[FilePart]:
    return [member for part in parts if is_archive(part.path) for member in members(part.path)]


def _of_hub(data_set: DataSet, place: str, found: HubFiles) -> Found:
    return Found(data_set, place, found.files, layout=found.layout)


def _alternatives(data_set: DataSet) -> str:
    wanted = [", ".join(published.train) for published in data_set.published[:2]]
    if data_set.hub is not None:
        wanted.append("a clone of the hub's repository")
    return (
        f"name a folder with {' or '.join(wanted)}: {data_set.name}(source=FOLDER), or put it at "
        f"${FOLDER_VARIABLE}/{data_set.name}"
    )


def _digest(part: FilePart) -> str:
    try:
        return remembered_digest(part.path)
    except OSError as error:
        raise unreadable(part, error) from None


def _items(found: Found, part: FilePart, notes: Counter[str]) -> Iterator[Item]:
    form: Form | None = None
    rows = rows_of(part, found.columns) if found.layout is None else hub_rows(part, found.layout)
    for number, row in enumerate(rows):
        form = form or _form(found.data_set, part, row)
        if not row.keys() >= set(form.columns):
            missing = next(column for column in form.columns if column not in row)
            raise DataError(f"{part}, row {number}: there is no {missing!r}; mend it or fetch it again")
        if None in map(row.get, form.columns):
            notes[_MISSING] += 1
            continue
        try:
            items = form.items(row)
        except DataError as error:
            raise DataError(f"{part}, row {number}: {error}") from None
        # A value of another type than is published.
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            said = f"{type(error).__name__}: {error}"
            raise DataError(
                f"{part}, row {number} does not read like {found.data_set.name} ({said}); fetch it again"
            ) from error
        for item in items:
            if _is_empty(item):
                notes[_EMPTY[type(item)]] += 1
            else:
                yield item


def _form(data_set: DataSet, part: FilePart, row: Row) -> Form:
    for form in data_set.forms:
        if all(column in row for column in form.columns):
            return form
    wanted = " or ".join(", ".join(form.columns) for form in data_set.forms)
    raise DataError(f"{part} has the columns {', '.join(row)[:200]}; {data_set.name} needs {wanted}")


def _is_empty(item: Item) -> bool:
    if isinstance(item, Choice):
        return not item.text.strip()
    if isinstance(item, Pair):
        return not (item.chosen.strip() and item.rejected.strip())
    return not (item.prompt.strip() and item.completion.strip())
