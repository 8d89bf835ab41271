"""Images with a fixed set of classes: a set of the catalog, or one's own folder, archive, table or Parquet.

Shape suffixes: N examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from surpass.data.base import DataSet
from surpass.data.catalog import DATA_SETS
from surpass.data.images import DAMAGED, ImageSet, Reading, read_images
from surpass.data.images_layout import typed
from surpass.data.images_metadata import Columns
from surpass.data.images_places import Place, find_images, find_own
from surpass.errors import ConfigError, DataError
from surpass.identity import execution_field, identity_field
from surpass.tasks.attributes import read_attribute
from surpass.tasks.base import ExampleTables
from surpass.tasks.image_parts import Parts, balanced, cut, parse_shares, require_enough
from surpass.tasks.tables import (
    Classes,
    TableTask,
    candidates_column,
    draw,
    require_data_set,
    require_known,
)

_MOST_CLASSES = 2**15


@dataclass(frozen=True)
class ImageTask(TableTask):
    """Which class an image shows.

    Images are handed over as their bytes, of the examples asked for alone. An id is a hash of the bytes: no
    path and no name of a class is in the inputs. Every image is looked at once; what cannot be used stops
    with an error that names it, and what is changed when images are read is counted in the notes.

    Attributes:
        name: What the task is called in tables; without a path, the data set of the catalog.
        source: Where that data set lies; empty for $SURPASS_DATA, the hub's cache or the hub.
        path: A set of one's own: a folder, an archive, a Parquet file, or `hub:org/name`.
        config: Of a hub's repository, the configuration, where there are several.
        metadata: A table below the path with a row for each image; empty for `metadata.csv` if there is one,
            "no" to go by folders all the same.
        image: The column of files, or of images in Parquet; empty for the usual names.
        label: The column of classes, likewise; of CIFAR-100 `fine` or `coarse`.
        split: The column of the split, likewise: train, val and test, or 0, 1 and 2.
        attribute: The column of a spurious attribute, which with the truth makes groups; empty for
            `attribute` if there is one.
        group: The column of what stays in one part; empty for `group` if there is one.
        damaged: "stop", or "drop" to leave out what cannot be used, and count it in the notes.
        split_seed: Another seed is another cut into parts.
        shares: The share of each part of what is cut: "weak=0.2, student=0.8". Empty for the usual, see
            `image_parts.cut`.
        balance: "yes" to drop images until classes are equally frequent, as `protocol.balance` says.

    Raises:
        ConfigError: There is no such data set, or a setting has another form.

    Source:
        Burns et al. 2023, appendix D.1, for ImageNet: 40,000 images to learn from and 10,000 to score on.
        Differs: which ones is by our hash.
    """

    name: str = "images"
    source: str = execution_field("")
    path: str = execution_field("")
    config: str = execution_field("")
    metadata: str = execution_field("")
    image: str = identity_field("", since_default=True)
    label: str = identity_field("", since_default=True)
    split: str = identity_field("", since_default=True)
    attribute: str = identity_field("", since_default=True)
    group: str = identity_field("", since_default=True)
    damaged: str = execution_field("stop")
    split_seed: int = 0
    shares: str = identity_field("", since_default=True)
    balance: str = identity_field("no", since_default=True)

    def __post_init__(self) -> None:
        if not self.path:
            require_data_set(self.name, "image", "of images")
            if self.label not in self._data_set.num_classes:
                known = ", ".join(filter(None, self._data_set.num_classes)) or "one kind alone; leave it out"
                raise ConfigError(f"label={self.label!r}: {self.name} has {known}")
        elif self.source:
            raise ConfigError(f"source={self.source!r} is of named data sets; path={self.path!r} says it all")
        if self.damaged not in DAMAGED:
            raise ConfigError(f"damaged={self.damaged!r} must be one of {', '.join(DAMAGED)}")
        if self.balance not in ("yes", "no"):
            raise ConfigError(f"balance={self.balance!r} must be yes or no")
        parse_shares(self.shares)

    @property
    def families(self) -> frozenset[str]:
        """Models of images."""
        return frozenset({"vision"})

    @property
    def stops_early(self) -> bool:
        """Not by default: the paper's students of images learn for all epochs (appendix D.1)."""
        return False

    @property
    def num_classes(self) -> int:
        """How many classes there are; of the catalog's sets known before the data are there."""
        return len(self.class_names) if self.path else self._data_set.num_classes[self.label]

    @property
    def class_names(self) -> Classes:
        """What the data call each class."""
        return self._set.classes

    def digests(self) -> dict[str, str]:
        """The sha256 of all images with their splits, classes, attributes and groups, however stored.

        The first time every image is read.

        Raises:
            ConfigError: The data set is not there.
            DataError: Something cannot be used; the message says what.
        """
        return {"images": self._digest}

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Images of one part, in an order that their ids and the seed decide.

        Args:
            part: One of `parts`.
            size: How many; None for all there are. A smaller size is a prefix of a larger one. Where classes
                are balanced, they take turns in the test, see `tables.draw`.
            seed: Chooses which, and their order.
            mix: "all".

        Returns:
            `inputs` with `id` string, `image` large_binary, the bytes of a file as published (of raw pixels a
            PNG), `candidates` list<uint16> of 0 to the number of classes less 1, and `attribute` int16 or
            string where there is one; `truth` with `id` and the class's place in `class_names`, int16.

        Raises:
            ConfigError: Part or mix is unknown, or there are fewer than `size` images.
            DataError: The data are missing or damaged, or lack something; the message says where.
        """
        require_known(self.name, part=part, mix=mix)
        found = self._parts
        turns_N = found.truth_N if part in found.in_turn else None
        rows = draw(found.ids, found.parts_N, part=part, size=size, seed=seed, turns_N=turns_N)
        places = found.rows[rows].tolist()
        columns = {
            "id": pa.array([found.ids[row] for row in rows.tolist()], pa.string()),
            "image": self._set.contents(places),
            "candidates": candidates_column(len(rows), self.num_classes),
        }
        if self._attribute is not None:
            columns["attribute"] = self._attribute.take(pa.array(places, pa.int64()))
        truth = pa.table({"id": columns["id"], "truth": pa.array(found.truth_N[rows])})
        return ExampleTables(pa.table(columns), truth, found.notes)

    @property
    def _data_set(self) -> DataSet:
        return DATA_SETS[self.name]

    @cached_property
    def _place(self) -> Place:
        return (
            find_own(self.path, config=self.config) if self.path else find_images(self._data_set, self.source)
        )

    @cached_property
    def _set(self) -> ImageSet:
        columns = Columns(self.image, self.label, self.split, self.attribute, self.group)
        classes: tuple[str, ...] = ()
        if not self.path:
            classes = self._data_set.classes
            if self.label and self._place.parquet is not None:
                columns = columns._replace(label=f"{self.label}_label")
        found = read_images(self._place, Reading(columns, self.metadata, self.damaged, classes))
        if not self.path and len(found.classes) != self.num_classes:
            raise DataError(
                f"{self._place.path} has {len(found.classes)} classes, {self.name} has {self.num_classes}: "
                f"name the place of {self.name}, or read your own set with images:PATH"
            )
        if not 2 <= len(found.classes) <= _MOST_CLASSES:
            raise DataError(
                f"{self._place.path} has {len(found.classes)} class{'es' if found.classes[1:] else ''}, "
                f"{str(found.classes[:3])[1:-1].strip(',')}; a task needs from 2 to {_MOST_CLASSES:,}"
            )
        return found

    @cached_property
    def _digest(self) -> str:
        return self._set.digest()

    @cached_property
    def _parts(self) -> Parts:
        shares = parse_shares(self.shares)
        num_test = 0 if self.path else self._data_set.num_test
        found = cut(self.name, self._set, shares=shares, num_test=num_test, seed=self.split_seed)
        require_enough(self.name, found, self.class_names, shares)
        if self.balance == "yes":
            found = balanced(self.name, found, self.class_names, self.split_seed)
        return found

    @cached_property
    def _attribute(self) -> pa.Array | None:
        """Of all images of the set."""
        values = [image.attribute for image in self._set.images]
        known = [value for value in values if value is not None]
        if len(known) < len(values) or not known:
            return None
        return read_attribute(self._place.path, pa.array(typed(known)), self.attribute or "attribute")
