"""A user's own feature vectors with a fixed set of classes, from a Parquet file.

Shape suffixes: N examples, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.errors import DataError
from surpass.identity import execution_field, identity_field, remembered_digest
from surpass.tasks import splits
from surpass.tasks.base import ExampleTables
from surpass.tasks.feature_table import FeatureTable, no_table, read_feature_table
from surpass.tasks.tables import (
    PROPORTIONS,
    Classes,
    TableTask,
    candidates_column,
    draw,
    list_column,
    require_classes,
    require_known,
)


@dataclass(frozen=True)
class FeaturesTask(TableTask):
    """Rows of a table, cut into parts by their group, or else by what their features are.

    `feature_table.read_feature_table` says which columns the file has.

    Attributes:
        path: The Parquet file.
        name: What the task is called in tables.
        classes: What the file calls each class, in order; empty for the different truths, ascending.
        split_seed: Another seed is another cut into parts.
        standardise: Subtract from each feature its mean over the supervisor's part, and divide by its
            standard deviation there (by 1 where that is 0). No truth is looked at. Every row of the part
            counts, whatever sample is asked for later.
        attribute: The column of a spurious attribute, which with the truth makes groups; empty for none.

    Raises:
        ConfigError: `classes` are no classes.
    """

    path: str = execution_field()
    name: str = "features"
    classes: Classes = ()
    split_seed: int = 0
    standardise: bool = True
    attribute: str = identity_field("", since_default=True)

    def __post_init__(self) -> None:
        require_classes(self.classes)

    @property
    def families(self) -> frozenset[str]:
        """The model families that can read the examples."""
        return frozenset({"tabular"})

    @property
    def class_names(self) -> Classes:
        """What the file calls each class."""
        return self._table.classes

    @property
    def difficulty(self) -> str | None:
        """The input column that says how hard an example is, if the file has it."""
        return "difficulty" if "difficulty" in self._table.kept else None

    def digests(self) -> dict[str, str]:
        """The sha256 of the file.

        Raises:
            DataError: There is no such file.
        """
        try:
            return {"features": remembered_digest(self.path)}
        except (FileNotFoundError, IsADirectoryError):
            raise no_table(self.path) from None

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Rows of one part, in an order that their ids and the seed decide.

        Args:
            part: One of `parts`.
            size: How many; None for all there are. A smaller size is a prefix of a larger one.
            seed: Chooses which, and their order.
            mix: "all".

        Returns:
            `inputs` with `id` string, `features` list<float32>, `candidates` list<uint16> of 0 to the
            number of classes less 1, `difficulty` float32 and `length` int32 where the file has them, and
            `attribute` int16 or string where a column is named for it;
            `truth` with `id` and the class's place in `class_names`, int16.

        Raises:
            ConfigError: Part or mix is unknown, or there are fewer than `size` rows.
            DataError: The file is missing, damaged or lacks something; the message says where.
        """
        require_known(self.name, part=part, mix=mix)
        rows = draw(self._table.ids, self._parts, part=part, size=size, seed=seed)
        columns = {
            "id": pa.array([self._table.ids[row] for row in rows.tolist()], pa.string()),
            "features": list_column(self._features_ND[rows]),
            "candidates": candidates_column(len(rows), self.num_classes),
        }
        columns |= {name: pa.array(values[rows]) for name, values in self._table.kept.items()}
        if self._table.attribute is not None:
            columns["attribute"] = self._table.attribute.take(pa.array(rows))
        truth = pa.array(self._table.truth_N[rows])
        return ExampleTables(pa.table(columns), pa.table({"id": columns["id"], "truth": truth}))

    @cached_property
    def _table(self) -> FeatureTable:
        return read_feature_table(self.path, classes=self.classes, attribute=self.attribute)

    @cached_property
    def _parts(self) -> npt.NDArray[np.str_]:
        return np.array(splits.assign(self._table.groups, PROPORTIONS, self.split_seed))

    @cached_property
    def _features_ND(self) -> npt.NDArray[np.float32]:
        features_ND = self._table.features_ND
        if not self.standardise:
            return features_ND
        weak_ND = features_ND[self._parts == "weak"].astype(np.float64)
        if not len(weak_ND):
            raise DataError(f"{self.path} has no row in part 'weak', whose means are needed; it is too short")
        spread_D = weak_ND.std(axis=0)
        # Of a constant feature rounding leaves a spread that is not quite 0.
        spread_D[spread_D <= 1e-6 * np.abs(weak_ND).max(axis=0)] = 1
        standard_ND: npt.NDArray[np.float32] = ((features_ND - weak_ND.mean(axis=0)) / spread_D).astype(
            np.float32
        )
        return standard_ND
