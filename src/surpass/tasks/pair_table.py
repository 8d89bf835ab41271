"""A user's own comparisons: files with a preferred and another completion in each row."""

from __future__ import annotations

import os
from itertools import takewhile
from typing import Any, NamedTuple

from surpass.data.base import Pair
from surpass.data.loading import read_rows
from surpass.data.pairs import messages
from surpass.errors import DataError
from surpass.tasks.text_table import filled, require_column, template_columns

EMPTY = "pairs with an empty completion"
_PROMPT = "prompt"
Row = dict[str, Any]


class PairColumns(NamedTuple):
    """What a user's file calls its columns; or templates with columns in braces, but for the group."""

    prompt: str = ""
    chosen: str = "chosen"
    rejected: str = "rejected"
    group: str = ""


def require_templates(columns: PairColumns) -> None:
    """Refuse templates that are none.

    Raises:
        ConfigError: Names it.
    """
    for wanted in columns[:3]:
        template_columns(wanted)


def no_table(path: str) -> DataError:
    """What to say where there is no such file."""
    return DataError(f"there is no table of pairs {path}; name a file of JSON lines, CSV, TSV or Parquet")


def read_pairs(path: str, columns: PairColumns) -> tuple[list[Pair], dict[str, int]]:
    """The pairs of a file, and how many were left out, by reason.

    Completions are texts or lists of messages {"role", "content"}, all in one form. Texts are put behind the
    prompt, in a new line where neither has white space there. Without a prompt, both are read whole, and
    stay together with others that begin alike: with the same lines up to the one in which they differ.
    Messages are written out as dialogue() does it ("Human: ...", "Assistant: ..."), behind the prompt, which
    is messages too or what the human says first, unless they begin with it.

    Args:
        path: JSON lines, JSON, CSV, TSV or Parquet by its ending, also compressed.
        columns: What its columns are called.

    Raises:
        DataError: The file is missing, damaged or lacks something; rows are counted from 0.
    """
    if not os.path.isfile(path):
        raise no_table(path)
    rows = read_rows(path)
    if not rows:
        raise DataError(f"{path} holds no rows")
    if not columns.prompt and any(_PROMPT in row for row in rows):
        columns = columns._replace(prompt=_PROMPT)
    for wanted in columns:
        for name in template_columns(wanted) or [wanted]:
            if name:
                require_column(path, rows, name)
    pairs, empty = [], 0
    for number, row in enumerate(rows):
        try:
            pair = _pair(row, columns)
        except DataError as error:
            raise DataError(f"{path}, row {number}: {error}; correct the row or drop it") from None
        if pair.chosen.strip() and pair.rejected.strip():
            pairs.append(pair)
        else:
            empty += 1
    return pairs, {EMPTY: empty} if empty else {}


def _pair(row: Row, columns: PairColumns) -> Pair:
    prompt = _value(row, columns.prompt) if columns.prompt else ""
    chosen, rejected = _value(row, columns.chosen), _value(row, columns.rejected)
    if all(isinstance(value, str) for value in (prompt, chosen, rejected)):
        pair = _of_texts(prompt, chosen, rejected)
    else:
        pair = _of_messages(prompt, chosen, rejected)
    group = row.get(columns.group) if columns.group else None
    return pair if group is None else pair._replace(group=str(group))


def _value(row: Row, wanted: str) -> Any:
    """A text or a list; the empty text where there is none."""
    if template_columns(wanted):
        return filled(wanted, row)
    value = row.get(wanted)
    if value is None:
        return ""
    if not isinstance(value, str | list):
        raise DataError(f"{wanted} is {value!r}; it must be a text or a list of messages")
    return value


def _of_texts(prompt: str, chosen: str, rejected: str) -> Pair:
    if prompt:
        return Pair(prompt, _behind(prompt, chosen), _behind(prompt, rejected), prompt)
    lines = zip(chosen.splitlines(keepends=True), rejected.splitlines(keepends=True), strict=False)
    begin = "".join(one for one, _ in takewhile(lambda both: both[0] == both[1], lines))
    return Pair(begin, chosen[len(begin) :], rejected[len(begin) :], begin or min(chosen, rejected))


def _behind(prompt: str, completion: str) -> str:
    is_apart = prompt[-1:].isspace() or completion[:1].isspace() or not completion
    return completion if is_apart else f"\n{completion}"


def _of_messages(prompt: Any, chosen: Any, rejected: Any) -> Pair:
    """Written out; a prompt of messages, and completions that are texts, are brought into one form first."""
    begin = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    begin = [] if prompt == "" else begin
    both = []
    for completion in (chosen, rejected):
        said = completion
        if isinstance(completion, str):
            said = [{"role": "assistant", "content": completion}] if completion else []
        both.append(said if said[: len(begin)] == begin else [*begin, *said])
    if not all(len(said) > len(begin) for said in both):
        return Pair("", "", "", "")
    (pair,) = messages({"prompt": "", "chosen": both[0], "rejected": both[1]})
    return pair
