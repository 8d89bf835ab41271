"""Which part of a task each image of a set is in.

Images with the same bytes are one image, and it is in one part.

Shape suffixes: N images.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from surpass.data.images import ImageSet
from surpass.data.images_layout import TEST, TRAIN, VALIDATION
from surpass.errors import ConfigError, DataError
from surpass.hashing import unit
from surpass.tasks import protocol, splits
from surpass.tasks.tables import PROPORTIONS

HALVES = {"weak": 0.5, "student": 0.5}
"""The share of each part of what is learned from, where sets for choosing and for scoring are published."""

_ID_DIGITS = 32
_TOLERANCE = 1e-9


class Parts(NamedTuple):
    """Images that are kept.

    Attributes:
        rows: Their places in the set.
        ids: 32 hex digits of the sha256 of their bytes.
        truth_N: Their classes.
        parts_N: Their parts.
        notes: What was left out, in words, with how many.
        in_turn: The parts in which classes take turns, see `tables.draw`.
    """

    rows: npt.NDArray[np.int64]
    ids: list[str]
    truth_N: npt.NDArray[np.int16]
    parts_N: npt.NDArray[np.str_]
    notes: Mapping[str, int]
    in_turn: tuple[str, ...] = ()


def parse_shares(text: str) -> dict[str, float]:
    """Shares of parts as a setting says them: "weak=0.2, student=0.8"; parts that are not named have none.

    Raises:
        ConfigError: These are no shares of parts, or do not sum to 1.
    """
    shares: dict[str, float] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        part, _, number = (side.strip() for side in piece.partition("="))
        try:
            shares[part] = float(number)
        except ValueError:
            shares[part] = -1
        if part not in PROPORTIONS or not 0 <= shares[part] <= 1:
            raise ConfigError(
                f"shares={text!r}: {piece!r} is no share; write 'weak=0.5, student=0.5', with parts from "
                f"{', '.join(PROPORTIONS)} and numbers from 0 to 1"
            )
    if shares and abs(sum(shares.values()) - 1) > _TOLERANCE:
        raise ConfigError(f"shares={text!r} sum to {sum(shares.values()):g}; they must sum to 1")
    return shares


def cut(name: str, found: ImageSet, *, shares: Mapping[str, float], num_test: int, seed: int) -> Parts:
    """Images once each, cut into parts by their group, which for most is the image itself.

    A published test is the test, and a published set for choosing is the validation part, or the test where
    there is no other. What is learned from is cut by `shares`; without them by `protocol.LEARNED`, by
    `HALVES` where a set for choosing is published, by `tables.PROPORTIONS` where nothing is.

    Args:
        name: Of the task, for messages.
        found: The set.
        shares: As `parse_shares` gives them; empty for the usual ones.
        num_test: So many images, drawn by their bytes and the seed, are the test, where none is published; 0
            for a share.
        seed: Another seed is another cut.

    Raises:
        ConfigError: Shares are of parts that are published, or leave none to score on.
    """
    of_split: dict[str, list[int]] = {TRAIN: [], VALIDATION: [], TEST: []}
    for row, image in enumerate(found.images):
        of_split[image.split].append(row)
    learned, choosing, scored = (of_split[split] for split in (TRAIN, VALIDATION, TEST))
    if not scored:
        choosing, scored = [], choosing
    names = [image.stored.digest.hex()[:_ID_DIGITS] for image in found.images]
    if num_test and not scored:
        learned, scored = _drawn(learned, names, num_test, seed)

    def entry(row: int) -> protocol.Entry:
        image = found.images[row]
        return protocol.Entry(names[row], image.label, image.group or names[row])

    # What is for choosing comes first, so that of equal images it keeps its own.
    pool = [*choosing, *learned]
    done = protocol.cut([entry(row) for row in pool], [entry(row) for row in scored], seed=seed)
    places = np.array([*pool, *scored], np.int64)[done.rows]
    usual = HALVES if choosing else protocol.LEARNED if scored else PROPORTIONS
    parts = np.array(done.parts, dtype=f"<U{max(map(len, PROPORTIONS))}")
    drawn = np.array(done.rows) >= len(choosing)
    drawn &= np.array(done.rows) < len(pool)
    parts[~drawn & (parts != TEST)] = VALIDATION
    groups = [found.images[row].group or names[row] for row in places[drawn].tolist()]
    of_shares = _fitting(name, shares, bool(choosing), bool(scored)) or usual
    parts[drawn] = splits.assign(groups, of_shares, seed)
    truth_N = np.array([found.images[row].label for row in places.tolist()], np.int16)
    notes = {**found.notes, **done.notes}
    return Parts(places, [names[row] for row in places.tolist()], truth_N, parts, notes)


def balanced(name: str, parts: Parts, classes: Sequence[object], seed: int) -> Parts:
    """As many images of each class, see `protocol.balance`; in the test classes take turns.

    Raises:
        DataError: A part lacks a class.
    """
    labels, of_rows = parts.truth_N.tolist(), parts.parts_N.tolist()
    protocol.require_examples(name, labels, of_rows, classes=classes, notes=parts.notes)
    kept, notes = protocol.balance(parts.ids, labels, of_rows, num_classes=len(classes), seed=seed)
    return Parts(
        rows=parts.rows[kept],
        ids=[parts.ids[row] for row in kept],
        truth_N=parts.truth_N[kept],
        parts_N=parts.parts_N[kept],
        notes={**parts.notes, **notes},
        in_turn=(protocol.TEST,),
    )


def require_enough(name: str, parts: Parts, classes: Sequence[object], shares: Mapping[str, float]) -> None:
    """Refuse a set in which a part that should have images has none, or a learned part lacks a class.

    Raises:
        DataError: Says which.
    """
    there = Counter(parts.parts_N.tolist())
    of_part: defaultdict[str, set[int]] = defaultdict(set)
    for part, label in zip(parts.parts_N.tolist(), parts.truth_N.tolist(), strict=True):
        of_part[part].add(label)
    advice = "use more images, another split_seed, or shares="
    for part in PROPORTIONS:
        wanted = not shares or part == TEST or shares.get(part, 0) > 0
        if wanted and not there[part]:
            raise DataError(f"{name} has no image in part {part!r} ({dict(there)}); {advice}")
        if part in ("weak", "student") and there[part] and len(of_part[part]) < len(classes):
            lacking = [str(one) for place, one in enumerate(classes) if place not in of_part[part]]
            raise DataError(
                f"{name} has no image of class {lacking[0]!r} in part {part!r}"
                f"{f' (nor of {len(lacking) - 1} others)' if len(lacking) > 1 else ''}; {advice}"
            )


def _drawn(rows: Sequence[int], names: Sequence[str], number: int, seed: int) -> tuple[list[int], list[int]]:
    """What is left, and so many rows, by what they are; equal images stay on one side."""
    marks = {names[row]: unit(names[row], seed=seed, purpose="test") for row in rows}
    ordered = sorted(rows, key=lambda row: (marks[names[row]], names[row]))
    number = min(number, len(rows))
    while 0 < number < len(rows) and names[ordered[number - 1]] == names[ordered[number]]:
        number += 1
    return sorted(ordered[number:]), sorted(ordered[:number])


def _fitting(
    name: str, shares: Mapping[str, float], has_validation: bool, has_test: bool
) -> Mapping[str, float]:
    """The shares, if they are of what is to be cut."""
    for part, published in ((VALIDATION, has_validation), (TEST, has_test)):
        if shares.get(part) and published:
            raise ConfigError(f"shares: the part {part!r} of {name} is published, and cannot have a share")
    if shares and not has_test and not shares.get(TEST):
        raise ConfigError(f"shares: {name} has no published test; give the part {TEST!r} a share")
    return shares
