"""Texts with a fixed set of classes: a data set of the catalog, or a file of one's own.

Shape suffixes: N examples.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.data.base import DataSet
from surpass.data.catalog import DATA_SETS
from surpass.data.loading import Found, digests, find, load
from surpass.errors import ConfigError
from surpass.identity import digest_of, execution_field, identity_field, remembered_digest
from surpass.tasks import protocol, splits
from surpass.tasks.base import ExampleTables
from surpass.tasks.tables import (
    PROPORTIONS,
    Classes,
    TableTask,
    candidates_column,
    draw,
    require_classes,
    require_data_set,
    require_known,
)
from surpass.tasks.text_table import Columns, TextTable, no_table, read_text_table, template_columns, text_id

_MOST_READ = 2


class Texts(NamedTuple):
    """Texts cut into parts.

    Attributes:
        ids: Unique.
        texts: What models read.
        truth_N: The place of each one's class.
        parts_N: The part of each.
        notes: What was left out, in words, with how many.
        in_turn: The parts in which classes take turns, see `tables.draw`.
        difficulty_N: Where it is known.
        attribute: Where there is one.
    """

    ids: list[str]
    texts: list[str]
    truth_N: npt.NDArray[np.int16]
    parts_N: npt.NDArray[np.str_]
    notes: Mapping[str, int] = MappingProxyType({})
    in_turn: tuple[str, ...] = ()
    difficulty_N: npt.NDArray[np.float32] | None = None
    attribute: pa.Array | None = None


_read: OrderedDict[tuple[str, int, str], Texts] = OrderedDict()
"""Data sets that this process has read, the last two: a worker is given a task anew with every stage."""


class TextsTask(TableTask):
    """What tasks of texts with a fixed set of classes share."""

    name: str
    ask: str

    @property
    def families(self) -> frozenset[str]:
        """Language models."""
        return frozenset({"causal", "encoder"})

    @property
    def stops_early(self) -> bool:
        """Students stop early on weak labels (Burns et al. 2023, appendix A.1)."""
        return True

    @property
    def texts(self) -> Texts:
        """All of them."""
        raise NotImplementedError

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Texts of one part, in an order that their ids and the seed decide.

        Args:
            part: One of `parts`.
            size: How many; None for all there are. A smaller size is a prefix of a larger one. Where the
                test is balanced, so is every even prefix of it, see `tables.draw`.
            seed: Chooses which, and their order.
            mix: "all".

        Returns:
            `inputs` with `id` string, `text` string, `candidates` list<uint16> of 0 to the number of
            classes less 1, `length` int32 in characters, `difficulty` float32 where it is known, `attribute`
            int16 or string where there is one, and `ask`
            string, what a prompted model is asked behind the text, where there is such a question;
            `truth` with `id` and the class's place in `class_names`, int16.

        Raises:
            ConfigError: Part or mix is unknown, or there are fewer than `size` rows.
            DataError: The data are missing or damaged, or lack something; the message says where.
        """
        require_known(self.name, part=part, mix=mix)
        found = self.texts
        turns_N = found.truth_N if part in found.in_turn else None
        rows = draw(found.ids, found.parts_N, part=part, size=size, seed=seed, turns_N=turns_N)
        places = rows.tolist()
        texts = [found.texts[row] for row in places]
        columns = {
            "id": pa.array([found.ids[row] for row in places], pa.string()),
            "text": pa.array(texts, pa.string()),
            "candidates": candidates_column(len(rows), self.num_classes),
            "length": pa.array([len(text) for text in texts], pa.int32()),
        }
        if found.difficulty_N is not None:
            columns["difficulty"] = pa.array(found.difficulty_N[rows])
        if found.attribute is not None:
            columns["attribute"] = found.attribute.take(pa.array(rows))
        if self.ask:
            columns["ask"] = pa.array([self.ask] * len(rows), pa.string())
        truth = pa.table({"id": columns["id"], "truth": pa.array(found.truth_N[rows])})
        return ExampleTables(pa.table(columns), truth, found.notes)


