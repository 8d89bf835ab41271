"""What a data set is: a description, as data, of where it lives and how its rows become items.

Nothing here reads anything. `loading` finds the files of a data set and applies its forms; the tasks make
examples of the items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Row = Mapping[str, Any]
"""One row as published: column names and plain Python values (lists and dicts where the format nests)."""

Kind = Literal["choice", "preference", "generation", "image"]


class Choice(NamedTuple):
    """A text with a class.

    Attributes:
        text: What a model reads; never says what the answer is.
        label: The place of its class among the data set's classes.
        group: What must stay together: the question, passage or premise.
        question: Where the row is one candidate of a question, that question: as many right as wrong
            candidates of each are kept. Empty where the row stands for itself.
    """

    text: str
    label: int
    group: str
    question: str = ""


class Pair(NamedTuple):
    """Two completions of one prompt, of which one is preferred.

    Attributes:
        prompt: What both begin with; may be empty.
        chosen: The preferred completion.
        rejected: The other.
        group: What must stay together: the prompt.
    """

    prompt: str
    chosen: str
    rejected: str
    group: str


class Completion(NamedTuple):
    """A prompt, and how it goes on.

    Attributes:
        prompt: What a model is given.
        completion: What it should write; begins with a space where words are divided by spaces.
        group: What must stay together.
    """

    prompt: str
    completion: str
    group: str


Item = Choice | Pair | Completion


@dataclass(frozen=True)
class Form:
    """One way in which a data set is published.

    Attributes:
        columns: What a row must have for `items` to read it.
        items: The items of one row. Raises `DataError` with what is wrong with the row (a label outside its
            set, an answer that is none of the candidates), without saying where the row is: the loader does.
    """

    columns: tuple[str, ...]
    items: Callable[[Row], list[Any]]


@dataclass(frozen=True)
class HubPlace:
    """Where a data set lies on the Hugging Face hub.

    Attributes:
        repository: "org/name".
        config: The name of the configuration, None where there is but one.
        revision: A branch or commit; the branch that holds Parquet where the repository has a script.
        train: Splits that are learned from, joined.
        test: Splits that are scored; none where a part of `train` has to serve.
    """

    repository: str
    config: str | None = None
    revision: str = "main"
    train: tuple[str, ...] = ("train",)
    test: tuple[str, ...] = ("test",)


@dataclass(frozen=True)
class Published:
    """The files in which the authors published it, or in which others pass them on.

    Attributes:
        train: Patterns of the ends of paths, below a folder or inside its archives: `*` stays within a
            folder, `**/` goes over folders, and each has to find a file. Compressed files are named without
            the ending of their compression: `train.jsonl` finds `train.jsonl.xz`.
        test: The same for what is scored.
        columns: Names of the columns of files that have no header.
    """

    train: tuple[str, ...]
    test: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        name: What it is called on the command line and in tables.
        title: What its authors call it.
        kind: What its items are.
        hub: Where it lies on the hub.
        published: Other forms of its files, tried in this order.
        forms: How rows are read; the first whose columns are all there. None for images.
        ask: What a prompted model is asked behind the text of a choice: the question, and what 1 and 0
            mean. Not read by models that are fine-tuned with a head of their own and cannot generate.
        classes: What its labels are called, in order.
        checker: For generation, the key of `surpass.tasks.checkers.CHECKERS`.
        paper: Whether it is one of the 22 of Burns et al. 2023 (table 1).
        num_classes: Of images, how many classes there are by the kind of label; "" is the usual one.
        num_test: Of images that have no published test, how many are for scoring; 0 for a share.
        licence: As its source states it.
        url: Where it is described.
        cite: Authors and year.
    """

    name: str
    title: str
    kind: Kind
    hub: HubPlace | None
    forms: tuple[Form, ...]
    published: tuple[Published, ...] = ()
    ask: str = ""
    classes: tuple[str, ...] = ("wrong", "right")
    checker: str = "exact"
    paper: bool = False
    num_classes: Mapping[str, int] = field(default_factory=dict)
    num_test: int = 0
    licence: str = ""
    url: str = ""
    cite: str = ""
