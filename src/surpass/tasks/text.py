"""A user's own texts with a fixed set of classes, from JSON lines or Parquet.

Shape suffixes: N examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.identity import execution_field, remembered_digest
from surpass.tasks import splits
from surpass.tasks.base import ExampleTables
from surpass.tasks.tables import (
    MIXES,
    PROPORTIONS,
    Classes,
    candidates_column,
    draw,
    require_classes,
    require_known,
)
from surpass.tasks.text_table import TextTable, no_table, read_text_table


@dataclass(frozen=True)
class TextTask:
    """Texts of a file, cut into parts by their group, or else by the text itself.

    `text_table.read_text_table` says which columns the file has. A model answers with the number of the
    class right behind the text, so it should say what each number means and end where the answer begins
    ("... Answer with 1 if it is true, else with 0. Answer:"), without a space at the end.

    Attributes:
        path: The file.
        name: What the task is called in tables.
        classes: What the file calls each class, in order; empty for the different truths, ascending.
        split_seed: Another seed is another cut into parts.

    Raises:
        ConfigError: `classes` are no classes.
    """

    path: str = execution_field()
    name: str = "text"
    classes: Classes = ()
    split_seed: int = 0

    def __post_init__(self) -> None:
        require_classes(self.classes)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts; `tables.PROPORTIONS` holds their sizes."""
        return tuple(PROPORTIONS)

    @property
    def mixes(self) -> tuple[str, ...]:
        """The one way of drawing examples."""
        return MIXES

    @property
    def families(self) -> frozenset[str]:
        """Language models."""
        return frozenset({"language"})

    @property
    def stops_early(self) -> bool:
        """Students of language tasks stop early on weak labels (Burns et al. 2023, appendix A.1)."""
        return True

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def class_names(self) -> Classes:
        """What the file calls each class."""
        return self._table.classes

    @property
    def difficulty(self) -> str | None:
        """The input column that says how hard an example is, if the file has it."""
        return None if self._table.difficulty_N is None else "difficulty"

    def digests(self) -> dict[str, str]:
        """The sha256 of the file.

        Raises:
            DataError: There is no such file.
        """
        try:
            return {"texts": remembered_digest(self.path)}
        except (FileNotFoundError, IsADirectoryError):
            raise no_table(self.path) from None

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Texts of one part, in an order that their ids and the seed decide.

        Args:
            part: One of `parts`.
            size: How many; None for all there are. A smaller size is a prefix of a larger one.
            seed: Chooses which, and their order.
            mix: "all".

        Returns:
            `inputs` with `id` string, `text` string, `candidates` list<uint16> of 0 to the number of
            classes less 1, `length` int32 in characters, and `difficulty` float32 where the file has it;
            `truth` with `id` and the class's place in `class_names`, int16.

        Raises:
            ConfigError: Part or mix is unknown, or there are fewer than `size` rows.
            DataError: The file is missing, damaged or lacks something; the message says where.
        """
        require_known(self.name, part=part, mix=mix)
        table = self._table
        rows = draw(table.ids, self._parts, part=part, size=size, seed=seed)
        places = rows.tolist()
        texts = [table.texts[row] for row in places]
        columns = {
            "id": pa.array([table.ids[row] for row in places], pa.string()),
            "text": pa.array(texts, pa.string()),
            "candidates": candidates_column(len(rows), self.num_classes),
            "length": pa.array([len(text) for text in texts], pa.int32()),
        }
        if table.difficulty_N is not None:
            columns["difficulty"] = pa.array(table.difficulty_N[rows])
        truth = pa.table({"id": columns["id"], "truth": pa.array(table.truth_N[rows])})
        return ExampleTables(pa.table(columns), truth)

    @cached_property
    def _table(self) -> TextTable:
        return read_text_table(self.path, classes=self.classes)

    @cached_property
    def _parts(self) -> npt.NDArray[np.str_]:
        return np.array(splits.assign(self._table.groups, PROPORTIONS, self.split_seed))
