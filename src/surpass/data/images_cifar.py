"""CIFAR-10 and CIFAR-100 as their authors publish them: the binary version, in a folder or its archive.

A record is a byte for the label (for CIFAR-100 two, coarse and fine) and 3,072 bytes: the red, green and
blue planes of 32 x 32 pixels. The Python version is pickled, and is not read.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from surpass.data.files import FilePart, opened
from surpass.data.images_index import Index
from surpass.data.images_layout import TEST, TRAIN, Labelled, Layout
from surpass.data.images_stored import RECORDS, Stored, num_labels
from surpass.errors import ConfigError, DataError

_PICKLED = re.compile(
    r"(?:.*/)?(?:data_batch_\d+|test_batch|batches\.meta|cifar-100-python/(?:train|test|meta))$"
)
_BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
_NAMES = {"": "batches.meta.txt", "fine": "fine_label_names.txt", "coarse": "coarse_label_names.txt"}
_NUM_CLASSES = {"": 10, "fine": 100, "coarse": 20}


def refuse_pickles(names: Mapping[str, Stored]) -> None:
    """Refuse the Python version.

    Raises:
        DataError: Names the binary version.
    """
    for name, stored in names.items():
        if _PICKLED.fullmatch(name):
            raise DataError(
                f"{stored} is of the Python version of CIFAR, which is pickled: reading it could run "
                "anything; fetch the binary version, cifar-10-binary.tar.gz or cifar-100-binary.tar.gz"
            )


def by_records(names: Mapping[str, Stored], index: Index, label: str) -> Layout | None:
    """The images of CIFAR binary files; None if there are none.

    Args:
        names: Files by their path below the place that was named.
        index: What is known of them.
        label: For CIFAR-100 `fine` (also if empty) or `coarse`.

    Raises:
        ConfigError: There are no such labels.
        DataError: A file is missing or cut short, or a label is none.
    """
    binary = {name: stored for name, stored in names.items() if RECORDS.search(name)}
    if not binary:
        return None
    ten = all(num_labels(name) == 1 for name in binary)
    which = label if ten else label or "fine"
    if which not in (("",) if ten else ("fine", "coarse")):
        known = "one kind of label; leave label= out" if ten else "the labels fine and coarse"
        raise ConfigError(f"label={label!r}: these CIFAR files have {known}")
    there = {posixpath.basename(name).removesuffix(".bin") for name in binary}
    missing = [name for name in (_BATCHES if ten else ("train",)) if name not in there]
    if missing:
        raise DataError(f"beside {next(iter(binary.values()))} there is no {missing[0]}.bin; fetch it again")
    classes = _classes(names, posixpath.dirname(min(binary)), which)
    wanted = {(stored.file, stored.member) for stored in binary.values()}
    images = []
    for stored in index.of(sorted({stored.file for stored in binary.values()})):
        if (stored.file, stored.member) not in wanted:
            continue
        value = stored.head[which == "fine"]
        if value >= len(classes):
            raise DataError(f"{stored} has label {value}; there are {len(classes)} classes: fetch it again")
        scored = posixpath.basename(stored.member or stored.file).startswith("test")
        images.append(Labelled(stored, TEST if scored else TRAIN, value))
    return Layout(images, classes, [])


def _classes(names: Mapping[str, Stored], folder: str, which: str) -> tuple[int | str, ...]:
    """Their names, from the file beside the images; numbers without one."""
    stored = names.get(posixpath.join(folder, _NAMES[which]))
    if stored is None:
        return tuple(range(_NUM_CLASSES[which]))
    with opened(FilePart(stored.file, stored.member)) as stream:
        found = tuple(line.strip() for line in stream.read().decode().splitlines() if line.strip())
    if len(found) != _NUM_CLASSES[which] or len(set(found)) != len(found):
        raise DataError(f"{stored} names {len(found)} classes, not {_NUM_CLASSES[which]}; fetch it again")
    return found
