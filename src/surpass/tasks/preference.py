"""Comparisons of two completions of a prompt: a data set of the catalog, or a file of one's own.

Shape suffixes: N examples.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.data.base import Pair
from surpass.data.catalog import DATA_SETS
from surpass.data.loading import Found, digests, find, load
from surpass.hashing import unit
from surpass.identity import execution_field, identity_field, remembered_digest
from surpass.tasks import protocol
from surpass.tasks.base import ExampleTables
from surpass.tasks.pair_table import PairColumns, no_table, read_pairs, require_templates
from surpass.tasks.tables import Classes, TableTask, candidates_column, draw, require_data_set, require_known

CLASSES: Classes = ("first", "second")
EQUAL = "pairs whose completions are equal"


class _Pairs(NamedTuple):
    """Comparisons as they are shown.

    Attributes:
        ids: Unique.
        texts: What is compared: prompt and completion of the first, then of the second.
        truth_N: 0 where the first is preferred, else 1.
        parts_N: The part of each.
        notes: What was left out, in words, with how many.
    """

    ids: list[str]
    texts: list[tuple[str, str]]
    truth_N: npt.NDArray[np.int16]
    parts_N: npt.NDArray[np.str_]
    notes: Mapping[str, int]


@dataclass(frozen=True)
class PreferenceTask(TableTask):
    """Which of two completions is preferred, for models with one number for each.

    Pairs of one group, as a rule those with equal prompts, are in one part. Where the authors publish a test,
    that is the test: pairs to learn from that are in it too, whichever completion is preferred, are left out,
    while their prompts may be there. Of any examples drawn from one part, the preferred one is first in half
    (of an odd number: one more or fewer): by its hash, so that the place tells nothing, and the same in every
    draw.

    Attributes:
        name: What the task is called in tables; without a path, the data set of the catalog.
        source: Where that data set lies; empty for where `data.loading.find` looks.
        path: A file of one's own, see `pair_table.read_pairs`.
        prompt: Its column of what both completions follow, or a template with columns in braces; empty for
            `prompt` if there is one.
        chosen: Its column of the preferred completion, likewise.
        rejected: Of the other.
        group: Its column of what stays together; empty for pairs with the same prompt.
        split_seed: Another seed is another cut into parts, and another choice of which is first.

    Raises:
        ConfigError: There is no such data set, or a template is none.

    Source:
        Burns et al. 2023, appendix A.3.
    """

    name: str = "preference"
    source: str = execution_field("")
    path: str = execution_field("")
    prompt: str = identity_field("", since_default=True)
    chosen: str = "chosen"
    rejected: str = "rejected"
    group: str = identity_field("", since_default=True)
    split_seed: int = 0

    def __post_init__(self) -> None:
        if not self.path:
            require_data_set(self.name, "preference", "of preferences")
        require_templates(self._columns)

    @property
    def families(self) -> frozenset[str]:
        """Language models, with one number for a text."""
        return frozenset({"causal", "encoder"})

    @property
    def stops_early(self) -> bool:
        """Not by default (Burns et al. 2023, appendix A.3)."""
        return False

    @property
    def class_names(self) -> Classes:
        """Which one is preferred."""
        return CLASSES

    def digests(self) -> dict[str, str]:
        """The sha256 of the files.

        Raises:
            ConfigError: The data set is not there.
            DataError: There is no such file.
        """
        if not self.path:
            return digests(self._found)
        try:
            return {"pairs": remembered_digest(self.path)}
        except (FileNotFoundError, IsADirectoryError):
            raise no_table(self.path) from None

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Comparisons of one part, in an order that their ids and the seed decide.

        Args:
            part: One of `parts`.
            size: How many; None for all there are. A smaller size is a prefix of a larger one.
            seed: Chooses which, and their order.
            mix: "all".

        Returns:
            `inputs` with `id` string, `texts` list<string> of two, each the prompt with a completion,
            `candidates` list<uint16> 0 and 1, and `length` int32, the characters of both;
            `truth` with `id` and 0 where the first is preferred, else 1, int16.

        Raises:
            ConfigError: Part or mix is unknown, or there are fewer than `size` pairs.
            DataError: The data are missing or damaged, or lack something; the message says where.
        """
        require_known(self.name, part=part, mix=mix)
        pairs = self._pairs
        rows = draw(pairs.ids, pairs.parts_N, part=part, size=size, seed=seed, turns_N=pairs.truth_N)
        texts = [pairs.texts[row] for row in rows.tolist()]
        columns = {
            "id": pa.array([pairs.ids[row] for row in rows.tolist()], pa.string()),
            "texts": pa.array([list(both) for both in texts], pa.list_(pa.string())),
            "candidates": candidates_column(len(rows), len(CLASSES)),
            "length": pa.array([len(first) + len(second) for first, second in texts], pa.int32()),
        }
        truth = pa.table({"id": columns["id"], "truth": pa.array(pairs.truth_N[rows])})
        return ExampleTables(pa.table(columns), truth, pairs.notes)

    @property
    def _columns(self) -> PairColumns:
        return PairColumns(self.prompt, self.chosen, self.rejected, self.group)

    @cached_property
    def _found(self) -> Found:
        return find(DATA_SETS[self.name], self.source)

    @cached_property
    def _pairs(self) -> _Pairs:
        if self.path:
            pairs, notes = read_pairs(self.path, self._columns)
            items: Mapping[str, tuple[Pair, ...]] = {"train": tuple(pairs)}
        else:
            items, notes = load(self._found)  # type: ignore[assignment]
        pools = protocol.pools(items, notes)
        dropped = Counter(pools.notes)
        train, test = (_different(pool, dropped) for pool in (pools.train, pools.test))
        entries = [[_entry(pair) for pair in pool] for pool in (train, test)]
        cut = protocol.cut(*entries, seed=self.split_seed)
        found = {**dropped, **cut.notes}
        protocol.require_examples(self.name, [0] * len(cut.rows), cut.parts, classes=("pair",), notes=found)
        pairs = [[*train, *test][row] for row in cut.rows]
        ids = [[*entries[0], *entries[1]][row].key for row in cut.rows]
        truth_N = np.array(first_or_second(ids, cut.parts, self.split_seed), np.int16)
        return _Pairs(
            ids=ids,
            texts=[_shown(pair, truth) for pair, truth in zip(pairs, truth_N.tolist(), strict=True)],
            truth_N=truth_N,
            parts_N=np.array(cut.parts, np.str_),
            notes=found,
        )


