"""Prompts to be completed: a data set of the catalog, or a file of one's own.

Shape suffixes: N examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from string import Formatter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.calls import code_digest
from surpass.data.base import Completion, DataSet
from surpass.data.catalog import DATA_SETS
from surpass.data.loading import Found, digests, find, load, read_rows
from surpass.errors import ConfigError, DataError
from surpass.identity import execution_field, remembered_digest
from surpass.tasks import splits
from surpass.tasks.base import CompletionTask, ExampleTables
from surpass.tasks.checkers import find_checker
from surpass.tasks.tables import MIXES, PROPORTIONS, draw, require_known

_TEST = "test"
_REPEATED = "examples whose prompt is there already"


@dataclass(frozen=True)
class GenerationTask(CompletionTask):
    """Prompts and completions, cut into parts by their group.

    A data set that has a test part of its own is tested on that; what it also learns from is left out.

    Attributes:
        name: What the task is called in tables; without a path, the data set of the catalog.
        source: Where that data set lies; empty for where `data.loading.find` looks.
        path: A file of one's own.
        prompt: The file's column that is given, or a template with columns in braces: "Q: {question} A:".
        completion: What is to be written, likewise; it begins with a space where words are divided by them.
        group: The column that says what stays together; without one, rows of the same prompt do.
        id: The column of unique ids; without one, they are hashes of the prompts.
        checker: A name in `checkers.CHECKERS`, or `module:function`; empty for that of the data set, for a
            file "exact".
        max_new_tokens: How many tokens a completion has at most, its end token included. In training, what is
            longer is cut.
        split_seed: Another seed is another cut into parts.

    Raises:
        ConfigError: There is no such data set or checker, or the number is below 1.
    """

    name: str = "generation"
    source: str = execution_field("")
    path: str = execution_field("")
    prompt: str = "prompt"
    completion: str = "completion"
    group: str = "group"
    id: str = "id"
    checker: str = ""
    max_new_tokens: int = 256
    split_seed: int = 0

    def __post_init__(self) -> None:
        if not self.path:
            known = sorted(name for name, entry in DATA_SETS.items() if entry.kind == "generation")
            if self.name not in known:
                raise ConfigError(
                    f"no data set of prompts and completions {self.name!r}; there are: {', '.join(known)}; "
                    "or give the path of a file"
                )
        self.require_limit()
        find_checker(self.checked_by)

    @property
    def checked_by(self) -> str:
        """The checker of its completions."""
        return self.checker or ("exact" if self.path else self._data_set.checker)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts; `tables.PROPORTIONS` holds their sizes."""
        return tuple(PROPORTIONS)

    @property
    def mixes(self) -> tuple[str, ...]:
        """The one way of drawing examples."""
        return MIXES

    @property
    def difficulty(self) -> None:
        """None: nothing says how hard an example is."""

    def digests(self) -> dict[str, str]:
        """The sha256 of the files, and of a checker of somebody else's.

        Raises:
            ConfigError: The data set is not there.
            DataError: There is no such file.
        """
        code = code_digest(self.checked_by)
        if not self.path:
            return digests(self._found) | code
        try:
            return {"completions": remembered_digest(self.path)} | code
        except (FileNotFoundError, IsADirectoryError):
            raise DataError(
                f"there is no table of completions {self.path}; name a file of JSON lines, CSV or Parquet"
            ) from None

    def examples(self, *, part: str, size: int | None, seed: int, mix: str = "all") -> ExampleTables:
        """Prompts of one part, in an order that their ids and the seed decide.

        Args:
            part: One of `parts`.
            size: How many; None for all there are. A smaller size is a prefix of a larger one.
            seed: Chooses which, and their order.
            mix: "all".

        Returns:
            `inputs` with `id` string, `prompt` string, `length` int32 in characters and `max_new_tokens`
            int32; `truth` with `id` and the completion, string.

        Raises:
            ConfigError: Part or mix is unknown, or there are fewer than `size` rows.
            DataError: The data are missing or damaged, or lack something; the message says where.
        """
        require_known(self.name, part=part, mix=mix)
        found = self._prompts
        rows = draw(found.ids, found.parts_N, part=part, size=size, seed=seed).tolist()
        items = [found.items[row] for row in rows]
        return completion_tables([found.ids[row] for row in rows], items, self.max_new_tokens, found.notes)

    @property
    def _data_set(self) -> DataSet:
        return DATA_SETS[self.name]

    @cached_property
    def _found(self) -> Found:
        return find(self._data_set, self.source)

    @cached_property
    def _prompts(self) -> _Prompts:
        if self.path:
            ids, items, notes = self._own_rows()
            groups = [item.group for item in items]
            parts_N = np.array(splits.assign(groups, PROPORTIONS, self.split_seed), np.str_)
            return _Prompts(ids, items, parts_N, notes)
        loaded = load(self._found)
        return _published(loaded.items["train"], loaded.items[_TEST], loaded.notes, self.split_seed)

    def _own_rows(self) -> tuple[list[str], list[Completion], dict[str, int]]:
        """Ids and items of a file, those with an empty text left out."""
        ids: list[str] = []
        items: list[Completion] = []
        notes: Counter[str] = Counter()
        first: dict[str, int] = {}
        for number, row in enumerate(read_rows(self.path)):
            prompt, completion = (
                written(self.path, number, row, wanted) for wanted in (self.prompt, self.completion)
            )
            if not (prompt.strip() and completion.strip()):
                notes["examples with an empty prompt or completion"] += 1
                continue
            own = row.get(self.id)
            name = hashed(prompt) if own is None else str(own)
            if name in first:
                if own is not None:
                    raise DataError(
                        f"{self.path}: rows {first[name]} and {number} have id {name!r}; keep one"
                    )
                notes[_REPEATED] += 1
                continue
            first[name] = number
            group = row.get(self.group)
            ids.append(name)
            items.append(Completion(prompt, completion, prompt if group is None else str(group)))
        if not items:
            raise DataError(f"{self.path} holds no row with a prompt and a completion; write some")
        return ids, items, dict(notes)