@dataclass(frozen=True)
class ChoiceTask(TextsTask):
    """A data set of the catalog with classes, by the paper's protocol (see `protocol`).

    Attributes:
        name: Which one.
        source: Where its files are; empty for where `data.loading.find` looks.
        split_seed: Another seed is another choice of candidates, and another cut into parts.

    Raises:
        ConfigError: There is no such data set.
    """

    name: str
    source: str = execution_field("")
    split_seed: int = 0

    def __post_init__(self) -> None:
        require_data_set(self.name, "choice", "with classes")

    @property
    def ask(self) -> str:  # type: ignore[override]
        """What a prompted model is asked behind the text."""
        return self._data_set.ask

    @property
    def class_names(self) -> Classes:
        """What the classes are called."""
        return self._data_set.classes

    def digests(self) -> dict[str, str]:
        """The sha256 of the files.

        Raises:
            ConfigError: The data set is not there.
        """
        return digests(self._found)

    @property
    def _data_set(self) -> DataSet:
        return DATA_SETS[self.name]

    @cached_property
    def _found(self) -> Found:
        return find(self._data_set, self.source)

    @cached_property
    def texts(self) -> Texts:
        """All of them, without those that the protocol leaves out; read once for all equal tasks."""
        key = (repr(self._found), self.split_seed, digest_of(self.digests()))
        if key not in _read:
            _read[key] = self._cut()
            while len(_read) > _MOST_READ:
                _read.popitem(last=False)
        return _read[key]

    def _cut(self) -> Texts:
        loaded = load(self._found)
        pools = protocol.pools(loaded.items, loaded.notes)
        train, test = ([protocol.Entry(*item) for item in pool] for pool in (pools.train, pools.test))
        entries = [*train, *test]
        cut = protocol.cut(train, test, seed=self.split_seed)
        keys = [entries[row].key for row in cut.rows]
        labels = [entries[row].label for row in cut.rows]
        notes = pools.notes | cut.notes
        protocol.require_examples(self.name, labels, cut.parts, classes=self.class_names, notes=notes)
        kept, dropped = protocol.balance(
            keys, labels, cut.parts, num_classes=self.num_classes, seed=self.split_seed
        )
        return Texts(
            ids=[text_id(keys[row]) for row in kept],
            texts=[keys[row] for row in kept],
            truth_N=np.array([labels[row] for row in kept], np.int16),
            parts_N=np.array([cut.parts[row] for row in kept], np.str_),
            notes=notes | dropped,
            in_turn=(protocol.TEST,),
        )


@dataclass(frozen=True)
class TextTask(TextsTask):
    r"""Texts of a file, cut into parts by their group, or else by the text itself.

    `text_table.read_text_table` says which columns the file has. A model answers with the number of the
    class right behind the text, or behind the question where there is one, so one of them should say what
    each number means and end where the answer begins ("... Answer with 1 if it is true, else with 0.
    Answer:"), without a space at the end.

    Attributes:
        path: The file.
        name: What the task is called in tables.
        classes: What the file calls each class, in order; empty for the different truths, ascending.
        split_seed: Another seed is another cut into parts.
        text: The column of the text, or a template with columns in braces: "{premise}\n{hypothesis}".
        label: The column of the class; empty for `label` or `truth`.
        id: The column of unique ids; empty for `id` if there is one.
        group: The column of what stays together; empty for `group` if there is one.
        difficulty_column: The column of a number, larger for harder; empty for `difficulty` if there is one.
        ask: A question to put behind each text for models that are prompted.
        attribute: The column of a spurious attribute, which with the truth makes groups; empty for none.
        balance: "yes" to drop rows until classes are equally frequent, as `protocol.balance` says.

    Raises:
        ConfigError: `classes` are no classes, `balance` is neither yes nor no, or the template is none.
    """

    path: str = execution_field()
    name: str = "text"
    classes: Classes = ()
    split_seed: int = 0
    text: str = identity_field("text", since_default=True)
    label: str = identity_field("", since_default=True)
    id: str = identity_field("", since_default=True)
    group: str = identity_field("", since_default=True)
    difficulty_column: str = identity_field("", since_default=True)
    ask: str = identity_field("", since_default=True)
    balance: str = identity_field("no", since_default=True)
    attribute: str = identity_field("", since_default=True)

    def __post_init__(self) -> None:
        require_classes(self.classes)
        template_columns(self.text)
        if self.balance not in ("yes", "no"):
            raise ConfigError(f"balance={self.balance!r} must be yes or no")

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

    @cached_property
    def _table(self) -> TextTable:
        columns = Columns(self.text, self.label, self.id, self.group, self.difficulty_column, self.attribute)
        return read_text_table(self.path, classes=self.classes, columns=columns)

    @cached_property
    def texts(self) -> Texts:
        """All of them, as many of each class if they are to be balanced."""
        table = self._table
        parts = splits.assign(table.groups, PROPORTIONS, self.split_seed)
        found = Texts(
            table.ids,
            table.texts,
            table.truth_N,
            np.array(parts, np.str_),
            difficulty_N=table.difficulty_N,
            attribute=table.attribute,
        )
        if self.balance == "no":
            return found
        labels = table.truth_N.tolist()
        protocol.require_examples(self.name, labels, parts, classes=self.class_names, notes={})
        kept, notes = protocol.balance(
            table.ids, labels, parts, num_classes=self.num_classes, seed=self.split_seed
        )
        return Texts(
            ids=[table.ids[row] for row in kept],
            texts=[table.texts[row] for row in kept],
            truth_N=table.truth_N[kept],
            parts_N=found.parts_N[kept],
            notes=notes,
            in_turn=(protocol.TEST,),
            difficulty_N=None if table.difficulty_N is None else table.difficulty_N[kept],
            attribute=None if table.attribute is None else table.attribute.take(pa.array(kept)),
        )
