"""The validation set of ImageNet as published: `ILSVRC2012_img_val.tar` and the development kit.

Numbers in the kit's ground truth are the kit's own. Classes are in the order of their WordNet ids, as every
published classifier has them.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from surpass.data.files import FilePart, opened, unreadable
from surpass.data.images_layout import TRAIN, Labelled, Layout
from surpass.data.images_stored import Stored
from surpass.errors import DataError, MissingExtraError

_IMAGE = re.compile(r"(?:.*/)?ILSVRC2012_val_(\d{8})\.JPEG")
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_META = "meta.mat"


def by_kit(names: Mapping[str, Stored]) -> Layout | None:
    """The images of ImageNet's validation set; None if these are other images, or lie in class folders.

    Args:
        names: Files by their path below the place that was named.

    Raises:
        DataError: The kit is missing or damaged, or an image of its list is missing.
        MissingExtraError: scipy, which reads the kit, is not installed.
    """
    images = {int(match[1]): stored for name, stored in names.items() if (match := _IMAGE.fullmatch(name))}
    folders = {posixpath.dirname(name) for name in names if _IMAGE.fullmatch(name)}
    if len(folders) != 1:
        return None
    truth, meta = (_found(names, name, next(iter(images.values()))) for name in (_TRUTH, _META))
    with opened(_part(truth)) as stream:
        lines = stream.read().split()
    wnids, classes = _classes(meta)
    place_of = {number: place for place, number in enumerate(wnids)}
    labelled = []
    number_there = len(images)
    for number, line in enumerate(lines, start=1):
        if number not in images:
            raise DataError(
                f"ILSVRC2012_val_{number:08d}.JPEG is missing: {truth} lists {len(lines):,} images, and "
                f"{number_there:,} are there; fetch ILSVRC2012_img_val.tar again"
            )
        if not line.isdigit() or int(line) not in place_of:
            raise DataError(f"{truth}, line {number}: {line[:20]!r} is no class of {meta}; fetch it again")
        labelled.append(Labelled(images.pop(number), TRAIN, place_of[int(line)]))
    if images:
        raise DataError(f"{next(iter(images.values()))} has no line in {truth}; fetch the kit again")
    return Layout(labelled, classes, [])


def _found(names: Mapping[str, Stored], wanted: str, image: Stored) -> Stored:
    for name, stored in names.items():
        if posixpath.basename(name) == wanted:
            return stored
    raise DataError(
        f"{image} has its class in {wanted}, which is not there; put ILSVRC2012_devkit_t12.tar.gz beside it"
    )


def _part(stored: Stored) -> FilePart:
    return FilePart(stored.file, stored.member)


def _classes(meta: Stored) -> tuple[list[int], tuple[int | str, ...]]:
    """The kit's numbers of its leaves in the order of their WordNet ids, and what they are called."""
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError(f"scipy, which reads {meta}, is not installed; pip install scipy") from None
    with opened(_part(meta)) as stream:
        try:
            synsets: Any = loadmat(stream, squeeze_me=True)["synsets"]
            leaves = sorted(
                (str(one["WNID"]), int(one["ILSVRC2012_ID"]), str(one["words"]))
                for one in synsets
                if not int(one["num_children"])
            )
        # scipy raises what it likes of a file that is none.
        except Exception as error:
            raise unreadable(str(meta), error) from None
    count = Counter(words for _, _, words in leaves)
    called = tuple(f"{words} ({wnid})" if count[words] > 1 else words for wnid, _, words in leaves)
    return [number for _, number, _ in leaves], called