class _Prompts(NamedTuple):
    """Examples, their ids and parts, and what was left out."""

    ids: list[str]
    items: list[Completion]
    parts_N: npt.NDArray[np.str_]
    notes: Mapping[str, int]


def _published(
    learned: Sequence[Any], tested: Sequence[Any], notes: Mapping[str, int], split_seed: int
) -> _Prompts:
    """Items cut into parts: those for the test, where there are any, are as their authors chose them."""
    dropped = Counter(notes)
    test = _once(tested, dropped)
    groups = {item.group for item in test} | {item.prompt for item in test}
    apart = [item for item in learned if not {item.group, item.prompt} & groups]
    if len(apart) < len(learned):
        dropped["examples to learn from that are in the test too"] += len(learned) - len(apart)
    train = _once(apart, dropped)
    shares = {part: share for part, share in PROPORTIONS.items() if not test or part != _TEST}
    whole = sum(shares.values())
    shares = {part: share / whole for part, share in shares.items()}
    parts = splits.assign([item.group for item in train], shares, split_seed)
    items = [*train, *test]
    ids = [hashed(item.prompt) for item in items]
    return _Prompts(ids, items, np.array([*parts, *[_TEST] * len(test)], np.str_), dict(dropped))


def _once(items: Sequence[Any], dropped: Counter[str]) -> list[Completion]:
    """The first item of each prompt."""
    first = {item.prompt: item for item in reversed(items)}
    if len(first) < len(items):
        dropped[_REPEATED] += len(items) - len(first)
    return list(reversed(first.values()))


def completion_tables(
    ids: Sequence[str], items: Sequence[Completion], max_new_tokens: int, notes: Mapping[str, int]
) -> ExampleTables:
    """Examples as tables, with the columns that `GenerationTask.examples` names."""
    names = pa.array(ids, pa.string())
    inputs = {
        "id": names,
        "prompt": pa.array([item.prompt for item in items], pa.string()),
        "length": pa.array([len(item.prompt) for item in items], pa.int32()),
        "max_new_tokens": pa.array([max_new_tokens] * len(items), pa.int32()),
    }
    truth = {"id": names, "truth": pa.array([item.completion for item in items], pa.string())}
    return ExampleTables(pa.table(inputs), pa.table(truth), notes)


def hashed(text: str) -> str:
    """An id for a text, 32 hex digits."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def written(path: str, number: int, row: Mapping[str, Any], wanted: str) -> str:
    """A column of a row, or a template with its columns filled in; empty where a value is missing.

    Raises:
        DataError: There is no such column; or a template has another form.
    """
    if wanted in row:
        return "" if row[wanted] is None else str(row[wanted])
    try:
        pieces = list(Formatter().parse(wanted))
    except ValueError as error:
        raise DataError(f"{wanted!r} is no template ({error}); write columns in braces") from None
    names = [name for _, name, _, _ in pieces if name is not None]
    missing = [name for name in names or [wanted] if name not in row]
    if missing:
        raise DataError(
            f"{path}, row {number} has no column {missing[0]!r}; it has {', '.join(map(str, row))[:200]}"
        )
    if any(row[name] is None for name in names):
        return ""
    return "".join(text + ("" if name is None else str(row[name])) for text, name, _, _ in pieces)