def first_or_second(keys: list[str], parts: list[str], seed: int) -> list[int]:
    """Where the preferred one of each pair stands: first (0) in half of each part, else second (1).

    Args:
        keys: What pairs are, whichever is preferred.
        parts: Their parts.
        seed: Another seed is another half.
    """
    places = [0] * len(keys)
    for part in set(parts):
        rows = [row for row, own in enumerate(parts) if own == part]
        rows.sort(key=lambda row: unit(keys[row], seed=seed, purpose="position"))
        for row in rows[(len(rows) + 1) // 2 :]:
            places[row] = 1
    return places


def _different(pairs: Iterable[Pair], dropped: Counter[str]) -> list[Pair]:
    """Pairs whose completions differ in more than spaces at their ends."""
    kept = []
    for pair in pairs:
        if pair.chosen.strip() == pair.rejected.strip():
            dropped[EQUAL] += 1
        else:
            kept.append(pair)
    return kept


def _entry(pair: Pair) -> protocol.Entry:
    """A pair as the protocol sees it: its key says nothing of which completion is preferred."""
    both = sorted((pair.chosen, pair.rejected))
    key = sha256(json.dumps([pair.prompt, *both]).encode()).hexdigest()[:32]
    return protocol.Entry(key, both.index(pair.chosen), pair.group)


def _shown(pair: Pair, truth: int) -> tuple[str, str]:
    chosen, rejected = pair.prompt + pair.chosen, pair.prompt + pair.rejected
    return (rejected, chosen) if truth else (chosen, rejected)
