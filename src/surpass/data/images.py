"""Labelled image sets, in class folders, archives, CIFAR binary files, ImageNet's files, Parquet or tables.

`read_images` finds out which of these lies at a place, looks at every image once (see `images_index`), and
names all that cannot be used.
"""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import pyarrow as pa

from surpass.data.files import FilePart, is_archive, require_content
from surpass.data.images_cifar import by_records, refuse_pickles
from surpass.data.images_content import FAULTS, TRAITS
from surpass.data.images_folders import by_folders
from surpass.data.images_imagenet import by_kit
from surpass.data.images_index import Index
from surpass.data.images_layout import Labelled, Layout, Problem
from surpass.data.images_metadata import USUAL, Columns, by_table
from surpass.data.images_parquet import by_columns
from surpass.data.images_places import Place
from surpass.data.images_stored import FOLDER, Stored, contents
from surpass.errors import ConfigError, DataError

DAMAGED = ("stop", "drop")
_ROWS_AT_ONCE = 1000
_SHOWN = 5
_NO_TABLE = "no"


class Reading(NamedTuple):
    """How an image set is read.

    Attributes:
        columns: What its table or its Parquet files call their columns; `label` also chooses between `fine`
            and `coarse` labels of CIFAR-100.
        metadata: The table that describes the images, below the place; empty for `metadata.csv` if it is
            there, "no" to go by folders all the same.
        damaged: "stop" if anything cannot be used, or "drop" to leave it out and count it.
        classes: What classes are called, if the data do not say so.
    """

    columns: Columns = Columns()
    metadata: str = ""
    damaged: str = "stop"
    classes: tuple[str, ...] = ()


class ImageSet(NamedTuple):
    """All images that can be used.

    Attributes:
        images: With their split and class.
        classes: What classes are called, in order.
        notes: What was left out, and what is changed when images are read, in words, with how many.
    """

    images: list[Labelled]
    classes: tuple[int | str, ...]
    notes: Mapping[str, int]

    def digest(self) -> str:
        """What the set is, 64 hex digits: the same for the same images and classes, however stored."""
        lines = sorted(
            f"{one.stored.digest.hex()} {one.split} {one.label} {one.attribute!r} {one.group!r}"
            for one in self.images
        )
        return sha256("\n".join([str(len(self.classes)), *lines]).encode()).hexdigest()

    def contents(self, rows: Iterable[int]) -> pa.ChunkedArray:
        """The bytes of some images, large_binary, in that order.

        Raises:
            DataError: One has changed since it was examined.
        """
        found = contents([self.images[row].stored for row in rows])
        chunks = []
        for start in range(0, len(found), _ROWS_AT_ONCE):
            stop = start + _ROWS_AT_ONCE
            chunks.append(pa.array(found[start:stop], pa.large_binary()))
            # What is copied is let go, so that images are not there twice.
            found[start:stop] = [b""] * len(chunks[-1])
        return pa.chunked_array(chunks, pa.large_binary())


def read_images(place: Place, reading: Reading) -> ImageSet:
    """All images of a place that can be used.

    Raises:
        ConfigError: Settings do not fit what is there.
        DataError: An image cannot be read, is in no class folder, or in one that nothing is learned from; all
            are counted and the first named. Or something else is damaged.
        MissingExtraError: A package is missing.
    """
    if place.parquet is not None:
        layout = by_columns(place.parquet.files, place.path, reading.columns, reading.classes)
    else:
        layout = _layout(place.path, reading)
    good = [one for one in layout.images if not one.stored.fault]
    problems = [
        *layout.problems,
        *(
            Problem(f"{one.stored} {one.stored.said}", FAULTS[one.stored.fault])
            for one in layout.images
            if one.stored.fault
        ),
    ]
    if problems and reading.damaged != "drop":
        raise DataError(_in_words(problems))
    notes = Counter(layout.notes)
    for problem in problems:
        notes[problem.note] += problem.number
    traits = Counter(trait for one in good for trait in one.stored.traits.split(",") if trait)
    notes.update({TRAITS[trait]: traits[trait] for trait in TRAITS if traits[trait]})
    return ImageSet(good, layout.classes, dict(notes))


