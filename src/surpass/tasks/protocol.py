"""The paper's way of making parts of a data set that share nothing, with classes that are equally frequent.

Everything goes by what a row is and by a seed, never by where it stands in a file.

Source: Burns et al. 2023, appendix A.1: as many right as wrong candidates of each question; related rows in
    one half; rows dropped at random where one class has more than 55 %, until classes are equal; a test
    that is always balanced. Differs: a tenth of what is learned from is for choosing, such as when to stop,
    where the paper does not say how much it holds out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from surpass.errors import DataError
from surpass.hashing import units
from surpass.tasks import splits
from surpass.tasks.tables import PROPORTIONS

LEARNED = {"weak": 0.45, "student": 0.45, "validation": 0.10}
"""The share of each part of what is learned from, where the test is a set of its own."""

TEST = "test"
REPEATED = "examples that say the same as another"
CONTRADICTED = "examples that are there with different labels"
IN_TEST = "examples to learn from that are in the test too"
UNMATCHED = "candidates, so that each question has as many right as wrong ones"
UNBALANCED = "examples to learn from, so that classes are equally frequent"
UNBALANCED_TEST = "test examples, so that classes are equally frequent"
NO_UNICODE = "examples with half characters (lone surrogates)"


class Entry(NamedTuple):
    """What the protocol needs to know of a row.

    Attributes:
        key: What it says: rows with equal keys are the same example.
        label: Its class.
        group: Rows with equal ones stay in one part.
        question: Where it is a candidate of one, that question; else empty.
    """

    key: str
    label: int
    group: str
    question: str = ""


class Cut(NamedTuple):
    """Rows that are kept.

    Attributes:
        rows: Their places among what is learned from and, behind it, the test.
        parts: The part of each.
        notes: How many were left out, by reason.
    """

    rows: list[int]
    parts: list[str]
    notes: dict[str, int]


class Pools(NamedTuple):
    """Items to learn from, those of the test, and how many were left out, by reason."""

    train: list[Any]
    test: list[Any]
    notes: dict[str, int]


def pools(items: Mapping[str, Sequence[tuple[Any, ...]]], notes: Mapping[str, int]) -> Pools:
    """Items by role, without those whose strings cannot be written, such as half of an emoji."""
    train, test = (_whole(items.get(role, ())) for role in ("train", TEST))
    halved = sum(map(len, items.values())) - len(train) - len(test)
    return Pools(train, test, {**notes, **_counted({NO_UNICODE: halved})})


def cut(train: Sequence[Entry], test: Sequence[Entry], *, seed: int) -> Cut:
    """Rows once each, cut into parts by their group.

    Of rows with equal keys, one is kept, or none if their labels differ; of those to learn from, none
    whose key is in the test (its group may be: authors who publish a test say with it what is new). Then
    each question keeps as many candidates of one label as of another.

    Args:
        train: What is learned from.
        test: The test; empty if a part of `train` has to serve, which then has the shares of `PROPORTIONS`.
        seed: Another seed is another choice of candidates, and another cut.
    """
    entries = [*train, *test]
    notes: Counter[str] = Counter()
    learned = _distinct(entries, range(len(train)), notes)
    tested = _distinct(entries, range(len(train), len(entries)), notes)
    in_test = {entry.key for entry in test}
    fresh = [row for row in learned if entries[row].key not in in_test]
    notes[IN_TEST] += len(learned) - len(fresh)
    learned, tested = (_matched(entries, rows, seed, notes) for rows in (fresh, tested))
    shares = LEARNED if test else PROPORTIONS
    parts = splits.assign([entries[row].group for row in learned], shares, seed)
    return Cut([*learned, *tested], [*parts, *[TEST] * len(tested)], _counted(notes))


def balance(
    keys: Sequence[str], labels: Sequence[int], parts: Sequence[str], *, num_classes: int, seed: int
) -> tuple[list[int], dict[str, int]]:
    """The rows to keep so that classes are equally frequent, and how many are left out, by reason.

    The test is always balanced. The other parts are if a class has more than 55 % of all their rows, or of C
    classes more than 1.1 / C; else they stay as they are. What is balanced keeps as many rows of each
    class as its rarest one has, in each part.

    Args:
        keys: What rows are, all different.
        labels: Their classes, below `num_classes`.
        parts: Their parts.
        num_classes: C.
        seed: Chooses which rows are dropped.
    """
    learned = Counter(label for label, part in zip(labels, parts, strict=True) if part != TEST)
    is_uneven = 10 * num_classes * max(learned.values(), default=0) > 11 * learned.total()
    cells: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for row, (label, part) in enumerate(zip(labels, parts, strict=True)):
        cells[part, label].append(row)
    kept: list[int] = []
    for part in dict.fromkeys(parts):
        of_class = [cells[part, label] for label in range(num_classes)]
        if part == TEST or is_uneven:
            least = min(map(len, of_class))
            of_class = [_chosen(rows, keys, least, seed, "balance") for rows in of_class]
        kept += chain.from_iterable(of_class)
    kept.sort()
    lost = Counter(parts) - Counter(parts[row] for row in kept)
    of_test = lost.pop(TEST, 0)
    return kept, _counted({UNBALANCED: lost.total(), UNBALANCED_TEST: of_test})


def require_examples(
    name: str,
    labels: Sequence[int],
    parts: Sequence[str],
    *,
    classes: Sequence[object],
    notes: Mapping[str, int],
) -> None:
    """Refuse data in which a part lacks examples, or examples of one of the classes.

    Args:
        name: Of the data, for the message.
        labels: Classes of rows, as places in `classes`.
        parts: Their parts.
        classes: What classes are called; one alone if they do not matter.
        notes: What was left out before.

    Raises:
        DataError: Says how many there are in each part, and what was left out.
    """
    counts = Counter(zip(parts, labels, strict=True))
    lacking = [
        (part, place) for part in PROPORTIONS for place in range(len(classes)) if not counts[part, place]
    ]
    if not lacking:
        return
    there = "; ".join(f"{part}: {_in_words(counts, part, classes)}" for part in PROPORTIONS)
    dropped = f"; left out: {', '.join(f'{count} {what}' for what, count in notes.items())}" if notes else ""
    part, place = lacking[0]
    one = "example" if len(classes) == 1 else f"example of class {classes[place]!r}"
    if not any(counts[other, place] for other in PROPORTIONS):
        raise DataError(f"{name} has no {one} at all ({there}{dropped}); each class needs some")
    raise DataError(
        f"{name} is too small for its split: no {one} in part {part!r} ({there}{dropped}); use more data, or "
        "another split_seed"
    )


def _in_words(counts: Mapping[tuple[str, int], int], part: str, classes: Sequence[object]) -> str:
    if len(classes) == 1:
        return str(counts[part, 0])
    return ", ".join(f"{counts[part, place]} {name}" for place, name in enumerate(classes))


def _distinct(entries: Sequence[Entry], rows: Iterable[int], notes: Counter[str]) -> list[int]:
    """Of rows that say the same, the one whose group comes first; none if they have different labels."""
    of_key: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        of_key[entries[row].key].append(row)
    kept = []
    for same in of_key.values():
        if len(same) == 1:
            kept += same
            continue
        if len({entries[row].label for row in same}) > 1:
            notes[CONTRADICTED] += len(same)
            continue
        notes[REPEATED] += len(same) - 1
        kept.append(min(same, key=lambda row: entries[row]))
    return kept


def _matched(entries: Sequence[Entry], rows: Sequence[int], seed: int, notes: Counter[str]) -> list[int]:
    """As many candidates of label 0 as of label 1 of each question, and all that are of none."""
    kept = [row for row in rows if not entries[row].question]
    of_question: defaultdict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for row in rows:
        if entries[row].question:
            of_question[entries[row].question][entries[row].label].append(row)
    keys = [entry.key for entry in entries]
    for candidates in of_question.values():
        both = min(map(len, candidates))
        kept += chain.from_iterable(_chosen(rows, keys, both, seed, "candidate") for rows in candidates)
    notes[UNMATCHED] += len(rows) - len(kept)
    return kept


def _chosen(rows: Sequence[int], keys: Sequence[str], count: int, seed: int, purpose: str) -> list[int]:
    """So many of some rows, at random, but by their keys alone."""
    marks = units([keys[row] for row in rows], seed=seed, purpose=purpose)
    return [row for _, row in sorted(zip(marks, rows, strict=True), key=itemgetter(0))][:count]


def _counted(notes: Mapping[str, int]) -> dict[str, int]:
    return {what: count for what, count in notes.items() if count}


def _whole(items: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Those whose strings can be written; all at once where all can."""
    if _is_whole("".join([part for item in items for part in item if isinstance(part, str)])):
        return list(items)
    return [item for item in items if _is_whole("".join(part for part in item if isinstance(part, str)))]


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
