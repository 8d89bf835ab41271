"""What all layouts of image sets give: images with their split and class, and what is wrong with others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from surpass.data.images_stored import Stored
from surpass.errors import DataError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
    "eval": TEST,
}
"""What splits are called, in lower case."""

ONLY_SCORED = "images of classes that no image to learn from has"


class Labelled(NamedTuple):
    """An image with what is said of it.

    Attributes:
        stored: The image.
        split: One of `TRAIN`, `VALIDATION`, `TEST`.
        label: The place of its class among the classes.
        attribute: A spurious attribute, where there is one.
        group: What stays together; empty for the image itself.
    """

    stored: Stored
    split: str
    label: int
    attribute: str | None = None
    group: str = ""


class Problem(NamedTuple):
    """Something that keeps images from being used, unless they are to be left out.

    Attributes:
        said: What is wrong, with the name of the file or folder.
        note: What is counted when it is left out, in words.
        number: How many.
    """

    said: str
    note: str
    number: int = 1


class Layout(NamedTuple):
    """All images of a set.

    Attributes:
        images: In the order of their files.
        classes: What classes are called, in order.
        problems: What cannot be used.
        notes: What was passed over because it is no image of the set, in words, with how many.
    """

    images: list[Labelled]
    classes: tuple[int | str, ...]
    problems: list[Problem]
    notes: Mapping[str, int] = MappingProxyType({})


class Row(NamedTuple):
    """An image as a table describes it; the label is what the table says."""

    stored: Stored
    split: str
    label: int | str
    attribute: str | None
    group: str


def by_rows(rows: Sequence[Row], problems: Sequence[Problem], notes: Mapping[str, int]) -> Layout:
    """Images with labels that are names; classes are those of images to learn from, ascending."""
    of_split: defaultdict[int | str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        of_split[row.label][row.split] += 1
    classes = tuple(sorted(label for label, splits in of_split.items() if splits[TRAIN]))
    place_of = {label: place for place, label in enumerate(classes)}
    images = [
        Labelled(row.stored, row.split, place_of[row.label], row.attribute, row.group)
        for row in rows
        if row.label in place_of
    ]
    wrong = [
        Problem(
            f"class {label!r} is in {' and '.join(sorted(splits))} alone, with "
            f"{splits.total()} image{'s' if splits.total() > 1 else ''}, and nothing to learn it from",
            ONLY_SCORED,
            splits.total(),
        )
        for label, splits in of_split.items()
        if label not in place_of
    ]
    return Layout(images, classes, [*problems, *wrong], notes)


def typed(values: Iterable[str]) -> list[int] | list[str]:
    """Values of a delimited file: whole numbers if all are, else as they stand."""
    values = list(values)
    if all(value.removeprefix("-").isdecimal() and value.isascii() for value in values):
        return [int(value) for value in values]
    return values


def split_named(value: object, where: str) -> str:
    """The split that a table names: by a word, or 0, 1 and 2 for learning, choosing and scoring.

    Raises:
        DataError: It is neither.
    """
    text = str(value).strip().lower()
    found = SPLITS.get(text) or {"0": TRAIN, "1": VALIDATION, "2": TEST}.get(text)
    if found is None:
        raise DataError(f"{where}: split {value!r} is none of train, val, test or 0, 1, 2; correct it")
    return found