def _layout(path: str, reading: Reading) -> Layout:
    index = Index(path)
    names: dict[str, Stored] = {}
    folders: set[str] = set()
    for name, stored in _stored(path, index):
        if stored.fault == FOLDER:
            folders.add(name.rstrip("/"))
        else:
            names[name] = stored
    refuse_pickles(names)
    layout = by_records(names, index, reading.columns.label) or by_kit(names)
    if layout is None:
        table = _table(names, reading.metadata)
        if table is not None:
            part = FilePart(names[table].file, names[table].member)
            layout = by_table(part, posixpath.dirname(table), names, reading.columns)
        elif any(reading.columns):
            raise ConfigError(
                f"{path} is read by its folders: columns ({', '.join(filter(None, reading.columns))}) are of "
                "tables; name one with metadata="
            )
        else:
            layout = by_folders(names, folders, path)
    # Files that no index was asked for yet.
    unknown = [one.stored.file for one in layout.images if not one.stored.digest and not one.stored.fault]
    known = {stored.file: stored for stored in index.of(unknown)}
    images = [
        one if one.stored.digest or one.stored.fault else one._replace(stored=known[one.stored.file])
        for one in layout.images
    ]
    return layout._replace(images=images)


def _stored(path: str, index: Index) -> Iterator[tuple[str, Stored]]:
    """Files and folders by their names below the place, archives as folders."""
    if os.path.isfile(path):
        yield from _inside(path, "", index)
        return
    for folder, files in _walked(path):
        below = "" if folder == path else f"{os.path.relpath(folder, path)}/".replace(os.sep, "/")
        if below:
            yield below, Stored(folder, fault=FOLDER)
        for name in files:
            file = os.path.join(folder, name)
            if is_archive(file):
                yield from _inside(file, FilePart(f"{below}{name}", "-").name.removesuffix("-"), index)
            else:
                yield below + name, Stored(file)


def _inside(file: str, below: str, index: Index) -> Iterator[tuple[str, Stored]]:
    if not is_archive(file):
        yield os.path.basename(file), Stored(file)
        return
    require_content(FilePart(file))
    for stored in index.of([file]):
        # Windows has written backslashes into zip files.
        member = stored.member.replace("\\", "/") if file.lower().endswith(".zip") else stored.member
        pieces = [piece for piece in member.split("/") if piece not in ("", ".")]
        if pieces and all(_is_shown(piece) for piece in pieces):
            yield below + "/".join(pieces), stored


def _walked(path: str) -> Iterator[tuple[str, list[str]]]:
    """Folders with their files, hidden ones left out, links followed, ascending; each folder once."""
    seen = set()
    for folder, folders, files in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        folders[:] = sorted(filter(_is_shown, folders))
        yield folder, sorted(filter(_is_shown, files))


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _table(names: Mapping[str, Stored], metadata: str) -> str | None:
    """The name of the table that describes the images; None to go by folders."""
    if metadata == _NO_TABLE:
        return None
    wanted = posixpath.normpath(metadata or USUAL)
    fitting = sorted(
        (name for name in names if name == wanted or name.endswith(f"/{wanted}")), key=lambda n: n.count("/")
    )
    if fitting:
        return fitting[0]
    if metadata:
        raise ConfigError(f"there is no table {metadata!r} below the images; name its path from there")
    return None


def _in_words(problems: Sequence[Problem]) -> str:
    total = sum(problem.number for problem in problems)
    said = "; ".join(problem.said for problem in problems[:_SHOWN])
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    what = f"{total} files or folders cannot be used" if total > 1 else "a file or folder cannot be used"
    return f"{what}: {said}{more}. Mend or fetch them again, or leave them out with damaged=drop"
